"""The beginnings of files from the web: what a broken-off transfer leaves, to be gone on with.

A file arrives as ``<name>.part``; ``<name>.part.json`` beside it tells which version of which
address it is the beginning of.
"""

from __future__ import annotations

import http.client
import re
from email.message import Message
from pathlib import Path

from s2robot.backbones.weight_sources import Source
from s2robot.errors import CorruptFileError
from s2robot.utils.io import read_json, write_json


class TransientError(Exception):
    """What another try may mend."""


class Part:
    """The beginning of a file on disk, and which version of it that is."""

    def __init__(self, target: Path, source: Source) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._source = source

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size if self.path.exists() else 0

    def delete(self) -> None:
        """Remove it from disk."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def range_headers(self) -> dict[str, str]:
        """Headers that ask for the rest; none if the beginning is not known to be of this file.

        Without a validator from the server only a digest can tell that two pieces fit.
        """
        kept = self._validator()
        if not self.size or kept is None or not (kept or self._source.digest):
            return {}
        return {"Range": f"bytes={self.size}-", **({"If-Range": kept} if kept else {})}

    def accept(self, response: http.client.HTTPResponse) -> int | None:
        """Make ready for the body of ``response``.

        Returns:
            The whole file's size in bytes, None if the server does not tell it.

        Raises:
            TransientError: the server has another file than the one begun; it is deleted.
        """
        seen = _validator(response.headers)
        if response.status not in (206, 416):
            self.path.write_bytes(b"")  # before the note: old bytes must not get a new validator
            write_json(self._note, {"url": self._source.url, "validator": seen})
            return int(response.headers.get("Content-Length") or 0) or None
        start, total = _content_range(response.headers)
        fits = self.size == (start if response.status == 206 else total)
        if not fits or (seen and seen != self._validator()):
            self.delete()
            raise TransientError("the file on the server is not the one that was begun here")
        return total

    def _validator(self) -> str | None:
        """What names the version begun, empty if the server gave no name; None if unknown."""
        try:
            note = read_json(self._note)
        except (FileNotFoundError, CorruptFileError):
            return None
        return note.get("validator") if note.get("url") == self._source.url else None


def _validator(headers: Message) -> str:
    tag = headers.get("ETag", "")
    weak = not tag or tag.startswith("W/")  # must not be used with Range
    return headers.get("Last-Modified", "") if weak else tag


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """First byte and whole size in bytes that ``Content-Range`` tells."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", ""))
    if not match:
        return None, None
    start, total = (None if number is None else int(number) for number in match.groups())
    return start, total
