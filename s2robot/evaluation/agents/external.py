"""Policies that are not ours, by name: the contract, and the import of what the user named.

A policy is an object with ``reset()`` and ``__call__(frames, proprio)``. ``MODULE:CALLABLE`` names
it, or a factory that returns it; the module is imported because the user typed its name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.envs.tasks.names import parts_of
from s2robot.errors import S2RobotError, unknown
from s2robot.evaluation.agents.config import loader_of
from s2robot.utils.io import sha256_bytes, sha256_file


class ExternalPolicy(Protocol):
    """One robot's policy, or with ``batched = True`` that of B robots at once.

    A class or an object may have ``batched``; without it, each environment has an object of its
    own, from the factory.
    """

    def reset(self) -> None:
        """Begin an episode, or a batch of episodes: forget the past."""
        ...

    def __call__(self, frames: dict[str, np.ndarray], proprio: dict[str, np.ndarray]) -> Any:
        """Return the action of one control step, or a chunk of the next ones.

        Args:
            frames: ``(H, W, 3)`` uint8 RGB by camera; ``(B, H, W, 3)`` if batched. Empty without a
                camera.
            proprio: ``(d,)`` float32 by name of the observation, in its unit; ``(B, d)`` if
                batched.

        Returns:
            ``(A,)`` numbers in [-1, 1], or a chunk ``(T, A)``; with B in front if batched. It is
            called again when a chunk is used up.
        """
        ...


@dataclass(frozen=True)
class TaskDescription:
    """What a factory with a parameter ``task`` gets."""

    name: str
    """Name of the task in files."""
    cameras: Mapping[str, tuple[int, int]]
    """Height and width of the frames [px] by camera."""
    proprio: Mapping[str, int]
    """Number of entries of each observation that the policy gets."""
    action_names: tuple[str, ...]
    """Meaning of the entries of an action; each is in [-1, 1]."""
    control: str
    """Action space: ``ee_delta``, ``joint_delta``, or ``native`` of the environment."""
    control_hz: float
    """Control steps per second."""
    horizon: int
    """Control steps of an episode."""
    action_scale: ActionScale | None = None
    """From the units of the environment's own actions to [-1, 1] (``unclipped``) and back
    (``own``); None where they are the same."""


@dataclass(frozen=True)
class NamedPolicy:
    """What a name led to."""

    make: Callable[[], ExternalPolicy] | None
    """Makes one more object; None where the name is that of one object."""
    one: ExternalPolicy
    """The object, or the first one that was made."""
    source: str
    """SHA-256 of the file of the module; empty where it has none."""
    files: Mapping[str, str]
    """SHA-256 of the files that arguments of the factory name."""

    @property
    def batched(self) -> bool:
        """Whether one object serves all environments."""
        return bool(getattr(self.one, "batched", False))


def named_policy(typed: str, seed: int, task: TaskDescription) -> NamedPolicy:
    """Import a policy that the user named.

    Args:
        typed: ``MODULE:CALLABLE`` or ``robomimic:PATH``, with arguments of the factory as
            ``?NAME=VALUE&NAME=VALUE``; ``{seed}`` in it is the seed.
        seed: training seed, for factories with a parameter ``seed``.
        task: for factories with a parameter ``task``.

    Raises:
        ValueError: there is no such module or name in it, it is no policy and no factory, or the
            seed has no effect.
        S2RobotError: the module or the factory failed.
    """
    name = with_seed(typed, seed)
    path, arguments = loader_of(*parts_of(name))
    module_name, _, attribute = path.partition(":")
    module = _module(module_name, name)
    found = _attribute(module, attribute, name)
    source = _source(module)
    if not isinstance(found, type) and callable(getattr(found, "reset", None)):
        if arguments:
            raise ValueError(
                f"policy={name}: {attribute} is a policy, which takes no arguments "
                f"({', '.join(arguments)}); name a function that makes one"
            )
        _check_seed(typed, seed, {})
        return NamedPolicy(None, _checked(found, name), source, {})
    if not callable(found):
        raise ValueError(
            f"policy={name}: {attribute} is of type {type(found).__name__}; allowed: an object "
            "with reset() and __call__(frames, proprio), or a function that returns one"
        )
    taken = _arguments(found, arguments, seed, task, name)
    _check_seed(typed, seed, taken)
    texts = {key: value for key, value in arguments.items() if isinstance(value, str)}
    paths = {key: Path(value).expanduser() for key, value in texts.items()}
    files = {key: sha256_file(path) for key, path in paths.items() if path.is_file()}
    make = functools.partial(_made, found, taken, name)
    return NamedPolicy(make, make(), source, files)


def with_seed(typed: str, seed: int) -> str:
    """Return the name of a policy with its training seed in place of ``{seed}``."""
    return typed.replace("{seed}", str(seed))


def _check_seed(typed: str, seed: int, arguments: Mapping[str, Any]) -> None:
    """Refuse a seed that changes nothing: the same policy would count as several trainings."""
    if seed and "{seed}" not in typed and "seed" not in arguments:
        raise ValueError(
            f"external.seed is {seed}, but policy={typed} takes no seed, so it is the same policy "
            "for each; put {seed} in the name, or give the factory a parameter seed"
        )


def guarded(call: Callable[[], Any], name: str, doing: str) -> Any:
    """Return what foreign code returns; its errors name the policy and the line.

    Args:
        call: the code.
        name: of the policy.
        doing: what was called.

    Raises:
        S2RobotError: the code raised an exception.
    """
    try:
        return call()
    except S2RobotError:
        raise
    except Exception as error:
        raise _foreign_error(error, name, doing) from error


def _foreign_error(error: Exception, name: str, doing: str) -> S2RobotError:
    """Return an error of foreign code with the line that raised it."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return S2RobotError(
        f"policy={name}: {doing} raised {type(error).__name__}: {error} ({place}). Mend it "
        "there; S2ROBOT_DEBUG=1 prints the whole traceback"
    )


