"""Runs that cannot succeed are named before the first one begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import DemosChoice, VariantConfig
from s2robot.experiments.jobs import RunJob, TrainJob
from s2robot.experiments.sweeps.preflight import check_run, check_runs, ensure_weights

TINY = "random/vitt16-128"


def job(rollout: EvalConfig | None = None, **variant: Any) -> RunJob:
    config = VariantConfig(**{"encoder": TINY, "scales": (1.0, 2.0), **variant})
    return RunJob(TrainJob(config), rollout=rollout or EvalConfig())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scales": (1.0, 70.0)}, "4901 tiles"),
        ({"encoder": "timm/no_such_net"}, "no_such_net"),
        ({"encoder": "file:nowhere.json"}, "nowhere.json"),
        ({"demos": DemosChoice(path=Path("nowhere.hdf5"))}, "nowhere.hdf5"),
        ({"scales": (1.0,), "rollout": EvalConfig(tile_budget=1)}, "one scale"),
        ({"rollout": EvalConfig(tile_budget=5)}, "allowed: 0 to 4"),
        (
            {"readout": "mean", "rollout": EvalConfig(tile_budget=2, tile_choice="attention")},
            "without an attention map",
        ),
    ],
)
def test_settings_that_fail_later_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        check_run(job(**wrong))


def test_possible_runs_pass() -> None:
    check_runs(
        [
            ("attention", lambda: job(EvalConfig(tile_budget=4, tile_choice="attention"))),
            ("baseline", lambda: job(encoder="blind", scales=(1.0,))),
        ]
    )


def test_weights_that_a_machine_without_network_lacks_are_named_once(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    names = ["one", "two"]
    runs = [(name, lambda: job(encoder="vip-resnet50", scales=(1.0,))) for name in names]
    with pytest.raises(ValueError, match="2 of 3 runs cannot succeed") as error:
        check_runs([*runs, ("good", job)])
    assert "  two: cannot get" in str(error.value)
    assert "offline" in str(error.value)


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"w\.pt"):
        ensure_weights(VariantConfig(encoder="vip-resnet50", weights=tmp_path / "w.pt"))


def test_errors_of_the_settings_themselves_name_the_run() -> None:
    def wrong() -> RunJob:
        raise ValueError("n is 0")

    with pytest.raises(ValueError, match="seed=3: n is 0"):
        check_runs([("seed=3", wrong), ("good", job)])
