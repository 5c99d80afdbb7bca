"""Policies of runs: each training seed's hyperparameters, training, and policy file.

Seeds that are trained together have the policies that they have one by one, to float tolerance.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from s2robot.envs.tasks.action_scale import scale_of
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import file_name
from s2robot.errors import DivergedError
from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.settings import (
    POLICY,
    TRAINING,
    policy_digest,
    trained_with,
    training_record,
    write_training,
)
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    load_policy,
    save_policy,
)
from s2robot.policies.config import PolicyConfig
from s2robot.training.frames import sharing_frames
from s2robot.training.hyperparameter_search import HyperparameterChoice, search_many
from s2robot.training.many_seeds import DivergedSeedsError, fit_many
from s2robot.training.precision import REMARK
from s2robot.training.seed_trainer import FitResult, TrainConfig
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import digest_of, locked, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import provenance


def policy_folder(job: TrainJob, variant: Variant) -> Path:
    """Return the folder of a trained policy; its name ends with a digest of all inputs.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    digest = policy_digest(job, variant)
    scales = "".join(f"{s:g}" for s in variant.config.scales)
    words = [file_name(variant.config.level), variant.encoder_name.replace("/", "-")]
    if not variant.is_baseline:
        words += [f"s{scales}", variant.config.input_mode, variant.config.readout]
    name = "_".join([*words, job.policy.kind, f"seed{job.seed}", digest[:10]])
    return job.runs_dir / "cells" / name


def train_run(job: TrainJob, variant: Variant, together: Sequence[int] = ()) -> Path:
    """Train one policy, unless its file exists, and return the path of the file.

    Args:
        job: settings of the training.
        variant: its inputs.
        together: seeds to train with it, without those whose policies exist or are being trained
            by another process. Where one diverges, no policy is written for it.

    Raises:
        CorruptFileError: the policy file or a checkpoint is damaged.
        DivergedError: the training diverged.
    """
    folder = policy_folder(job, variant)
    path = folder / POLICY
    with locked(folder / "train"):
        if path.exists():
            load_policy(path)  # verifies the file, so that a damaged one is found here
            if not (folder / TRAINING).exists():  # of a version that did not write it
                write_training(folder, training_record(job, variant))
            return path
        folders = {job.seed: folder}
        with contextlib.ExitStack() as locks:
            for seed in together:
                other = policy_folder(dataclasses.replace(job, seed=seed), variant)
                if seed not in folders and _is_free(other, locks):
                    folders[seed] = other
            with sharing_frames():
                errors = _train(job, variant, folders)
    if job.seed in errors:
        raise errors[job.seed]
    return path


def _is_free(folder: Path, locks: contextlib.ExitStack) -> bool:
    """Return whether a policy is missing and nobody trains it; its folder is locked then."""
    try:
        locks.enter_context(locked(folder / "train").acquire(timeout=0))
    except filelock.Timeout:
        return False
    return not (folder / POLICY).exists()


def choose_hyperparameters(job: TrainJob, variant: Variant) -> HyperparameterChoice | None:
    """Return the hyperparameters of one training seed, from a search of its own.

    Args:
        job: settings of the training.
        variant: its inputs.

    Returns:
        The choice on held-out demonstrations; None where the job has no search.

    Raises:
        DivergedError: every trial diverged.
    """
    choices, errors = _choose(job, variant, [job.seed])
    if job.seed in errors:
        raise errors[job.seed]
    return choices[job.seed]


