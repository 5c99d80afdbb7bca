"""robomimic's checkpoints, read without running anything that they hold."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import robomimic.models.base_nets as base_nets
import robomimic.models.obs_core as obs_core
import robomimic.utils.file_utils as file_utils
import torch
from robomimic.algo.algo import REGISTERED_ALGO_FACTORY_FUNCS

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.plugins.robomimic.configuration import BOTTOM_UP, NESTED, stored_bottom_up

_EVALUATED = ("backbone_class", "pool_class")
"""Entries of a configuration that robomimic evaluates as Python."""
_ENTRIES = ("model", "config", "algo_name", "env_metadata", "shape_metadata")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: weights, numbers and text alone.

    robomimic calls ``eval`` on the names of classes in a configuration, so these are checked too.

    Args:
        path: the file, NAME.pth.

    Raises:
        CorruptFileError: it holds anything else, is truncated, or is no checkpoint of robomimic.
        S2RobotError: there is no such file, or its algorithm does not act on observations alone.
    """
    if not path.is_file():
        raise S2RobotError(
            f"{path} is no file; give a checkpoint of robomimic, such as "
            "runs/NAME/TIME/models/model_epoch_20.pth"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error).splitlines()[0]
        raise CorruptFileError(
            f"{path} holds more than weights, numbers and text ({text}), and reading that would "
            "run code of the file; nothing was read. If you trust it, load it where it was made "
            "with torch.load(PATH, weights_only=False), and save what robomimic's save_model does: "
            f"{', '.join(_ENTRIES)}"
        ) from None
    except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CorruptFileError(
            f"{path} is truncated, or no file of torch.save ({_line(error)}); copy it again from "
            "where it was made"
        ) from None
    missing = [key for key in _ENTRIES if not isinstance(content, dict) or key not in content]
    if missing:
        raise CorruptFileError(
            f"{path} is no checkpoint of robomimic: it has no {', '.join(missing)}; take a file of "
            "the folder models of a run"
        )
    _check(content, path)
    return content


def trained_bottom_up(content: Mapping[str, Any]) -> bool:
    """Return whether a policy was trained on images that its data say are stored bottom-up.

    ``robomimic-train`` writes it into the checkpoint. Of other checkpoints, the file that the
    training read is asked, where it still lies there.

    Args:
        content: as ``read_checkpoint`` returns it.
    """
    meta = content["env_metadata"]
    if isinstance(meta, Mapping) and BOTTOM_UP in meta:
        return bool(meta[BOTTOM_UP])
    with contextlib.suppress(KeyError, OSError, TypeError, ValueError):
        path = Path(json.loads(content["config"])["train"]["data"]).expanduser()
        return path.is_file() and stored_bottom_up(path)
    return False


def _check(content: Mapping[str, Any], path: Path) -> None:
    """Refuse algorithms that need more than observations, and classes that are no plain names."""
    name = content["algo_name"]
    if name not in REGISTERED_ALGO_FACTORY_FUNCS:
        known = ", ".join(sorted(REGISTERED_ALGO_FACTORY_FUNCS))
        raise S2RobotError(f"{path} is of algorithm {name!r}; robomimic here knows {known}")
    try:
        config = json.loads(content["config"])
        file_utils.update_config(config)  # as robomimic does: old layouts name classes elsewhere
        goals = config["observation"].get("modalities", {}).get("goal", {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{path} has no readable configuration ({_line(error)}); copy it again from where it "
            "was made"
        ) from None
    if name in (*NESTED, "gl") or any(goals.values()):
        raise S2RobotError(
            f"{path} is of algorithm {name} with goals, which a task here does not give; allowed: "
            "policies of observations alone, such as bc"
        )
    for key, value in _classes(config):
        if value is None or (_is_network(value) if key in _EVALUATED else _is_name(value)):
            continue
        raise CorruptFileError(
            f"{path}: {key} is {str(value)[:60]!r}; robomimic evaluates it as Python, so only the "
            "name of a network that robomimic.models knows is allowed, such as ResNet18Conv"
        )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_network(value: Any) -> bool:
    found = getattr(obs_core, value, None) if _is_name(value) else None
    return isinstance(found, type) and issubclass(found, base_nets.Module)


def _classes(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a configuration that name classes."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if str(key).endswith("_class"):
                yield str(key), value
            yield from _classes(value)
    if isinstance(config, list):
        for each in config:
            yield from _classes(each)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
