"""Training of a policy on recorded data, and its error on held-out episodes."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.recorded.held_out import HeldOut, held_out_errors
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.recorded.page import write_page
from s2robot.experiments.settings import POLICY
from s2robot.policies.checkpoint import (
    PolicyHeader,
    load_policy,
    recorded_action_space,
    save_policy,
)
from s2robot.training.frames import sharing_frames
from s2robot.training.hyperparameter_search import HyperparameterChoice, search_hyperparameters
from s2robot.training.trainer import fit
from s2robot.utils.console import OUTPUT
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import digest_of, jsonable, locked, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import deciding_versions, provenance

ERRORS = "held_out.json"
"""File beside a policy file with its errors on held-out episodes."""
PAGE = "index.html"
VERSION = 1
"""Raised whenever this package gives other policies for the same recorded data."""


@dataclass(frozen=True)
class RecordedPolicy:
    """A policy for recorded data and its files."""

    checkpoint: Path
    page: Path
    errors: HeldOut


def train_recorded(job: TrainJob) -> RecordedPolicy:
    """Train one policy, unless its file exists, and measure it on the held-out episodes.

    An interrupted call goes on where it stopped: with the frames that are not encoded, the trials
    that are not finished, and the last checkpoint.

    Args:
        job: settings of the training, with ``variant.data``.

    Raises:
        ValueError: the data set lacks what the settings name, or has too few episodes.
        CorruptFileError: the data set, the policy file or a checkpoint is damaged.
        DivergedError: the training diverged.
    """
    inputs = RecordedInputs(job.variant)
    if inputs.left_out:
        names = ", ".join(inputs.left_out)
        OUTPUT.print(f"not used: {names}, which a simulator alone knows; low_dim= may name them")
    folder = _folder(job, inputs)
    path = folder / POLICY
    with locked(folder / "train"):
        if not path.exists():
            with sharing_frames():
                _train(job, inputs, folder)
        policy, header = load_policy(path, resolve_device(job.variant.device))
        dataset = inputs.dataset
        found = held_out_errors(policy, inputs.data, dataset.actions, dataset.action_names)
        record = {"policy": header.sha256, "data": inputs.identity_digest, **found.to_dict()}
        write_json(folder / ERRORS, record)
        write_page(folder / PAGE, inputs, header, found)
    return RecordedPolicy(path, folder / PAGE, found)


def _folder(job: TrainJob, inputs: RecordedInputs) -> Path:
    """Return the folder of the policy; its name ends with a digest of all that decides it."""
    digest = digest_of({**_settings(job, inputs), "seed": job.seed})
    scales = "".join(f"{scale:g}" for scale in job.variant.scales)
    words = ["recorded", job.variant.encoder.rpartition(":")[2].replace("/", "-")]
    words += [] if inputs.is_blind else [f"s{scales}", job.variant.readout]
    name = "_".join([*words, job.policy.kind, f"seed{job.seed}", digest[:10]])
    return job.runs_dir / "cells" / name


def _settings(job: TrainJob, inputs: RecordedInputs) -> dict[str, Any]:
    """Return everything that can change a policy besides the training seed, JSON-able."""
    encoder, train = inputs.encoder, job.train.recipe()
    del train["seed"]  # ``job.seed`` is used
    content = {
        "recorded": VERSION,
        "data": inputs.identity_digest,
        "cameras": inputs.frames_record,
        "low_dim": inputs.proprio_keys,
        "encoder": inputs.encoder_record,
        "policy": job.policy.to_dict(),
        "train": {**train, "device": resolve_device(job.variant.device).type},
        "search": None if job.search is None else dataclasses.asdict(job.search),
        "inference": None if encoder is None else encoder.inference,
        "versions": deciding_versions(),
    }
    return jsonable(content)


def _train(job: TrainJob, inputs: RecordedInputs, folder: Path) -> None:
    """Train a policy and write its file."""
    choice = _choose(job, inputs, folder)
    policy = job.policy if choice is None else choice.policy_config
    config = dataclasses.replace(job.train, seed=job.seed)
    config = config if choice is None else dataclasses.replace(config, lr=choice.lr)
    with progress_bar(f"training, seed {job.seed}", config.epochs) as bar:

        def show(row: dict[str, float]) -> None:
            bar.update(row["epoch"])

        device = job.variant.device
        run_dir = folder / "training"
        result = fit(inputs.data, policy, config, run_dir, on_epoch=show, device=device)
    result.policy.action_units = inputs.action_units
    header = PolicyHeader(
        policy_config=policy,
        encoder=inputs.encoder_record,
        embedding_shape=inputs.embedding_shape,
        proprio_keys=inputs.proprio_keys,
        action_space=recorded_action_space(
            *inputs.action_range, inputs.dataset.action_names, inputs.dataset.rate_hz
        ),
        env_kwargs={},
        frames=inputs.frames_record,
        demos_digest=inputs.identity_digest,
        train=dataclasses.asdict(config),
        seed=job.seed,
        head={} if choice is None else choice.to_dict(),
        provenance=provenance(),
    )
    save_policy(folder / POLICY, result.policy, header)
    write_json(folder / "settings.json", _settings(job, inputs))
    write_json(folder / "history.json", list(result.history))


def _choose(job: TrainJob, inputs: RecordedInputs, folder: Path) -> HyperparameterChoice | None:
    """Return the hyperparameters that the tuning episodes choose; None without a search."""
    if job.search is None:
        return None
    if not len(inputs.split.tuning):
        raise ValueError(
            f"{inputs.dataset.source} leaves one episode for training, so none can choose "
            "hyperparameters; give more episodes, or budget=none"
        )
    with progress_bar(f"hyperparameter search, seed {job.seed}", job.search.trials) as bar:
        advance = functools.partial(_advance, bar)
        return search_hyperparameters(
            inputs.tuning_data,
            job.policy,
            job.train,
            job.search,
            job.seed,
            folder / "search.jsonl",
            advance,
            job.variant.device,
        )


def _advance(bar: Any, _row: dict[str, Any]) -> None:
    bar.advance()