def _choose(
    job: TrainJob, variant: Variant, seeds: Sequence[int]
) -> tuple[Mapping[int, HyperparameterChoice | None], Mapping[int, DivergedError]]:
    """Return the hyperparameters by seed, and errors of seeds whose search failed.

    A search is seeded by the training seed, so that the choice varies as the seeds do, and a
    comparison over seeds does not rest on one draw of it.
    """
    if job.search is None:
        return dict.fromkeys(seeds), {}
    jobs = {seed: dataclasses.replace(job, seed=seed) for seed in seeds}
    paths = {
        seed: job.runs_dir / "heads" / f"{policy_digest(each, variant)[:24]}.jsonl"
        for seed, each in jobs.items()
    }
    with contextlib.ExitStack() as open_until_end:
        for path in paths.values():
            open_until_end.enter_context(locked(path))
        text, total = f"hyperparameter search, {_named(seeds)}", job.search.trials * len(seeds)
        bar = open_until_end.enter_context(progress_bar(text, total))
        settings = (job.policy, job.train, job.search)

        def show(_seed: int, _row: dict[str, Any]) -> None:
            bar.advance()

        try:
            device = variant.config.device
            return search_many(variant.data, *settings, seeds, paths, show, device), {}
        except DivergedSeedsError as error:
            return error.results, error.errors


def _train(
    job: TrainJob, variant: Variant, folders: Mapping[int, Path]
) -> Mapping[int, DivergedError]:
    """Train and write a policy for each seed; return the errors of those that diverged.

    Args:
        job: settings of all of them, but for the seed.
        variant: its inputs.
        folders: of the policies by seed.
    """
    trained = trained_with(job, variant)
    if trained.dtype == "bfloat16":
        OUTPUT.print(REMARK)
    choices, failed = _choose(job, variant, list(folders))
    errors = dict(failed)
    groups: dict[str, list[int]] = {}  # seeds whose searches chose the same are trained together
    for seed, choice in choices.items():
        chosen = None if choice is None else (choice.policy_config.to_dict(), choice.lr)
        groups.setdefault(digest_of(chosen), []).append(seed)
    header, training = _header(job, variant), training_record(job, variant)
    for seeds in groups.values():
        choice = choices[seeds[0]]
        policy = job.policy if choice is None else choice.policy_config
        config = trained if choice is None else dataclasses.replace(trained, lr=choice.lr)
        results, diverged = _fit(variant, policy, config, {s: folders[s] for s in seeds})
        errors.update(diverged)
        for seed, result in results.items():
            own = choices[seed]
            described = dataclasses.replace(
                header,
                policy_config=policy,
                train=dataclasses.asdict(dataclasses.replace(config, seed=seed)),
                seed=seed,
                head={} if own is None else own.to_dict(),
            )
            save_policy(folders[seed] / POLICY, result.policy, described)
            write_training(folders[seed], training)
            write_json(folders[seed] / "history.json", list(result.history))
    return errors


def _fit(
    variant: Variant, policy: PolicyConfig, config: TrainConfig, folders: Mapping[int, Path]
) -> tuple[Mapping[int, FitResult], Mapping[int, DivergedError]]:
    """Train seeds of equal settings together; return results, and errors of diverged seeds."""
    data, seeds = variant.data, list(folders)
    run_dirs = {seed: folder / "training" for seed, folder in folders.items()}
    done = dict.fromkeys(seeds, 0.0)
    with progress_bar(f"training, {_named(seeds)}", config.epochs * len(seeds)) as bar:

        def show(seed: int, row: dict[str, float]) -> None:
            done[seed] = row["epoch"]
            bar.update(sum(done.values()))

        try:
            device = variant.config.device
            results = fit_many(data, policy, config, seeds, run_dirs, on_epoch=show, device=device)
        except DivergedSeedsError as error:
            return error.results, error.errors
    return results, {}


def _named(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _header(job: TrainJob, variant: Variant) -> PolicyHeader:
    """Return the header of a policy that is trained without a search."""
    demos = variant.demos
    env = make_env(demos.env_kwargs)
    scale = scale_of(env)
    own = None if scale is None else scale.record()
    space = action_space_record(env.action_space, demos.control, env.rate_hz, own)
    env.close()
    return PolicyHeader(
        policy_config=job.policy,
        encoder=variant.encoder_record,
        embedding_shape=variant.embedding_shape,
        proprio_keys=variant.proprio_keys,
        action_space=space,
        env_kwargs=demos.env_kwargs,
        frames=variant.frames_record,
        demos_digest=demos.identity_digest,
        train=dataclasses.asdict(trained_with(job, variant)),
        seed=job.seed,
        head={},
        provenance=provenance(),
    )
