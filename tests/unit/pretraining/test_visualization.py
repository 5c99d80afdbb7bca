"""Pictures of a run, drawn without a say in the user's own."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.visualization import write_loss_picture
from s2robot.utils.io import append_jsonl


@pytest.mark.parametrize("backend", ["svg", "agg"])
def test_a_picture_of_the_loss_leaves_the_programs_backend_alone(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"step": step, "loss": 1 / (step + 1)} for step in range(20)]
    append_jsonl(tmp_path / "loss.jsonl", rows)
    monkeypatch.setitem(matplotlib.rcParams, "backend", backend)
    path = write_loss_picture(PretrainConfig(out=tmp_path))
    assert matplotlib.rcParams["backend"] == backend
    assert Image.open(path).size == (840, 480)
