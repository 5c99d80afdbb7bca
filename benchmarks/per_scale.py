"""How fast is one frame, against the published algorithm written down plainly?

The baseline is Algorithm 1 of the S² paper as its package has it: each scale is interpolated, cut,
run through the model and merged on its own, in eager PyTorch. ``--package FOLDER`` also runs that
package (github.com/bfshi/scaling_on_scales; it needs einops) on the same weights. Ours run with
each runtime; all in turn on the same frames, and each embedding is compared with the baseline's.
Weights do not matter for time: models that are not shipped have random ones. bfloat16 is timed
where the processor has instructions for it; elsewhere "left_out" says so.

"of_matrix_rate" is the share of the machine's float32 rate of large matrix products (GFLOP/s of
PyTorch on 2048 x 2048, in the same run) that a row reaches with all that it does: what is left to
gain without fewer or narrower operations. "products" is a model of the backbone's matrix products
alone (projections and both products of attention, of the same shapes, nothing between them) in the
same runtime: its time over that of the whole backbone is the share of the rate that the products
alone reach.

A case that OUT holds is not run again, so the script can be stopped and started.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/per_scale.py
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2robot import FrameEncoder
from s2robot.data.frame_sources import frames_from
from s2robot.multiscale.tiles import group_tiles
from s2robot.preprocessing.image_pyramid import image_of
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError, difference
from s2robot.runtimes.openvino import Request, compiled
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import cpu_flags, provenance

RESULTS = Path(__file__).parent / "results" / "per_scale.json"
RUNTIMES = ("eager", "onnxruntime", "openvino", "auto")
ENCODERS = ("s2r-vitt16-128", "random/vits16-224", "dinov2-vits14", "timm/tf_efficientnet_lite0")
MODULES = {
    "dinov2-vits14": ("vit_small_patch14_dinov2", {"img_size": 224}),
    "timm/tf_efficientnet_lite0": ("tf_efficientnet_lite0", {}),
}
"""Encoders that are made of a model of timm with random weights: its name there, its options."""
SCALES = ((1, 2), (1, 2, 3))
BF16 = {"avx512_bf16", "amx_bf16"}
"""Names of the instruction sets that multiply bfloat16, any of which will do."""
CALIBRATION_FRAMES = 20
BLOCK_FRAMES = 4
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
        image = image_of(frames, pixels, (side, side), encoder.layout.spec.geometry)
        image = (image.float().contiguous() - self.mean) / self.std
        scales, prefix = list(encoder.layout.spec.scales), card.num_prefix_tokens
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


def encoder_of(name: str, scales: tuple[int, ...], dtype: str = "float32") -> FrameEncoder:
    """An encoder on the processor, with random weights unless it ships."""
    common: dict[str, Any] = {"input_mode": "interpolate", "device": "cpu", "dtype": dtype}
    common["runtime"] = "eager"
    if name not in MODULES:
        return FrameEncoder.from_name(name, scales, "spatial_softmax", **common)
    model, options = MODULES[name]
    torch.manual_seed(0)
    module = timm.create_model(model, pretrained=False, **options)
    card = None if name.startswith("timm/") else name
    return FrameEncoder.from_module(module, card, scales, "spatial_softmax", **common)


def case(name: str, scales: tuple[int, ...], options: argparse.Namespace) -> dict[str, Any]:
    """All paths of one encoder and scale set."""
    encoder = encoder_of(name, scales)
    size = options.size
    frames = frames_from("pick-cube", size, size, CALIBRATION_FRAMES + options.count)
    calibration, timed = frames[:CALIBRATION_FRAMES], frames[CALIBRATION_FRAMES:]
    paths, left_out = paths_of(name, encoder, calibration, options)
    rate = matrix_rate()
    transformer = hasattr(encoder.backbone.model, "blocks") and "vit" in name
    products = products_share(encoder, timed[0], options.repeats) if transformer else None
    gflops = encoder.gflops_per_frame
    return {
        "encoder": name,
        "scales": list(scales),
        "tiles": encoder.tiles_per_frame,
        "gflops": gflops,
        "matrix_gflops_per_s": rate,
        "rows": in_turn(paths, timed, gflops / rate),
        "left_out": left_out,
        "products": products,
        "provenance": provenance(),
    }


def paths_of(
    model: str, encoder: FrameEncoder, calibration: np.ndarray, options: argparse.Namespace
) -> tuple[dict[str, Callable[[np.ndarray], Tensor]], dict[str, str]]:
    """Everything that is timed, by name, the baseline first; and why the others are not."""
    paths: dict[str, Any] = {"per scale (baseline)": Baseline(encoder, per_scale)}
    if options.package:
        paths["published package"] = Baseline(encoder, packaged(options.package))
    side, left_out = options.size, {}
    makers: dict[str, Callable[[], FrameEncoder]] = {
        runtime: functools.partial(encoder.with_runtime, runtime) for runtime in RUNTIMES
    }
    if BF16 & cpu_flags():
        scales = tuple(int(scale) for scale in encoder.spec.scales)
        lower = encoder_of(model, scales, "bfloat16")
        for runtime in ("eager", "openvino"):
            makers[f"{runtime}, bf16"] = functools.partial(lower.with_runtime, runtime)
    else:
        left_out["bf16"] = f"the processor has none of {', '.join(sorted(BF16))}"

    def calibrated() -> FrameEncoder:
        encoder.calibrate(calibration)
        return encoder.with_runtime("openvino-int8")

    for name, make in {**makers, "openvino-int8": calibrated}.items():
        try:
            own = make()
        except (RuntimeFailedError, RuntimeMissingError) as error:
            left_out[name] = str(error)
            continue
        label = f"auto: {own.runtime.name}" if name == "auto" else name
        paths[label] = own.single_frame(side, side)
    return paths, left_out


def matrix_rate() -> float:
    """10⁹ floating-point operations a second of large float32 products in PyTorch, the best."""
    one, other = torch.rand(2, 2048, 2048)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        one @ other  # pyright: ignore[reportUnusedExpression]
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(seconds) / 1e9


def in_turn(
    paths: dict[str, Callable[[np.ndarray], Tensor]], frames: np.ndarray, shortest_s: float
) -> list[dict[str, Any]]:
    """Time all paths in turn, after a frame each that does not count.

    Args:
        paths: by name; the others are compared with the first.
        frames: ``(T, H, W, 3)``.
        shortest_s: seconds of a frame at the rate of large products.
    """
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    found: dict[str, list[Tensor]] = {name: [] for name in paths}
    for path in paths.values():
        path(frames[0])
    for start in range(0, len(frames), BLOCK_FRAMES):
        for name, path in paths.items():
            for frame in frames[start : start + BLOCK_FRAMES]:
                started = time.perf_counter()
                embedding = path(frame)
                seconds[name].append(time.perf_counter() - started)
                found[name].append(embedding)
    first = next(iter(paths))
    expected, slowest = torch.cat(found[first]), float(np.median(seconds[first]))
    return [
        {
            "path": name,
            "frames": len(times),
            "p50_ms": 1000 * float(np.median(times)),
            "p95_ms": 1000 * float(np.percentile(times, 95)),
            "speedup": slowest / float(np.median(times)),
            "of_matrix_rate": shortest_s / float(np.median(times)),
            "difference": difference(torch.cat(found[name]), expected),
            "cosine_min": _least_cosine(torch.cat(found[name]), expected),
        }
        for name, times in seconds.items()
    ]


def _least_cosine(found: Tensor, expected: Tensor) -> float:
    return float(F.cosine_similarity(found.double(), expected.double(), dim=-1).min())


def show(found: dict[str, Any]) -> None:
    """Print a ratio table."""
    scales = ",".join(str(scale) for scale in found["scales"])
    print(f"\n{found['encoder']} ({scales}), {found['tiles']} tiles, {found['gflops']:.1f} GFLOPs")
    print(
        f"{'':22}{'p50 ms':>8}{'p95 ms':>8}{'ratio':>8}{'of rate':>8}{'diff/std':>10}{'cosine':>9}"
    )
    for row in found["rows"]:
        print(
            f"{row['path']:22}{row['p50_ms']:8.1f}{row['p95_ms']:8.1f}{row['speedup']:8.2f}"
            f"{100 * row['of_matrix_rate']:6.0f} %{row['difference']:10.1e}{row['cosine_min']:9.5f}"
        )
    for name, reason in found["left_out"].items():
        print(f"{name}: left out, {reason}")
    if not found["products"]:
        return
    times = found["products"]["milliseconds"]
    for runtime, share in found["products"]["share"].items():
        print(
            f"{runtime}: products alone {times[f'{runtime} products']:.1f} ms, whole backbone "
            f"{times[runtime]:.1f} ms: {100 * share:.0f} % of their rate"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=8, help="frames that are timed")
    parser.add_argument("--repeats", type=int, default=3, help="of the products")
    parser.add_argument("--size", type=int, default=384, help="side of a native frame [px]")
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--package", type=Path, help="folder that holds s2wrapper/")
    parser.add_argument("--fresh", action="store_true", help="run all cases again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    record = read_json(options.out) if options.out.exists() and not options.fresh else {}
    cases = [one for one in record.get("cases", []) if "matrix_gflops_per_s" in one]
    settings = {"frame": options.size, "frames": options.count, "seed": 0}
    settings |= {"threads": torch.get_num_threads()}
    for name, scales in itertools.product(options.encoders, SCALES):
        if any((one["encoder"], one["scales"]) == (name, list(scales)) for one in cases):
            continue
        started = time.perf_counter()
        cases.append(case(name, scales, options))
        show(cases[-1])
        print(f"({time.perf_counter() - started:.0f} s)", flush=True)
        write_json(options.out, {**settings, "cases": cases, "provenance": provenance()})


if __name__ == "__main__":
    main()
