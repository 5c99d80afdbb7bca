"""A policy server by openpi's protocol, written from the protocol and not from our client."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack  # pyright: ignore[reportMissingImports]
import numpy as np
from websockets.sync.server import serve


def encode(content: Any) -> bytes:
    """Pack as the protocol says: an array is a dictionary with byte keys."""

    def default(array: np.ndarray) -> dict[bytes, Any]:
        described = {b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}
        return {b"__ndarray__": True, **described}

    return msgpack.packb(content, default=default)  # pyright: ignore[reportReturnType]


def decode(message: bytes) -> Any:
    """Unpack as the protocol says."""

    def hook(found: dict[Any, Any]) -> Any:
        if b"__ndarray__" not in found:
            return found
        return np.ndarray(found[b"shape"], np.dtype(found[b"dtype"]), found[b"data"])

    return msgpack.unpackb(message, object_hook=hook)


@contextlib.contextmanager
def served(
    answer: Callable[[dict[str, Any]], Any], metadata: Any = None, first: Any = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve a policy; yield the address and the list of the observations that arrive.

    Args:
        answer: observation to the message: a dictionary, a text, bytes, or None to close.
        metadata: first message.
        first: first message, as it is.
    """
    seen: list[dict[str, Any]] = []

    def handle(connection: Any) -> None:
        connection.send(encode(metadata or {}) if first is None else first)
        for message in connection:
            seen.append(decode(message))
            found = answer(seen[-1])
            if found is None:
                connection.close(1001, "the policy was stopped")
                return
            connection.send(encode(found) if isinstance(found, dict) else found)

    with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", seen
        server.shutdown()
        thread.join(timeout=10)
