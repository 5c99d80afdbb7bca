"""bfloat16 or float32 on a processor, by measurements that are given here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import PrecisionWarning
from s2robot.runtimes import measurement, precision
from s2robot.runtimes.base import Runtime
from s2robot.runtimes.openvino import OpenVinoRuntime
from s2robot.utils.io import read_json

Make = Callable[..., FrameEncoder]
FAST, SLOW = {True: 596.0, False: 1262.0}, {True: 482.0, False: 103.0}
"""Milliseconds by "in bfloat16", with and without AVX-512 BF16."""


@pytest.fixture
def times(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], list[bool]]:
    """Give runtimes these times; returns the precisions that were timed, in a list."""
    timed: list[bool] = []

    def give(milliseconds: dict[bool, float]) -> list[bool]:
        def stand_in(runtime: Runtime, batches: object) -> float:
            timed.append(bool(getattr(runtime, "bf16")))  # noqa: B009
            return milliseconds[timed[-1]]

        monkeypatch.setattr(measurement, "milliseconds_of", stand_in)
        return timed

    return give


def rebuilt(make: Make, dtype: str = "auto", runtime: str = "eager") -> FrameEncoder:
    """The encoder of a policy that was trained in bfloat16, on this processor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        spec: EncoderSpec = make(dtype="bfloat16").spec
    weights = spec.backbone.removeprefix("file:")
    return FrameEncoder.from_spec(spec, weights, "cpu", dtype, runtime=runtime)


@pytest.mark.parametrize("milliseconds, expected", [(FAST, "bfloat16"), (SLOW, "float32")])
def test_the_measurement_decides_the_precision(
    make: Make, times: Callable, milliseconds: dict[bool, float], expected: str
) -> None:
    times(milliseconds)
    encoder = rebuilt(make)
    assert encoder.spec.dtype == expected
    assert encoder.inference["dtype"] == expected


def test_equal_times_keep_the_precision_of_the_spec(make: Make, times: Callable) -> None:
    times({True: 100.0, False: 100.0})
    assert rebuilt(make).spec.dtype == "bfloat16"


def test_the_measurement_is_made_once(make: Make, times: Callable, fresh_home: Path) -> None:
    timed = times(FAST)
    rebuilt(make)
    assert set(timed) == {True, False}
    count = len(timed)
    assert rebuilt(make).spec.dtype == "bfloat16"
    assert len(timed) == count
    (kept,) = (fresh_home / "runtimes").glob("*.json")
    assert read_json(kept)["milliseconds"] == {"bfloat16": 596.0, "float32": 1262.0}


def test_an_explicit_precision_is_never_replaced(make: Make, times: Callable) -> None:
    times(SLOW)
    with pytest.warns(PrecisionWarning, match=r"takes 4.7 times as long .*482 against 103 ms"):
        assert make(dtype="bfloat16").spec.dtype == "bfloat16"
    with pytest.warns(PrecisionWarning):
        assert rebuilt(make, dtype="bfloat16").spec.dtype == "bfloat16"


def test_bfloat16_that_is_faster_gives_no_warning(make: Make, times: Callable) -> None:
    times(FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        assert make(dtype="bfloat16").spec.dtype == "bfloat16"


def test_float32_is_not_measured(make: Make, times: Callable) -> None:
    timed = times(SLOW)
    make(dtype="float32")
    assert not timed


def test_openvinos_record_says_which_precision_it_computes(make: Make, fresh_home: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        low = make(dtype="bfloat16", runtime="openvino")
    assert isinstance(low.runtime, OpenVinoRuntime)
    (graph,) = low.runtime._graphs.values()
    in_force = graph.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()  # pyright: ignore
    assert low.inference["runtime"]["precision"] == in_force
    assert "precision" not in make(runtime="openvino").inference["runtime"]


def test_a_runtime_that_computes_in_float32_anyway_is_said_to(
    make: Make, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = {"name": "openvino", "precision": "f32"}
    monkeypatch.setattr(OpenVinoRuntime, "describe", lambda self: described)
    with pytest.warns(PrecisionWarning, match="openvino computes in float32 on this processor"):
        make(dtype="bfloat16", runtime="openvino")
    assert rebuilt(make, runtime="openvino").spec.dtype == "float32"


@pytest.mark.parametrize("milliseconds, expected", [(FAST, True), (SLOW, False)])
def test_training_takes_the_precision_of_the_faster_products(
    fresh_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: dict[bool, float],
    expected: bool,
) -> None:
    monkeypatch.setattr(precision, "_step_milliseconds", lambda *given: milliseconds[given[-1]])
    assert precision.bfloat16_trains_faster() is expected
    monkeypatch.setattr(precision, "_step_milliseconds", lambda *_: pytest.fail("measured again"))
    assert precision.bfloat16_trains_faster() is expected


def test_this_processor_is_measured(fresh_home: Path) -> None:
    faster = precision.bfloat16_trains_faster()
    (kept,) = (fresh_home / "runtimes").glob("*.json")
    took = read_json(kept)["milliseconds"]
    assert min(took.values()) > 0
    assert faster is (took["bfloat16"] <= took["float32"])
