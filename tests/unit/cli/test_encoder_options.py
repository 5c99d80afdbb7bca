"""Every option of an encoder is declared once and reaches all interfaces from there."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from pathlib import Path
from typing import Any

import encoder_options as tool
import pytest
from hydra import compose, initialize_config_module

from s2robot.cli.arguments import add_encoder_options, encoder_options
from s2robot.cli.parsers import (
    bench,
    encode_bag,
    export,
    probe,
    recommend,
    reconstruct,
    robomimic_cache,
)
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.options import Option
from s2robot.encoder.spec import (
    ENCODER_OPTIONS,
    EncoderChoice,
    EncoderOptions,
    EncoderSpec,
    scale_set,
)
from s2robot.experiments.variant import VariantConfig
from s2robot.utils.config import from_config

NAMED = {"scales", "readout"}
"""Options that are parameters of their own in ``from_name``."""
EXAMPLES = {
    "scales": ("[1,2]", (1.0, 2.0)),
    "resize_output_to_idx": ("-1", -1),
    "layers": ("[5,11]", (5, 11)),
    "tilings": ("[[1,1],[2,3]]", ((1, 1), (2, 3))),
    "scale_weights": ("[1,0.5]", (1.0, 0.5)),
    "copies": ("2", 2),
}
"""Words of the command line and their value, for options without choices."""


def words_of(option: Option) -> list[str]:
    """Words of a command line that give the option a value."""
    return EXAMPLES[option.name][0].split() if option.name in EXAMPLES else [option.choices[-1]]


def value_of(option: Option) -> object:
    return EXAMPLES[option.name][1] if option.name in EXAMPLES else option.choices[-1]


def test_every_field_is_a_described_option() -> None:
    assert list(ENCODER_OPTIONS) == [field.name for field in dataclasses.fields(EncoderChoice)]
    for option in ENCODER_OPTIONS.values():
        assert option.help
        assert "\n" not in option.help


def test_keywords_of_from_name_are_the_options() -> None:
    assert {*typing.get_type_hints(EncoderOptions)} | NAMED == {*ENCODER_OPTIONS}
    hints = typing.get_type_hints(FrameEncoder.from_name)
    assert {"scales", "readout", "options"} <= hints.keys()


def test_the_configuration_file_is_as_declared() -> None:
    text = tool.CONFIG.read_text()
    assert tool.updated(text) == text, "run: python tools/encoder_options.py"


def test_a_new_option_gets_a_line_after_the_others() -> None:
    lines = tool.CONFIG.read_text().splitlines()
    *_, last = ENCODER_OPTIONS
    kept = [line for line in lines if not line.startswith(f"{last}:")]
    assert tool.updated("\n".join(kept)).splitlines() == lines


@pytest.mark.parametrize("option", ENCODER_OPTIONS.values(), ids=ENCODER_OPTIONS)
def test_hydra_takes_every_option(option: Option) -> None:
    value = value_of(option)
    text = str(value).replace("(", "[").replace(")", "]").replace(" ", "")
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        words = [f"{option.name}={text}", "geometry=full"]  # which tilings need
        words = words if option.name == "tilings" else words[:1]
        config = from_config(VariantConfig, compose("features", words))
    assert getattr(config, option.name) == value
    if option.name not in NAMED:
        assert config.keywords()[option.name] == value


COMMANDS = {
    "export": (export, ["s2r-vitt16-128", "--out", "x.onnx"], {"dtype"}),
    "bench": (bench, [], set()),
    "encode-bag": (encode_bag, ["in.mcap", "out.mcap"], set()),
    "robomimic-cache": (robomimic_cache, ["in.hdf5", "out.hdf5"], set()),
    "probe": (probe, [], {"scales", "readout", "layers"}),
    "recommend": (recommend, ["noise", "--hz", "30"], {"scales", "readout", "layers"}),
}
"""Command, words that it needs, and options that it decides itself."""


@pytest.mark.parametrize(
    "command, name",
    [(c, n) for c, (_, _, own) in COMMANDS.items() for n in ENCODER_OPTIONS if n not in own],
)
def test_commands_take_every_option(command: str, name: str) -> None:
    module, argv, _ = COMMANDS[command]
    option = ENCODER_OPTIONS[name]
    parsed = module.parse([*argv, option.flag, *words_of(option)])
    assert encoder_options(parsed, [name]) == {name: value_of(option)}


@pytest.mark.parametrize(
    "name, spellings",
    [
        ("scales", ["[1,2]", "1,2", "1 2", "[1, 2]", "(1,2)", "1, 2"]),
        ("layers", ["[5,11]", "5,11", "5 11"]),
        ("tilings", ["[[1,1],[2,3]]", "1x1 2x3", "1x1,2x3", "[1x1,2x3]", "[1,1],[2,3]"]),
        ("scale_weights", ["[1,0.5]", "1,0.5", "1 0.5"]),
    ],
)
def test_a_list_may_be_written_in_each_way(name: str, spellings: list[str]) -> None:
    option = ENCODER_OPTIONS[name]
    parser = argparse.ArgumentParser()
    add_encoder_options(parser, [name])
    for words in spellings:
        parsed = parser.parse_args([option.flag, *words.split()])
        assert encoder_options(parsed, [name]) == {name: EXAMPLES[name][1]}, words


@pytest.mark.parametrize("words", ["[1],[1,2]", "1 1,2", "[1] [1,2]", "(1) (1,2)", "[1] 1,2"])
@pytest.mark.parametrize(
    "parse",
    [
        lambda argv: probe.parse(argv),
        lambda argv: reconstruct.parse(["--target", "vc1-vitl", "--source", "vc1-vitb", *argv]),
    ],
)
def test_scale_sets_may_be_written_in_each_way(parse: Any, words: str) -> None:
    assert parse(["--scales", *words.split()]).scales == [(1.0,), (1.0, 2.0)]


def test_python_takes_each_way_of_writing_scales() -> None:
    given = ("[1,2]", "1,2", "(1, 2)", [1, 2], (1.0, 2.0), ["1", "2"], ["[1,2]"], iter([1, 2]))
    for scales in given:
        assert EncoderSpec("x", "y", scales=scale_set(scales)).scales == (1, 2)
    assert EncoderSpec("x", "y", scales=2).scales == (2,)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"scales are 'a,b'; allowed: a list of numbers, such as"):
        scale_set("a,b")


def test_flags_that_are_not_given_leave_nothing() -> None:
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    assert encoder_options(parser.parse_args([])) == {}


def test_help_names_default_choices_and_example(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_encoder_options(parser, ("scales", "tilings", "merge"), {"scales": (1, 2)})
    text = " ".join(parser.format_help().split())
    for words in ("(default: [1,2])", "[[1,1],[2,3]]", "{concat,sum,mean}", "(default: concat)"):
        assert words in text


@pytest.mark.parametrize(
    "words", [["--scales", "[1],[1,2]"], ["--tilings", "2by3"], ["--geometry", "half"]]
)
def test_a_wrong_value_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert f"argument {words[0]}" in capsys.readouterr().err


def test_a_new_option_keeps_digests() -> None:
    """An option at its default does not appear in stored specs, unless the first ones had it."""
    spec = EncoderSpec("x", "y")
    assert list(spec.to_dict()) == [
        "backbone", "weights_digest", "scales", "input_mode", "readout", "resize_output_to_idx",
        "dtype", "geometry", "taps", "taps_merge", "pixel_path",
    ]  # fmt: skip
    assert spec.digest().startswith("906fd9d5489a4df3")


def test_the_tool_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "variant.yaml"
    copy.write_text(tool.CONFIG.read_text().replace("# factor of each", "# of each"))
    monkeypatch.setattr(tool, "CONFIG", copy)
    original = Path(tool.__file__).parents[1] / "configs" / "variant.yaml"
    tool.main()
    assert copy.read_text() == original.read_text()
