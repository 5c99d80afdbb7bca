"""int8 through NNCF and OpenVINO, calibrated on the user's own frames and kept on the machine.

A calibrated model is kept for one function of tiles (weights, layers, tile size) and one set of
tiles to calibrate on, so encoders that differ in scales alone share it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot.runtimes.base import RuntimeFailedError, TokenModel
from s2robot.runtimes.calibrations import (
    Calibration,
    function_folder,
    identity_of,
    keep,
    kept,
    tiles_digest,
)
from s2robot.runtimes.cpu_base import ProcessorRuntime, require, require_cpu
from s2robot.runtimes.live_check import LiveCheck, Ranges
from s2robot.runtimes.names import INT8
from s2robot.runtimes.openvino import Request, compiled, converted
from s2robot.utils.process_state import one_at_a_time, without_output

CALIBRATION_TILES = 300
"""Most tiles that ranges are taken from."""
CHECKED_TILES = 32
"""Most tiles, held out, that a calibrated model is compared on."""
SMALLEST_COSINE = 0.9
"""A calibrated model whose mean token falls below is of no use and is not kept."""


class _Watched(TokenModel):
    """A model with the pooling "head", which also returns the tokens before the head.

    One token a tile is too little to see whether a tile is like those of the calibration.
    """

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        crops = (tiles.float() - self.get_buffer("mean")) / self.get_buffer("std")
        head, tokens = self.backbone.forward_head_and_tokens(crops)
        return head.unsqueeze(1).float(), tokens.float()


def calibrate(model: TokenModel, tiles: Tensor, identity: str | None = None) -> Calibration:
    """Quantise the model to int8 with ranges from tiles, and keep it on this machine.

    Args:
        model: whose weights and layers.
        tiles: ``(N, 3, h, w)`` in 0-255 as the encoder cuts them from typical frames. Every fifth
            is held out for the comparison.
        identity: of the calibration; None is the digest of the tiles. An encoder with tiles of
            several sizes has one identity for all.

    Returns:
        The record. Its ``identity`` names the calibration: ``openvino-int8:IDENTITY``.

    Raises:
        ValueError: fewer than ten tiles.
        RuntimeMissingError: OpenVINO or NNCF is not installed.
        RuntimeFailedError: the result is far from float32.
    """
    require_cpu(INT8, model)
    nncf, openvino = require("nncf", INT8), require("openvino", INT8)
    fitted, held_out = parted(tiles)
    shape = (tiles.shape[-2], tiles.shape[-1])
    quantized = _quantized(nncf, model, shape, fitted)
    request = Request(compiled(quantized))
    tokens, *watched = request.outputs(held_out)
    cosine = cosines(tokens, reference(model, held_out))
    mean, least = float(cosine.mean()), float(cosine.min())
    if not mean >= SMALLEST_COSINE:
        raise RuntimeFailedError(
            f"int8 tokens of {model.backbone.card.name} have a mean cosine of {mean:.3f} with "
            f"float32 ones on {len(held_out)} held-out tiles; at least {SMALLEST_COSINE} is "
            "wanted: calibrate on more frames like those of the task, or use runtime openvino"
        )
    ranges = Ranges.of(torch.cat([request.outputs(part)[-1] for part in fitted.split(16)]))
    digest = tiles_digest(fitted)
    record = Calibration(
        len(fitted),
        digest,
        len(held_out),
        mean,
        least,
        "",
        {"openvino": openvino.__version__.split("-")[0], "nncf": nncf.__version__},
        identity or identity_of([digest]),
        float(ranges.outside([tokens, *watched][-1]).max()),
    )

    def write(folder: Path) -> None:
        openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
        ranges.save(folder / "ranges.safetensors")

    return keep(write, record, function_folder(model, shape))


def _quantized(nncf: Any, model: TokenModel, shape: tuple[int, int], fitted: Tensor) -> Any:
    """Return the ``openvino.Model`` in int8 with ranges from tiles."""
    settings: dict[str, Any] = {}
    if _attends(model):
        # A patch embedding in int8 loses what tells small things apart: left in float32, the error
        # of cube localization at (1,2,3) grows by nothing instead of by half
        # (docs/results/int8.md).
        patches = nncf.IgnoredScope(types=["Convolution"], validate=False)
        settings = {"model_type": nncf.ModelType.TRANSFORMER, "ignored_scope": patches}
    with _quiet(nncf):
        return nncf.quantize(
            converted(_watched(model), shape),
            nncf.Dataset([tile.unsqueeze(0).float().numpy() for tile in fitted]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(fitted),
            **settings,
        )


def _watched(model: TokenModel) -> TokenModel:
    return _Watched(model.backbone, model.pooling) if model.pooling == "head" else model


def parted(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tiles that ranges are taken from, and those that are held out for a comparison.

    Raises:
        ValueError: fewer than ten tiles.
    """
    if len(tiles) < 10:
        raise ValueError(
            f"{len(tiles)} tiles are too few to calibrate int8 on; at least 10 are needed, some "
            "hundred from frames of the task are better"
        )
    held = torch.zeros(len(tiles), dtype=torch.bool)
    held[::5] = True
    return _some(tiles[~held], CALIBRATION_TILES), _some(tiles[held], CHECKED_TILES)


