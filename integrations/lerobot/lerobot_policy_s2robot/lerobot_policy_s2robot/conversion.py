"""Policies between LeRobot's folders ``pretrained_model`` and policy files of `s2robot train`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import (
    ACTION,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy
from lerobot_policy_s2robot.processor_s2robot import make_s2robot_pre_post_processors
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
from s2robot.utils.provenance import provenance

_IMAGES = "observation.images."


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
    for part in (policy, *make_s2robot_pre_post_processors(config)):
        part.save_pretrained(folder)
    return policy


def to_policy_file(
    folder: Path, out: Path, level: str | None = None, proprio: Sequence[str] = ()
) -> PolicyHeader:
    """Write a policy that `lerobot-train` trained as a policy file.

    Args:
        folder: LeRobot's ``pretrained_model``.
        out: policy file to write.
        level: of pick-cube, whose environment the policy acts in; None for recorded actions, which
            `s2robot.load_policy` and the ROS node execute and `s2robot eval` does not.
        proprio: with a level, the measurements of ``observation.state``, in order.

    Returns:
        The header of the file.

    Raises:
        FileExistsError: the file exists.
        MismatchError: measurements or actions do not fit.
        ValueError: a level or a measurement is unknown.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; delete it, or give another name")
    trained = S2robotPolicy.from_pretrained(folder)
    if trained.config.is_converted:
        raise MismatchError(
            f"{folder} was itself made from a policy file of `s2robot train`; take that file"
        )
    policy, stats = copy.deepcopy(trained.policy), _stats(folder)
    _take_normalization(policy, stats, trained.config)
    header = _header(trained, policy, level, tuple(proprio), stats)
    return save_policy(out, policy, header)


def _stats(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the statistics of LeRobot's processors by key of the batch."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name in (POLICY_PREPROCESSOR_DEFAULT_NAME, POLICY_POSTPROCESSOR_DEFAULT_NAME):
        pipeline = PolicyProcessorPipeline.from_pretrained(folder, config_filename=f"{name}.json")
        for step in pipeline.steps:
            found.update(getattr(step, "_tensor_stats", {}))
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
        policy.proprio_normalizer.std.copy_(own["std"])
    policy.action_units = ActionUnits.of_range(stats[ACTION]["min"], stats[ACTION]["max"])


def _header(
    trained: S2robotPolicy, policy: Policy, level: str | None, proprio: tuple[str, ...], stats: Any
) -> PolicyHeader:
    config = trained.config
    if level is None:
        low, high = (stats[ACTION][name].cpu().numpy() for name in ("min", "max"))
        names = [f"a{entry}" for entry in range(policy.action_dim)]
        keys = (config.state_key,) if policy.proprio_dim else ()
        space, env_kwargs = recorded_action_space(low, high, names, None), {}
    else:
        env = PickCubeEnv(level)
        keys, env_kwargs = _checked_keys(proprio, policy.proprio_dim), env.env_kwargs()
        space = action_space_record(env.action_space, env.control, env.metadata["render_fps"])  # pyright: ignore[reportArgumentType]
        env.close()
        if space["dim"] != policy.action_dim:
            raise MismatchError(
                f"the policy's actions have {policy.action_dim} entries, those of level {level} "
                f"{space['dim']}: {', '.join(space['meaning'])}; name the level of its training"
            )
    return PolicyHeader(
        policy_config=config.head,
        encoder=config.encoder_spec,
        embedding_shape=tuple(policy.embedding_shape),
        proprio_keys=keys,
        action_space=space,
        env_kwargs=env_kwargs,
        frames=_frames(config, level is not None),
        demos_digest="lerobot",
        train={"by": "lerobot-train"},
        seed=0,
        head={},
        provenance=provenance(),
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
        size = {"size": height} if of_pick_cube else {"height": height, "width": width}
        cameras.append({"name": name, **size})
    if of_pick_cube and len(cameras) == 1:
        return {"camera": cameras[0]}
    return {"kind": "recorded", "cameras": cameras} if not of_pick_cube else {"cameras": cameras}
