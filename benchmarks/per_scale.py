"""How fast is one frame, against the published algorithm written down plainly?

The baseline is Algorithm 1 of the S² paper as its package has it: each scale is interpolated, cut,
run through the model and merged on its own, in eager PyTorch. ``--package FOLDER`` also runs that
package (github.com/bfshi/scaling_on_scales; it needs einops) on the same weights. Ours run with
each runtime; all in turn on the same frames, and each embedding is compared with the baseline's.

"products" is a model of the backbone's matrix products alone (projections and both products of
attention, of the same shapes, nothing between them) in the same runtime: its time over that of the
whole backbone is the share of the rate that the products alone reach.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/per_scale.py
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2robot import FrameEncoder
from s2robot.analysis.latency import WARM_UP_FRAMES, measure
from s2robot.data.frame_sources import frames_from
from s2robot.multiscale import group_tiles
from s2robot.preprocessing.image_pyramid import image_of
from s2robot.runtimes.openvino import Request, compiled
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "per_scale.json"
RUNTIMES = ("eager", "onnxruntime", "openvino", "openvino-int8")
CALIBRATION_FRAMES = 200
MULTISCALE = Callable[[Callable[[Tensor], Tensor], Tensor, list[float], int], Tensor]


def per_scale(
    model: Callable[[Tensor], Tensor], images: Tensor, scales: list[float], prefix: int
) -> Tensor:
    """The published algorithm: images ``(B, 3, S, S)`` to tokens ``(B, n, C · scales)``."""
    batch, _, base, _ = images.shape
    grids = []
    for scale in scales:
        size = int(base * scale)
        splits = -(-size // base)
        side = size // splits
        image = F.interpolate(images, size=size, mode="bicubic")
        crops = [
            image[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
            for row in range(splits)
            for column in range(splits)
        ]
        tokens = model(torch.cat(crops))[:, prefix:]
        n = int(tokens.shape[1] ** 0.5)
        maps = tokens.transpose(1, 2).reshape(splits, splits, batch, -1, n, n)
        maps = maps.permute(2, 3, 0, 4, 1, 5).reshape(batch, -1, splits * n, splits * n)
        grids.append(maps)
    target = grids[0].shape[-2:]
    joined = torch.cat([F.interpolate(grid, size=target, mode="area") for grid in grids], dim=1)
    return joined.flatten(2).transpose(1, 2)


def packaged(folder: Path) -> MULTISCALE:
    """The published package's own function."""
    sys.path.insert(0, str(folder))
    forward = importlib.import_module("s2wrapper").forward
    return lambda model, images, scales, prefix: forward(
        model, images, scales=scales, num_prefix_token=prefix
    )[:, prefix:]


class Baseline:
    """A frame to the embedding by someone else's multi-scale function, in eager PyTorch."""

    def __init__(self, encoder: FrameEncoder, function: MULTISCALE) -> None:
        self.encoder, self.function = encoder, function
        model = encoder.token_model
        self.mean, self.std = model.get_buffer("mean"), model.get_buffer("std")

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> Tensor:
        encoder, card = self.encoder, self.encoder.backbone.card
        pixels = card.preprocessing
        side = pixels.image_size
        frames = torch.from_numpy(frame)[None].permute(0, 3, 1, 2)
        image = image_of(frames, pixels, (side, side), encoder.spec.geometry)
        image = (image.float() - self.mean) / self.std
        scales, prefix = list(encoder.spec.scales), card.num_prefix_tokens
        return self.function(encoder.backbone, image, scales, prefix).flatten(1)


