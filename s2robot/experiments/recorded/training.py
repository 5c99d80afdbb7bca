"""Training of a policy on recorded data, and its error on held-out episodes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.data.bag_paths import BAGS
from s2robot.data.datasets.contract import turned_over
from s2robot.data.datasets.opening import HDF5
from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.recorded.held_out import HeldOut, held_out_errors, over_seeds
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.recorded.page import write_page
from s2robot.experiments.settings import (
    POLICY,
    described_training,
    read_training,
    write_training,
)
from s2robot.policies.action_space import PROPRIO_NAMES, RECORDED, ActionBounds
from s2robot.policies.checkpoint import (
    PolicyHeader,
    load_policy,
    recorded_action_space,
    save_policy,
)
from s2robot.policies.config import PolicyConfig
from s2robot.training.frames import sharing_frames
from s2robot.training.hyperparameter_search import HyperparameterChoice, search_many
from s2robot.training.many_seeds import fit_many
from s2robot.training.precision import REMARK
from s2robot.training.seed_trainer import FitResult, TrainConfig
from s2robot.utils.console import OUTPUT
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import digest_of, jsonable, locked, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import deciding_versions, provenance

ERRORS = "held_out.json"
"""File beside a policy file with its errors on held-out episodes."""
PAGE = "index.html"
_LONGEST_SLUG = 32
VERSION = 2
"""Raised whenever this package writes other policies for the same recorded data. 2: with the names
of the observations' numbers, by which a ROS node finds joints."""


@dataclass(frozen=True)
class RecordedPolicy:
    """Policies for recorded data and their files."""

    checkpoint: Path
    """Of the first seed."""
    page: Path
    errors: HeldOut
    checkpoints: tuple[Path, ...] = ()
    """Of all seeds, in order."""


def train_recorded(job: TrainJob, seeds: int = 1) -> RecordedPolicy:
    """Train policies, unless their files exist, and measure them on the held-out episodes.

    An interrupted call goes on where it stopped: with the frames that are not encoded, the trials
    that are not finished, and the last checkpoint.

    Args:
        job: settings of the training, with ``variant.data``; its seed is the first one.
        seeds: number of training seeds; several have one page with intervals over seeds, too.

    Raises:
        ValueError: the data set lacks what the settings name, or has too few episodes.
        CorruptFileError: the data set, the policy file or a checkpoint is damaged.
        DivergedError: the training diverged.
    """
    inputs = RecordedInputs(job.variant)
    _tell(inputs)
    job = dataclasses.replace(job, train=inputs.trained_with(job.train))
    folders = {seed: _folder(job, inputs, seed) for seed in range(job.seed, job.seed + seeds)}
    with contextlib.ExitStack() as locks:
        for folder in folders.values():
            locks.enter_context(locked(folder / "train"))
        missing = {seed: f for seed, f in folders.items() if not (f / POLICY).exists()}
        if missing:
            with sharing_frames():
                _train(job, inputs, missing)
        found = {seed: _measure(job, inputs, folder) for seed, folder in folders.items()}
    paths = tuple(folder / POLICY for folder in folders.values())
    header, errors = found[job.seed]
    place = folders[job.seed]
    if seeds > 1:
        errors = over_seeds({seed: own for seed, (_, own) in found.items()})
        place = _folder(job, inputs, f"{job.seed}-{job.seed + seeds - 1}")
        place.mkdir(parents=True, exist_ok=True)
        record = {"policies": [h.sha256 for h, _ in found.values()], "data": inputs.identity_digest}
        write_json(place / ERRORS, {**record, **errors.to_dict()})
        write_page(place / PAGE, inputs, header, errors)
    return RecordedPolicy(paths[0], place / PAGE, errors, paths)


def _tell(inputs: RecordedInputs) -> None:
    """Print what is taken of the data."""
    OUTPUT.print(f"episodes: {inputs.episodes_text}")
    OUTPUT.print(f"observations: {', '.join(inputs.proprio_keys) or 'none'}")
    if inputs.left_out:
        names = ", ".join(inputs.left_out)
        OUTPUT.print(f"not used: {names}, which a simulator alone knows; low_dim= may name them")
    if inputs.dataset.rate_hz is None:
        OUTPUT.print(f"control rate: {inputs.rate_text}")
    turned = turned_over(inputs.dataset)
    if turned is not None:
        OUTPUT.print(turned)


def _measure(job: TrainJob, inputs: RecordedInputs, folder: Path) -> tuple[PolicyHeader, HeldOut]:
    """Return a policy's header and errors, which are written beside it with its page."""
    policy, header = load_policy(folder / POLICY, resolve_device(job.variant.device))
    dataset = inputs.dataset
    bounds = ActionBounds.of(header.action_space)
    found = held_out_errors(policy, inputs.data, dataset.actions, dataset.action_names, bounds)
    record = {"policy": header.sha256, "data": inputs.identity_digest, **found.to_dict()}
    write_json(folder / ERRORS, record)
    write_page(folder / PAGE, inputs, header, found)
    if read_training(folder / POLICY, header) is None:
        write_training(folder, _description(job, inputs))
    return header, found


def _description(job: TrainJob, inputs: RecordedInputs) -> dict[str, Any]:
    """Return the description of a training, with which rollouts in a task become a run."""
    own = _settings(job, inputs)
    del own["data"], own["cameras"]
    digest, episodes = inputs.identity_digest, len(inputs.dataset.episode_ends)
    scales = inputs.config.camera_scales
    of_cameras = {"camera_scales": {k: list(v) for k, v in sorted(scales.items())}}
    demonstrations = {"digest": digest, "n": episodes, "level": RECORDED}
    settings = {
        **own,
        "demonstrations": demonstrations,
        "encoder": {**own["encoder"], **(of_cameras if scales else {})},
    }
    of_encoder = (inputs.config, inputs.encoder, inputs.agreement, inputs.gflops_per_frame)
    return described_training(inputs.stored_label, *of_encoder, jsonable(settings))


