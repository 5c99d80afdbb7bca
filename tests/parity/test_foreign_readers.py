"""Other people's tools read our files, where they are installed; skipped, visibly, where not.

``pip install verdikt-eval==0.3.0``, in an environment that has s2robot.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2robot.evaluation.eval_info import write_eval_info

pytestmark = pytest.mark.parity


def write(folder: Path, successes: np.ndarray) -> Path:
    rows = [{"success_once": bool(s), "steps_lifted": 5 * int(s)} for s in successes]
    write_eval_info(folder / "eval_info.json", "precise", rows, [{"start": 0, "env": [1.0]}], [])
    return folder / "eval_info.json"


def test_verdikt_reads_two_evaluations(tmp_path: Path) -> None:
    base = pytest.importorskip("verdikt.ingest.base", reason="verdikt-eval is not installed")
    for name, count in (("one scale", 31), ("two scales", 43)):
        path = write(tmp_path / name, np.arange(64) < count)
        adapter = base.autodetect(path)
        assert adapter.name == "lerobot"
        episodes = adapter.parse(path)
        assert sum(episode.success for episode in episodes) == count
        assert {(e.policy_id, e.task, e.progress) for e in episodes} == {
            (name, "precise", 0.0),
            (name, "precise", 1.0),
        }
