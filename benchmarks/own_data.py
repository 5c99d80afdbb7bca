"""From a recorded file to a trained policy: how long, and how much shorter are later epochs?

A foreign data set is made on the spot: 50 episodes of 200 moments of two cameras of 480 x 640 px,
as a robomimic file with gzip'd images or as a LeRobot v3 folder with videos. A gripper follows an
object that moves over a textured table; the second camera moves with the gripper, and an action is
a step towards the object, which the frames alone show.

Timed is what `s2robot train data=PATH` does: digest, decoding, encoding, training, errors on
held-out episodes. Decoded frames are counted. Then an epoch on stored embeddings is compared with
one that decodes and encodes its frames in the loop, without an augmentation: that is timed on some
moments (--in-loop) and scaled to the epoch.

    s2robot encoders fetch efficientnet-lite0
    OMP_WAIT_POLICY=PASSIVE python benchmarks/own_data.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/own_data.py --layout lerobot \\
        --out benchmarks/results/own_data_lerobot.json
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from s2robot.data.dataset_writers.lerobot import write_lerobot
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.feature_store import FeatureStore
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.recorded.training import RecordedPolicy, train_recorded
from s2robot.policies.config import PolicyConfig
from s2robot.training.config import SearchConfig, TrainConfig
from s2robot.training.seed_trainer import Trainer
from s2robot.utils.io import digest_of, write_json
from s2robot.utils.optim import seeded
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "own_data.json"
CAMERAS = ("front_image", "wrist_image")
BUDGETS: dict[str, tuple[int, SearchConfig | None]] = {
    "none": (60, None),
    "quick": (30, SearchConfig(trials=3, epochs=10)),
}
"""Epochs and search of `budget=` of `s2robot train`."""


class FollowingEpisodes:
    """Synthetic recordings; see ``s2robot.data.datasets.contract.EpisodeDataset``.

    Args:
        episodes: their number.
        steps: moments of each.
        size: height and width of the frames [px].
        cameras: 1 or 2.
    """

    source, rate_hz, task = "synthetic", 20.0, "Follow the object."
    masks: Mapping[str, np.ndarray] = {}
    action_names = ("dx", "dy")

    def __init__(self, episodes: int, steps: int, size: tuple[int, int], cameras: int) -> None:
        self.digest = digest_of(["following", episodes, steps, size, cameras])
        self.episode_ends = np.arange(1, episodes + 1) * steps
        self.cameras: Mapping[str, tuple[int, int]] = dict.fromkeys(CAMERAS[:cameras], size)
        self._moments = [
            _follow(np.random.default_rng([number, 0]), steps) for number in range(episodes)
        ]
        self.actions = np.concatenate([each[2] for each in self._moments]).astype(np.float32)
        self.low_dim_names = {"gripper": ("x", "y")}

    def low_dim(self, key: str) -> np.ndarray:
        assert key == "gripper"
        return np.concatenate([gripper for _, gripper, _ in self._moments]).astype(np.float32)

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        height, width = self.cameras[camera]
        objects, grippers, _ = self._moments[episode]
        table = _texture(np.random.default_rng([episode, 1]), 2 * height, 2 * width)
        patch = _texture(np.random.default_rng([episode, 2]), height // 6, height // 6)
        patch[..., 0] = 200 + patch[..., 0] // 5
        for thing, gripper in zip(objects, grippers, strict=True):
            middle = gripper if camera == CAMERAS[1] else np.array([0.5, 0.5])
            row, column = ((middle[::-1] * 0.5 + 0.25) * (height, width)).astype(int)
            frame = table[row : row + height, column : column + width].copy()
            _paste(frame, patch, thing - middle + 0.5)
            _paste(frame, patch[::2, ::2, ::-1], gripper - middle + 0.5)
            yield frame

    def close(self) -> None:
        """Close nothing."""


def _follow(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places (T, 2) of object and gripper in the front frame, and actions (T, 2)."""
    phases, rates = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.02, 0.06, 2)
    objects = 0.5 + 0.3 * np.sin(phases + rates * np.arange(steps)[:, None])
    gripper, grippers, actions = rng.uniform(0.2, 0.8, 2), [], []
    for place in objects:
        action = np.clip(0.3 * (place - gripper), -0.05, 0.05)
        grippers.append(gripper)
        actions.append(action)
        gripper = gripper + action + rng.normal(scale=0.005, size=2)
    return objects, np.array(grippers), np.array(actions)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth colors with finer ones on them, (height, width, 3) uint8."""
    found = np.zeros((height, width, 3))
    for places, weight in ((8, 0.6), (32, 0.25), (128, 0.15)):
        coarse = rng.integers(0, 256, (places, places, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        found += weight * np.asarray(picture)
    return found.astype(np.uint8) & 0xF0  # flat places, as in drawn pictures


def _paste(frame: np.ndarray, patch: np.ndarray, place: np.ndarray) -> None:
    """Put a patch on a frame, around a place from (0, 0) to (1, 1), cut at the frame's edges."""
    size = np.array(patch.shape[:2])
    start = (place[::-1] * frame.shape[:2]).astype(int) - size // 2
    low, high = np.maximum(start, 0), np.minimum(start + size, frame.shape[:2])
    if (low < high).all():
        (r0, c0), (r1, c1) = low - start, high - start
        frame[low[0] : high[0], low[1] : high[1]] = patch[r0:r1, c0:c1]


