"""When a node subscribes to its cameras: while somebody wants what it makes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

POLL_S = 0.2
"""Seconds between two counts of the subscribers to embeddings, in both kinds of nodes."""


class Switchable(Protocol):
    """What is switched on and off; ``NodeCore`` is one."""

    def enable(self) -> None: ...
    def disable(self) -> None: ...


class LazySubscription:
    """Opens subscriptions and enables the core while frames are wanted, and the reverse.

    Frames are wanted while the node is switched on and ``lazy`` is off, a policy runs, or an
    embedding has a subscriber. A decoder, a network and an encoder then cost nothing otherwise.
    Any thread may call any method.

    Args:
        core: is enabled before subscriptions open, and disabled before they close.
        open_inputs: subscribes.
        close_inputs: ends the subscriptions.
        always: whether frames are wanted without subscribers: not ``lazy``, or a policy.
        on: whether the node begins switched on.
    """

    def __init__(
        self,
        core: Switchable,
        open_inputs: Callable[[], None],
        close_inputs: Callable[[], None],
        always: bool,
        on: bool = True,
    ) -> None:
        self._core, self._open, self._close = core, open_inputs, close_inputs
        self._always, self._on = always, on
        self._subscribers = 0
        self._flowing = False
        self._lock = threading.RLock()
        core.disable()

    @property
    def flowing(self) -> bool:
        """Whether the node is subscribed to its inputs."""
        return self._flowing

    @property
    def on(self) -> bool:
        """Whether the node is switched on."""
        return self._on

    def count(self, subscribers: int) -> None:
        """Tell how many subscribe to embeddings now."""
        with self._lock:
            self._subscribers = subscribers
            self._follow()

    def switch(self, on: bool) -> str:
        """Switch the node on or off; returns what that does, in words."""
        with self._lock:
            self._on = on
            self._follow()
            if not on:
                return "switched off: no frames are taken, nothing is published"
            if self._flowing:
                return "switched on"
            return "switched on; frames are taken as soon as an embedding has a subscriber"

    def close(self) -> None:
        """End the subscriptions for good, as when the node ends."""
        self.switch(False)

    def _follow(self) -> None:
        wanted = self._on and (self._always or self._subscribers > 0)
        if wanted == self._flowing:
            return
        if wanted:
            self._core.enable()
            self._open()
        else:
            self._core.disable()
            self._close()
        self._flowing = wanted
