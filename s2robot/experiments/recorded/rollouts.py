"""Fit of a policy of recorded data to a task: cameras, observations, actions, all before a rollout.

What has another name in the task than in the data is named by ``observations``, or found by the
names that robomimic and LeRobot give to the same thing. Whatever does not fit is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from s2robot.data.config import short_camera
from s2robot.envs.levels import CONTROLLERS
from s2robot.envs.tasks.action_scale import ActionScale, scale_of
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import MismatchError, unknown
from s2robot.evaluation.agents.recorded import Names, RecordedActor, observed
from s2robot.policies.action_space import RECORDED, ActionBounds, action_space_record
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.policies.dataset import stack_proprio
from s2robot.policies.policy import Policy
from s2robot.utils.console import OUTPUT

OF = "of"
"""Entry of a run's camera: its key in the data."""
_LEROBOT = {
    "observation.state": ("agent_pos",),
    "observation.environment_state": ("environment_state",),
}
"""LeRobot's own names of what Gymnasium environments call otherwise."""


def is_recorded(header: PolicyHeader) -> bool:
    """Return whether a policy was trained on recorded data.

    Args:
        header: of its file.
    """
    return header.action_space["control"] == RECORDED


def fitted(
    policy: Policy, header: PolicyHeader, task: str | None, given: Names, aloud: bool = True
) -> tuple[RecordedActor, PolicyHeader]:
    """Return a policy of recorded data as one of a task, and its header for this task.

    Args:
        policy: of the file.
        header: of the file.
        task: name in files of the task that executes the actions.
        given: keys of the data, and the task's names for them, where the user says so.
        aloud: print how names and units were put together.

    Raises:
        MismatchError: no task is given, or a camera, an observation or the actions do not fit.
        ValueError: ``given`` names something that the policy or the task has not.
    """
    if task is None:
        raise MismatchError(
            f"the policy was trained on recorded actions ({_names_of(header)}), and its file names "
            "no simulator that executes them; name the task, as in task=gym:ID or "
            "task=module:path.to.Task, or run the policy in your own loop with "
            "s2robot.load_policy(FILE). Its page has its error on held-out episodes"
        )
    with contextlib.closing(_environment(task, header.action_space["dim"])) as env:
        return fit_to(policy, header, env, given, aloud)


def fitted_again(
    policy: Policy, header: PolicyHeader, run: Mapping[str, Any]
) -> tuple[RecordedActor, PolicyHeader]:
    """Return a policy of recorded data as a run had it.

    Args:
        policy: of the file.
        header: of the file.
        run: content of the run's ``run.json``.

    Raises:
        MismatchError: the task is not as it was.
    """
    camera = run["camera"] or {}
    cameras = camera.get("cameras", [camera] if camera else [])
    given = {key: tuple(names) for key, names in run["task"]["observations"].items()}
    given |= {each[OF]: (each["name"],) for each in cameras}
    with contextlib.closing(make_env(run["task"]["env"])) as env:
        return fit_to(policy, header, env, given, False)


def fit_to(
    policy: Policy, header: PolicyHeader, env: TaskEnv, given: Names, aloud: bool
) -> tuple[RecordedActor, PolicyHeader]:
    """Return a policy of recorded data as one of an environment; see ``fitted``.

    Args:
        policy: of the file.
        header: of the file.
        env: of the task.
        given: keys of the data, and the task's names for them.
        aloud: print how names and units were put together.
    """
    task = str(env.env_kwargs()["level"])
    cameras = {str(camera["name"]): camera for camera in header.frames.get("cameras", ())}
    given = _by_whole_keys(given, (*cameras, *header.proprio_keys))
    found = {
        name: _camera_of(name, camera, env, task, given.get(name))
        for name, camera in cameras.items()
    }
    _check_one_each(found)
    names = _observations_of(policy, header, env, task, given)
    scale = scale_of(env)
    _check_actions(header, env, task, scale)
    if aloud:
        _tell(header, {**{key: (name,) for key, name in found.items()}, **names}, env, scale)
    space = header.action_space
    own = None if scale is None else scale.record()
    record = action_space_record(env.action_space, env.control, env.rate_hz, own)
    frames = [{**camera, "name": found[name], OF: name} for name, camera in cameras.items()]
    adapted = dataclasses.replace(
        header,
        env_kwargs=env.env_kwargs(),
        frames={**header.frames, "cameras": frames} if frames else {},
        action_space={**record, "meaning": list(space["meaning"])},
    )
    return RecordedActor(policy, ActionBounds.of(space), scale, names), adapted


