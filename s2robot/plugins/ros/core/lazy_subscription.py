"""Subscription to cameras only while somebody needs the embeddings or actions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

POLL_S = 0.2
"""Time between two counts of the subscribers to embeddings, in both kinds of nodes [s]."""


class Switchable(Protocol):
    """Object that can be switched on and off; ``NodeCore`` is one."""

    def enable(self) -> None:
        """Switch on."""
        ...

    def disable(self) -> None:
        """Switch off."""
        ...


class LazySubscription:
    """Subscriptions that are open while frames are needed.

    Frames are needed while the node is switched on and ``lazy`` is off, a policy runs, or an
    embedding has a subscriber. Otherwise decoding, network and encoder cost nothing. Any thread may
    call any method.

    Args:
        core: enabled before the subscriptions open, and disabled before they close.
        open_inputs: opens the subscriptions.
        close_inputs: closes the subscriptions.
        always: whether frames are needed without subscribers; see ``NodeConfig.always_subscribed``.
        on: whether the node is switched on at its start.
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
        """True while the subscriptions are open."""
        return self._flowing

    @property
    def on(self) -> bool:
        """True while the node is switched on."""
        return self._on

    def count(self, subscribers: int) -> None:
        """Set the number of subscribers to embeddings and open or close the subscriptions."""
        with self._lock:
            self._subscribers = subscribers
            self._update()

    def switch(self, on: bool) -> str:
        """Switch the node on or off and return a text that describes the effect."""
        with self._lock:
            self._on = on
            self._update()
            if not on:
                return "switched off: no frames are taken, nothing is published"
            if self._flowing:
                return "switched on"
            return "switched on; frames are taken as soon as an embedding has a subscriber"

    def close(self) -> None:
        """Close the subscriptions when the node ends."""
        self.switch(False)

    def _update(self) -> None:
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
