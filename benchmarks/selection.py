"""What does choosing tiles cost in precision, and save in work?

Cube localization on ``precise`` (``s2robot.analysis.probes``) with the shipped encoder: scale (1)
alone, all tiles of all scales, and a budget of tiles chosen by motion, by where a head looked in
the frame before, by the box of all places the cube may start from, by where the cube truly is (an
upper bound), and by chance. Heads fitted on full features judge selective ones, then heads fitted
on selective features do. Test frames are the expert's, of episodes that no head has seen.

Tokens of a tile are computed once and remembered, so that only ``ms`` tells anything about time.

    python benchmarks/selection.py --episodes 120 --resets 500
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.analysis.probes import (
    LocalizationData,
    Localizer,
    ProbeConfig,
    error_summary,
    fit_localizer,
    localization_data,
    mean_difference,
)
from s2robot.encoder.tile_selection import SelectiveEncoder
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.policies.config import PolicyConfig
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results" / "selection.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "selection.png"
BUDGETS = {(1, 2): (1, 2), (1, 2, 3): (3, 6)}
REFITTED = (
    ("motion", "keep"),
    ("attention", "lower"),
    ("workspace", "lower"),
    ("oracle", "lower"),
    ("random", "keep"),
    ("random", "lower"),
)
CHOOSERS = ("motion", "attention", "workspace", "oracle", "random")
GRID = 48  # rows and columns of the oracle's map
NEAR = 0.06  # of the picture: how far around the cube the oracle looks
SLOTS = 64  # episodes side by side


class Remembered:
    """A runtime that computes each tile once."""

    def __init__(self, runtime: Any, tokens: dict[bytes, Tensor]) -> None:
        self.runtime, self.tokens = runtime, tokens

    def __call__(self, tiles: Tensor) -> Tensor:
        keys = [hashlib.blake2b(t.numpy().tobytes(), digest_size=16).digest() for t in tiles]
        new = [i for i, key in enumerate(keys) if key not in self.tokens]
        if new:
            for i, tokens in zip(new, self.runtime(tiles[new]), strict=True):
                self.tokens[keys[i]] = tokens.clone()
        return torch.stack([self.tokens[key] for key in keys])


class Camera:
    """Where points of the scene lie in the picture."""

    def __init__(self, level: str) -> None:
        env = PickCubeEnv(level=level)
        env.reset(seed=0)
        self.level = get_level(level)
        number = env.model.camera(self.level.camera).id
        self.position = env.data.cam_xpos[number].copy()
        self.axes = env.data.cam_xmat[number].reshape(3, 3).copy()  # columns: right, up, back
        self.half = np.tan(np.radians(env.model.cam_fovy[number]) / 2)
        env.close()

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Points (N, 3) [m] to (x, y) in fractions of a square picture, (N, 2)."""
        right, up, back = ((points_m - self.position) @ self.axes).T
        return np.stack([0.5 - right / back / self.half / 2, 0.5 + up / back / self.half / 2], 1)

    def cube(self, cube_xy_m: np.ndarray) -> np.ndarray:
        """(x, y) in the picture of cubes that lie on the table, (N, 2)."""
        height = np.full((len(cube_xy_m), 1), self.level.cube_half_size_m)
        return self.project(np.concatenate([cube_xy_m, height], axis=1))

    def workspace(self) -> tuple[float, float, float, float]:
        """Box (left, top, right, bottom) around all cubes at the start of an episode."""
        half = self.level.cube_half_size_m
        (x0, x1), (y0, y1) = self.level.cube_x_range_m, self.level.cube_y_range_m
        xs, ys, zs = (x0 - half, x1 + half), (y0 - half, y1 + half), (0, 2 * half)
        corners = self.project(np.array([(x, y, z) for x in xs for y in ys for z in zs]))
        low, high = corners.min(axis=0).clip(0, 1), corners.max(axis=0).clip(0, 1)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def oracle_maps(camera: Camera, cube_xy_m: np.ndarray) -> np.ndarray:
    """Maps (N, GRID, GRID) that are 1 around the cube."""
    spots = camera.cube(cube_xy_m).clip(0, 1)
    centers = (np.arange(GRID) + 0.5) / GRID
    near_x = np.abs(centers - spots[:, :1]) < NEAR
    near_y = np.abs(centers - spots[:, 1:]) < NEAR
    return (near_y[:, :, None] & near_x[:, None, :]).astype(np.float32)


