"""Types of arguments that commands share."""

from __future__ import annotations

import argparse

import pytest

from s2robot.cli.arguments import count, fraction, frame_shape, points, positive, runtime, scale_set


def test_valid_texts_are_read():
    assert frame_shape("480x640") == frame_shape(" 480×640") == (480, 640)
    assert count("12") == 12
    assert fraction("0.05") == points("5") == 0.05
    assert positive("2.5") == 2.5
    assert scale_set("1,2") == scale_set("[1, 2]") == scale_set("(1,2)") == (1.0, 2.0)


@pytest.mark.parametrize(
    "kind, text",
    [
        (frame_shape, "480"),
        (frame_shape, "0x640"),
        (frame_shape, "axb"),
        (count, "0"),
        (count, "-3"),
        (count, "1.5"),
        (fraction, "0"),
        (fraction, "1"),
        (fraction, "nan"),
        (points, "0"),
        (points, "100"),
        (points, "five"),
        (positive, "0"),
        (positive, "inf"),
        (scale_set, ""),
        (scale_set, "1,two"),
        (scale_set, "1,0"),
        (scale_set, "1,nan"),
    ],
)
def test_invalid_texts_are_refused(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not"):
        kind(text)


def test_a_runtime_may_name_its_calibration() -> None:
    assert runtime("openvino-int8:0123ab") == "openvino-int8:0123ab"


@pytest.mark.parametrize(
    "text, message",
    [
        ("openvin", "did you mean 'openvino'"),
        ("eager:0123ab", "only openvino-int8 takes the identity of a calibration"),
        ("openvino-int8:", "only openvino-int8 takes the identity"),
    ],
)
def test_other_names_of_runtimes_are_refused(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        runtime(text)
