"""Which part of the work of a batch of frames can be left out without changing a bit?

16 environments of pick-cube are driven by the scripted expert with execution noise (in closed loop,
to the horizon); their frames are what rollouts encode. Each idea is a case; a case that OUT holds
is not run again, so the script can be stopped and started. ``--cases`` names some of them.

- ``bits``: does a tile's embedding depend on the rest of its batch, by backbone and runtime?
- ``rates LEVEL``: shares of tiles that need not be encoded: those of the environment's last frame
  (``stream``), equal ones of the step (``batch``), both, and any tile ever seen; and the share of
  patches that did not change in tiles that did.
- ``tiles LEVEL SCALES RUNTIME``: seconds of successive steps with and without sharing, and a
  stream; hashing alone; whether a bit differed.
- ``first layer``, ``last block``, ``normalization``: floating-point operations that could be left
  out, milliseconds, and the difference in the result.
- ``calls RUNTIME``: one batch in calls of n tiles, and in two threads of one thread each.
- ``around SCALES MODE``: what is not the backbone's.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/less_work.py
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import less_work_layers as layers
import numpy as np
import timm
import torch
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.encoder.distinct_tiles import distinct
from s2robot.encoder.streaming import StreamStats
from s2robot.envs.expert import ScriptedExpert, noisy_execution
from s2robot.envs.levels import get_level
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.evaluation.vector_env import CameraView, make_vector_env
from s2robot.multiscale.resizing import enlarge
from s2robot.preprocessing.image_pyramid import image_of
from s2robot.runtimes.base import tiles_like
from s2robot.runtimes.openvino import Request, converted
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "less_work.json"
NAME = "s2r-vitt16-128"
ENVIRONMENTS, STEPS, SIZE = 16, 32, 384
TIMED = range(8, 14)
"""Steps that are timed, in the middle of the episodes."""
SCALES = ((1, 2), (1, 2, 3))
BATCHES = (1, 2, 3, 5, 8, 13, 16, 17, 31)
MODELS = (NAME, "random/vits16-224", "random/resnet18-224", "timm/efficientnet_lite0")


@functools.lru_cache(maxsize=1)
def rollout(level: str) -> np.ndarray:
    """Frames ``(STEPS, ENVIRONMENTS, SIZE, SIZE, 3)`` of the expert with execution noise."""
    rules = get_level(level)
    states = make_initial_states(level, "test", ENVIRONMENTS, {}).states
    view = CameraView(rules.camera, SIZE, SIZE)
    kwargs = {"level": level, "image_camera": None, "render_mode": None}
    envs = make_vector_env(kwargs, ENVIRONMENTS, view, 0)
    experts = [ScriptedExpert(rules) for _ in states]
    noises = [noisy_execution(np.random.default_rng(seed)) for seed in range(ENVIRONMENTS)]
    step, frames = envs.reset(states), []
    while len(frames) < STEPS:
        assert step.frames is not None
        frames.append(step.frames.copy())
        rows = [{key: values[i] for key, values in step.obs.items()} for i in range(ENVIRONMENTS)]
        pairs = zip(experts, noises, rows, strict=True)
        actions = [noise(expert.action(row)) for expert, noise, row in pairs]
        step = envs.step(np.stack(actions).astype(np.float32))
    envs.close()
    return np.stack(frames)


def encoder_of(scales: tuple[int, ...], runtime: str = "eager", **options: Any) -> FrameEncoder:
    """The shipped encoder on a processor."""
    return FrameEncoder.from_name(
        NAME, scales, "spatial_softmax", device="cpu", runtime=runtime, **options
    )


def model_of(name: str, runtime: str) -> FrameEncoder:
    """An encoder of one scale; models of timm get random weights."""
    if not name.startswith("timm/"):
        return FrameEncoder.from_name(name, (1,), "mean", device="cpu", runtime=runtime)
    torch.manual_seed(0)
    module = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    return FrameEncoder.from_module(module, None, (1,), "mean", device="cpu", runtime=runtime)


def shortest_ms(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Shortest milliseconds of each run, in turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: round(min(values), 3) for name, values in times.items()}


# ------------------------------------------------------------------------------------- cases
def bits(repeats: int) -> list[dict[str, Any]]:
    """Batch sizes at which a tile's tokens are not those that it has in the largest batch."""
    del repeats
    rows = []
    for name in MODELS:
        for runtime in ("eager", "openvino", "onnxruntime"):
            encoder = model_of(name, runtime)
            side = encoder.layout.card.preprocessing.image_size
            tiles = tiles_like((side, side), BATCHES[-1] if side < 200 else 17).to(torch.uint8)
            whole = encoder.tokens(tiles)
            order = torch.randperm(len(tiles), generator=torch.Generator().manual_seed(0))
            sizes = [size for size in BATCHES if size < len(tiles)]
            parts = {size: encoder.tokens(tiles[order[:size]]) for size in sizes}
            gaps = {s: float((t - whole[order[:s]]).abs().max()) for s, t in parts.items()}
            differ = [size for size, gap in gaps.items() if gap]
            row = {"backbone": name, "runtime": runtime, "sizes": sizes, "differ": differ}
            rows.append(row | {"largest_per_std": max(gaps.values()) / float(whole.std())})
    return rows


