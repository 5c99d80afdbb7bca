"""Settings of a run: everything that can change a policy or a row, for digests and ``cell.json``.

Two runs with equal settings differ in nothing but the training seed and the initial states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.envs.tasks.names import rare_share
from s2robot.evaluation.identity import RECORD_FORMAT
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.precision import Agreement
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import PolicyHeader, read_header
from s2robot.training.config import TrainConfig
from s2robot.training.precision import resolved
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import digest_of, jsonable, read_json, write_json
from s2robot.utils.provenance import deciding_versions
from s2robot.utils.records import record_of

POLICY = "policy.safetensors"
TRAINING = "training.json"
"""File beside a policy file that describes its variant and training."""
TRAINING_FORMAT = 1


def trained_with(job: TrainJob, variant: Variant) -> TrainConfig:
    """Return the settings of a job's training, with the precision in force.

    "auto" is float32 here, as variants that are compared must not differ in their heads' precision.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    train = job.train
    if train.dtype == "auto":
        train = dataclasses.replace(train, dtype="float32")
    given = (variant.demos.num_frames, variant.embedding_shape, variant.config.device)
    return resolved(train, *given)


def policy_settings(job: TrainJob, variant: Variant) -> dict[str, Any]:
    """Return everything that can change a policy besides the training seed, JSON-able.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    demos, encoder = variant.demos, variant.encoder
    train = trained_with(job, variant).recipe()
    del train["seed"]  # ``job.seed`` is used
    content = {
        "demonstrations": {
            "digest": demos.identity_digest,
            "n": demos.num_episodes,
            "level": demos.level,
        },
        "camera": None if encoder is None else _without_scales(variant.frames_record),
        "encoder": {**variant.encoder_record, **_own_scales(variant)},
        "policy": job.policy.to_dict(),
        "train": {**train, "device": resolve_device(variant.config.device).type},
        "search": None if job.search is None else job.search.recipe(),
        "inference": None if encoder is None else encoder.inference,
        "versions": deciding_versions(),
    }
    if variant.yaw:  # the gripper's tilt, which hardly varies, was once scaled to unit variance
        content["policy"]["normalization"] = 2
    return jsonable(content)


def _own_scales(variant: Variant) -> dict[str, Any]:
    """Return the scales of cameras that have their own, which are options of the encoder."""
    own = {} if variant.is_baseline else variant.config.camera_scales
    return {"camera_scales": {name: list(own[name]) for name in sorted(own)}} if own else {}


def _without_scales(frames: dict[str, Any]) -> dict[str, Any]:
    """Return a source of frames without the cameras' scales, which decide no pixel."""
    if "cameras" not in frames:
        return frames
    cameras = [{k: v for k, v in c.items() if k != "scales"} for c in frames["cameras"]]
    return {**frames, "cameras": cameras}


def policy_digest(job: TrainJob, variant: Variant) -> str:
    """Return the digest of a policy's settings and training seed.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    return digest_of({**policy_settings(job, variant), "seed": job.seed})


def training_record(job: TrainJob, variant: Variant) -> dict[str, Any]:
    """Return what a run's description says of its variant and training, JSON-able.

    It lies beside the policy file, so that an evaluation, which has no demonstrations, can describe
    its run as well.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    of_encoder = (variant.config, variant.encoder, variant.agreement, variant.gflops_per_frame)
    return described_training(variant.stored_label, *of_encoder, policy_settings(job, variant))


def described_training(
    label: str,
    config: VariantConfig,
    encoder: FrameEncoder | None,
    compared: Agreement | None,
    gflops_per_frame: float,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a run's description says of its inputs and their settings, JSON-able.

    Args:
        label: in files.
        config: settings of the variant.
        encoder: of it; None for a baseline.
        compared: how bfloat16 agrees with float32, if these were compared.
        gflops_per_frame: cost of a control step [GFLOP].
        settings: everything that can change the policy besides the training seed.
    """
    return {
        **({} if compared is None else {"agreement": dataclasses.asdict(compared)}),
        "label": label,
        "family": None if encoder is None else encoder.backbone.card.family,
        "scales": [] if encoder is None else list(config.scales),
        "input_mode": None if encoder is None else config.input_mode,
        "readout": None if encoder is None else config.readout,
        "parameters": 0 if encoder is None else encoder.parameters_count,
        "gflops_per_frame": gflops_per_frame,
        "settings": dict(settings),
    }


def write_training(folder: Path, training: Mapping[str, Any]) -> None:
    """Write the description of a training beside its policy file.

    Args:
        folder: of the policy file.
        training: as ``training_record`` returns it.
    """
    sha256 = read_header(folder / POLICY).sha256
    write_json(folder / TRAINING, {"format": TRAINING_FORMAT, "policy": sha256, **training})


@dataclasses.dataclass(frozen=True)
class _Training:
    """The entry of a training's description that is read here."""

    settings: dict[str, Any]


def read_training(checkpoint: Path, header: PolicyHeader) -> dict[str, Any] | None:
    """Return the description of a policy's training; None if none of it lies beside the file.

    Args:
        checkpoint: the policy file.
        header: of the policy file.

    Raises:
        CorruptFileError: the description is damaged.
    """
    path = checkpoint.with_name(TRAINING)
    if not path.exists():
        return None
    content = read_json(path)
    known = isinstance(content, dict) and content.pop("format", None) == TRAINING_FORMAT
    if not known or content.pop("policy", None) != header.sha256:
        return None
    record_of(_Training, content, path, "repeat the `s2robot train` that wrote it")
    return content


def run_record(
    training: Mapping[str, Any],
    checkpoint: Path,
    header: PolicyHeader,
    claimed: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``cell.json``, which describes a run for the report.

    Args:
        training: as ``training_record`` returns it.
        checkpoint: the policy file.
        header: of the policy file.
        claimed: content of ``run.json``, which decides what is said of the episodes.
    """
    level = claimed["task"]["level"]
    settings = training["settings"]
    episodes = {k: claimed[k] for k in ("camera", "rollout", "inference", "versions")}
    return {
        **training,
        "format": RECORD_FORMAT,
        "name": checkpoint.parent.name,
        "level": level,
        "rare_share": rare_share(level),
        "encoder": header.encoder,
        "policy_kind": header.policy_config.kind,
        "seed": header.seed,
        "conditions": claimed["conditions"],
        "demos": settings["demonstrations"],
        "embedding_dim": int(torch.Size(header.embedding_shape).numel()),
        "head": header.head,
        "train": header.train,
        "settings": {"task": claimed["task"], **settings, **episodes},
        "provenance": header.provenance,
    }
