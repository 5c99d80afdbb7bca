"""What the whole process shares is as it was before, whichever threads changed it together."""

from __future__ import annotations

import logging
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Distribution

from s2robot import FrameEncoder
from s2robot.reporting.plots import _plot_style
from s2robot.runtimes.int8 import _quiet as int8_quietly
from s2robot.runtimes.onnx import quietly
from s2robot.utils.optim import seeded
from s2robot.utils.process_state import (
    one_thread_an_operation,
    seeded_generators,
    without_output,
    without_warnings,
)

NNCF_LOG = logging.getLogger("nncf")


class Nncf:
    """What ``nncf.set_log_level`` does, without NNCF."""

    @staticmethod
    def set_log_level(level: int) -> None:
        for each in (NNCF_LOG, *NNCF_LOG.handlers):
            each.setLevel(level)


def shared_state() -> dict[str, Any]:
    """What a program may notice: streams, filters, generators, threads, plots."""
    import matplotlib

    return {
        "stdout": id(sys.stdout),
        "stderr": id(sys.stderr),
        "filters": list(warnings.filters),
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "checks": Distribution._validate_args,
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "plots": dict(matplotlib.rcParams),
        "log": [each.level for each in (NNCF_LOG, *NNCF_LOG.handlers)],
    }


@pytest.fixture
def watched() -> Iterator[None]:
    """Restores what a failing test would leave behind to all later tests."""
    out, err, filters = sys.stdout, sys.stderr, list(warnings.filters)
    state, threads, checks = (
        torch.random.get_rng_state(),
        torch.get_num_threads(),
        Distribution._validate_args,
    )
    NNCF_LOG.addHandler(handler := logging.StreamHandler())
    level = NNCF_LOG.level
    yield
    NNCF_LOG.removeHandler(handler)
    NNCF_LOG.setLevel(level)
    sys.stdout, sys.stderr = out, err
    current: Any = warnings.filters
    current[:] = filters
    torch.random.set_rng_state(state)
    torch.set_num_threads(threads)
    Distribution.set_default_validate_args(checks)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    "change",
    [
        quietly,
        without_output,
        without_warnings,
        one_thread_an_operation,
        lambda: seeded_generators(3),
        lambda: seeded(3, 1),
        lambda: _plot_style("salt"),
        lambda: int8_quietly(Nncf),
    ],
    ids=["quietly", "output", "warnings", "threads", "generators", "seeded", "plots", "int8"],
)
def test_threads_that_overlap_leave_nothing_behind(
    change: Callable[[], AbstractContextManager[None]],
) -> None:
    """The first leaves while the second would be inside, if both could be."""
    before = shared_state()
    inside, second = threading.Event(), threading.Event()

    def first_thread() -> None:
        with change():
            inside.set()
            second.wait(0.2)  # for one that comes in as well

    def second_thread() -> None:
        inside.wait()
        with change():
            second.set()
            first.join(0.2)

    first, other = threading.Thread(target=first_thread), threading.Thread(target=second_thread)
    first.start()
    other.start()
    first.join()
    other.join()
    after = shared_state()
    assert {key for key in before if before[key] != after[key]} == set()


@pytest.mark.usefixtures("watched")
def test_encoders_that_are_built_in_threads_have_the_weights_of_one_built_alone() -> None:
    def digest(_: int) -> str:
        made = FrameEncoder.from_name("random/vitt16-128", (1,), "mean", device="cpu")
        return made.spec.weights_digest

    alone, before = digest(0), shared_state()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(digest, range(8))) == {alone}
    assert shared_state() == before


def test_an_error_restores_everything() -> None:
    before = shared_state()
    for change in (quietly, one_thread_an_operation, lambda: seeded_generators(0, True)):
        with pytest.raises(RuntimeError), change():
            raise RuntimeError("inside")
    assert shared_state() == before
