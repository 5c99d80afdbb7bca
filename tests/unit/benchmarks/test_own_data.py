"""The benchmark of recorded data runs at a tiny size, in both layouts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.tiny_models import write_tiny_model

_PLACE = importlib.util.spec_from_file_location("own_data", ROOT / "benchmarks/own_data.py")
assert _PLACE is not None
assert _PLACE.loader is not None
benchmark = importlib.util.module_from_spec(_PLACE)
_PLACE.loader.exec_module(benchmark)


@pytest.mark.parametrize("layout", ["robomimic", "lerobot"])
def test_the_benchmark_counts_times_and_writes(layout: str, tmp_path: Path) -> None:
    if layout == "lerobot":
        for name in ("av", "pyarrow"):
            pytest.importorskip(name, reason="the extra `lerobot` is not installed")
    out = tmp_path / "own.json"
    small = ["--episodes", "6", "--steps", "5", "--size", "48", "64", "--epochs", "1"]
    words = ["--layout", layout, "--encoder", f"file:{write_tiny_model(tmp_path)}", *small]
    more = ["--in-loop", "4", "--rounds", "1", "--work", str(tmp_path / "w"), "--out", str(out)]
    benchmark.main([*words, *more])
    found = json.loads(out.read_text())
    assert found["decoded_once"] is True
    assert found["from_file_to_policy"]["frames_decoded"] == 6 * 5 * 2
    names = ["dx", "dy"] if layout == "lerobot" else ["a0", "a1"]  # robomimic's files name none
    assert [entry["name"] for entry in found["held_out"]["entries"]] == names
    epochs = found["epochs_compared"]
    assert epochs["train_dtype"] == "float32"
    stored, loop = epochs["stored_epoch_s"]["median"], epochs["in_the_loop"]
    scaled = stored + loop["decoding_and_encoding_s"]["median"] * epochs["moments_of_an_epoch"] / 4
    assert loop["epoch_s"]["median"] == pytest.approx(scaled, abs=1e-3)
    assert loop["moments_timed"] == 4
    assert found["provenance"]["machine"]["processor"]


def test_frames_show_what_the_action_is_and_change_all_the_time() -> None:
    data = benchmark.FollowingEpisodes(2, 12, (48, 64), 2)
    for camera in data.cameras:
        frames = np.stack(list(data.frames(camera, 1)))
        assert frames.shape == (12, 48, 64, 3)
        changed = [(a != b).any() for a, b in zip(frames, frames[1:], strict=False)]
        assert sum(changed) >= 8  # of 11; so few pixels show no smaller steps
    objects, grippers, actions = data._moments[1]
    towards = objects - grippers
    free = np.abs(actions) < 0.05
    np.testing.assert_allclose(actions[free], 0.3 * towards[free])
    assert np.abs(actions).max() <= 0.05
    assert data.actions.shape == (24, 2)
    front = next(data.frames("front_image", 1))
    row, column = (objects[0][::-1] * (48, 64)).astype(int)
    assert front[row, column, 0] >= 200 or np.abs(towards[0]).max() < 0.1