def _by_whole_keys(given: Names, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return names by the keys of the data; the "/" before a topic may be missing.

    Args:
        given: by keys as the user wrote them.
        keys: of the policy's cameras and observations.

    Raises:
        ValueError: the policy has no such key.
    """
    found = {}
    for key, names in given.items():
        whole = key if key in keys or f"/{key}" not in keys else f"/{key}"
        if whole not in keys:
            raise unknown("key in observations", key, keys)
        found[whole] = tuple(names)
    return found


def _environment(task: str, entries: int) -> TaskEnv:
    """Return an environment; of pick-cube's controls that with so many entries of an action."""
    if is_foreign(task):
        return make_env({"level": task})
    found = [make_env({"level": task, "control": control}) for control in CONTROLLERS]
    right = next((env for env in found if len(env.action_space.low) == entries), found[0])
    for env in found:
        if env is not right:
            env.close()
    return right


def _names_of(header: PolicyHeader) -> str:
    return ", ".join(header.action_space["meaning"])


def _camera_of(
    name: str,
    camera: Mapping[str, Any],
    env: TaskEnv,
    task: str,
    given: tuple[str, ...] | None,
) -> str:
    """Return the task's name of a camera of the data, whose frames have the policy's size."""
    listed = ", ".join(env.cameras)
    if given is not None and len(given) != 1:
        raise ValueError(
            f"observations names {len(given)} cameras for {name!r}: {list(given)}; give one of "
            f"{listed}"
        )
    alike = [each for each in env.cameras if short_camera(each) == short_camera(name)]
    found = given[0] if given else name if name in env.cameras else None
    if found is None and len(alike) == 1:
        found = alike[0]
    if found is None:
        raise MismatchError(
            f"the policy reads the camera {name!r}, and task {task} has no such one; it has "
            f"{listed}. Say which shows the same: 'observations={{{name}: {env.cameras[0]}}}'"
        )
    if found not in env.cameras:
        raise unknown(f"camera of task {task} in observations", found, env.cameras)
    wanted, seen = (camera["height"], camera["width"]), env.frame_shape(found)
    if seen not in (None, wanted):
        raise MismatchError(
            f"the policy was trained on frames of {_px(wanted)} of camera {name!r}, and task "
            f"{task} gives {_px(seen)} of {found!r}. Let the task draw that size (as in "
            f"gym:ID?height={wanted[0]}&width={wanted[1]}), or train on data of the task's size"
        )
    return found


def _px(size: Any) -> str:
    return f"{size[0]}x{size[1]} px"


def _check_one_each(cameras: Mapping[str, str]) -> None:
    names = list(cameras.values())
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        keys = ", ".join(key for key, name in cameras.items() if name == twice)
        raise MismatchError(
            f"the task's camera {twice!r} stands for several of the policy's: {keys}. Give each "
            "its own: 'observations={CAMERA: NAME,...}'"
        )


def _observations_of(
    policy: Policy, header: PolicyHeader, env: TaskEnv, task: str, given: Names
) -> dict[str, tuple[str, ...]]:
    """Return the task's names of the policy's observations, which have its number of entries."""
    obs, _ = env.reset(seed=0)
    names: dict[str, tuple[str, ...]] = {}
    for key in header.proprio_keys:
        usual = (key,) if key in obs else _LEROBOT.get(key, ())
        found = given.get(key) or usual
        if not found or (key not in given and found[0] not in obs):
            raise MismatchError(
                f"the policy reads the observation {key!r}, and task {task} has no such one; it "
                f"has {_sizes(obs)}. Say what stands for it, one or several in order: "
                f"'observations={{{key}: [{next(iter(obs))}]}}'; a policy trained with "
                "low_dim= reads others"
            )
        for name in found:
            if name not in obs:
                raise unknown(f"observation of task {task} in observations", name, obs)
        names[key] = tuple(found)
    batch = {name: value[None] for name, value in obs.items()}
    own = observed(batch, names, header.proprio_keys)
    width = stack_proprio(own, header.proprio_keys).shape[1] if names else 0
    if width != policy.proprio_dim:
        listed = "; ".join(f"{key} of {_sizes({n: obs[n] for n in names[key]})}" for key in names)
        raise MismatchError(
            f"the policy takes {policy.proprio_dim} numbers as {', '.join(names) or 'nothing'}, "
            f"and task {task} gives {width}: {listed or 'none'}. Choose others with "
            f"observations=; the task has {_sizes(obs)}"
        )
    return names


def _sizes(obs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} ({value.size})" for name, value in obs.items())


def _check_actions(
    header: PolicyHeader, env: TaskEnv, task: str, scale: ActionScale | None
) -> None:
    """Refuse actions of another number of entries, and units that cannot be the task's."""
    space, names = header.action_space, _names_of(header)
    entries = len(env.action_space.low)
    if space["dim"] != entries:
        raise MismatchError(
            f"the policy's actions have {space['dim']} entries ({names}), and task {task} takes "
            f"{entries}; roll it out in the task whose actions were recorded"
        )
    low, high = _bounds(env, scale)
    for entry, name in enumerate(space["meaning"]):
        if space["high"][entry] < low[entry] or space["low"][entry] > high[entry]:
            raise MismatchError(
                f"the recorded actions {name!r} lie in {space['low'][entry]:g} to "
                f"{space['high'][entry]:g}, and task {task} takes {low[entry]:g} to "
                f"{high[entry]:g}, so none of them can be executed: the units differ. Record in "
                "the units of the environment, or let the task convert them, as "
                "gymnasium.wrappers.TransformAction in a class of your own does"
            )
    rate = space["control_hz"]
    if rate is not None and not np.isclose(rate, env.rate_hz, rtol=1e-3):
        warnings.warn(
            f"the data have {rate:g} actions a second and task {task} {env.rate_hz:g}: actions "
            "that are steps or speeds reach otherwise. Give the task the rate of the data where "
            "it has that (rate_hz)",
            UserWarning,
            stacklevel=2,
        )


def _bounds(env: TaskEnv, scale: ActionScale | None) -> tuple[np.ndarray, np.ndarray]:
    box = env.action_space if scale is None else scale
    return np.asarray(box.low, np.float64), np.asarray(box.high, np.float64)


def _tell(header: PolicyHeader, names: Names, env: TaskEnv, scale: ActionScale | None) -> None:
    """Print which of the task's names stand for others, and the ranges of the actions."""
    for key, own in names.items():
        if own != (key,):
            OUTPUT.print(f"{key}: {' + '.join(own)} of the task", markup=False, highlight=False)
    low, high = _bounds(env, scale)
    space = header.action_space
    for line in _ranges(space["meaning"], space["low"], space["high"], low, high):
        OUTPUT.print(line, markup=False, highlight=False)


def _ranges(names: Iterable[str], *columns: Any) -> list[str]:
    """Return a line for each entry of the actions.

    Examples:
        >>> _ranges(["dx"], [-1.0], [2.0], [-1.0], [1.0])
        ['action dx: -1 to 2 in training, the task takes -1 to 1; what is beyond is clipped']
    """
    lines = []
    for name, low, high, least, most in zip(names, *columns, strict=True):
        wider = low < least - 1e-6 * (most - least) or high > most + 1e-6 * (most - least)
        more = "; what is beyond is clipped" if wider else ""
        taken = f"the task takes {least:g} to {most:g}{more}"
        lines.append(f"action {name}: {low:g} to {high:g} in training, {taken}")
    return lines


def clipped_words(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many actions were beyond the task's bounds, in words.

    Args:
        rows: of ``episodes.jsonl``.

    Examples:
        >>> clipped_words([{"actions_clipped": 2, "steps": 5}, {"actions_clipped": 0, "steps": 5}])
        "2 of 10 actions were beyond the task's bounds and clipped to them, in 1 of 2 episodes"
    """
    listed = list(rows)
    counts = [int(row["actions_clipped"]) for row in listed]
    total, episodes = sum(int(row["steps"]) for row in listed), sum(map(bool, counts))
    return (
        f"{sum(counts)} of {total} actions were beyond the task's bounds and clipped to them, in "
        f"{episodes} of {len(listed)} episodes"
    )
