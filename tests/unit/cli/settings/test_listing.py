"""The help lists every setting that a command takes, and its examples are accepted."""

from __future__ import annotations

import re
import shlex

import pytest

from s2robot.backbones.registry import get_card
from s2robot.cli.main import main
from s2robot.cli.settings.front import checked_words
from s2robot.cli.settings.listing import setting_lines
from s2robot.cli.settings.schema import JOBS, groups_of, settings_of
from s2robot.cli.verbs import VERBS, Verb, load


def leaves(verb: str) -> set[str]:
    names = settings_of(verb)
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


@pytest.mark.parametrize("verb", JOBS)
def test_the_help_lists_exactly_the_settings_that_are_accepted(verb: str) -> None:
    shown = [line.split("=")[0].strip() for line in setting_lines(verb) if "=" in line]
    options = set(groups_of(verb)) | ({"search"} if "search" in settings_of(verb) else set())
    assert {name for name in shown if name not in options} == leaves(verb)


EXAMPLES = [
    (verb.name, [word for word in words if word not in ("s2robot", verb.name)])
    for verb in VERBS.values()
    if verb.hydra
    for example in verb.examples
    for words in [shlex.split(example, comments=True)]
    if words[:2] == ["s2robot", verb.name]
]


@pytest.mark.parametrize("verb, words", EXAMPLES)
def test_examples_of_the_help_are_accepted(verb: str, words: list[str]) -> None:
    checked_words(verb, words, sweeps=VERBS[verb].begin is not None)


def test_every_command_that_hydra_runs_has_an_example_that_is_tried() -> None:
    assert {verb for verb, _ in EXAMPLES} == set(JOBS)


@pytest.mark.parametrize("verb", JOBS)
def test_examples_inside_of_settings_are_accepted(verb: str) -> None:
    needed = ["checkpoint=p.st"] if verb == "eval" else []
    for line in setting_lines(verb):
        for example in re.findall(r"e\.g\. (\w+(?:\.\w+)*=\S+)", line):
            checked_words(verb, [*needed, example.rstrip(";)")], sweeps=verb == "sweep")


PARSED = [verb for verb in VERBS.values() if not verb.hydra]


def shown_examples(verb: str, text: str) -> list[list[str]]:
    """Words of the examples in a help text; what follows three spaces explains them."""
    lines = text.replace("\\\n", " ").splitlines()
    begin = f"  s2robot {verb}"
    found = [re.split(r"\s{3,}", re.sub(r" {4,}(?=-)", " ", line.strip()))[0] for line in lines
             if f"{line} ".startswith(f"{begin} ")]  # fmt: skip
    return [shlex.split(one, comments=True)[2:] for one in found]


@pytest.mark.parametrize("verb", PARSED, ids=lambda verb: verb.name)
def test_examples_with_flags_are_parsed_and_name_encoders_that_exist(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([verb.name, "--help"])
    own = [shlex.split(one, comments=True)[2:] for one in verb.examples]
    examples = [*own, *shown_examples(verb.name, capsys.readouterr().out)]
    assert len(examples) > len(own)
    for words in examples:
        options = load(verb.parse or verb.name)(words)
        checked_words(verb.name, getattr(options, "settings", []), schema="sweep", sweeps=True)
        for word in words:
            if re.fullmatch(r"(mvp|r3m|vc1|dinov2|s2r|random|mae)[-/][\w/-]+", word):
                get_card(word)
