"""The benchmark of a head's precision runs at a tiny size."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from support.paths import ROOT

_PLACE = importlib.util.spec_from_file_location("head_dtype", ROOT / "benchmarks/head_dtype.py")
assert _PLACE is not None
assert _PLACE.loader is not None
benchmark = importlib.util.module_from_spec(_PLACE)
_PLACE.loader.exec_module(benchmark)


@pytest.mark.render
def test_the_benchmark_compares_both_precisions(tmp_path: Path) -> None:
    out = tmp_path / "head.json"
    words = ["--moments", "70", "--grid", "2", "2", "8", "--rounds", "1", "--episodes", "3"]
    more = ["--epochs", "1", "--seeds", "2", "--work", str(tmp_path / "w"), "--out", str(out)]
    benchmark.main([*words, *more])
    found = json.loads(out.read_text())
    assert set(found["epoch_s"]) == {benchmark.EARLIER, "float32", "bfloat16"}
    assert found["epoch_s"]["bfloat16"]["ratio to bfloat16"]["median"] == 1.0
    for kind in ("mlp", "gmm"):
        rows = found["trainings"][kind]
        assert len(rows["float32"]["valid_loss"]) == 2
        assert rows["float32"] != rows["bfloat16"]


def test_memory_of_each_batch_changes_no_number() -> None:
    data = benchmark.random_grids(70, (2, 2, 8))
    stacks = [benchmark._stack(data, name, 2) for name in (benchmark.EARLIER, "float32")]
    assert isinstance(stacks[0].trainers[0].frames, benchmark._NewMemory)
    one, other = ([row for _, row in stack.epoch()] for stack in stacks)
    assert one == other