# --------------------------------------------------------------------------------- what is timed
@contextlib.contextmanager
def counted(kind: type, seconds: dict[str, float]) -> Iterator[list[int]]:
    """Count the frames that a reader decodes meanwhile, and time the store's work."""
    frames, load = kind.frames, FeatureStore.load_or_encode  # pyright: ignore[reportAttributeAccessIssue]
    count = [0]

    @functools.wraps(frames)
    def counting(self: Any, camera: str, episode: int) -> Iterator[np.ndarray]:
        for frame in frames(self, camera, episode):
            count[0] += 1
            yield frame

    @functools.wraps(load)
    def timed(*arguments: Any, **options: Any) -> torch.Tensor:
        started = time.perf_counter()
        found = load(*arguments, **options)
        seconds["decoding and encoding"] += time.perf_counter() - started
        return found

    kind.frames, FeatureStore.load_or_encode = counting, timed  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield count
    finally:
        kind.frames, FeatureStore.load_or_encode = frames, load  # pyright: ignore[reportAttributeAccessIssue]


def train(job: TrainJob) -> tuple[RecordedPolicy, dict[str, Any]]:
    """Train from the file, and return the policy with seconds and decoded frames."""
    assert job.variant.data is not None
    kind = type(open_dataset(job.variant.data))
    seconds = {"decoding and encoding": 0.0}
    started = time.perf_counter()
    with counted(kind, seconds) as count:
        found = train_recorded(job)
    total = time.perf_counter() - started
    seconds |= {"all": total, "the rest": total - seconds["decoding and encoding"]}
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    return found, {"seconds": rounded, "frames_decoded": count[0]}


def compare_epochs(job: TrainJob, moments: int, rounds: int) -> dict[str, Any]:
    """Return seconds of a stored epoch and of one in the loop, scaled from some moments."""
    inputs = RecordedInputs(job.variant)
    encoder = inputs.encoder
    assert encoder is not None
    trainer = Trainer(inputs.data, job.policy, job.train, encoder.device)
    with seeded(0, 1):
        steps = trainer.batches()
    epoch = sum(map(len, steps))
    stored, once = [], []
    for _ in range(rounds):
        stored.append(_seconds(lambda: _steps(trainer, steps)))
        once.append(_seconds(lambda: _decode_and_encode(inputs, moments, job.train.batch_size)))
        print(f"stored epoch {stored[-1]:.2f} s, {moments} moments in the loop {once[-1]:.2f} s")
    in_loop = [own + each * epoch / moments for own, each in zip(stored, once, strict=True)]
    ratios = [whole / own for whole, own in zip(in_loop, stored, strict=True)]
    return {
        "moments_of_an_epoch": epoch,
        "train_dtype": trainer.config.dtype,
        "stored_epoch_s": _spread(stored),
        "in_the_loop": {
            "moments_timed": moments,
            "decoding_and_encoding_s": _spread(once),
            "epoch_s": _spread(in_loop),
            "scaled": f"from {moments} moments to {epoch}, and the stored epoch's steps added",
        },
        "in the loop / stored": _spread(ratios),
    }


