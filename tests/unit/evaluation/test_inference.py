"""One runtime for all rows of a run, also with runtime "auto"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.expert_policies import ENV_KWARGS, PixelPolicy, header
from support.helpers import hide
from support.small_encoders import encoder_of
from support.timed_runtimes import FEW_TILES_ONLY, give_times

from s2robot.errors import MismatchError
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.latency import encoder_of_run, for_one_frame
from s2robot.utils.io import read_json


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 2, ENV_KWARGS)


class Taken(Exception):
    """The folder is taken."""


def take(out: Path, states: InitialStates, runtime: str, num_envs: int = 4, **more: Any) -> str:
    """Claim a folder, which rolls nothing out; returns the runtime in its record."""

    def stop(_record: dict[str, Any]) -> None:
        raise Taken

    encoder = encoder_of(scales=(1, 2), readout="mean").use_runtime(runtime)
    config = EvalConfig(num_envs=num_envs, horizon=2, videos=0)
    made = header("random/tiny")
    with pytest.raises(Taken):
        evaluate(PixelPolicy(), encoder, states, config, out, header=made, on_claim=stop, **more)
    return read_json(out / "run.json")["inference"]["runtime"]["name"]


@pytest.fixture(autouse=True)
def _few_tiles_only(measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_times(monkeypatch, FEW_TILES_ONLY)


def test_the_runtime_is_chosen_for_the_frames_of_a_step(
    tmp_path: Path, initial_states: InitialStates
) -> None:
    assert take(tmp_path / "few", initial_states, "auto", num_envs=2) == "openvino"
    assert take(tmp_path / "many", initial_states, "auto", num_envs=4) == "eager"


def test_a_resumed_run_keeps_the_runtime_of_its_rows(
    tmp_path: Path, initial_states: InitialStates
) -> None:
    assert take(tmp_path, initial_states, "openvino") == "openvino"
    assert take(tmp_path, initial_states, "auto") == "openvino"
    assert take(tmp_path, initial_states, "auto", fresh=True) == "eager"


def test_a_runtime_that_is_named_is_not_replaced_by_that_of_the_rows(
    tmp_path: Path, initial_states: InitialStates
) -> None:
    take(tmp_path, initial_states, "openvino")
    with pytest.raises(MismatchError, match='runtime.name: there "openvino", now "eager"'):
        take(tmp_path, initial_states, "eager")


def test_a_resumed_run_whose_runtime_is_missing_says_what_to_do(
    tmp_path: Path, initial_states: InitialStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(tmp_path, initial_states, "openvino")
    monkeypatch.undo()
    hide(monkeypatch, "openvino")
    monkeypatch.delenv("S2ROBOT_RUNTIME", raising=False)
    missing = r"were made with runtime openvino.*pip install"
    with pytest.raises(MismatchError, match=missing) as told:
        take(tmp_path, initial_states, "auto")
    assert all(way in str(told.value) for way in ("out=", "runs_dir=", "fresh=true"))


def test_a_single_frame_is_timed_with_the_runtime_that_a_robot_would_have(tmp_path: Path) -> None:
    encoder = encoder_of(scales=(1, 2), readout="mean").use_runtime("auto")
    chosen: Any = encoder_of_run(encoder, RunFolder(tmp_path, 4), fresh=False)
    alone: Any = for_one_frame(chosen)
    assert (chosen.runtime.name, alone.runtime.name) == ("eager", "openvino")
    named = encoder_of(scales=(1, 2), readout="mean").use_runtime("eager")
    assert for_one_frame(named) is named