class Products(nn.Module):
    """The matrix products of a plain vision transformer on tokens ``(N, T, C)``, and no more.

    Every block gets the same tokens, so that no number grows; the sums that join the blocks are
    all that is not a product.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.blocks = model.blocks
        self.heads = model.blocks[0].attn.num_heads

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        total = torch.zeros_like(tokens)
        for block in self.blocks:
            qkv = block.attn.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = (query @ key.transpose(-2, -1)) @ value
            mixed = block.attn.proj(mixed.transpose(1, 2).reshape(batch, count, width))
            total = total + block.mlp.fc2(block.mlp.fc1(mixed))
        return total


def products_share(encoder: FrameEncoder, frame: np.ndarray, repeats: int) -> dict[str, Any]:
    """Milliseconds of the products and of the whole backbone on one frame's tiles, by runtime."""
    parts = list(encoder.layout.scales.values())
    (tiles,) = group_tiles(encoder.tiles(torch.from_numpy(frame)[None], parts))
    tokens = torch.randn(len(tiles), *encoder.tokens(tiles[:1]).shape[1:]) * 0.1
    products = Products(encoder.backbone.model).eval()
    import openvino

    with torch.no_grad():
        model = openvino.convert_model(
            products, example_input=tokens, input=[([-1, *tokens.shape[1:]], openvino.Type.f32)]
        )
    request = Request(compiled(model))
    whole = encoder.with_runtime("openvino")
    runs: dict[str, Callable[[], Tensor]] = {
        "eager products": lambda: products(tokens),
        "eager": lambda: encoder.tokens(tiles),
        "openvino products": lambda: request(tokens),
        "openvino": lambda: whole.tokens(tiles),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for i in range(repeats + 3):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                if i >= 3:
                    times[name].append(1000 * (time.perf_counter() - started))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    coverage = {n: medians[f"{n} products"] / medians[n] for n in ("eager", "openvino")}
    return {"milliseconds": medians, "share": coverage, "tiles": len(tiles)}


def case(name: str, scales: tuple[int, ...], options: argparse.Namespace) -> dict[str, Any]:
    """All paths of one encoder and scale set."""
    encoder = FrameEncoder.from_name(
        name, scales, "spatial_softmax", input_mode="interpolate", device="cpu", runtime="eager"
    )
    size = options.size
    frames = frames_from("pick-cube", size, size, CALIBRATION_FRAMES + options.count)
    frames, timed = frames[:CALIBRATION_FRAMES], frames[-options.count - WARM_UP_FRAMES :]
    calibration = encoder.calibrate(frames)
    paths: dict[str, Any] = {"per scale (baseline)": Baseline(encoder, per_scale)}
    if options.package:
        paths["published package"] = Baseline(encoder, packaged(options.package))
    for runtime in RUNTIMES:
        paths[runtime] = encoder.with_runtime(runtime).single_frame(size, size)
    rows = measure(paths, timed, show=True)
    return {
        "encoder": name,
        "scales": list(scales),
        "tiles": encoder.tiles_per_frame,
        "gflops": encoder.gflops_per_frame,
        "calibration": {k: vars(v) for k, v in calibration.items()},
        "rows": [vars(row) for row in rows],
        "products": products_share(encoder, timed[0], options.repeats),
    }


def show(found: dict[str, Any]) -> None:
    """Print a ratio table."""
    scales = ",".join(str(scale) for scale in found["scales"])
    print(f"\n{found['encoder']} ({scales}), {found['tiles']} tiles, {found['gflops']:.1f} GFLOPs")
    print(f"{'':22}{'p50 ms':>8}{'p95 ms':>8}{'ratio':>8}{'diff/std':>10}{'cosine':>9}")
    for row in found["rows"]:
        print(
            f"{row['path']:22}{row['p50_ms']:8.1f}{row['p95_ms']:8.1f}{row['speedup']:8.2f}"
            f"{row['difference']:10.1e}{row['cosine_min']:9.5f}"
        )
    for runtime, share in found["products"]["share"].items():
        times = found["products"]["milliseconds"]
        print(
            f"{runtime}: products alone {times[f'{runtime} products']:.1f} ms, whole backbone "
            f"{times[runtime]:.1f} ms: {100 * share:.0f} % of their rate"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=60, help="frames that are timed")
    parser.add_argument("--repeats", type=int, default=30, help="of the products")
    parser.add_argument("--size", type=int, default=384, help="side of a native frame [px]")
    parser.add_argument("--encoders", nargs="+", default=["s2r-vitt16-128", "random/vits16-224"])
    parser.add_argument("--package", type=Path, help="folder that holds s2wrapper/")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cases = []
    for name in options.encoders:
        for scales in ((1, 2), (1, 2, 3)):
            cases.append(case(name, scales, options))
            show(cases[-1])
    settings = {"frame": options.size, "frames": options.count, "seed": 0}
    record = {**settings, "threads": torch.get_num_threads(), "cases": cases}
    write_json(options.out, {**record, "provenance": provenance()})


if __name__ == "__main__":
    main()
