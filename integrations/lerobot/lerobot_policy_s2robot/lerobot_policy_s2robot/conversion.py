"""Policies between LeRobot's folders ``pretrained_model`` and policy files of `s2robot train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.utils.constants import (
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy
from lerobot_policy_s2robot.processor_s2robot import make_s2robot_pre_post_processors
from s2robot.errors import MismatchError
from s2robot.plugins.lerobot.policy_file import TrainedPolicy
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.utils.io import folder_beside, read_json
from s2robot.utils.records import damaged

_REMEDY = "copy the folder again, or train again"
_KEPT = ("dataset", "steps", "batch_size", "seed", "optimizer", "scheduler")
"""Entries of LeRobot's ``train_config.json`` that a policy file keeps."""


def to_lerobot(checkpoint: Path, folder: Path, runtime: str = "auto") -> S2robotPolicy:
    """Write a policy file as a folder that LeRobot's commands take as ``--policy.path``.

    Args:
        checkpoint: policy file of `s2robot train`.
        folder: to write.
        runtime: of the encoder, in the folder's settings.

    Raises:
        FileExistsError: the folder exists.
        FileNotFoundError: there is no such file.
        MismatchError: the policy reads no camera.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; delete it, or give another name")
    config = S2robotConfig(
        checkpoint=str(checkpoint), device="cpu", runtime=runtime, push_to_hub=False
    )
    policy = S2robotPolicy(config)
    with folder_beside(folder) as beside:
        made = beside / "policy"
        for part in (policy, *make_s2robot_pre_post_processors(config)):
            part.save_pretrained(made)
        made.rename(folder)
    return policy


def to_policy_file(
    folder: Path, out: Path, level: str | None = None, proprio: Sequence[str] = ()
) -> PolicyHeader:
    """Write a policy that `lerobot-train` trained as a policy file.

    Args:
        folder: LeRobot's ``pretrained_model``.
        out: policy file to write.
        level: of pick-cube, whose environment the policy acts in; None for recorded actions, which
            `s2robot.load_policy` and `s2robot eval task=NAME` execute, and the ROS node does not.
        proprio: with a level, the measurements of ``observation.state``, in order.

    Returns:
        The header of the file.

    Raises:
        CorruptFileError: a file of the folder is damaged.
        FileExistsError: the file exists.
        FileNotFoundError: the folder holds no policy.
        MismatchError: the policy is of another type, or measurements, cameras or actions do not
            fit.
        ValueError: a level or a measurement is unknown.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; delete it, or give another name")
    trained = S2robotPolicy.from_pretrained(folder, config=_config(folder))
    if trained.config.is_converted:
        raise MismatchError(
            f"{folder} was itself made from a policy file of `s2robot train`; take that file"
        )
    config = trained.config
    _check_modes(config)
    found = TrainedPolicy(
        trained.policy,
        config.encoder_spec,
        config.camera_sizes,
        _stats(folder),
        config.state_key,
        _training(folder),
    )
    try:
        return found.write(out, level, proprio)
    except MismatchError as error:
        raise MismatchError(f"{folder}: {error}") from None


def _config(folder: Path) -> S2robotConfig:
    """Return the settings of a folder; a name of the Hub is no folder."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no config.json; give a folder pretrained_model of lerobot-train"
        )
    config = PreTrainedConfig.from_pretrained(folder)
    if not isinstance(config, S2robotConfig):
        raise MismatchError(f"{folder} holds a policy {config.type}; allowed: s2robot")
    return config


def _training(folder: Path) -> dict[str, Any]:
    """Return what LeRobot keeps of the training beside the weights."""
    path = folder / "train_config.json"
    found = read_json(path, _REMEDY) if path.exists() else {}
    return {key: found[key] for key in _KEPT if key in found}


def _stats(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the statistics of LeRobot's processors by key of the batch.

    The processors themselves are not made, since LeRobot imports the classes that a file names.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name in (POLICY_PREPROCESSOR_DEFAULT_NAME, POLICY_POSTPROCESSOR_DEFAULT_NAME):
        path = folder / f"{name}.json"
        try:
            for step in read_json(path, _REMEDY)["steps"]:
                if step.get("state_file"):
                    state = load_file(folder / Path(step["state_file"]).name)
                    for key, value in state.items():
                        feature, _, statistic = key.rpartition(".")
                        found.setdefault(feature, {})[statistic] = value
        except (AttributeError, KeyError, TypeError, SafetensorError) as error:
            raise damaged(path, str(error), _REMEDY) from None
    return found


def _check_modes(config: S2robotConfig) -> None:
    """Refuse normalizations that a policy file does not have."""
    modes = {
        kind: getattr(mode, "value", mode) for kind, mode in config.normalization_mapping.items()
    }
    if (modes.get("STATE"), modes.get("ACTION")) != ("MEAN_STD", "MIN_MAX"):
        raise MismatchError(
            f"the policy's normalization_mapping is {modes}; a policy file has STATE MEAN_STD and "
            "ACTION MIN_MAX, the defaults: train with those"
        )
