"""The command `s2robot recommend`: exit statuses, refusals, files, and what --confirm says."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.moving_spots import spots
from support.recorded_data import write_robomimic
from support.sequential import SyntheticRuns
from support.tiny_models import write_tiny_model

from s2robot.analysis.recommend import EpisodeData, probing, study, timing
from s2robot.analysis.recommend.sources import STATES
from s2robot.cli.main import main
from s2robot.cli.parsers.recommend import NO_ACCURACY, NOT_CONFIRMED, NOTHING_IN_TIME
from s2robot.cli.recommend import command
from s2robot.cli.recommend import confirm as confirmation
from s2robot.experiments.sequential_sweep import PlannedPair, PlannedVariant, SequentialPlan

SMALL = ["--encoder", "file:tiny.json", "--scales", "1", "--device", "cpu", "--runtime", "eager"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path)
    monkeypatch.setattr(probing, "EPOCHS", 1)
    quick = timing.Latency(9.0, 10.0, 4, "eager", "cpu")
    monkeypatch.setattr(study, "time_encoder", lambda *_: quick)
    return tmp_path


@pytest.fixture
def demonstrations(monkeypatch: pytest.MonkeyPatch) -> EpisodeData:
    data = spots(episodes=9, steps=4)
    monkeypatch.setattr(command, "open_source", lambda *_: data)
    return data


@pytest.mark.usefixtures("demonstrations")
def test_the_answer_comes_first_and_the_files_hold_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "mine", "--hz", "30", *SMALL, "--out", "found"]) == 0
    record = json.loads((folder / "found/recommend.json").read_text())
    assert record["choice"] == "file:tiny.json (1)"
    assert record["deadline_ms"] == pytest.approx(1000 / 30)
    assert (folder / "found/recommend.png").exists()
    printed = " ".join(capsys.readouterr().out.split())
    assert "Take file:tiny.json (1): action error" in printed
    assert printed.index("Take file") < printed.index("GFLOPs")
    assert "; there was no other candidate" in printed
    assert "Without a camera one would have the " in printed
    assert "choice" in printed.partition("GFLOPs")[2]
    assert record["better_than_constant"] is True


@pytest.mark.usefixtures("demonstrations")
def test_json_holds_the_record_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "mine", "--ms", "20", "--by", "localization", *SMALL, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["metric"] == "localization"


def test_actions_of_noise_give_no_choice_and_a_status_of_their_own(
    demonstrations: EpisodeData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demonstrations.actions is not None
    noise = np.random.default_rng(3).normal(size=demonstrations.actions.shape)
    data = dataclasses.replace(demonstrations, actions=noise)
    monkeypatch.setattr(command, "open_source", lambda *_: data)
    assert main(["recommend", "mine", "--ms", "20", *SMALL]) == NO_ACCURACY
    printed = " ".join(capsys.readouterr().out.split())
    assert "No choice follows: the least error is that of file:tiny.json (1), action err" in printed
    assert "least error" in printed.partition("GFLOPs")[2]
    assert main(["recommend", "mine", "--ms", "20", *SMALL, "--json"]) == NO_ACCURACY
    record = json.loads(capsys.readouterr().out)
    assert (record["better_than_constant"], record["choice"]) == (False, None)


@pytest.mark.parametrize("held, status", [(True, 0), (None, NO_ACCURACY), (False, NOT_CONFIRMED)])
def test_rollouts_decide_where_the_errors_do_not(
    held: bool | None,
    status: int,
    demonstrations: EpisodeData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert demonstrations.actions is not None
    noise = np.random.default_rng(3).normal(size=demonstrations.actions.shape)
    data = dataclasses.replace(demonstrations, actions=noise, demos_path="demos.hdf5")
    monkeypatch.setattr(command, "kind_of", lambda *_: STATES)
    monkeypatch.setattr(command, "open_source", lambda *_: data)
    monkeypatch.setattr(command, "confirm", lambda *_: {"held": held})
    assert main(["recommend", "mine", "--ms", "20", *SMALL, "--confirm", "4"]) == status


@pytest.mark.usefixtures("demonstrations")
def test_a_deadline_that_nothing_meets_has_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["recommend", "mine", "--ms", "2", *SMALL]) == NOTHING_IN_TIME
    printed = " ".join(capsys.readouterr().out.split())
    assert "the nearest is file:tiny.json (1) with 10.0 ms at p95, 8.0 ms too slow" in printed


def test_frames_without_actions_have_a_status_of_their_own() -> None:
    assert main(["recommend", "noise", "--ms", "20", *SMALL]) == NO_ACCURACY


@pytest.mark.parametrize(
    "words, message",
    [
        (["--hz", "30", "--ms", "5"], "not allowed with argument"),
        ([], "one of the arguments --hz --ms is required"),
        (["--hz", "0"], "'0' is not a number above 0"),
        (["--ms", "-3"], "'-3' is not a number above 0"),
        (["--hz", "30", "--scales", "[0]"], "'[0]' is not a set of scales"),
        (["--hz", "30", "--confirm", "2"], "2 seeds give no verdict"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["recommend", "noise", *words])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_scales_that_do_not_fit_are_refused_before_the_source_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "open_source", lambda *_: pytest.fail("read"))
    assert main(["recommend", "mine", "--ms", "20", "--scales", "[1,40]"]) == 2
    assert "at most" in capsys.readouterr().err


def test_confirming_needs_demonstrations_of_the_simulator(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["recommend", "noise", "--ms", "20", *SMALL, "--confirm", "4"]) == 2
    assert "holds none of its demonstrations" in " ".join(capsys.readouterr().err.split())


# --------------------------------------------------------------------------------- recorded data
@pytest.fixture
def recording(folder: Path) -> str:
    return str(write_robomimic(folder / "lift.hdf5", episodes=64))  # learnable


@pytest.mark.parametrize(
    "cameras",
    [
        ["agentview", "robot0_eye_in_hand"],
        ["[agentview,robot0_eye_in_hand]"],
        ["agentview,", "robot0_eye_in_hand"],
    ],
)
def test_cameras_are_named_as_words_or_as_a_list(
    cameras: list[str], recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", recording, "--ms", "20", *SMALL, "--json", "--cameras", *cameras]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["cameras"] == ["agentview_image", "robot0_eye_in_hand_image"]
    assert record["metric"] == "action-linear"


def test_a_setting_in_place_of_a_flag_says_the_flag(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["recommend", recording, "--ms", "20", "cameras=[agentview]"])
    assert "takes --cameras '[agentview]', not cameras=" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "has 2 cameras: agentview_image (32x32), robot0_eye_in_hand_image (32x32); name"),
        (["--cameras", "side"], "unknown camera in lift.hdf5 'side'; available: agentview_image"),
        (["--cameras", "agentview", "--action", "/a"], "action is of ROS bags"),
        (["--cameras", "agentview", "--by", "localization"], "has no positions; allowed with it"),
        (["--cameras", "agentview", "--positions", "cube"], "unknown observation in lift.hdf5"),
    ],
)
@pytest.mark.usefixtures("recording")
def test_what_recorded_data_lacks_is_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "lift.hdf5", "--ms", "20", *SMALL, *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_deadline_that_nothing_meets_names_the_nearest_for_recorded_data(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", recording, "--ms", "2", *SMALL, "--cameras", "agentview"]
    assert main(words) == NOTHING_IN_TIME
    assert "the nearest is file:tiny.json (1)" in " ".join(capsys.readouterr().out.split())


def test_confirming_recorded_data_is_refused_before_any_work(
    recording: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "open_source", lambda *_: pytest.fail("read"))
    words = ["recommend", recording, "--ms", "20", *SMALL, "--confirm", "4"]
    assert main([*words, "--cameras", "agentview"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "lift.hdf5 is recorded data, which has none" in printed
    assert "lift.hdf5 encoder=NAME 'scales=[S,S]' seeds=3`" in printed
    assert "`s2robot eval checkpoint=POLICY task=TASK`" in printed


@pytest.mark.parametrize(
    "source, message",
    [
        ("pick-cube/easy", "demonstrations of another task, and pick-cube/easy is neither"),
        ("noise", "demonstrations of another task, and noise is neither"),
        ("absent", "absent: there is no such file or folder; allowed: a robomimic file"),
    ],
)
def test_choices_of_recorded_data_do_not_go_with_other_sources(
    source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", source, "--ms", "20", *SMALL, "--low-dim", "a"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


# --------------------------------------------------------------------------------------- confirm
def test_a_choice_that_rollouts_refute_has_a_status_of_its_own(
    demonstrations: EpisodeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataclasses.replace(demonstrations, demos_path="demos.hdf5")
    monkeypatch.setattr(command, "kind_of", lambda *_: STATES)
    monkeypatch.setattr(command, "open_source", lambda *_: data)
    monkeypatch.setattr(command, "confirm", lambda *_: {"held": False})
    words = ["recommend", "mine", "--ms", "20", *SMALL, "--confirm", "4"]
    assert main(words) == NOT_CONFIRMED
    monkeypatch.setattr(command, "confirm", lambda *_: {"held": True})
    assert main(words) == 0


@pytest.mark.parametrize("rates, held", [((0.9, 0.3), True), ((0.3, 0.9), False)])
@pytest.mark.parametrize("swapped", [False, True])
def test_rollouts_say_whether_the_choice_held_whichever_comes_first_in_the_pair(
    rates: tuple[float, float],
    held: bool,
    swapped: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = ["best", "second"]
    variants = [{"scales": (1,), "rate": rates[0]}, {"scales": (1, 2), "rate": rates[1]}]
    jobs = [Job(label) for label in labels]
    order = [1, 0] if swapped else [0, 1]
    runs = SyntheticRuns(folder / "cells", [variants[i] for i in order])
    monkeypatch.setattr(confirmation, "_job", lambda each, *_: jobs[labels.index(each.label)])
    monkeypatch.setattr(
        confirmation, "make_plan", lambda *_: (plan(labels, order), [jobs[i] for i in order])
    )
    monkeypatch.setattr(confirmation, "SeedRuns", lambda *_: runs)
    found = argparse.Namespace(two_best=[argparse.Namespace(label=label) for label in labels])
    options = argparse.Namespace(confirm=8, states=32)
    record: Any = confirmation.confirm(found, "d.hdf5", None, options)  # pyright: ignore[reportArgumentType]
    assert record["held"] is held
    assert record["verdict"] == ("better" if held else "worse")
    assert (sum(record["points_by_seed"]) > 0) is held


class Job:
    """A job with the folder of its runs."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.train = argparse.Namespace(runs_dir=Path("confirm"))


def plan(labels: list[str], order: list[int]) -> Any:
    variants = tuple(PlannedVariant(labels[i], {"variant": labels[i]}) for i in order)
    return SequentialPlan(variants, (PlannedPair(0, 1, "scales"),), 32)


def test_fewer_than_two_candidates_leave_nothing_to_confirm() -> None:
    found = argparse.Namespace(two_best=["best"])
    options = argparse.Namespace(confirm=8, states=32)
    assert confirmation.confirm(found, "d.hdf5", None, options) is None  # pyright: ignore[reportArgumentType]
