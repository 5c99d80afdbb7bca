"""From an arm's settings to a trained, evaluated cell; every stage is made once and found again.

An *arm* is what is compared: camera, encoder, scales, readout, policy kind. A *cell* is one arm
trained with one seed and rolled out on one set of initial conditions. Demonstrations, frames,
features, the arm's head choice, policies and episodes lie on disk under names made of their
inputs, so a rerun, a resumed run and a neighbouring cell all take up what is there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from s2robot.collect import CollectConfig, collect
from s2robot.conditions import Conditions, ensure_conditions
from s2robot.controls import control_embedding, control_shape, is_control
from s2robot.demos import Demonstrations
from s2robot.encoder import EncoderSpec, FrameEncoder, resolve_device
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import CONTROL_DT_S, PickCubeEnv
from s2robot.evaluate import EvalConfig, Summary, evaluate
from s2robot.features import FeatureStore
from s2robot.files import digest_of, locked, read_json, write_json
from s2robot.frames import CameraConfig, RenderedFrames
from s2robot.head_search import HeadChoice, SearchConfig, search_head
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    load_policy,
    read_header,
    save_policy,
)
from s2robot.policies.config import PolicyConfig
from s2robot.policies.data import TrajectoryData, default_proprio_keys
from s2robot.provenance import provenance
from s2robot.train import FitResult, TrainConfig, assemble, fit

console = Console()


@dataclass(frozen=True)
class CameraChoice:
    """Camera of an arm; without a name, the level's own."""

    name: str | None = None
    size: int = 384


@dataclass(frozen=True)
class DemosChoice:
    """Which demonstrations: a file, or how many to collect with which seed."""

    path: Path | None = None
    episodes: int = 120
    seed: int = 0


@dataclass(frozen=True)
class ArmConfig:
    """What is compared, and where its inputs lie; see ``configs/arm.yaml``."""

    level: str = "precise"
    control: str = "ee_delta"
    encoder: str = "s2r-vitt16-128"
    weights: Path | None = None
    scales: tuple[float, ...] = (1.0, 2.0)
    input_mode: str = "native"
    readout: str = "spatial_softmax"
    resize_output_to_idx: int = 0
    camera: CameraChoice = field(default_factory=CameraChoice)
    demos: DemosChoice = field(default_factory=DemosChoice)
    device: str = "auto"
    dtype: str = "auto"
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        get_level(self.level)


class Arm:
    """The inputs of one arm, each made when first asked for."""

    def __init__(self, config: ArmConfig) -> None:
        self.config = config

    @property
    def is_control(self) -> bool:
        """Whether the arm looks at no pixels (``none``, ``state``)."""
        return is_control(self.config.encoder)

    @property
    def camera(self) -> CameraConfig:
        """The camera with its name filled in."""
        choice = self.config.camera
        return CameraConfig(choice.name or get_level(self.config.level).camera, choice.size)

    @functools.cached_property
    def demos(self) -> Demonstrations:
        """Demonstrations, collected when there are none."""
        config = self.config
        if config.demos.path is not None:
            return Demonstrations(config.demos.path)
        return collect(
            CollectConfig(
                level=config.level,
                control=config.control,
                episodes=config.demos.episodes,
                seed=config.demos.seed,
                data_dir=config.data_dir,
            )
        )

    @functools.cached_property
    def encoder(self) -> FrameEncoder | None:
        """The frozen encoder; None for a control."""
        if self.is_control:
            return None
        config = self.config
        encoder = FrameEncoder.from_name(
            config.encoder,
            scales=config.scales,
            readout=config.readout,
            input_mode=config.input_mode,
            weights=config.weights,
            resize_output_to_idx=config.resize_output_to_idx,
            device=config.device,
            dtype=config.dtype,
        )
        console.print(f"{config.encoder} on {encoder.device}, {encoder.spec.dtype}")
        return encoder

    @functools.cached_property
    def encoder_record(self) -> dict[str, Any]:
        """What identifies the encoder: its spec, or the control's name."""
        if self.encoder is None:
            return {"backbone": self.config.encoder}
        return self.encoder.spec.to_dict()

    @property
    def yaw(self) -> bool:
        """Whether the level turns the cube."""
        return float(self.demos.env_kwargs["yaw_range_rad"]) > 0

    @property
    def frames(self) -> RenderedFrames:
        """The demonstrations' frames through the arm's camera."""
        return RenderedFrames(self.demos, self.camera, self.config.data_dir / "frames")

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one embedding."""
        if self.encoder is None:
            return control_shape(self.config.encoder, self.yaw)
        return tuple(self.encoder.output_shape)

    def embeddings(self) -> torch.Tensor:
        """Embeddings ``(N, D)`` of all frames, from the feature store where there are pixels."""
        if self.encoder is None:
            low_dim = {key: self.demos.low_dim(key) for key in ("cube_pos", "cube_quat")}
            return torch.from_numpy(control_embedding(self.config.encoder, low_dim, self.yaw))
        store = FeatureStore(self.config.data_dir / "features")
        frames = self.frames
        store.ensure(self.demos, frames, self.encoder)
        return store.load(self.demos, frames, self.encoder)

    @functools.cached_property
    def proprio_keys(self) -> tuple[str, ...]:
        """Low-dimensional observations that the policy sees."""
        return default_proprio_keys(self.demos.control, self.yaw)

    @functools.cached_property
    def data(self) -> TrajectoryData:
        """Training data of the arm."""
        return assemble(self.demos, self.embeddings(), self.embedding_shape, self.proprio_keys)

    def identity(self) -> dict[str, Any]:
        """What two runs must share to be the same arm."""
        record: dict[str, Any] = {"demos": self.demos.digest, "encoder": self.encoder_record}
        if not self.is_control:
            record["camera"] = dataclasses.asdict(self.camera)
        return record

    @property
    def encoder_name(self) -> str:
        """The encoder's name; for a file, its card's name and the weights' digest."""
        name = self.config.encoder
        if self.encoder is None or not name.startswith("file:"):
            return name
        card = read_json(Path(name.removeprefix("file:")).with_suffix(".json"))
        return f"{card['name']}@{self.encoder.backbone.weights_digest[:6]}"

    @property
    def label(self) -> str:
        """Short name for tables and pictures, such as ``s2r-vitt16-128 (1,2)``."""
        if self.is_control:
            return self.config.encoder
        scales = ",".join(f"{scale:g}" for scale in self.config.scales)
        words = [f"{self.encoder_name} ({scales})"]
        if self.config.input_mode != "native" and self.config.scales != (1.0,):
            words.append(self.config.input_mode)
        if self.config.readout != "spatial_softmax":
            words.append(self.config.readout)
        if self.config.resize_output_to_idx:
            words.append(f"grid of scale {self.config.resize_output_to_idx}")
        return " ".join(words)