def embed(
    selective: SelectiveEncoder,
    data: LocalizationData,
    before: Callable[[np.ndarray, list[int]], None],
    after: Callable[[Tensor, list[int]], None],
) -> Tensor:
    """Embeddings (N, D) of episodes run side by side.

    ``before`` is told which frames come next, ``after`` what came of them, both with their slots.
    """
    found: dict[int, Tensor] = {}
    rows = [np.flatnonzero(data.episode == number) for number in np.unique(data.episode)]
    rows.sort(key=len)
    for first in range(0, len(rows), SLOTS):
        group = rows[first : first + SLOTS]
        selective.forget()
        for step in range(max(map(len, group))):
            slots = [slot for slot, frames in enumerate(group) if step < len(frames)]
            index = np.array([group[slot][step] for slot in slots])
            before(index, slots)
            embeddings = selective(data.frames[index], slots)
            found.update(zip(index.tolist(), embeddings, strict=True))
            after(embeddings, slots)
    return torch.stack([found[i] for i in range(len(data))])


class Bench:
    """Data and heads of one run of the benchmark."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.camera = Camera(options.level)
        data = localization_data(
            options.level,
            size=options.size,
            episodes=options.episodes,
            resets=options.resets,
            folder=options.cache,
        )
        moving = data.of_episodes(np.arange(options.episodes))
        _, self.test = moving.split(0.25)
        self.train = data.of_episodes(np.setdiff1d(data.episode, self.test.episode))
        readout = PolicyConfig(keypoints=64)
        self.config = ProbeConfig(readout, epochs=options.epochs, patience=options.epochs)
        self.tokens: dict[bytes, Tensor] = {}
        self.errors: dict[str, np.ndarray] = {}
        self.rows: list[dict[str, Any]] = []

    def fit(self, encoder: FrameEncoder, embeddings: Tensor) -> list[Localizer]:
        """One head a seed."""
        train, shape = self.train, encoder.output_shape
        return [
            fit_localizer(embeddings, shape, train.cube_xy_m, train.episode, self.config, seed)
            for seed in range(self.options.heads)
        ]

    def judge(self, heads: list[Localizer], embeddings: Tensor) -> np.ndarray:
        """Each test frame's error [mm] by each head, (heads, N)."""
        return np.stack([h.errors_mm(embeddings, self.test.cube_xy_m) for h in heads])

    def measure(self, scales: tuple[int, ...]) -> None:
        """Rows of one set of scales."""
        encoder = self.encoder(scales)
        chunks = [encoder(chunk) for chunk in np.array_split(self.train.frames, 64)]
        heads = self.fit(encoder, torch.cat(chunks))
        full = torch.cat([encoder(chunk) for chunk in np.array_split(self.test.frames, 16)])
        errors = self.judge(heads, full)
        row = {"scales": list(scales), "choose": "full", "stale": None, "budget": None}
        cost = {"tiles": encoder.tiles_per_frame, "gflops": encoder.gflops_per_frame}
        self.add({**row, **cost}, errors, errors, errors)
        if len(scales) == 1:
            return
        self.select(encoder, heads, errors, "lower", 0, "lower")
        for budget in BUDGETS[scales]:
            for choose in CHOOSERS:
                for stale in ("keep", "lower"):
                    self.select(encoder, heads, errors, choose, budget, stale)

    def encoder(self, scales: tuple[int, ...], remember: bool = True) -> FrameEncoder:
        """The encoder under test."""
        name = self.options.encoder
        encoder = FrameEncoder.from_name(
            name, scales, "spatial_softmax", device="cpu", runtime="eager"
        )
        if remember:
            encoder.runtime = Remembered(encoder.runtime, self.tokens)  # pyright: ignore[reportAttributeAccessIssue]
        return encoder

    def select(
        self,
        encoder: FrameEncoder,
        heads: list[Localizer],
        full: np.ndarray,
        choose: str,
        budget: int,
        stale: str,
    ) -> None:
        """One row: a budget spent by a chooser."""
        found = self.embed(encoder, heads[0], self.test, choose, budget, stale)
        embeddings, stats = found
        frames = stats.frames
        row = {"scales": list(encoder.spec.scales), "choose": choose, "stale": stale}
        row |= {"budget": budget, "tiles": sum(stats.encoded_tiles.values()) / frames}
        row |= {"gflops": stats.gflops_per_frame, "cost_share": stats.cost_share}
        row["encoded"] = {f"{s:g}": (n / frames).tolist() for s, n in stats.encoded.items()}
        refitted = None
        if choose == "lower" or (choose, stale) in REFITTED:
            train, _ = self.embed(encoder, heads[0], self.train, choose, budget, stale)
            refitted = self.judge(self.fit(encoder, train), embeddings)
        self.add(row, self.judge(heads, embeddings), refitted, full)

    def embed(
        self,
        encoder: FrameEncoder,
        head: Localizer,
        data: LocalizationData,
        choose: str,
        budget: int,
        stale: str,
    ) -> tuple[Tensor, Any]:
        kind = {"lower": "motion", "workspace": "region", "oracle": "attention"}.get(choose, choose)
        region = self.camera.workspace() if kind == "region" else None
        selective = encoder.selective(budget, kind, region, stale)
        maps = oracle_maps(self.camera, data.cube_xy_m) if choose == "oracle" else None

        def before(index: np.ndarray, slots: list[int]) -> None:
            if maps is not None:
                selective.look_at(maps[index], slots)

        def after(embeddings: Tensor, slots: list[int]) -> None:
            if choose == "attention":
                selective.look_at(head.attention(embeddings), slots)

        return embed(selective, data, before, after), selective.stats

    def add(
        self,
        row: dict[str, Any],
        fixed: np.ndarray,
        refitted: np.ndarray | None,
        full: np.ndarray,
    ) -> None:
        """Errors by heads fitted on full features and on these; differences are to all tiles.

        Frames' errors are averaged over heads first: intervals tell how frames vary, ``heads_mm``
        how heads do.
        """
        episode = self.test.episode
        for name, errors in (("full_head", fixed), ("own_head", refitted)):
            if errors is None:
                continue
            against = mean_difference(full.mean(axis=0), errors.mean(axis=0), episode)
            row[name] = error_summary(errors.mean(axis=0), episode).to_dict()
            row[name]["heads_mm"] = errors.mean(axis=1).tolist()
            row[name]["minus_full_mm"] = vars(against)
        self.rows.append(row)
        print(_line(row), flush=True)

    def times(self) -> list[dict[str, Any]]:
        """Rows of all scales."""
        return [row for scales in ((1,), *BUDGETS) for row in self.time(scales)]

    def time(self, scales: tuple[int, ...]) -> list[dict[str, Any]]:
        """Milliseconds of one frame after the other, tiles chosen by motion."""
        encoder, frames = self.encoder(scales, remember=False), self.test.frames[:40]
        paths: dict[int | None, Callable[[np.ndarray], Tensor]] = {None: encoder}
        paths |= {b: encoder.selective(b) for b in BUDGETS.get(scales, ())}
        taken: dict[int | None, list[float]] = {budget: [] for budget in paths}
        for frame in frames:
            for budget, path in paths.items():  # in turn: a busy machine slows all alike
                started = time.perf_counter()
                path(frame)
                taken[budget].append(1000 * (time.perf_counter() - started))
        return [
            {"scales": list(scales), "budget": b, "p50_ms": float(np.median(ms[5:]))}
            for b, ms in taken.items()
        ]


