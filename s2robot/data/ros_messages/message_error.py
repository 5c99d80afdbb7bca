"""The error of a message that cannot be used."""

from __future__ import annotations


class MessageError(ValueError):
    """Message that cannot be used, which a node counts.

    Args:
        kind: one word under which such messages are counted.
        message: text of the error.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