def rates(level: str, repeats: int) -> list[dict[str, Any]]:
    """Shares of tiles by what makes them known, over a whole rollout."""
    del repeats
    return [_rates(encoder_of(scales), scales, rollout(level)) for scales in SCALES]


def _rates(encoder: FrameEncoder, scales: tuple[int, ...], episodes: np.ndarray) -> dict[str, Any]:
    left = dict.fromkeys(("stream", "batch", "both", "ever"), 0)
    seen: set[bytes] = set()
    before: list[bytes] = []
    old = torch.empty(0)
    same = changed = first = total = 0
    for frames in episodes:
        tiles = torch.cat(encoder.tiles(torch.from_numpy(frames), encoder.scale_layouts))
        keys = [tile.tobytes() for tile in tiles.numpy()]
        moved = [i for i, key in enumerate(keys) if not before or key != before[i]]
        total += len(keys)
        left["stream"] += len(moved)
        left["batch"] += len(set(keys))
        left["both"] += len({keys[i] for i in moved})
        left["ever"] += len(set(keys) - seen)
        first = first or len(set(keys)) / len(keys)
        seen |= set(keys)
        patches = layers.patches_of(tiles, 16)
        if before:
            same += int((patches == old)[moved].all(dim=2).sum())
            changed += len(moved) * patches.shape[1]
        before, old = keys, patches
    shares = {name: round(1 - count / total, 4) for name, count in left.items()}
    return {
        "scales": list(scales),
        "tiles": total,
        "not_encoded": shares,
        "not_encoded_at_the_first_step": round(1 - first, 4),
        "unchanged_patches_of_changed_tiles": round(same / changed, 4),
    }


def tiles(level: str, scales: tuple[int, ...], runtime: str, repeats: int) -> dict[str, Any]:
    """Successive steps: every tile, equal tiles once, and a stream; in turn, step by step."""
    del repeats
    shared, plain = encoder_of(scales, runtime), encoder_of(scales, runtime)
    plain._distinct.encode = lambda tiles, encode, _: encode(tiles)  # pyright: ignore[reportAttributeAccessIssue]
    stream = shared.stream()
    episodes = rollout(level)
    runs: dict[str, Callable[[np.ndarray], Tensor]]
    runs = {"every tile": plain, "equal tiles once": shared, "stream": stream}
    for run in runs.values():  # the check of bits, first calls, and what the stream is to know
        run(episodes[TIMED[0] - 1])
    seconds = dict.fromkeys(runs, 0.0)
    hashing, same, fewer = 0.0, True, 0
    stream.stats = StreamStats()
    for step in TIMED:
        found = {}
        for name, run in runs.items():
            started = time.perf_counter()
            found[name] = run(episodes[step])
            seconds[name] += time.perf_counter() - started
        same &= all(torch.equal(found["every tile"], other) for other in found.values())
        batch = torch.cat(shared.tiles(torch.from_numpy(episodes[step]), shared.scale_layouts))
        started = time.perf_counter()
        fewer += len(batch) - len(distinct(batch)[0])
        hashing += time.perf_counter() - started
    counted = len(TIMED) * ENVIRONMENTS * shared.tiles_per_frame
    return {
        "ms_a_step": {name: 1000 * total / len(TIMED) for name, total in seconds.items()},
        "ratio": {name: seconds["every tile"] / total for name, total in seconds.items()},
        "not_encoded": {"equal tiles once": fewer / counted, "stream": stream.stats.hit_rate},
        "hashing_ms_a_step": 1000 * hashing / len(TIMED),
        "same_bits": same,
    }


def calls(runtime: str, repeats: int) -> dict[str, Any]:
    """80 tiles in calls of fewer, and by two threads that compute with one thread each."""
    encoder = encoder_of((1, 2), runtime)
    batch = tiles_like((128, 128), 80)
    encoder.tokens(batch)
    runs: dict[str, Callable[[], Tensor]] = {
        f"calls of {n}": functools.partial(in_calls, encoder.tokens, batch, n)
        for n in (5, 10, 20, 40, 80)
    }
    with ThreadPoolExecutor(2) as pool:
        run = encoder.tokens if runtime == "eager" else two_streams(encoder)
        for n in (10, 20, 40):
            runs[f"two threads, calls of {n}"] = functools.partial(in_pool, pool, run, batch, n)
        expected = runs["calls of 80"]()
        same = {name: bool(torch.equal(run(), expected)) for name, run in runs.items()}
        one = {k: v for k, v in runs.items() if k.startswith("calls")}
        found = shortest_ms(one, repeats)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            two = {k: v for k, v in runs.items() if k.startswith("two")}
            found |= shortest_ms({**two, "one thread, calls of 20": one["calls of 20"]}, repeats)
        finally:
            torch.set_num_threads(threads)
    best = {k: round(found["calls of 80"] / v, 3) for k, v in found.items()}
    return {"tiles": len(batch), "ms": found, "ratio": best, "same_bits": same}


