"""int8 through NNCF and OpenVINO, calibrated on the user's own frames and kept on the machine.

A calibrated model is kept for one function of tiles (weights, layers, tile size), so encoders that
differ in scales or readout alone share it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot.errors import CorruptFileError
from s2robot.runtimes.base import RuntimeFailedError, RuntimeMissingError, TokenModel
from s2robot.runtimes.cpu_base import ProcessorRuntime, require, require_cpu
from s2robot.runtimes.openvino import Request, compiled, converted
from s2robot.utils.io import digest_of, locked, read_json, sha256_bytes, sha256_file, write_json
from s2robot.utils.paths import home

CALIBRATION_TILES = 300
"""Most tiles that ranges are taken from."""
CHECKED_TILES = 32
"""Most tiles, held out, that a calibrated model is compared on."""
SMALLEST_COSINE = 0.9
"""A calibrated model whose mean token falls below is of no use and is not kept."""


@dataclass(frozen=True)
class Calibration:
    """Record of a calibration: its data, and the agreement with float32."""

    tiles: int
    """Number of tiles that ranges were taken from."""
    tiles_digest: str
    held_out: int
    """Number of tiles that it was compared on."""
    cosine_mean: float
    """Of the tokens of the held-out tiles."""
    cosine_min: float
    model_sha256: str
    versions: dict[str, str]


def calibrate(model: TokenModel, tiles: Tensor) -> Calibration:
    """Quantise the model to int8 with ranges from tiles, and keep it on this machine.

    Args:
        model: whose weights and layers.
        tiles: ``(N, 3, h, w)`` in 0-255 as the encoder cuts them from typical frames. Every fifth
            is held out for the comparison.

    Raises:
        ValueError: fewer than ten tiles.
        RuntimeMissingError: OpenVINO or NNCF is not installed.
        RuntimeFailedError: the result is far from float32.
    """
    require_cpu("openvino-int8", model)
    nncf, openvino = require("nncf", "openvino-int8"), require("openvino", "openvino-int8")
    fitted, held_out = _parted(tiles)
    height, width = tiles.shape[-2:]
    settings: dict[str, Any] = {}
    if _attends(model):
        # A patch embedding in int8 loses what tells small things apart: left in float32, the error
        # of cube localization at (1,2,3) grows by nothing instead of by half
        # (docs/results/int8.md).
        patches = nncf.IgnoredScope(types=["Convolution"], validate=False)
        settings = {"model_type": nncf.ModelType.TRANSFORMER, "ignored_scope": patches}
    with _quiet(nncf):
        quantized = nncf.quantize(
            converted(model, (height, width)),
            nncf.Dataset([tile.unsqueeze(0).float().numpy() for tile in fitted]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(fitted),
            **settings,
        )
    cosine = cosines(Request(compiled(quantized))(held_out), reference(model, held_out))
    mean, least = float(cosine.mean()), float(cosine.min())
    if not mean >= SMALLEST_COSINE:
        raise RuntimeFailedError(
            f"int8 tokens of {model.backbone.card.name} have a mean cosine of {mean:.3f} with "
            f"float32 ones on {len(held_out)} held-out tiles; at least {SMALLEST_COSINE} is "
            "wanted: calibrate on more frames like those of the task, or use runtime=openvino"
        )
    record = Calibration(
        len(fitted),
        sha256_bytes(fitted.to(torch.uint8).numpy().tobytes()),
        len(held_out),
        mean,
        least,
        "",
        {"openvino": openvino.__version__.split("-")[0], "nncf": nncf.__version__},
    )
    return _keep(quantized, record, folder_of(model, (height, width)))


def _parted(tiles: Tensor) -> tuple[Tensor, Tensor]:
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
    logger = logging.getLogger("nncf")
    level = logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)


def reference(model: TokenModel, tiles: Tensor) -> Tensor:
    """float32 tokens of tiles."""
    with torch.no_grad():
        return torch.cat([model(part) for part in tiles.split(16)])


def cosines(found: Tensor, expected: Tensor) -> Tensor:
    """Cosine of every token with the expected one ``(N, P + g)``."""
    return torch.nn.functional.cosine_similarity(found.float(), expected.float(), dim=-1)


def folder_of(model: TokenModel, shape: Sequence[int]) -> Path:
    """Return the place of the calibrated model of a function and tile size."""
    key = {
        "weights": model.backbone.weights_digest,
        "stage": model.pooling,
        "taps": [list(model.layers), model.layers_merge] if model.layers else [],
        "tile": list(shape),
    }
    return home() / "int8" / digest_of(key)[:24]


def _keep(quantized: Any, record: Calibration, folder: Path) -> Calibration:
    """Write model and record; a reader sees the old pair or the new one, whole."""
    openvino = require("openvino", "openvino-int8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        locked(folder),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made,
    ):
        new = Path(made) / "new"
        new.mkdir()
        openvino.save_model(quantized, new / "model.xml", compress_to_fp16=False)
        record = dataclasses.replace(record, model_sha256=_digest(new))
        write_json(new / "calibration.json", dataclasses.asdict(record))
        if folder.exists():
            shutil.move(str(folder), Path(made) / "old")
        new.replace(folder)
    return record


def _digest(folder: Path) -> str:
    return sha256_bytes(
        (sha256_file(folder / "model.xml") + sha256_file(folder / "model.bin")).encode()
    )


def kept(model: TokenModel, shape: Sequence[int]) -> tuple[Path, Calibration]:
    """Return the stored calibrated model of a function and tile size, its digest verified.

    Raises:
        RuntimeMissingError: it was never calibrated on this machine.
        CorruptFileError: its files were changed or cut short.
    """
    folder = folder_of(model, shape)
    with locked(folder):
        if not (folder / "calibration.json").exists():
            raise RuntimeMissingError(
                f"int8 of {model.backbone.card.name} on tiles of {shape[0]} x {shape[1]} px was "
                "never calibrated on this machine: call encoder.calibrate(frames) with some "
                "hundred frames of the task, or give `s2robot bench` --calibrate FRAMES"
            )
        record = Calibration(**read_json(folder / "calibration.json"))
        if record.model_sha256 != _digest(folder):
            raise CorruptFileError(
                f"{folder} does not hold the model that was calibrated; delete it and calibrate "
                "again"
            )
    return folder / "model.xml", record


class Int8Runtime(ProcessorRuntime):
    """OpenVINO with int8 weights and activations: several times faster, and approximate."""

    name = "openvino-int8"
    exact = False

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        del bf16  # activations between int8 operations are float32 either way
        super().__init__(model)
        self.version = require("openvino", self.name).__version__.split("-")[0]
        self.records: dict[tuple[int, int], Calibration] = {}

    def make(self, shape: tuple[int, int]) -> Request:
        path, self.records[shape] = kept(self.model, shape)
        return Request(compiled(path))

    def describe(self) -> dict[str, Any]:
        """With the digests of the models that were used so far, by tile size."""
        models = {f"{h}x{w}": record.model_sha256 for (h, w), record in self.records.items()}
        return {"name": self.name, "openvino": self.version, "models": models}
