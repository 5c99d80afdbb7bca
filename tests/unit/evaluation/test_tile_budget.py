"""Evaluation with a budget of tiles: equal rows, resume, guards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.expert_policies import ENV_KWARGS, PixelPolicy, header, pixel_encoder
from support.small_encoders import encoder_of

from s2robot.errors import MismatchError
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import InitialStates, make_initial_states


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


def rows_of(out: Path) -> bytes:
    return (out / "episodes.jsonl").read_bytes()


class LookingPolicy(PixelPolicy):
    """Looks at the left half, and counts how often it is asked."""

    def __init__(self) -> None:
        self.looks = 0

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        return super().act(embedding[:, -4:], proprio)  # of the largest scale

    def attention(self, embedding: torch.Tensor) -> torch.Tensor:
        self.looks += 1
        maps = torch.zeros(len(embedding), 2, 2)
        maps[:, :, 0] = 1
        return maps


def budgeted(
    out: Path, initial_states: InitialStates, encoder: Any, **settings: Any
) -> LookingPolicy:
    policy = LookingPolicy()
    config = EvalConfig(num_envs=2, workers=0, horizon=4, videos=0, **settings)
    made = header("random/tiny")
    evaluate(policy, encoder, initial_states, config, out, header=made, progress=False)
    return policy


@pytest.fixture(scope="module")
def scaled() -> Any:
    return encoder_of(scales=(1, 2), readout="mean")


@pytest.mark.render
def test_a_budget_of_all_tiles_gives_the_same_rows(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    budgeted(tmp_path / "plain", initial_states, scaled)
    budgeted(tmp_path / "all", initial_states, scaled, tile_budget=4)
    budgeted(tmp_path / "none", initial_states, scaled, tile_budget=0)
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "plain")
    assert rows_of(tmp_path / "none") != rows_of(tmp_path / "plain")


@pytest.mark.render
@pytest.mark.parametrize("choice", ["motion", "attention", "random"])
def test_a_budgeted_run_that_was_cut_short_resumes_to_the_same_rows(
    tmp_path: Path, initial_states: InitialStates, scaled: Any, choice: str
) -> None:
    settings = {"tile_budget": 1, "tile_choice": choice}
    policy = budgeted(tmp_path / "whole", initial_states, scaled, **settings)
    assert policy.looks == (12 if choice == "attention" else 0)  # 3 batches of 4 steps
    budgeted(tmp_path / "cut", initial_states, scaled, **settings)
    path = tmp_path / "cut" / "episodes.jsonl"
    path.write_bytes(b"".join(rows_of(tmp_path / "whole").splitlines(keepends=True)[:2]))
    budgeted(tmp_path / "cut", initial_states, scaled, **settings)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


@pytest.mark.render
def test_a_folder_with_another_budget_is_refused(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    budgeted(tmp_path, initial_states, scaled, tile_budget=1)
    with pytest.raises(MismatchError, match=r"rollout.tile_budget: there 1, now null"):
        budgeted(tmp_path, initial_states, scaled)


def test_bad_budgets(tmp_path: Path, initial_states: InitialStates, scaled: Any) -> None:
    with pytest.raises(ValueError, match="unknown tile_choice 'region'"):
        EvalConfig(tile_choice="region")
    with pytest.raises(ValueError, match="leave rollout.reuse=false"):
        EvalConfig(reuse=True, tile_budget=1)
    with pytest.raises(ValueError, match="from 0 to 4"):
        budgeted(tmp_path / "many", initial_states, scaled, tile_budget=9)
    with pytest.raises(ValueError, match="an encoder with selective"):
        budgeted(tmp_path / "other", initial_states, pixel_encoder, tile_budget=1)


@pytest.mark.process
@pytest.mark.render
@pytest.mark.slow
def test_an_approximate_runtime_is_another_run(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    rng = np.random.default_rng(0)
    scaled.calibrate(rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8))
    int8 = scaled.with_runtime("openvino-int8")
    budgeted(tmp_path, initial_states, int8)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["provenance"]["runtime"] == int8.runtime.describe()
    with pytest.raises(MismatchError, match='runtime.name: there "openvino-int8", now "eager"'):
        budgeted(tmp_path, initial_states, scaled)
