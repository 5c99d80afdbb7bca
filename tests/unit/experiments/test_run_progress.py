"""Progress of a sweep: what is finished, and the time that the runs left take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2robot.experiments import run_progress
from s2robot.experiments.run_progress import SweepProgress, planned_run
from s2robot.utils.io import write_json


def settings(seed: int, encoder: str = "r3m", **changes: Any) -> dict[str, Any]:
    base = {"encoder": encoder, "seed": seed, "n": 8, "eval_levels": [], "train_together": [0, 1]}
    return {**base, **changes}


SWEEP = [settings(seed, encoder) for encoder in ("r3m", "vc1") for seed in range(3)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that moves when it is told to [s]."""
    now = [1000.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(run_progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_progress.time, "time", lambda: now[0])
    return wait


def begin(folder: Path, configs: list[dict[str, Any]] = SWEEP, **changes: bool) -> SweepProgress:
    how = {"in_turn": True, "together": True, **changes}
    return SweepProgress.begin(folder, map(planned_run, configs), **how)


def finish(
    sweep: SweepProgress, config: dict[str, Any], training_s: float = 0, rollout_s: float = 0
) -> None:
    """Finish a run; zero seconds stand for what was there before."""
    with sweep.run(config) as times:
        times.training_s, times.trained = training_s, training_s > 0
        times.rollout_s, times.episodes = rollout_s, 8 if rollout_s else 0
        folder = sweep.runs_dir / "cells" / planned_run(config).digest
        write_json(folder / "summary.json", {})
        times.folder = str(folder)


def test_seeds_of_one_variant_differ_in_nothing_else() -> None:
    first, second = planned_run(settings(0)), planned_run(settings(1))
    assert first.variant == second.variant
    assert first.digest != second.digest
    assert first == planned_run(settings(0, train_together=[]))
    assert planned_run(settings(0, n=16)).variant != first.variant
    assert planned_run(settings(0, eval_levels=["precise", "hard"])).episodes == 16
    assert planned_run(settings(0, "blind")).baseline


def test_time_left_has_one_training_for_all_seeds_of_a_variant(tmp_path: Path) -> None:
    sweep = begin(tmp_path)
    assert sweep.text() == "sweep: 0 of 6 runs finished, time left not known yet"
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    # two rollouts of the same variant; a training and three rollouts of the other
    assert sweep.seconds_left() == pytest.approx(2 * 10 + 100 + 3 * 10)
    finish(sweep, SWEEP[1], rollout_s=20)
    assert sweep.seconds_left() == pytest.approx(15 + 100 + 3 * 15)
    assert sweep.text() == "sweep: 2 of 6 runs finished, 3 min left"


def test_runs_that_train_alone_each_have_a_training_left(tmp_path: Path) -> None:
    sweep = begin(tmp_path, together=False)
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    assert sweep.seconds_left() == pytest.approx(5 * 110)


def test_the_same_variant_counts_before_others(tmp_path: Path) -> None:
    sweep = begin(tmp_path)
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    finish(sweep, SWEEP[3], training_s=200, rollout_s=50)
    assert sweep.seconds_left() == pytest.approx(2 * 10 + 2 * 50)


def test_more_episodes_take_longer(tmp_path: Path) -> None:
    runs = [settings(0), settings(0, n=32)]
    sweep = begin(tmp_path, runs)
    finish(sweep, runs[0], training_s=100, rollout_s=10)
    assert sweep.seconds_left() == pytest.approx(100 + 40)


def test_baselines_say_nothing_of_encoders(tmp_path: Path) -> None:
    runs = [settings(0, "blind"), settings(0)]
    sweep = begin(tmp_path, runs)
    finish(sweep, runs[0], training_s=1, rollout_s=1)
    assert sweep.seconds_left() is None


def test_the_time_goes_down_while_a_run_goes_on(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    sweep = begin(tmp_path)
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    with sweep.run(SWEEP[1]):
        clock(4)
        assert sweep.seconds_left() == pytest.approx(150 - 4)


def test_a_resumed_sweep_knows_what_is_finished_and_how_long_a_run_takes(tmp_path: Path) -> None:
    finish(begin(tmp_path, SWEEP[:3]), SWEEP[0], training_s=100, rollout_s=10)
    sweep = begin(tmp_path)
    assert sweep.text() == "sweep: 1 of 6 runs finished, 2 min left"
    finish(sweep, SWEEP[0])  # is found again and takes no time
    assert sweep.seconds_left() == pytest.approx(150)


def test_a_run_whose_results_are_gone_is_not_finished(tmp_path: Path) -> None:
    sweep = begin(tmp_path)
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    (Path(sweep.done[planned_run(SWEEP[0]).digest].folder) / "summary.json").unlink()
    assert begin(tmp_path).text() == "sweep: 0 of 6 runs finished, time left not known yet"


def test_failed_runs_are_counted_and_take_no_time(tmp_path: Path) -> None:
    sweep = begin(tmp_path, SWEEP[:3])
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    with sweep.run(SWEEP[1]):
        write_json(tmp_path / "failed" / planned_run(SWEEP[1]).digest / "error.json", {})
    sweep.refresh()
    assert sweep.text() == "sweep: 1 of 3 runs finished, 1 failed, 10 s left"
    finish(sweep, SWEEP[2], rollout_s=10)
    assert sweep.last_line().startswith("sweep: 2 of 3 runs finished, 1 failed after ")


def test_other_processes_count_the_runs_of_all(
    tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path, in_turn=False, together=False)
    other = SweepProgress.of_run(tmp_path, SWEEP[0])
    assert other is not None
    clock(60)
    monkeypatch.setattr(other, "started", 0.0)  # files have the time of the machine's own clock
    finish(other, SWEEP[0], training_s=100, rollout_s=10)
    third = SweepProgress.of_run(tmp_path, SWEEP[0])
    assert third is not None
    assert len(third.done) == 1
    monkeypatch.setattr(third, "started", 1000.0)
    assert third.seconds_left() == pytest.approx(60 / 1 * 5)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": [{"digest": 1}]}'])
def test_a_damaged_plan_shows_no_progress(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress" / "sweeps").mkdir(parents=True)
    (tmp_path / "progress" / "sweeps" / "ab12.json").write_text(text)
    assert SweepProgress.all_in(tmp_path) == []


def test_a_pipe_gets_a_plain_line_before_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sweep = begin(tmp_path)
    finish(sweep, SWEEP[0], training_s=100, rollout_s=10)
    finish(sweep, SWEEP[1], rollout_s=10)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "sweep: 0 of 6 runs finished, time left not known yet",
        "sweep: 1 of 6 runs finished, 2 min left",
    ]


def test_times_are_of_the_planned_runs_only(tmp_path: Path) -> None:
    sweep = begin(tmp_path, SWEEP[:1])
    finish(sweep, SWEEP[5], training_s=1, rollout_s=1)
    assert sweep.done == {}