def _line(row: dict[str, Any]) -> str:
    scales = ",".join(f"{scale:g}" for scale in row["scales"])
    parts = [f"({scales})", row["choose"], row["stale"] or "", str(row["budget"] or "")]
    heads = []
    for name in ("full_head", "own_head"):
        if name in row:
            mean, against = row[name]["mean_mm"], row[name]["minus_full_mm"]
            heads.append(
                f"{name} {mean['estimate']:5.1f} [{mean['low']:.1f}, {mean['high']:.1f}] mm "
                f"({against['estimate']:+.1f} [{against['low']:+.1f}, {against['high']:+.1f}])"
            )
    cost = f"{row['tiles']:5.2f} tiles {row['gflops']:5.2f} GFLOPs"
    return f"{parts[0]:8}{parts[1]:10}{parts[2]:6}{parts[3]:>2} {cost}  {'  '.join(heads)}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Error of refitted heads against tiles a frame."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    single = next(row for row in rows if row["scales"] == [1])
    for axis, scales in zip(axes, BUDGETS, strict=True):
        mine = [row for row in rows if row["scales"] == list(scales) and "own_head" in row]
        ends = [next(r for r in mine if r["choose"] == name) for name in ("lower", "full")]
        for shift, kind in enumerate(REFITTED):
            chosen = [r for r in mine if (r["choose"], r["stale"]) == kind]
            line = [ends[0], *chosen, ends[1]]
            mean = np.array([r["own_head"]["mean_mm"]["estimate"] for r in line])
            low = np.array([r["own_head"]["mean_mm"]["low"] for r in line])
            high = np.array([r["own_head"]["mean_mm"]["high"] for r in line])
            tiles = np.array([r["tiles"] for r in line]) + 0.04 * (shift - 2)
            axis.errorbar(
                tiles, mean, (mean - low, high - mean), label=", ".join(kind), marker="o", ms=4
            )
        alone = single["own_head"]["mean_mm"]["estimate"]
        axis.axhline(alone, color="grey", linestyle=":", label="scale (1) alone")
        axis.set(title=f"scales {scales}", xlabel="tiles encoded a frame")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("localisation error [mm], own head")
    axes[1].legend(frameon=False, fontsize=8)
    axes[0].set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="s2r-vitt16-128")
    parser.add_argument("--level", default="precise")
    parser.add_argument("--size", type=int, default=384, help="side of a native frame [px]")
    parser.add_argument("--episodes", type=int, default=120, help="of the expert; a quarter tests")
    parser.add_argument("--resets", type=int, default=500, help="single frames to fit on")
    parser.add_argument("--heads", type=int, default=2, help="heads fitted a row")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=Path("data/localisation"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument(
        "--times-only", action="store_true", help="measure the times in --out anew, nothing else"
    )
    options = parser.parse_args()
    bench = Bench(options)
    if options.times_only:
        write_json(options.out, {**read_json(options.out), "times": bench.times()})
        return
    print(f"{len(bench.train)} training frames, {len(bench.test)} test frames", flush=True)
    for scales in ((1,), *BUDGETS):
        bench.measure(scales)
    times = bench.times()
    settings = {k: v for k, v in vars(options).items() if not isinstance(v, (Path, bool))}
    settings |= {"train_frames": len(bench.train), "test_frames": len(bench.test)}
    settings |= {"workspace": bench.camera.workspace(), "threads": torch.get_num_threads()}
    record = {**settings, "rows": bench.rows, "times": times, "provenance": provenance()}
    write_json(options.out, record)
    draw(bench.rows, options.picture)


if __name__ == "__main__":
    main()
