"""Settings of a policy that is not ours; imports neither a simulator nor PyTorch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from s2robot.data.config import LEAST_CAMERA_SIZE
from s2robot.envs.levels import CONTROLLERS
from s2robot.utils.validation import require_at_least, require_integers, require_one_of

OF_SERVERS = ("prompt", "image_key", "state_key", "action_key")
"""Settings that decide what a server gets and answers."""
PACKAGED = {"robomimic": "s2robot.plugins.robomimic.trained_policy:load"}
"""Files of policies of other packages, ``NAME:PATH``, and what loads them."""
NO_CAMERA = "none"
"""Camera of policies that get no frames."""


@dataclass(frozen=True)
class ExternalConfig:
    """Settings of a policy that is not ours, ``policy=`` of an evaluation.

    Raises:
        ValueError: a field is out of range.
    """

    policy: str | None = None
    """``MODULE:CALLABLE``, imported because it is named here, a checkpoint, ``robomimic:PATH``, or
    the address of a server, ``ws://HOST:PORT``; ``{seed}`` in it is `seed`. The command line takes
    it as ``policy=``."""
    label: str | None = None
    """Name in reports; None takes ``policy`` as it was typed."""
    seed: int = 0
    """Training seed of the policy. Policies of one label are the seeds of one variant."""
    camera: str | None = None
    """Camera of the frames; None takes the task's own, "none" gives no frames."""
    cameras: tuple[str, ...] = ()
    """Several cameras, in place of `camera`; the policy gets the frames of all."""
    size: int = 384
    """Edge of pick-cube's frames [px]; other tasks have frames of their own size."""
    control: str = "ee_delta"
    """Action space of pick-cube; other tasks have their own."""
    low_dim: tuple[str, ...] = ()
    """Low-dimensional observations that the policy gets; empty takes the task's proprioception."""
    execute: int | None = None
    """Actions of a chunk that are carried out before the next is asked for; None takes all."""
    prompt: str = ""
    """Instruction that a server gets."""
    image_key: str = "observation/image"
    """Name of the frame in what a server gets."""
    state_key: str | None = "observation/state"
    """Name of the observations, joined in their order, in what a server gets; None sends each
    under ``observation/`` and its own name."""
    action_key: str = "actions"
    """Name of the actions in a server's answer."""
    timeout_s: float = 60.0
    """Longest time to wait for a server's answer [s]."""

    def __post_init__(self) -> None:
        if self.policy is not None:
            check_name(self.policy)
        require_integers(self, 0, "seed")
        require_at_least(self, LEAST_CAMERA_SIZE, "size")
        if self.execute is not None:
            require_integers(self, 1, "execute")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s is {self.timeout_s}; allowed: seconds above 0")
        require_one_of(self, {"control": CONTROLLERS})
        if self.cameras and self.camera is not None:
            raise ValueError(
                f"camera is {self.camera} and cameras {', '.join(self.cameras)}; give one of them"
            )
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras are {', '.join(self.cameras)}; each may be named once")
        self._check_of_servers()

    def _check_of_servers(self) -> None:
        """Refuse settings of a server for a policy in Python, where they would do nothing."""
        if self.policy is not None and is_address(self.policy) and self.cameras:
            raise ValueError("external.cameras: a server gets one frame, of external.camera")
        if self.policy is None or is_address(self.policy):
            return
        of_servers = (*OF_SERVERS, "timeout_s")
        for each in fields(self):
            if each.name in of_servers and getattr(self, each.name) != each.default:
                raise ValueError(
                    f"external.{each.name} is of servers, policy=ws://HOST:PORT; "
                    f"policy={self.policy} gets frames and observations: leave it out"
                )


def is_address(name: str) -> bool:
    """Return whether the name of a policy is the address of a server.

    Examples:
        >>> is_address("wss://robot.lab:8000"), is_address("own:make")
        (True, False)
    """
    return name.startswith(("ws://", "wss://"))


def check_name(name: str) -> None:
    """Raise a ValueError where the name of a policy has neither of the two forms.

    Args:
        name: as the user typed it.

    Examples:
        >>> check_name("own:make?checkpoint=a.pt")
        >>> check_name("mlp")
        Traceback (most recent call last):
        ValueError: policy is 'mlp'; allowed: MODULE:CALLABLE, such as own:make or own:make?checkpoint=a.pt, a checkpoint, robomimic:PATH, or the address of a server that speaks openpi's protocol, ws://HOST:PORT or wss://HOST:PORT
    """  # noqa: E501
    path = name.partition("?")[0]
    packaged, _, file = path.partition(":")
    forms = _CALLABLE.fullmatch(path), _ADDRESS.fullmatch(name), packaged in PACKAGED and file
    if not any(forms):
        raise ValueError(
            f"policy is {name!r}; allowed: MODULE:CALLABLE, such as own:make or "
            "own:make?checkpoint=a.pt, a checkpoint, robomimic:PATH, or the address of a server "
            "that speaks openpi's protocol, ws://HOST:PORT or wss://HOST:PORT"
        )


def loader_of(path: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the callable of a name, and its arguments.

    Args:
        path: the name without its arguments.
        arguments: of the name.

    Examples:
        >>> loader_of("own:make", {"step": 1})
        ('own:make', {'step': 1})
        >>> loader_of("robomimic:runs/a.pth", {})[1]
        {'checkpoint': 'runs/a.pth'}
    """
    packaged, _, file = path.partition(":")
    if packaged not in PACKAGED:
        return path, dict(arguments)
    return PACKAGED[packaged], {"checkpoint": file, **arguments}


_CALLABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ADDRESS = re.compile(r"wss?://[^/\s?#]+(/[^\s?#]*)?")
