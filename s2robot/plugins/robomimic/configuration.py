"""robomimic's JSON configurations, checked against its own defaults and against the data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import robomimic.utils.obs_utils as obs_utils
from robomimic.config import config_factory
from robomimic.config.base_config import REGISTERED_CONFIGS

from s2robot.data.hdf5_files import open_hdf5
from s2robot.errors import CorruptFileError, unknown
from s2robot.plugins.robomimic.encoder_factory import check_core_kwargs

NESTED = ("hbc", "iris")
"""Algorithms with several policies, whose observations lie deeper in the configuration."""
BOTTOM_UP = "s2robot_images_bottom_up"
"""Entry of a checkpoint's ``env_metadata``: the images of the training were stored bottom-up."""
_LARGEST = 1.0 + 1e-4


class ActionRangeWarning(UserWarning):
    """Actions that robomimic's policies cannot return."""


class UpsideDownWarning(UserWarning):
    """Images that are stored bottom-up, which robomimic does not turn."""


class NothingSavedWarning(UserWarning):
    """A configuration with which no checkpoint would be written."""


def read_config(path: Path) -> Any:
    """Return robomimic's configuration of a JSON file.

    Args:
        path: the file; it holds ``algo_name`` and what differs from robomimic's defaults.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, names an unknown algorithm, or has an entry that the algorithm
            does not have.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give robomimic's configuration, NAME.json")
    try:
        given = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(given, dict) or "algo_name" not in given:
        raise ValueError(
            f'{path} names no algorithm; it must hold "algo_name", one of '
            f"{', '.join(sorted(REGISTERED_CONFIGS))}"
        )
    name = given["algo_name"]
    if name not in REGISTERED_CONFIGS:
        raise unknown(f"algo_name in {path}", name, REGISTERED_CONFIGS)
    config: Any = config_factory(name)
    _check_entries(given, config, str(path), "")
    with config.values_unlocked():
        config.update(given)
    return config


def _check_entries(given: Mapping[str, Any], known: Any, path: str, above: str) -> None:
    """Refuse entries that robomimic does not have, by their place in the file."""
    for key, value in given.items():
        place = f"{above}{key}"
        if known.is_key_locked and key not in known:
            where = f"in {above.rstrip('.')}" if above else "at the top"
            raise unknown(f"entry {where} of {path}:", key, known)
        section = known[key] if key in known else None
        if isinstance(section, dict) and len(section) and not isinstance(value, dict):
            raise ValueError(
                f"{path}: {place} is {value!r}; it is a section with {', '.join(section)}"
            )
        if isinstance(section, list) and not isinstance(value, list):
            raise ValueError(f"{path}: {place} is {value!r}; it is a list, such as {section!r}")
        if type(section) in (int, float) and isinstance(value, (str, list, dict)):
            raise ValueError(f"{path}: {place} is {value!r}; it is a number, such as {section!r}")
        if isinstance(section, dict) and isinstance(value, dict):
            _check_entries(value, section, path, f"{place}.")


def check_config(config: Any) -> None:
    """Check what robomimic would find out late, or not at all.

    Args:
        config: as ``read_config`` returns it, with its data.

    Raises:
        CorruptFileError: the data cannot be read.
        FileNotFoundError: there are no such data.
        ValueError: a core is not registered or has an unknown entry, or the data lack an
            observation or a mask.
    """
    sections = [config.observation]
    if config.algo_name in NESTED:
        sections = list(_sections(config.observation))
    for section in sections:
        for modality, encoder in section.encoder.items():
            _check_core(modality, encoder)
    if not config.train.data:
        raise ValueError(
            "train.data is missing; name robomimic's HDF5 file there, or give it as --dataset"
        )
    data = Path(config.train.data).expanduser()
    if not data.is_file():
        raise FileNotFoundError(
            f"train.data is {data}, and there is no such file; paths are those of the folder that "
            "the command is called in"
        )
    _check_data(config, data, sections)
    _check_length(config)
    _check_saving(config)


def _sections(config: Any) -> list[Any]:
    """Return the parts of a nested configuration that have observations."""
    if "modalities" in config:
        return [config]
    return [
        found for part in config.values() if isinstance(part, dict) for found in _sections(part)
    ]


def _check_core(modality: str, encoder: Any) -> None:
    name = encoder.core_class
    known = obs_utils.OBS_ENCODER_CORES
    if name is not None and name not in known:
        error = unknown(f"core_class of {modality}", name, known)
        raise ValueError(f"{error}. A core of another package is known once that is imported")
    if name == "S2Core":
        check_core_kwargs(encoder.core_kwargs or {})


def _check_data(config: Any, data: Path, sections: list[Any]) -> None:
    """Refuse observations and masks that the file does not have."""
    opened = open_hdf5(data)
    try:
        with opened as file:
            demos: Any = file["data"]
            bottom_up = _says_bottom_up(demos)
            first = demos[next(iter(demos))]
            shapes = {key: value.shape for key, value in first["obs"].items()}
            named: Any = file["mask"] if "mask" in file else ()
            masks = list(named)
            found = [each["actions"][:] for each in demos.values() if "actions" in each]
            low, high = min(each.min() for each in found), max(each.max() for each in found)
    except (KeyError, OSError, StopIteration, AttributeError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{data} is not robomimic's layout, or damaged ({error}); expected: "
            "data/EPISODE/obs/KEY. Files of states alone get observations from robomimic's "
            "dataset_states_to_obs.py, or s2robot export-dataset"
        ) from None
    if low < -_LARGEST or high > _LARGEST:
        warnings.warn(
            f"actions of {data} reach from {low:.3g} to {high:.3g}; robomimic's policies end in "
            "tanh, so they return [-1, 1] alone. Scale the actions to that",
            ActionRangeWarning,
            stacklevel=4,
        )
    for section in sections:
        for group in section.modalities.values():
            for modality, keys in group.items():
                for key in keys:
                    _check_key(modality, key, shapes, data)
    _warn_of_bottom_up(bottom_up, sections, data)
    train = config.train
    for setting in ("hdf5_filter_key", "hdf5_validation_filter_key"):
        if train[setting] is not None and train[setting] not in masks:
            raise unknown(f"mask in train.{setting} of {data}", train[setting], masks)
    if config.experiment.validate and None in (
        train.hdf5_filter_key,
        train.hdf5_validation_filter_key,
    ):
        raise ValueError(
            "experiment.validate is true; then train.hdf5_filter_key and "
            f"train.hdf5_validation_filter_key name masks, of {', '.join(masks) or 'none'}"
        )


def _says_bottom_up(demos: Any) -> bool:
    return demos.attrs.get("macros_image_convention") in ("opengl", b"opengl")


def stored_bottom_up(path: Path) -> bool:
    """Return whether a robomimic file says that its images are stored bottom-up.

    Args:
        path: the file.

    Raises:
        KeyError: the file has no group ``data``.
        OSError: it is no HDF5 file.
    """
    with h5py.File(path, "r") as file:
        return _says_bottom_up(file["data"])


def _warn_of_bottom_up(bottom_up: bool, sections: list[Any], data: Path) -> None:
    """Warn where a policy is trained on images that the file says are upside down."""
    groups = [group for section in sections for group in section.modalities.values()]
    if bottom_up and any(group.get("rgb") for group in groups):
        warnings.warn(
            f"images of {data} are stored upside down (its macros_image_convention is opengl), "
            "and robomimic trains on them so, while environments show them upright; `s2robot eval` "
            "turns frames over for such a policy. Write them upright: "
            f"`s2robot export-dataset {data} OUT.hdf5`",
            UpsideDownWarning,
            stacklevel=5,
        )


def _check_key(modality: str, key: str, shapes: Mapping[str, Any], data: Path) -> None:
    if key not in shapes:
        raise unknown(f"observation in modality {modality} for {data}", key, shapes)
    pictures = len(shapes[key]) == 4
    if modality == "rgb" and not pictures:
        raise ValueError(
            f"observation {key} is of modality rgb, and {data} has {shapes[key]}; images are "
            "(T, height, width, 3). Numbers are of modality low_dim"
        )
    if modality == "low_dim" and pictures:
        raise ValueError(
            f"observation {key} is of modality low_dim, and {data} has images {shapes[key]}; "
            "images are of modality rgb"
        )


def _check_length(config: Any) -> None:
    """Refuse a recurrent policy that is trained on other lengths than it acts on."""
    rnn = config.algo.rnn if "rnn" in config.algo else None
    if rnn is not None and rnn.get("enabled") and config.train.seq_length != rnn.horizon:
        raise ValueError(
            f"train.seq_length is {config.train.seq_length} and algo.rnn.horizon {rnn.horizon}; "
            "a recurrent policy forgets after horizon steps, so both must be equal"
        )


def _check_saving(config: Any) -> None:
    """Warn where a whole training would end without a checkpoint."""
    save, rollout = config.experiment.save, config.experiment.rollout
    epochs = config.train.num_epochs
    regular = save.every_n_epochs is not None and save.every_n_epochs <= epochs
    listed = any(epoch <= epochs for epoch in save.epochs)
    found = save.on_best_validation and config.experiment.validate
    best = save.on_best_rollout_return or save.on_best_rollout_success_rate
    last = epochs - epochs % rollout.rate  # the last epoch with rollouts
    rolled = rollout.enabled and best and last > max(0, rollout.warmstart)
    timed = save.every_n_seconds is not None
    if not (save.enabled and (regular or listed or found or rolled or timed)):
        warnings.warn(
            f"no checkpoint would be saved in {epochs} epochs (experiment.save.every_n_epochs is "
            f"{save.every_n_epochs}); set it to {epochs} or less",
            NothingSavedWarning,
            stacklevel=3,
        )
