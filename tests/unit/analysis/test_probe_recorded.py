"""Probes of the action of recorded data: what is compared, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.recorded_data import CAMERAS, write_robomimic
from support.tiny_models import write_tiny_model

from s2robot.analysis.probes.recorded import RecordedConfig
from s2robot.analysis.probes.study import StudyConfig
from s2robot.analysis.probes.tasks import Parts, get_task
from s2robot.cli.main import main
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.datasets.opening import open_dataset

ONE = DataChoice(cameras=CAMERAS[:1])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_robomimic(tmp_path / "lift.hdf5", episodes=9)


def test_the_command_compares_scales_by_the_action_of_episodes_that_were_held_out(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card, out = write_tiny_model(tmp_path), tmp_path / "out"
    words = ["probe", f"file:{card}", "--data", str(recording), "--cameras", "agentview"]
    words += ["--scales", "[1],[1,2]", "--device", "cpu", "--runtime", "eager"]
    words += ["--data-dir", str(tmp_path / "data"), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["task"], row["scales"]) for row in rows] == [
        ("action", []),
        ("action", [1.0]),
        ("action", [1.0, 2.0]),
    ]
    assert {row["test_episodes"] for row in rows} == {2}
    assert all(row["measures"]["mean error [% of std]"]["estimate"] > 0 for row in rows)
    record = json.loads((out / "probes.json").read_text())
    assert record["scenes"]["source"] == str(recording)
    assert (out / "probes.png").exists()
    assert main(words) == 0
    assert "action: (no features): mean error" in capsys.readouterr().out


def test_frames_actions_and_episodes_belong_together(recording: Path, tmp_path: Path) -> None:
    data = RecordedConfig(str(recording), ONE, 20).load(tmp_path)
    stored = open_dataset(recording)
    assert len(data) == 20
    assert len(np.unique(data.episode)) == 9
    np.testing.assert_array_equal(data.actions, stored.actions[data.chosen])
    frames = np.stack([frame for e in range(9) for frame in stored.frames(CAMERAS[0], e)])
    np.testing.assert_array_equal(data.read(3, 9), frames[data.chosen[3:9]])
    assert (data.read(4, 4).shape, data.frame_size) == ((0, 32, 32, 3), 32)
    fewer = RecordedConfig(str(recording), ONE, 10)
    assert len({data.digest, fewer.load(tmp_path).digest}) == 2
    other = RecordedConfig(str(recording), DataChoice(cameras=CAMERAS[1:]), 10)
    assert fewer.key() != other.key()


def test_the_mean_action_is_off_by_the_mean_distance_in_units_of_the_spread() -> None:
    class Data:
        actions = np.array([[0.0, 5.0], [2.0, 5.0], [0.0, 5.0], [2.0, 5.0]])

    parts = Parts(np.array([0]), np.array([1]), np.array([2, 3]))
    outcome = get_task("action").baseline(Data(), parts)  # pyright: ignore[reportArgumentType]
    assert outcome.frames.tolist() == [[100.0, 1.0], [100.0, 1.0]]


@pytest.mark.parametrize(
    "words, message",
    [
        ([], r"has 2 cameras: agentview_image \(32x32\), .*name those of the probe"),
        (["--cameras", "agentview", "robot0_eye_in_hand"], "a probe reads one: name one"),
        (["--cameras", "side"], "unknown camera in .*'side'"),
        (["--task", "depth"], "task depth is of the simulator's frames; allowed .*: action"),
    ],
)
def test_what_does_not_fit_the_data_is_named(
    words: list[str], message: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "random/vitt16-128", "--data", str(recording), *words]) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--data", "a.hdf5", "--level", "easy"], "--level does not go with recorded data"),
        (["--data", "a.hdf5", "--quick"], "--quick does not go with recorded data; leave it out"),
        (["--cameras", "front"], "--cameras does not go with frames of the simulator; give --data"),
        (["--count", "7"], "--count does not go with frames of the simulator"),
    ],
)
def test_flags_of_other_frames_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["probe", *words])
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_action_of_the_simulators_frames_is_no_task() -> None:
    with pytest.raises(ValueError, match=r"task action is of recorded data \(--data SOURCE\)"):
        StudyConfig(("random/vitt16-128",), tasks=("action",))


@pytest.mark.parametrize("change", ["absent", "constant"])
def test_data_without_actions_that_vary_is_refused(change: str, recording: Path) -> None:
    with h5py.File(recording, "a") as file:
        for group in file["data"].values():  # pyright: ignore[reportAttributeAccessIssue]
            if change == "absent":
                del group["actions"]
            else:
                group["actions"][:] = 1.0
    with pytest.raises(ValueError, match="nothing to pr(obe|edict)"):
        RecordedConfig(str(recording), ONE).key()
