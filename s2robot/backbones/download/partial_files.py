"""Beginnings of files from the web, which an interrupted transfer leaves and a later one continues.

A file arrives as ``<name>.part``; ``<name>.part.json`` beside it records the address and the
version that it is the beginning of.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from s2robot.backbones.weight_sources import Source
from s2robot.errors import CorruptFileError
from s2robot.utils.io import write_json
from s2robot.utils.records import read_record


class TransientError(Exception):
    """Problem that another try may solve."""


@dataclass(frozen=True)
class _Note:
    """Address of a file that was begun, and the version there."""

    url: str
    validator: str


class Part:
    """Beginning of a file on disk, with the version that it belongs to."""

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
        """Return headers that ask for the rest; none if the beginning may be of another file.

        Without a validator from the server only a digest can show that two pieces fit.
        """
        kept = self._validator()
        if not self.size or kept is None or not (kept or self._source.digest):
            return {}
        return {"Range": f"bytes={self.size}-", **({"If-Range": kept} if kept else {})}

    def accept(self, response: http.client.HTTPResponse) -> int | None:
        """Prepare for the body of ``response``.

        Returns:
            The complete file's size in bytes, None if the server does not give it.

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
        """Return the server's name of the version begun, empty without one; None if unknown."""
        try:
            note = read_record(_Note, self._note, "the file is downloaded from its beginning")
        except (FileNotFoundError, CorruptFileError):
            return None
        return note.validator if note.url == self._source.url else None


def _validator(headers: Message) -> str:
    tag = headers.get("ETag", "")
    weak = not tag or tag.startswith("W/")  # must not be used with Range
    return headers.get("Last-Modified", "") if weak else tag


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """Return the first byte and the complete size in bytes that ``Content-Range`` gives."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", ""))
    if not match:
        return None, None
    start, total = (None if number is None else int(number) for number in match.groups())
    return start, total
