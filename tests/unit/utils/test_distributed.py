"""Data-parallel processes: they meet, agree, and their errors come back once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from s2robot.errors import DivergedError
from s2robot.utils.distributed import (
    ALONE,
    DistributedContext,
    count_processes,
    launch,
    under_torchrun,
)


def note(context: DistributedContext, folder: str, fails: int = -1) -> None:
    """Work that is done in the processes started: it must be a function of a module."""
    if context.rank == fails:
        raise DivergedError(f"batch {context.size}")
    mean = context.mean(torch.tensor([float(context.rank), float(context.rank == 0)]))
    Path(folder, f"{context.rank}").write_text(f"{mean.tolist()} {torch.get_num_threads()}")


def test_one_process_works_in_this_one(tmp_path):
    launch(note, 1, str(tmp_path))
    assert (tmp_path / "0").read_text().startswith("[0.0, 1.0]")
    assert ALONE.is_main_process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo over files")
def test_two_processes_agree_on_means_and_share_the_cores(tmp_path):
    launch(note, 2, str(tmp_path))
    assert {path.read_text()[:10] for path in tmp_path.iterdir()} == {"[0.5, 0.5]"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_any_process_is_raised_here(tmp_path, rank):
    with pytest.raises(DivergedError, match="batch 2"):
        launch(note, 2, str(tmp_path), rank)


def test_means_are_nan_where_any_is():
    assert torch.isnan(ALONE.mean(torch.tensor([float("nan")]))).all()


def test_torchrun_is_recognized_by_its_variables(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not under_torchrun()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert under_torchrun()


def test_no_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_processes(0, "auto", 128) == 2
    with pytest.raises(ValueError, match="processes is 3, but there are 2 GPUs"):
        count_processes(3, "auto", 129)
