"""Check of the settings of a command before Hydra sees them, so that every error is one clear line.

Hydra's own parser reads the words. What it cannot read although only one meaning is possible, such
as a path with "=", is quoted for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s2robot.cli.renamed_keys import with_new_keys
from s2robot.cli.settings.jobs import job_of
from s2robot.cli.settings.schema import (
    SettingsError,
    config_folder,
    flat,
    groups_of,
    settings_of,
)
from s2robot.cli.settings.values import GivenSetting, read_setting
from s2robot.cli.settings.words import Words, only_shows
from s2robot.errors import unknown
from s2robot.utils.config import converted

_PREFIXES = "+~"
_ONE_VALUE = {"runs_dir": "one folder holds all runs of a command"}
"""Settings of several runs that have one value."""


def checked_words(
    verb: str, argv: Sequence[str], *, schema: str = "", sweeps: bool = False
) -> list[str]:
    """Return the words of a command line as Hydra takes them, or say what is wrong.

    Each value is tried in one of the jobs, so that none begins with a mistake in another.

    Args:
        verb: name of the command, for messages.
        argv: its words.
        schema: command whose settings these are, where it is not `verb`.
        sweeps: the command runs a job for each of several values.

    Raises:
        SettingsError: a word is no setting, a setting is unknown or missing, or a value is wrong.

    Examples:
        >>> checked_words("features", ["scales=1,2", "data_dir=a=b"])
        ['scales=[1,2]', 'data_dir="a=b"']
    """
    words = Words(verb, argv, schema)
    if words.has_other_files:
        return list(argv)
    sweeps = sweeps or words.is_multirun
    with _config_files():
        given = [read_setting(words, word, sweeps) for word in words.settings]
        if not only_shows(words.options):
            _check(words, given)
    return [*(each.word for each in given), *words.options]


def allowed_words(
    config_name: str, overrides: Sequence[str], refused: Mapping[str, str]
) -> list[str]:
    """Return the words of ``decide`` as Hydra takes them, or say what is wrong.

    Args:
        config_name: file in ``configs``, without its ending.
        overrides: of the command line, such as ``scales=[1],[1,2]``.
        refused: settings that are not allowed, and why.

    Raises:
        ValueError: a setting is unknown, wrong or refused.
    """
    words = with_new_keys(overrides)
    for word in words:
        _check_allowed(word.partition("=")[0].lstrip("+~"), refused)
    return checked_words("decide", words, schema=config_name, sweeps=True)


def _check_allowed(key: str, refused: Mapping[str, str]) -> None:
    if key in refused:
        raise ValueError(f"{key}= is not allowed here: {refused[key]}; leave it out")
    if key.replace("/", ".").split(".")[0] == "hydra":
        raise ValueError(f"{key}= has no effect here, since no jobs are launched; leave it out")


@contextlib.contextmanager
def _config_files() -> Iterator[None]:
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        yield


def _check(words: Words, given: Sequence[GivenSetting]) -> None:
    """Compose and build the jobs that have each value once."""
    for each in given:
        if each.name in _ONE_VALUE and len(each.choices) > 1:
            raise SettingsError(
                f"{each.name} has {len(each.choices)} values; {words.verb} takes one, as "
                f"{_ONE_VALUE[each.name]}"
            )
    first = [each.choices[:1] for each in given]
    combinations = [[choice for choices in first for choice in choices]]
    for number, each in enumerate(given):
        for choice in each.choices[1:]:
            varied = [*first[:number], [choice], *first[number + 1 :]]
            combinations.append([one for choices in varied for one in choices])
    for combination in combinations:
        check_job(words, combination)


def check_job(words: Words, overrides: Sequence[str]) -> DictConfig:
    """Compose one job and build it from its settings, or say what is wrong.

    Args:
        words: the command line.
        overrides: of the job, with one value each.

    Raises:
        SettingsError: a setting is unknown or missing, or a value is wrong.
    """
    further = [f"hydra.searchpath=[file://{words.config_dir}]"] if words.config_dir else []
    groups = groups_of(words.schema)
    chosen = [one for one in overrides if _key(one) in groups]
    _check_recipe(chosen)
    plain = flat(_plain(_composed(words, [*further, *chosen])))
    known = settings_of(words.schema)
    for one in overrides:
        key = _key(one)
        if key in known and not one.startswith("~"):
            _check_present(key, plain, chosen)
    config = _composed(words, [*further, *overrides])
    content = _plain(config)
    for one in overrides:  # first the given ones, whose errors name what was typed
        key = _key(one)
        if key in known and not one.startswith("~"):
            converted(known[key], _value_at(content, key), key)
    try:
        job_of(words.schema, content)
    except (ValueError, KeyError) as error:
        raise SettingsError(_advised(words, error)) from None
    return config


def _check_recipe(chosen: Sequence[str]) -> None:
    """Refuse another choice of a group than that of the recipe, which has settings for its own."""
    given = {_key(one): one.partition("=")[2] for one in chosen}
    path = config_folder() / "recipe" / f"{given.get('recipe')}.yaml"
    if not path.is_file():
        return
    content: Any = OmegaConf.create(path.read_text())
    for choice in content.get("defaults", ()):
        ((name, value),) = choice.items()
        group = str(name).removeprefix("override /")
        if given.get(group, value) != value:
            raise SettingsError(
                f"{group}={given[group]} does not go with recipe={given['recipe']}, which sets "
                f"{group}={value}; leave either out"
            )


def _check_present(key: str, plain: Mapping[str, Any], chosen: Sequence[str]) -> None:
    """Refuse a setting that the chosen group has not, such as the mixture's of policy=mlp."""
    section, _, _ = key.partition(".")
    group = {"policy": "policy", "search": "budget"}.get(section)
    if key in plain or group is None or "." not in key:
        return
    choice = next((one for one in reversed(chosen) if _key(one) == group), None)
    if choice is None and group == "policy":
        choice = f"policy={plain['policy.kind']}"
    there = ", ".join(name for name in plain if name.startswith(f"{section}."))
    has = f"it has {there}" if there else f"it sets {section}=null"
    raise SettingsError(f"{key}= has no effect with {choice}: {has}; leave it out")


def _composed(words: Words, overrides: Sequence[str]) -> DictConfig:
    try:
        return compose(words.schema, overrides=list(overrides))
    except MissingConfigException as error:
        group = next(
            (one for one in overrides if error.options and _key(one).lstrip("/") in _path(error)),
            "",
        )
        key, _, value = group.partition("=")
        if error.options and key:
            raise SettingsError(str(unknown(key.lstrip("+"), value, error.options))) from None
        raise SettingsError(_one_line(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(_one_line(error)) from None


def _path(error: MissingConfigException) -> str:
    return str(error.missing_cfg_file or "")


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        found: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise SettingsError(_one_line(error)) from None
    return found


def _one_line(error: Exception) -> str:
    """Return the first line of an error of Hydra, with the setting that it names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    return f"{named[0]}: {lines[0]}" if named and named[0] not in lines[0] else lines[0]


def _advised(words: Words, error: Exception) -> str:
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if message.startswith("checkpoint is missing"):
        return (
            "eval needs checkpoint=PATH, the policy file that `s2robot train` prints, or "
            "policy=MODULE:CALLABLE or policy=ws://HOST:PORT for a policy that is not ours"
        )
    return message


def _value_at(content: Mapping[str, Any], key: str) -> Any:
    value: Any = content
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip(_PREFIXES)