def _module(module_name: str, name: str) -> Any:
    if os.getcwd() not in sys.path:  # console scripts do not have it
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise S2RobotError(
                f"policy={name}: module {module_name} imports {error.name}, which is not "
                "installed here; install it in this environment, or serve the policy from its own "
                "with policy=ws://HOST:PORT"
            ) from error
        raise ValueError(
            f"policy={name}: there is no module {module_name!r}; it is looked for among "
            "installed packages, then in the present folder"
        ) from None
    except Exception as error:
        raise _foreign_error(error, name, f"importing {module_name}") from error


def _attribute(module: Any, attribute: str, name: str) -> Any:
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [key for key, each in vars(found).items() if callable(each)]
            where = getattr(found, "__name__", type(found).__name__)
            raise ValueError(f"policy={name}: {unknown(f'callable in {where}', part, known)}")
        found = getattr(found, part)
    return found


def _source(module: Any) -> str:
    file = getattr(module, "__file__", None)
    return sha256_bytes(Path(file).read_bytes()) if file and Path(file).is_file() else ""


def _arguments(
    factory: Callable[..., Any],
    given: Mapping[str, Any],
    seed: int,
    task: TaskDescription,
    name: str,
) -> dict[str, Any]:
    """Return the arguments of a factory: those of the name, seed and task where it takes them."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of a compiled function
        return dict(given)
    own = {"seed": seed, "task": task}
    found = {key: value for key, value in own.items() if key in parameters} | dict(given)
    try:
        inspect.signature(factory).bind(**found)
    except TypeError as error:
        raise ValueError(
            f"policy={name}: {factory.__qualname__}{inspect.signature(factory)} cannot be called "
            f"with {', '.join(found) or 'no arguments'}: {error}. Arguments stand in the name, as "
            "MODULE:CALLABLE?NAME=VALUE&NAME=VALUE; seed and task are given where they are "
            "parameters"
        ) from None
    return found


def _made(factory: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> ExternalPolicy:
    return _checked(guarded(lambda: factory(**arguments), name, "the factory"), name)


def _checked(found: Any, name: str) -> ExternalPolicy:
    missing = [] if callable(getattr(found, "reset", None)) else ["reset()"]
    missing += [] if callable(found) else ["__call__(frames, proprio)"]
    if missing:
        raise ValueError(
            f"policy={name} gives an object of type {type(found).__name__} without "
            f"{' and '.join(missing)}; a policy has reset() and __call__(frames, proprio)"
        )
    policy: Any = found
    return policy