@dataclass(frozen=True)
class TrainJob:
    """One policy to train: an arm, a network, a budget, a seed."""

    arm: ArmConfig = field(default_factory=ArmConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig | None = field(default_factory=SearchConfig)
    """Head search; None trains ``policy`` and ``train`` as they stand."""
    seed: int = 0
    runs_dir: Path = Path("runs")


def choose_head(job: TrainJob, arm: Arm) -> HeadChoice | None:
    """The arm's head, searched once on held-out demonstrations and then the same for every seed."""
    if job.search is None:
        return None
    identity = {
        **arm.identity(),
        "policy": dataclasses.asdict(job.policy),
        "train": dataclasses.asdict(job.train),
        "search": dataclasses.asdict(job.search),
    }
    cache = job.runs_dir / "heads" / f"{digest_of(identity)[:24]}.jsonl"
    data = arm.data
    with locked(cache), Progress(console=console) as progress:
        bar = progress.add_task("head search", total=job.search.trials)
        return search_head(
            data,
            job.policy,
            job.train,
            job.search,
            cache_path=cache,
            on_trial=lambda _: progress.advance(bar),
            device=arm.config.device,
        )


def policy_folder(job: TrainJob, arm: Arm) -> Path:
    """Where a trained policy lies; the name is for people, the digest decides."""
    identity = {
        **arm.identity(),
        "policy": dataclasses.asdict(job.policy),
        "train": dataclasses.asdict(job.train),
        "search": None if job.search is None else dataclasses.asdict(job.search),
        "seed": job.seed,
    }
    scales = "".join(f"{s:g}" for s in arm.config.scales)
    words = [arm.config.level, arm.encoder_name.replace("/", "-")]
    if not arm.is_control:
        words += [f"s{scales}", arm.config.input_mode, arm.config.readout]
    name = "_".join([*words, job.policy.kind, f"seed{job.seed}", digest_of(identity)[:10]])
    return job.runs_dir / "cells" / name


def train_cell(job: TrainJob, arm: Arm) -> Path:
    """Train one policy (or find it trained); returns the policy file's path."""
    folder = policy_folder(job, arm)
    path = folder / "policy.safetensors"
    with locked(folder / "train"):
        if path.exists():
            load_policy(path)  # verified, so that a damaged one is found here
            return path
        choice = choose_head(job, arm)
        policy_config = job.policy if choice is None else choice.policy_config
        lr = job.train.lr if choice is None else choice.lr
        train_config = dataclasses.replace(job.train, lr=lr, seed=job.seed)
        result = _fit(arm, policy_config, train_config, folder / "training")
        header = _header(job, arm, policy_config, train_config, choice)
        save_policy(path, result.policy, header)
        write_json(folder / "history.json", list(result.history))
    return path


def _fit(arm: Arm, policy: PolicyConfig, config: TrainConfig, folder: Path) -> FitResult:
    data = arm.data
    with Progress(console=console) as progress:
        bar = progress.add_task(f"training, seed {config.seed}", total=config.epochs)

        def show(row: dict[str, float]) -> None:
            progress.update(bar, completed=row["epoch"])

        return fit(data, policy, config, folder, on_epoch=show, device=arm.config.device)


def _header(
    job: TrainJob,
    arm: Arm,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    choice: HeadChoice | None,
) -> PolicyHeader:
    demos = arm.demos
    env = PickCubeEnv(**demos.env_kwargs)
    space = action_space_record(env.action_space, demos.control, 1 / CONTROL_DT_S)  # pyright: ignore[reportArgumentType]
    env.close()
    return PolicyHeader(
        policy_config=policy_config,
        encoder=arm.encoder_record,
        embedding_shape=arm.embedding_shape,
        proprio_keys=arm.proprio_keys,
        action_space=space,
        env_kwargs=demos.env_kwargs,
        frames={} if arm.is_control else arm.frames.source,
        demos_digest=demos.digest,
        train=dataclasses.asdict(train_config),
        seed=job.seed,
        head={} if choice is None else choice.to_dict(),
        provenance=provenance(),
    )


@dataclass(frozen=True)
class EvalJob:
    """A policy file to roll out."""

    checkpoint: Path
    split: str = "test"
    n: int = 64
    rollout: EvalConfig = field(default_factory=EvalConfig)
    out: Path | None = None
    weights: Path | None = None
    """File with the encoder's weights, for encoders that do not ship."""
    device: str = "auto"
    dtype: str = "auto"
    """Precision of the encoder; ``auto``: as trained on a GPU, float32 on a processor."""
    data_dir: Path = Path("data")
    fresh: bool = False


def conditions_for(job: EvalJob, env_kwargs: dict[str, Any]) -> Conditions:
    """The fixed initial conditions of a level, made once and verified by their hash."""
    return ensure_conditions(
        job.data_dir / "conditions", env_kwargs["level"], job.split, job.n, env_kwargs
    )


def evaluate_policy(job: EvalJob) -> Summary:
    """Roll a policy file out on fixed conditions; rows and videos go beside it."""
    policy, header = load_policy(job.checkpoint)
    encoder = None
    if not is_control(header.encoder["backbone"]):
        encoder = _rebuild_encoder(job, EncoderSpec.from_dict(header.encoder))
    conditions = conditions_for(job, header.env_kwargs)
    out = job.out or job.checkpoint.parent
    return evaluate(policy, encoder, conditions, job.rollout, out, header=header, fresh=job.fresh)


def _rebuild_encoder(job: EvalJob, spec: EncoderSpec) -> FrameEncoder:
    """The policy's encoder; bfloat16 is several times slower than float32 on a processor."""
    dtype = None if job.dtype == "auto" else job.dtype
    if dtype is None and spec.dtype != "float32" and resolve_device(job.device).type == "cpu":
        dtype = "float32"
        console.print(f"encoder in float32 on the processor (trained in {spec.dtype})")
    return FrameEncoder.from_spec(spec, weights=job.weights, device=job.device, dtype=dtype)


@dataclass(frozen=True)
class CellJob:
    """One cell of a sweep: train, then evaluate."""

    train: TrainJob = field(default_factory=TrainJob)
    n: int = 64
    split: str = "test"
    rollout: EvalConfig = field(default_factory=EvalConfig)


def run_cell(job: CellJob, say: Callable[[str], None] = console.print) -> Summary:
    """Train and evaluate one cell; what is already there is taken up, not made again."""
    arm = Arm(job.train.arm)
    say(f"cell: {arm.config.level}, {arm.label}, {job.train.policy.kind}, seed {job.train.seed}")
    path = train_cell(job.train, arm)
    eval_job = EvalJob(
        checkpoint=path,
        split=job.split,
        n=job.n,
        rollout=job.rollout,
        weights=arm.config.weights,
        device=arm.config.device,
        data_dir=arm.config.data_dir,
    )
    header = read_header(path)
    write_json(path.with_name("cell.json"), _cell_record(job, arm, header, eval_job))
    summary = evaluate_policy(eval_job)
    return summary


def _cell_record(job: CellJob, arm: Arm, header: PolicyHeader, eval_job: EvalJob) -> dict[str, Any]:
    conditions = conditions_for(eval_job, header.env_kwargs)
    encoder = arm.encoder
    return {
        "name": eval_job.checkpoint.parent.name,
        "level": arm.config.level,
        "label": arm.label,
        "encoder": header.encoder,
        "scales": [] if encoder is None else list(arm.config.scales),
        "input_mode": None if encoder is None else arm.config.input_mode,
        "readout": None if encoder is None else arm.config.readout,
        "policy_kind": header.policy_config.kind,
        "seed": header.seed,
        "conditions": {"hash": conditions.sha256, "n": job.n, "split": job.split},
        "demos": {"digest": header.demos_digest, "n": arm.demos.num_episodes},
        "parameters": 0 if encoder is None else encoder.parameters_count,
        "gflops_per_frame": 0.0 if encoder is None else encoder.gflops_per_frame,
        "embedding_dim": int(torch.Size(header.embedding_shape).numel()),
        "head": header.head,
        "train": header.train,
        "provenance": header.provenance,
    }


def failed_cells(runs_dir: Path) -> list[tuple[str, str]]:
    """Names and messages of cells that a sweep could not finish."""
    return [(p.parent.name, read_json(p)["error"]) for p in runs_dir.glob("failed/*/error.json")]