def _some(tiles: Tensor, most: int) -> Tensor:
    """Evenly spread ones."""
    chosen = np.linspace(0, len(tiles) - 1, min(most, len(tiles))).round().astype(int)
    return tiles[torch.from_numpy(chosen)]


def _attends(model: TokenModel) -> bool:
    names = (type(module).__name__.lower() for module in model.modules())
    return any("attention" in name for name in names)


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """NNCF reports every step on the log; keep its errors."""
    with one_at_a_time(), without_output():
        logger = logging.getLogger("nncf")
        levels = [(each, each.level) for each in (logger, *logger.handlers)]  # it changes them all
        nncf.set_log_level(logging.ERROR)
        try:
            yield
        finally:
            for each, level in levels:
                each.setLevel(level)


def reference(model: TokenModel, tiles: Tensor) -> Tensor:
    """float32 tokens of tiles."""
    with torch.no_grad():
        return torch.cat([model(part) for part in tiles.split(16)])


def cosines(found: Tensor, expected: Tensor) -> Tensor:
    """Cosine of every token with the expected one ``(N, P + g)``."""
    return torch.nn.functional.cosine_similarity(found.float(), expected.float(), dim=-1)


class Int8Runtime(ProcessorRuntime):
    """OpenVINO with int8 weights and activations, which is approximate.

    Args:
        model: to run.
        bf16: of the spec; without effect.
        calibration: identity of the calibration, or its beginning; None where this machine has one
            for the model.
    """

    name = INT8
    exact = False

    def __init__(self, model: TokenModel, bf16: bool, calibration: str | None = None) -> None:
        del bf16  # activations between int8 operations are float32 either way
        super().__init__(model)
        self.version = require("openvino", self.name).__version__.split("-")[0]
        self.calibration = calibration
        self.records: dict[tuple[int, int], Calibration] = {}
        self.refuses_unfit = False
        """Whether frames unlike the calibration's raise UnfitFramesError in place of a warning."""

    def make(self, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        folder, record = kept(self.model, shape, self.calibration)
        self.calibration = record.identity  # tiles of other sizes take the same
        self.records[shape] = record
        request = Request(compiled(folder / "model.xml"))
        if not record.ranges_sha256:
            return request
        check = self._check(folder, record)

        def run(tiles: Tensor) -> Tensor:
            outputs = request.outputs(tiles)
            check.refuses = self.refuses_unfit
            check(tiles, outputs[-1])
            return outputs[0]

        return run

    def share_out_of_range(self, batches: Sequence[Tensor]) -> float | None:
        """Return the share of tiles that are out of the calibrated ranges; not counted as live.

        Args:
            batches: tiles ``(N, 3, h, w)``, one batch for each tile size.

        Returns:
            The share; None where the calibration is of an earlier version, without ranges.
        """
        odd = seen = 0
        for batch in batches:
            folder, record = kept(self.model, batch.shape[-2:], self.calibration)
            if not record.ranges_sha256:
                return None
            outputs = Request(compiled(folder / "model.xml")).outputs(batch)
            found = self._check(folder, record).count(batch, outputs[-1])
            odd, seen = odd + found[0], seen + found[1]
        return odd / max(1, seen)

    def _check(self, folder: Path, record: Calibration) -> LiveCheck:
        ranges = Ranges.load(folder / "ranges.safetensors")
        return LiveCheck(ranges, record.outside, lambda *found: self._warning(record, *found))

    def _warning(self, record: Calibration, share: float, count: int) -> str:
        return (
            f"{share:.0%} of {count} tiles are out of the ranges that int8 of "
            f"{self.model.backbone.card.name} was calibrated on (calibration {record.identity}, "
            f"{record.tiles} tiles), so its embeddings may be far less exact: "
            "calibrate on frames of this camera with encoder.calibrate(frames) or `s2robot bench "
            f"--calibrate FRAMES`, then name that calibration, runtime {INT8}:IDENTITY; or use "
            "runtime openvino. This warning is shown once for each encoder"
        )

    def describe(self) -> dict[str, Any]:
        """With the calibration, and the digests of the models that were used, by tile size."""
        models = {f"{h}x{w}": record.model_sha256 for (h, w), record in self.records.items()}
        described = {"name": self.name, "openvino": self.version, "models": models}
        named = {record.identity for record in self.records.values() if record.ranges_sha256}
        return {**described, "calibration": named.pop()} if named else described