def in_calls(run: Callable[[Tensor], Tensor], batch: Tensor, most: int) -> Tensor:
    """The tokens of a batch in calls of at most ``most`` tiles."""
    return torch.cat([run(part) for part in batch.split(most)])


def in_pool(
    pool: ThreadPoolExecutor, run: Callable[[Tensor], Tensor], batch: Tensor, most: int
) -> Tensor:
    """The same with the calls shared out among threads."""
    with torch.inference_mode():
        return torch.cat(list(pool.map(run, batch.split(most))))


def two_streams(encoder: FrameEncoder) -> Request:
    """The model compiled by OpenVINO for two calls at a time."""
    import openvino

    model = converted(encoder.token_model, (128, 128))
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": 2,
        "INFERENCE_NUM_THREADS": 2,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return Request(openvino.Core().compile_model(model, "CPU", settings))


def around(scales: tuple[int, ...], input_mode: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of the steps around the backbone, for a step of 16 frames."""
    encoder = encoder_of(scales, input_mode=input_mode)
    frames = torch.from_numpy(rollout("easy")[TIMED[0]])
    parts = encoder.scale_layouts
    tiles = encoder.tiles(frames, parts)
    batch = torch.cat(tiles)
    tokens = encoder.tokens(batch)
    split = tokens.split([len(some) for some in tiles])
    features = [encoder.pool(t, part) for t, part in zip(split, parts, strict=True)]
    merged = dict(zip(encoder.layout.scales, features, strict=True))
    model = encoder.token_model
    mean, std = model.get_buffer("mean"), model.get_buffer("std")
    runs: dict[str, Callable[[], Any]] = {
        "resize and cut": lambda: encoder.tiles(frames, parts),
        "join the scales' tiles": lambda: torch.cat(tiles),
        "find equal tiles": lambda: distinct(batch),
        "to floats": lambda: batch.float(),
        "to floats and normalize": lambda: (batch.float() - mean) / std,
        "pool": lambda: [encoder.pool(t, p) for t, p in zip(split, parts, strict=True)],
        "merge": lambda: encoder.merge(merged),
        "backbone, normalization included": lambda: encoder.tokens(batch),
    }
    if input_mode == "interpolate":
        pixels, shape = encoder.backbone.card.preprocessing, parts[-1].image_shape
        base = image_of(frames.permute(0, 3, 1, 2), pixels, parts[0].image_shape).float()
        runs["enlarge, channels last"] = lambda: enlarge(base, shape)
        runs["enlarge, channels first"] = lambda: enlarge(base.contiguous(), shape)
    with torch.inference_mode():
        found = shortest_ms(runs, repeats)
    whole = found["backbone, normalization included"]
    return {"ms": found, "per_cent_of_backbone": {k: 100 * v / whole for k, v in found.items()}}


def cases() -> dict[str, Callable[[int], Any]]:
    """All cases by name."""
    found: dict[str, Callable[[int], Any]] = {"bits": bits}
    for level in ("easy", "precise", "mixed"):
        found[f"rates {level}"] = functools.partial(rates, level)
        for scales in SCALES:
            for runtime in ("eager", "openvino"):
                name = f"tiles {level} ({','.join(map(str, scales))}) {runtime}"
                found[name] = functools.partial(tiles, level, scales, runtime)
    for name in (NAME, "random/vits16-224"):
        for case in (layers.first_layer, layers.last_block, layers.normalization):
            found[f"{case.__name__.replace('_', ' ')} {name}"] = functools.partial(case, name)
    for runtime in ("eager", "openvino"):
        found[f"calls {runtime}"] = functools.partial(calls, runtime)
    for scales, mode in ((SCALES[0], "native"), (SCALES[1], "native"), (SCALES[0], "interpolate")):
        name = f"around ({','.join(map(str, scales))}) {mode}"
        found[name] = functools.partial(around, scales, mode)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="the shortest of so many counts")
    parser.add_argument("--cases", nargs="+", default=[""], help="beginnings of names")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, Any] = read_json(options.out)["cases"] if options.out.exists() else {}
    settings = {
        "encoder": NAME,
        "environments": ENVIRONMENTS,
        "steps": STEPS,
        "frame": SIZE,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
    }
    for name, case in cases().items():
        if name in found or not name.startswith(tuple(options.cases)):
            continue
        started = time.perf_counter()
        found[name] = case(options.repeats)
        print(f"{name} ({time.perf_counter() - started:.0f} s): {found[name]}", flush=True)
        write_json(options.out, {**settings, "cases": found, "provenance": provenance()})


if __name__ == "__main__":
    main()
