"""Policies between LeRobot's folders ``pretrained_model`` and policy files of `s2robot train`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.utils.constants import (
    ACTION,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy
from lerobot_policy_s2robot.processor_s2robot import make_s2robot_pre_post_processors
from s2robot.envs.levels import CAMERAS, CONTROLLERS
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.pick_cube_sim import LOW_DIM
from s2robot.errors import MismatchError, unknown
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    recorded_action_space,
    save_policy,
)
from s2robot.policies.policy import Policy
from s2robot.utils.io import read_json
from s2robot.utils.provenance import provenance
from s2robot.utils.records import damaged

_IMAGES = "observation.images."
_REMEDY = "copy the folder again, or train again"
_KEPT = ("dataset", "steps", "batch_size", "seed", "optimizer", "scheduler")
"""Entries of LeRobot's ``train_config.json`` that a policy file keeps."""
_LEAST_STD = 1e-8
"""What LeRobot's normalizer adds to a standard deviation."""


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        made = Path(beside) / "policy"
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
    policy, config, stats = trained.policy, trained.config, _stats(folder)
    needed = [ACTION, *([config.state_key] if config.state_size else [])]
    missing = [key for key in needed if key not in stats]
    if missing:
        raise MismatchError(
            f"{folder}: the processors have no statistics of {', '.join(missing)}; convert what "
            "lerobot-train saved"
        )
    _take_normalization(policy, stats, config)
    header = _header(config, policy, level, tuple(proprio), stats, _training(folder))
    return save_policy(out, policy, header)


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
    return {"by": "lerobot-train", **{key: found[key] for key in _KEPT if key in found}}


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


def _take_normalization(policy: Policy, stats: Any, config: S2robotConfig) -> None:
    """Put the normalization of LeRobot's processors into the policy itself."""
    modes = {
        kind: getattr(mode, "value", mode) for kind, mode in config.normalization_mapping.items()
    }
    if (modes.get("STATE"), modes.get("ACTION")) != ("MEAN_STD", "MIN_MAX"):
        raise MismatchError(
            f"the policy's normalization_mapping is {modes}; a policy file has STATE MEAN_STD and "
            "ACTION MIN_MAX, the defaults: train with those"
        )
    if policy.proprio_dim:
        own = stats[config.state_key]
        policy.proprio_normalizer.mean.copy_(own["mean"])
        policy.proprio_normalizer.std.copy_(own["std"] + _LEAST_STD)
    low, high = stats[ACTION]["min"], stats[ACTION]["max"]
    policy.action_units = ActionUnits.of_range(low, high)
    policy.action_units.half_range[low == high] = 0.0  # a constant action is -1 for LeRobot


def _header(
    config: S2robotConfig,
    policy: Policy,
    level: str | None,
    proprio: tuple[str, ...],
    stats: Any,
    train: dict[str, Any],
) -> PolicyHeader:
    if level is None:
        low, high = (stats[ACTION][name].cpu().numpy() for name in ("min", "max"))
        names = [f"a{entry}" for entry in range(policy.action_dim)]
        keys = (config.state_key,) if policy.proprio_dim else ()
        space, env_kwargs = recorded_action_space(low, high, names, None), {}
    else:
        env = _environment(level, policy.action_dim)
        keys, env_kwargs = _checked_keys(proprio, policy.proprio_dim), env.env_kwargs()
        space = action_space_record(env.action_space, env.control, env.metadata["render_fps"])  # pyright: ignore[reportArgumentType]
        env.close()
    return PolicyHeader(
        policy_config=config.head,
        encoder=config.encoder_spec,
        embedding_shape=tuple(policy.embedding_shape),
        proprio_keys=keys,
        action_space=space,
        env_kwargs=env_kwargs,
        frames=_frames(config, level is not None),
        demos_digest="",  # not known here; ``train`` names the data set
        train=train,
        seed=int(train.get("seed") or 0),
        head={},
        provenance={"converted": provenance()},
    )


def _environment(level: str, entries: int) -> PickCubeEnv:
    """Return pick-cube with the control whose actions have so many entries."""
    for control in CONTROLLERS:
        env = PickCubeEnv(level, control=control)
        if env.action_space.shape == (entries,):
            return env
        env.close()
    raise MismatchError(
        f"the policy's actions have {entries} entries, which no control of level {level} has "
        f"({', '.join(CONTROLLERS)}); name the level of its training"
    )


def _checked_keys(proprio: tuple[str, ...], width: int) -> tuple[str, ...]:
    for key in proprio:
        if key not in LOW_DIM:
            raise unknown("measurement", key, LOW_DIM)
    sizes = {key: LOW_DIM[key] for key in proprio}
    if sum(sizes.values()) != width:
        raise MismatchError(
            f"observation.state has {width} entries; the measurements {sizes} have "
            f"{sum(sizes.values())}. Name those of the training data, in order, after --proprio"
        )
    turned = [key for key in proprio if key.endswith("_quat")]
    if turned:
        raise MismatchError(
            f"{', '.join(turned)} is a quaternion, which a policy file turns into six numbers, and "
            "LeRobot's policies read as four; export the data without it (--low-dim), train again"
        )
    return proprio


def _frames(config: S2robotConfig, of_pick_cube: bool) -> dict[str, Any]:
    cameras = []
    for key, feature in config.image_features.items():
        _, height, width = feature.shape
        name = key.removeprefix(_IMAGES) if of_pick_cube else key
        if of_pick_cube and name not in CAMERAS:
            raise unknown("camera of pick-cube", name, CAMERAS)
        if of_pick_cube and height != width:
            raise MismatchError(
                f"{key} has frames of {height}x{width} px; those of pick-cube are square"
            )
        size = {"size": height} if of_pick_cube else {"height": height, "width": width}
        cameras.append({"name": name, **size})
    if of_pick_cube and len(cameras) == 1:
        return {"camera": cameras[0]}
    return {"kind": "recorded", "cameras": cameras} if not of_pick_cube else {"cameras": cameras}