def _steps(trainer: Trainer, steps: Sequence[torch.Tensor]) -> None:
    trainer.policy.train()
    for number, batch in enumerate(steps):
        trainer._step(number, batch)


def _decode_and_encode(inputs: RecordedInputs, moments: int, batch: int) -> None:
    """Decode the first frames of each camera and encode them in batches, from the files."""
    assert inputs.encoder is not None
    encoder = inputs.encoder.for_batches_of()
    for camera in inputs.dataset.cameras:
        episodes = range(len(inputs.dataset.episode_ends))
        every = itertools.chain.from_iterable(inputs.dataset.frames(camera, e) for e in episodes)
        frames = itertools.islice(every, moments)
        while part := list(itertools.islice(frames, batch)):
            encoder(np.stack(part))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


# ------------------------------------------------------------------------------------ the command
def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--layout", choices=("robomimic", "lerobot"), default="robomimic")
    add("--episodes", type=int, default=50)
    add("--steps", type=int, default=200, help="moments of each episode")
    add("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    add("--cameras", type=int, choices=(1, 2), default=2)
    add("--encoder", default="efficientnet-lite0")
    add("--scales", type=float, nargs="+", default=[1.0, 2.0])
    add("--readout", default="spatial_softmax")
    add("--budget", choices=BUDGETS, default="none")
    add("--epochs", type=int, help="in place of the budget's")
    add("--in-loop", type=int, default=200, help="moments that are decoded and encoded again")
    add("--rounds", type=int, default=3, help="of the comparison of epochs")
    add("--device", default="cpu")
    add("--work", type=Path, default=Path("runs/own-data"), help="folder of data and results")
    add("--out", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def write_data(options: argparse.Namespace) -> tuple[Path, float | None]:
    """Write the data set unless it is there; return its path, and seconds where it was written."""
    size = tuple(options.size)
    data = FollowingEpisodes(options.episodes, options.steps, size, options.cameras)
    ending = ".hdf5" if options.layout == "robomimic" else ""
    path = options.work / f"{options.layout}_{data.digest[:10]}{ending}"
    if path.exists():
        return path, None
    write = write_robomimic if options.layout == "robomimic" else write_lerobot
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, round(_seconds(lambda: write(data, path)), 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data, train on it, compare epochs, and write the result."""
    options = _arguments(argv)
    path, write_s = write_data(options)
    epochs, search = BUDGETS[options.budget]
    variant = VariantConfig(
        data=path,
        encoder=options.encoder,
        scales=tuple(options.scales),
        readout=options.readout,
        device=options.device,
        data_dir=options.work / f"features_{time.time_ns()}",
    )
    job = TrainJob(
        variant,
        PolicyConfig(),
        TrainConfig(epochs=options.epochs or epochs),
        search,
        runs_dir=variant.data_dir / "runs",
    )
    policy, timed = train(job)
    expected = options.episodes * options.steps * options.cameras
    found = {
        **{name: getattr(options, name) for name in ("layout", "episodes", "steps", "cameras")},
        "size": list(options.size),
        "encoder": options.encoder,
        "scales": options.scales,
        "readout": options.readout,
        "budget": options.budget,
        "epochs": job.train.epochs,
        "batch_size": job.train.batch_size,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "data_bytes": sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file()),
        "data_written_s": write_s,
        "from_file_to_policy": {**timed, "frames": expected},
        "decoded_once": timed["frames_decoded"] == expected,
        "held_out": _errors(policy),
        "epochs_compared": compare_epochs(job, options.in_loop, options.rounds),
        "provenance": provenance(),
    }
    write_json(options.out, found)
    print(json.dumps({"seconds": timed["seconds"], **found["epochs_compared"]}, indent=1))


def _errors(policy: RecordedPolicy) -> dict[str, Any]:
    record = policy.errors.to_dict()
    return {"episodes": len(record["episodes"]), "entries": record["entries"]}


if __name__ == "__main__":
    main()
