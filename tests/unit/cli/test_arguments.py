"""Types of arguments that commands share."""

from __future__ import annotations

import argparse

import pytest

from s2robot.cli.arguments import (
    Names,
    ScaleSets,
    add_encoder_options,
    count,
    fraction,
    frame_shape,
    points,
    positive,
    runtime,
    scale_set,
)


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
        (scale_set, "[1,2"),
        (scale_set, "1,2]"),
        (scale_set, "(1,2]"),
        (scale_set, "[[1,2]]"),
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


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--sets", nargs="+", action=ScaleSets)
    made.add_argument("--names", nargs="+", action=Names)
    add_encoder_options(made, ["scales", "tilings", "layers"])
    return made


SETS = [(1.0,), (1.0, 2.0)]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--sets [1],[1,2]", SETS),
        ("--sets [1], [1,2]", SETS),
        ("--sets [[1],[1,2]]", SETS),
        ("--sets (1),(1,2)", SETS),
        ("--sets 1 1,2", SETS),
        ("--names front wrist", ("front", "wrist")),
        ("--names [front,wrist]", ("front", "wrist")),
        ("--names [front, wrist]", ("front", "wrist")),
        ("--names [front] [wrist]", ("front", "wrist")),
        ("--names joint[0],joint[1]", ("joint[0]", "joint[1]")),
        ("--scales [1,2]", [1.0, 2.0]),
        ("--scales (1,2)", [1.0, 2.0]),
        ("--scales 1 2", [1.0, 2.0]),
        ("--tilings [[1,1],[2,3]]", [(1, 1), (2, 3)]),
        ("--tilings [1,1],[2,3]", [(1, 1), (2, 3)]),
        ("--tilings ((1,1),(2,3))", [(1, 1), (2, 3)]),
        ("--tilings ([1,1],[2,3])", [(1, 1), (2, 3)]),
        ("--tilings [1x1,2x3]", [(1, 1), (2, 3)]),
        ("--tilings 1x1 2x3", [(1, 1), (2, 3)]),
    ],
)
def test_lists_may_be_written_in_several_ways(
    words: str, expected: object, parser: argparse.ArgumentParser
) -> None:
    found = vars(parser.parse_args(words.split()))
    assert [value for value in found.values() if value is not None] == [expected]


@pytest.mark.parametrize(
    "words, text",
    [
        ("--sets [1,[2]", "'[1,[2]' is not a list of scale sets, such as [1],[1,2]"),
        ("--sets [1],2", "'[1],2' is not a list"),
        ("--sets [[1],[1,2]", "'[[1],[1,2]' is not a list"),
        ("--sets [1],[1,2]]", "'[1],[1,2]]' is not a list"),
        ("--sets 1,2]", "'1,2]' is not a list"),
        ("--sets [1", "'[1' is not a list"),
        ("--scales (1,2]", "'(1,2]' is not a list"),
        ("--scales [12", "'[12' is not a list, such as [1,2]"),
        ("--scales [1,[2]", "'[1,[2]' is not a list"),
        ("--scales [1,2]3", "'[1,2]3' is not a list"),
        ("--layers [1,2", "'[1,2' is not a list"),
        ("--tilings [[1,1],[2,3]", "'[[1,1],[2,3]' is not a list, such as [[1,1],[2,3]]"),
        ("--tilings 1x1,[2,3]", "'1x1,[2,3]' is not a list"),
        ("--names [front,[wrist]", "'[front,[wrist]' is not a list of names, such as"),
        ("--names front,wrist]", "a bracket of 'wrist]' has no other"),
    ],
)
def test_text_outside_of_brackets_is_refused(
    words: str, text: str, parser: argparse.ArgumentParser
) -> None:
    with pytest.raises(argparse.ArgumentError) as refused:
        parser.parse_args(words.split())
    assert text in str(refused.value)
