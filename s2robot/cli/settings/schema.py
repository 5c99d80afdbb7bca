"""Names and types of the settings of each command, from the dataclasses that it builds."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterable, Mapping
from importlib import import_module, resources
from typing import Any

from omegaconf import OmegaConf

from s2robot.errors import S2RobotError

JOBS = {
    "collect": "s2robot.data.config:CollectConfig",
    "features": "s2robot.experiments.config:VariantConfig",
    "pretrain": "s2robot.pretraining.config:PretrainConfig",
    "train": "s2robot.experiments.jobs:TrainCommand",
    "eval": "s2robot.experiments.jobs:EvalJob",
    "sweep": "s2robot.experiments.jobs:RunJob",
}
"""Dataclass of each command that Hydra runs, ``module:class``."""
_INLINE = ("VariantConfig", "TrainJob", "TrainCommand")
"""Dataclasses whose fields a user types without a prefix: ``level=``, not ``variant.level=``."""
TAKEN = {"train.seed": "seed"}
"""Fields that no user sets, by the setting that decides them."""
SHORT = {"eval": {"policy": "external.policy"}}
"""Settings by the name that a user types, where Hydra would take that for a group of files."""
_ENV = "env"


def job_class(verb: str) -> type:
    """Return the dataclass that a command builds from its settings."""
    module, name = JOBS[verb].split(":")
    return getattr(import_module(module), name)


@functools.cache
def settings_of(verb: str) -> dict[str, Any]:
    """Return the annotation of each setting of a command, by the name that a user types.

    Settings that have others below them are included: ``camera`` beside ``camera.name``.

    Examples:
        >>> settings_of("sweep")["train.epochs"], "variant.level" in settings_of("sweep")
        (<class 'int'>, False)
    """
    found = dict(_fields(job_class(verb), ""))
    if verb == "collect":
        found.update(_environment_arguments())
    return {name: kind for name, kind in found.items() if name not in TAKEN}


def _fields(cls: type, prefix: str) -> Iterable[tuple[str, Any]]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        nested = nested_dataclass(kind)
        if nested is not None and nested.__name__ in _INLINE:
            yield from _fields(nested, prefix)
            continue
        yield f"{prefix}{field.name}", kind
        if nested is not None:
            yield from _fields(nested, f"{prefix}{field.name}.")


def nested_dataclass(kind: Any) -> type | None:
    """Return the dataclass of an annotation such as ``SearchConfig | None``; None for others."""
    for each in (kind, *typing.get_args(kind)):
        if isinstance(each, type) and dataclasses.is_dataclass(each):
            return each
    return None


def _environment_arguments() -> dict[str, Any]:
    from s2robot.envs.levels import EnvironmentArguments

    return {f"{_ENV}.{name}": kind for name, kind in _fields(EnvironmentArguments, "")}


def environment_defaults() -> dict[str, Any]:
    """Return the defaults of the settings ``env.NAME`` of ``collect``."""
    from s2robot.envs.levels import EnvironmentArguments

    defaults = {each.name: each.default for each in dataclasses.fields(EnvironmentArguments)}
    found: dict[str, Any] = {}
    kinds = _environment_arguments()
    for name, kind in kinds.items():
        first, _, below = name.removeprefix(f"{_ENV}.").partition(".")
        nested = nested_dataclass(kinds[f"{_ENV}.{first}"])
        if below and nested is not None:
            found[name] = getattr(nested(), below)
        elif nested_dataclass(kind) is None:
            found[name] = defaults[first]
    return found


@functools.cache
def groups_of(verb: str) -> dict[str, list[str]]:
    """Return the choices of each group of a command's settings, such as ``policy``.

    A file at the root of the settings (``budget``, ``recipe``) is a choice of the commands that
    have all settings in it.

    Examples:
        >>> groups_of("pretrain")
        {'recipe': ['vitb', 'vitl', 'vits', 'vitt']}
        >>> groups_of("train")["recipe"]
        ['s2-paper']
    """
    text = (config_folder() / f"{verb}.yaml").read_text()
    folders = sorted(each.name for each in config_folder().iterdir() if each.is_dir())
    return {
        group: sorted(
            each.name[:-5]
            for each in (config_folder() / group).iterdir()
            if _is_choice(each.read_text(), verb)
        )
        for group in folders
        if f"  - {group}:" in text
    }


def _is_choice(text: str, verb: str) -> bool:
    """Return whether a file of a group sets what the command has."""
    if "# @package _global_" not in text:
        return True
    own = {name.partition(".")[0] for name in settings_of(verb)}
    return {str(name) for name in OmegaConf.create(text)} - {"defaults"} <= own


def config_folder() -> Any:
    """Return the folder of the YAML files."""
    return resources.files("s2robot.configs")


def flat(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested settings by dotted name.

    Examples:
        >>> flat({"camera": {"name": None}, "n": 2, "env": {}})
        {'camera.name': None, 'n': 2, 'env': {}}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


class SettingsError(S2RobotError, ValueError):
    """Settings that cannot be used; the message says what is wrong, what is allowed, and where."""
