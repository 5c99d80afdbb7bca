"""Videos and pictures of episodes, as parts of the page itself."""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from s2robot.envs.tasks.names import has_module
from s2robot.reporting.page.task_words import stages_of
from s2robot.reporting.run_files import STRIPS_PER_RUN
from s2robot.reporting.run_results import RunResult, VariantResults

STRIP_WIDTH_PX = 800
MOST_VIDEO_BYTES = 3_000_000
"""Length of all videos of a page; it should still fit into a mail."""
_MP4 = b"ftyp"
"""Bytes 4 to 8 of an MP4 file."""


def strips(variant: VariantResults, key: str) -> list[dict[str, str]]:
    """Return a variant's image strips of failed episodes; the first of every seed comes first.

    Args:
        variant: whose runs have strips.
        key: names the variant on the page.
    """
    listed = [
        (rank, run.seed, run, path) for run in variant.runs for rank, path in enumerate(run.strips)
    ]
    listed.sort(key=lambda entry: entry[:2])
    return [
        {"id": key, "uri": _jpeg_uri(path), "caption": _caption(variant, run, path)}
        for _, _, run, path in listed[:STRIPS_PER_RUN]
    ]


def _caption(variant: VariantResults, run: RunResult, path: Path) -> str:
    number = _number(path)
    stage = next((row["stage"] for row in run.rows if str(row["index"]) == number), "unknown")
    ended = stages_of(str(run.info["level"])).get(stage, stage)
    return f"{variant.label}, seed {run.seed}, initial state {number}: {ended}"


def _number(path: Path) -> str:
    """Return the number of the episode from the name of its file."""
    return path.stem.split("_")[-1].lstrip("0") or "0"


def _jpeg_uri(path: Path) -> str:
    """Return a strip as a data URI, in two rows so that it is readable on a phone."""
    with Image.open(path) as image:
        strip = image.convert("RGB")
    half = strip.width // 2
    folded = Image.new("RGB", (half, 2 * strip.height))
    folded.paste(strip, (0, 0))
    folded.paste(strip.crop((half, 0, 2 * half, strip.height)), (0, strip.height))
    folded.thumbnail((STRIP_WIDTH_PX, STRIP_WIDTH_PX))
    buffer = io.BytesIO()
    folded.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def videos(named: Sequence[tuple[str, VariantResults]]) -> list[dict[str, Any]]:
    """Return the videos of some variants: of each, the first failure, then the first success.

    Args:
        named: variants with their names on the page.

    Returns:
        Videos in the order of the variants, as many as ``MOST_VIDEO_BYTES`` allow.
    """
    left, found = MOST_VIDEO_BYTES, []
    for kind in ("failure", "success"):
        for place, (key, variant) in enumerate(named):
            content = next(_contents(variant, kind), None)
            if content is None or len(content[2]) > left:
                continue
            run, path, video = content
            left -= len(video)
            entry = {
                "id": key,
                "group": int(key.split("-")[0]),
                "kind": kind,
                "uri": "data:video/mp4;base64," + base64.b64encode(video).decode(),
                "caption": _caption(variant, run, path),
                "command": replay_command(run, _number(path)),
            }
            found.append(((place, kind), entry))
    return [entry for _, entry in sorted(found, key=lambda each: each[0])]


def _contents(variant: VariantResults, kind: str) -> Iterator[tuple[RunResult, Path, bytes]]:
    """Yield a variant's videos of one kind, by training seed; those that are none are left out."""
    for run in variant.runs:
        for path in run.videos:
            if path.name.startswith(kind) and path.is_file():
                content = path.read_bytes()
                if content[4:8] == _MP4:
                    yield run, path, content


def replay_command(run: RunResult, episode: int | str | None = None) -> str:
    """Return the command that shows an episode again.

    A task with a module in its name is named in the command, as no file may decide on an import.

    Args:
        run: of the episode.
        episode: index of its row; None leaves it to be added.
    """
    task = str(run.info["level"])
    named = ["--task", task] if has_module(task) else []
    words = ["s2robot", "replay", *named, run.path.as_posix()]
    return shlex.join(words if episode is None else [*words, str(episode)])