def _folder(job: TrainJob, inputs: RecordedInputs, seed: int | str) -> Path:
    """Return the folder of a policy; its name ends with a digest of all that decides it.

    One that is there already is found by its digest, whatever its data were called.
    """
    digest = digest_of({**_settings(job, inputs), "seed": seed})[:10]
    cells = job.runs_dir / "cells"
    there = sorted(cells.glob(f"recorded_*_seed{seed}_{digest}"))
    if there:
        return min(there, key=lambda folder: not (folder / POLICY).exists())
    scales = "".join(f"{scale:g}" for scale in job.variant.scales)
    words = ["recorded", slug(job.variant.data or "")]
    words += [job.variant.encoder.rpartition(":")[2].replace("/", "-")]
    words += [] if inputs.is_blind else [f"s{scales}", job.variant.readout]
    name = "_".join([*filter(None, words), job.policy.kind, f"seed{seed}", digest])
    return cells / name


def slug(data: str | Path) -> str:
    """Return the name of a data set, short and fit for a file's name, to tell folders apart.

    Args:
        data: its file or folder.

    Examples:
        >>> slug("data/lift ph.hdf5"), slug("lerobot/pusht_v3.0/")
        ('lift-ph', 'pusht-v3.0')
    """
    path = Path(os.path.abspath(data))  # of "." the folder's own name
    name = path.stem if path.suffix.lower() in (*HDF5, *BAGS) else path.name
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:_LONGEST_SLUG]


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
        "search": None if job.search is None else job.search.recipe(),
        "inference": None if encoder is None else encoder.inference,
        "versions": deciding_versions(),
    }
    return jsonable(content)


def _train(job: TrainJob, inputs: RecordedInputs, folders: Mapping[int, Path]) -> None:
    """Train the policies of some seeds and write their files, those of equal settings together."""
    if job.train.dtype == "bfloat16":
        OUTPUT.print(REMARK)
    choices = _choose(job, inputs, folders)
    groups: dict[tuple[PolicyConfig, float], list[int]] = {}
    for seed in folders:
        choice = choices.get(seed)
        own = (job.policy, job.train.lr) if choice is None else (choice.policy_config, choice.lr)
        groups.setdefault(own, []).append(seed)
    named = f"seed {job.seed}" if len(folders) == 1 else f"{len(folders)} seeds"
    data = inputs.data  # encodes, which is no time of the training
    with progress_bar(f"training, {named}", job.train.epochs * len(folders)) as bar:
        epochs: dict[int, float] = {}

        def show(seed: int, row: dict[str, float]) -> None:
            epochs[seed] = row["epoch"]
            bar.update(sum(epochs.values()))

        for (policy, lr), seeds in groups.items():
            config = dataclasses.replace(job.train, lr=lr)
            places = {seed: folders[seed] / "training" for seed in seeds}
            device = job.variant.device
            results = fit_many(data, policy, config, seeds, places, on_epoch=show, device=device)
            for seed, result in results.items():
                own = dataclasses.replace(config, seed=seed)
                _write(job, inputs, folders[seed], result, own, choices.get(seed))


def _write(
    job: TrainJob,
    inputs: RecordedInputs,
    folder: Path,
    result: FitResult,
    config: TrainConfig,
    choice: HyperparameterChoice | None,
) -> None:
    """Write the files of one policy."""
    result.policy.action_units = inputs.action_units
    header = PolicyHeader(
        policy_config=job.policy if choice is None else choice.policy_config,
        encoder=inputs.encoder_record,
        embedding_shape=inputs.embedding_shape,
        proprio_keys=inputs.proprio_keys,
        action_space=recorded_action_space(
            *inputs.action_range, inputs.dataset.action_names, inputs.dataset.rate_hz
        ),
        env_kwargs={},
        frames=_described_frames(inputs),
        demos_digest=inputs.identity_digest,
        train=dataclasses.asdict(config),
        seed=config.seed,
        head={} if choice is None else choice.to_dict(),
        provenance=provenance(),
    )
    write_json(folder / "settings.json", _settings(job, inputs))
    write_json(folder / "history.json", list(result.history))
    save_policy(folder / POLICY, result.policy, header)


def _described_frames(inputs: RecordedInputs) -> dict[str, Any]:
    """Return the frames of a policy for its file, with the names of its observations' numbers.

    By them a ROS node finds the joints that the policy reads.
    """
    if inputs.is_blind:
        return inputs.frames_record
    known = inputs.dataset.low_dim_names
    names = {key: list(known[key]) for key in inputs.proprio_keys}
    return {**inputs.frames_record, PROPRIO_NAMES: names}


def _choose(
    job: TrainJob, inputs: RecordedInputs, folders: Mapping[int, Path]
) -> dict[int, HyperparameterChoice]:
    """Return the hyperparameters that the tuning episodes choose by seed; none without a search."""
    if job.search is None:
        return {}
    if not len(inputs.split.tuning):
        raise ValueError(
            f"{inputs.dataset.source} leaves one episode for training, so none can choose "
            "hyperparameters; give more episodes, or budget=none"
        )
    named = f"seed {job.seed}" if len(folders) == 1 else f"{len(folders)} seeds"
    total = job.search.trials * len(folders)
    with progress_bar(f"hyperparameter search, {named}", total) as bar:
        return search_many(
            inputs.tuning_data,
            job.policy,
            job.train,
            job.search,
            list(folders),
            {seed: folder / "search.jsonl" for seed, folder in folders.items()},
            lambda _seed, _row: bar.advance(),
            job.variant.device,
        )
