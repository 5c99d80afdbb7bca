"""Policies behind a server that speaks openpi's websocket protocol.

The server sends a description of itself when it is connected to. Each message of the client is one
observation, each answer a dictionary with a chunk of actions; both are msgpack, with NumPy arrays
as dictionaries of bytes, dtype and shape. A text in place of an answer is an error of the server.
The server keeps nothing between observations, so one connection serves all environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from s2robot.errors import S2RobotError, install_command
from s2robot.evaluation.agents.config import ExternalConfig

_KINDS = "biuf"
"""Kinds of the numbers that an array may hold."""
_ARRAY, _NUMBER = b"__ndarray__", b"__npgeneric__"


class ServerSource:
    """Connection to a policy server; gives the chunks of actions of an evaluation.

    Args:
        address: ``ws://HOST:PORT`` or ``wss://HOST:PORT``.
        given: names and texts of the messages, and the longest time to wait.

    Attributes:
        metadata: what the server says of itself, JSON-able.

    Raises:
        S2RobotError: the packages of the extra ``openpi`` are missing, or no such server answers.
    """

    def __init__(self, address: str, given: ExternalConfig) -> None:
        self.address, self._given = address, given
        self._packages()
        self._connection = self._connected()
        metadata = self._received("the description that it sends first")
        if not isinstance(metadata, dict):
            raise self._error(f"it described itself as {_short(metadata)}; expected a dictionary")
        self.metadata: dict[str, Any] = plain(metadata)

    def reset(self, batch_size: int) -> None:
        """Begin `batch_size` episodes, of which the server need not know."""
        del batch_size

    def chunks(
        self,
        which: Sequence[int],
        frames: Mapping[str, np.ndarray],
        proprio: Mapping[str, np.ndarray],
    ) -> list[Any]:
        """Return the chunk of actions for each of some environments, asked for in turn.

        Args:
            which: numbers of the environments.
            frames: (B, H, W, 3) uint8 of all environments, by camera.
            proprio: (B, d) float32 of all environments, by name.

        Raises:
            S2RobotError: the server fails, closes, does not answer in time, or answers otherwise.
        """
        return [self._actions(self._observation(index, frames, proprio)) for index in which]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _observation(
        self, index: int, frames: Mapping[str, np.ndarray], proprio: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        given = self._given
        found: dict[str, Any] = {}
        for frame in frames.values():  # of the one camera, or none
            found[given.image_key] = frame[index]
        if given.state_key is None:
            found |= {f"observation/{key}": array[index] for key, array in proprio.items()}
        else:
            found[given.state_key] = np.concatenate([array[index] for array in proprio.values()])
        return found | ({"prompt": given.prompt} if given.prompt else {})

    def _actions(self, observation: Mapping[str, Any]) -> Any:
        try:
            self._connection.send(packed(observation))
        except self._closed as error:
            raise self._lost(error, "before an observation was sent") from None
        answer = self._received("the actions for an observation")
        key = self._given.action_key
        if not isinstance(answer, dict) or key not in answer:
            entries = ", ".join(map(str, answer)) if isinstance(answer, dict) else _short(answer)
            raise self._error(
                f"its answer has no entry {key!r}; it has {entries or 'none'}. "
                "external.action_key=NAME names the entry with the actions"
            )
        return answer[key]

    def _received(self, what: str) -> Any:
        try:
            message = self._connection.recv(timeout=self._given.timeout_s)
        except TimeoutError:
            raise self._error(
                f"it did not send {what} within {self._given.timeout_s:g} s; raise the limit with "
                "external.timeout_s=SECONDS, since a first answer may have to compile"
            ) from None
        except self._closed as error:
            raise self._lost(error, f"in place of sending {what}") from None
        if isinstance(message, str):
            last = message.strip().splitlines()[-1:] or ["an empty text"]
            sent = ", ".join((self._given.image_key, self._given.state_key or "observation/NAME"))
            raise self._error(
                f"it failed in place of sending {what}: {last[0]}. Its log has the whole "
                f"traceback. It was sent {sent}; other names: external.image_key, "
                "external.state_key"
            )
        try:
            return unpacked(message)
        except ValueError as error:
            raise self._error(f"{what} cannot be read: {error}") from None

    def _packages(self) -> None:
        try:
            import msgpack  # noqa: F401 # pyright: ignore[reportMissingImports]
            from websockets.exceptions import ConnectionClosed
        except ImportError as error:
            raise S2RobotError(
                f"policy={self.address} needs the package {error.name or 'websockets'}, which is "
                f"not installed: {install_command('openpi')}"
            ) from None
        self._closed = ConnectionClosed

    def _connected(self) -> Any:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        try:
            return connect(
                self.address,
                compression=None,
                max_size=None,
                open_timeout=self._given.timeout_s,
                ping_interval=None,  # a server that computes does not answer them
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise self._error(
                f"it cannot be connected to: {error or type(error).__name__}. Start the server "
                "first, and check host and port"
            ) from None

    def _lost(self, error: Any, when: str) -> S2RobotError:
        close = error.rcvd
        why = "without a reason" if close is None else f"code {close.code} {close.reason}".rstrip()
        return self._error(
            f"it closed the connection {when} ({why}); its log says more. Finished episodes "
            "are kept: start it again and repeat the command"
        )

    def _error(self, text: str) -> S2RobotError:
        return S2RobotError(f"policy={self.address}: {text}")


def packed(content: Any) -> bytes:
    """Return content with NumPy arrays as one message.

    Args:
        content: dictionaries, lists, texts, numbers and arrays.

    Raises:
        ValueError: an array does not hold numbers.
    """
    import msgpack  # pyright: ignore[reportMissingImports]

    return msgpack.packb(content, default=_described)  # pyright: ignore[reportReturnType]


def unpacked(message: bytes) -> Any:
    """Return the content of a message; nothing in it is executed.

    Args:
        message: as ``packed`` makes it.

    Raises:
        ValueError: it is no such message.
    """
    import msgpack  # pyright: ignore[reportMissingImports]

    try:
        return msgpack.unpackb(message, object_hook=_restored, strict_map_key=False)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"it is no msgpack message with arrays ({error})") from None


def _described(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"a {type(value).__name__} cannot be sent")
    if value.dtype.kind not in _KINDS:
        raise ValueError(f"an array of {value.dtype} cannot be sent; allowed: numbers")
    entries = {b"dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return {_NUMBER: True, b"data": value.item(), **entries}
    return {_ARRAY: True, b"data": value.tobytes(), b"shape": value.shape, **entries}


def _restored(found: dict[Any, Any]) -> Any:
    if _ARRAY not in found and _NUMBER not in found:
        return found
    dtype = np.dtype(found[b"dtype"])
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype}; allowed: numbers")
    if _NUMBER in found:
        return dtype.type(found[b"data"])
    return np.frombuffer(found[b"data"], dtype).reshape(found[b"shape"])


def plain(value: Any) -> Any:
    """Return content of a message as JSON has it.

    Examples:
        >>> plain({"reset_pose": np.zeros(2), b"raw": (1, np.float32(2))})
        {'reset_pose': [0.0, 0.0], "b'raw'": [1, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
