"""``s2robot encoders verify``: comparison of our output with the published model's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.text import Text
from torch import Tensor

from s2robot.analysis.parity.original_packages import (
    PACKAGES,
    NoOriginalPackageError,
    original_model,
)
from s2robot.analysis.parity.reference_models import published_names, published_output
from s2robot.backbones.card import BackboneCard
from s2robot.backbones.checkpoints import read_weights_file
from s2robot.backbones.download.cache import fetch
from s2robot.backbones.registry import get_card
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import hash_file, sha256_file
from s2robot.utils.paths import home
from s2robot.utils.provenance import versions

TOLERANCE = 1e-4
"""Largest difference that counts as equal, in standard deviations of the output."""
SIZES = ((224, 224), (480, 640), (300, 200))
"""Frames that are compared, (height, width)."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    what: str
    passed: bool | None
    """None: could not be looked at."""
    seen: str


def verify(name: str, weights: Path | None = None, as_json: bool = False) -> int:
    """Check a published encoder on this machine and print the results.

    The file is compared with the published digest and loaded strictly. Its output on frames of
    several sizes is compared with an independent computation and, where it is installed, with the
    original package.

    Args:
        name: of the encoder.
        weights: the published file; without it, the file is downloaded.
        as_json: print JSON instead of lines.

    Returns:
        The exit status: 1 if a check failed, 3 if no output could be compared, else 0.

    Raises:
        ValueError: the encoder is not a published one.
        DownloadError: its file could not be downloaded.
        MismatchError: the file does not fit the encoder.
    """
    card = get_card(name, weights)
    if not card.sources:
        raise ValueError(
            f"{name} has no published file to compare with; `s2robot encoders` lists those that do"
        )
    path = weights or fetch(card)
    checks = verify_file(card, path, weights)
    if weights is None and path.is_relative_to(home() / "downloads"):
        path.unlink(missing_ok=True)
    if as_json:
        record = {"name": name, "checks": [asdict(c) for c in checks], "versions": versions()}
        print(json.dumps(record, indent=2))
    else:
        _print(name, path, checks)
    if any(check.passed is False for check in checks):
        return 1
    return 0 if any(c.passed and c.what.startswith("output") for c in checks) else 3


def verify_file(card: BackboneCard, path: Path, weights: Path | None) -> list[Check]:
    """Return all checks of a card with its published file.

    Args:
        card: of the encoder.
        path: the published file.
        weights: the same, where the user has it; a download is converted for good instead.
    """
    checks = [_digest(card, path)]
    expectations = _expectations(card, path)  # before a download is converted, and deleted
    encoder = FrameEncoder.from_name(
        card.name, weights=weights, device="cpu", dtype="float32", runtime="eager"
    )
    tensors = len(encoder.backbone.model.state_dict())
    seen = f"{tensors} tensors, {encoder.parameters_count:,} weights, none missing or left over"
    checks.append(Check("strict load", True, seen))
    for what, expected in expectations:
        checks.append(_compare(what, encoder, expected))
    return checks


def _digest(card: BackboneCard, path: Path) -> Check:
    sha256 = sha256_file(path)
    known = [source.digest for source in card.sources if source.digest and not source.member]
    if not known:
        return Check("digest", None, f"its authors give none; SHA-256 {sha256}")
    kinds = {digest.split(":")[0] for digest in known}
    seen_digests = [f"{kind}:{hash_file(path, kind)}" for kind in kinds]
    matches = [d for d in known if any(seen.startswith(d) for seen in seen_digests)]
    seen = f"{matches[0]} as published" if matches else f"not {' or '.join(known)}: {sha256}"
    return Check("digest", bool(matches), seen)


Expected = Callable[[np.ndarray], Tensor]


def _expectations(card: BackboneCard, path: Path) -> list[tuple[str, Expected | str]]:
    """Return expected outputs by name; a string is the reason why there is none."""
    found: list[tuple[str, Expected | str]] = []
    if card.name in published_names():
        content = read_weights_file(path)
        found.append(
            ("output, computed anew", lambda frames: published_output(card.name, content, frames))
        )
    try:
        found.append((f"output, {PACKAGES.get(card.name, 'library')}", original_model(card, path)))
    except NoOriginalPackageError as error:
        found.append((f"output, {PACKAGES.get(card.name, 'original package')}", str(error)))
    return found


def _compare(what: str, encoder: FrameEncoder, expected: Expected | str) -> Check:
    if isinstance(expected, str):
        return Check(what, None, expected)
    differences = {}
    for height, width in SIZES:
        frames = seeded_frames(height, width)
        with torch.inference_mode():
            reference = expected(frames).flatten(1)
        found = encoder(frames)
        if found.shape != reference.shape:
            shapes = f"{tuple(found.shape)} instead of {tuple(reference.shape)}"
            return Check(what, False, shapes)
        differences[f"{height}x{width}"] = float((found - reference).abs().max() / reference.std())
    seen = ", ".join(f"{size} {value:.1e}" for size, value in differences.items())
    passed = max(differences.values()) <= TOLERANCE
    return Check(what, passed, f"largest difference / standard deviation: {seen}")


def seeded_frames(height: int, width: int) -> np.ndarray:
    """Return two seeded frames ``(2, H, W, 3)`` uint8: coarse shapes with fine noise on top.

    Args:
        height: of the frames [px].
        width: of the frames [px].
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 8, 3))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    frames = coarse[:, rows][:, :, columns] + rng.integers(-60, 60, (2, height, width, 3))
    return frames.clip(0, 255).astype(np.uint8)


def _print(name: str, path: Path, checks: list[Check]) -> None:
    OUTPUT.print(Text(name, "bold"), f"from {path}")
    marks: dict[Any, str | Text] = {
        True: Text("ok  ", "green"),
        False: Text("FAIL", "red"),
        None: "-   ",
    }
    for check in checks:
        OUTPUT.print(marks[check.passed], f"{check.what}: {check.seen}")
