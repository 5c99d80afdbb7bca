"""From a variant's settings to a trained and evaluated run; every stage is computed once.

A *variant* is what is compared: camera, encoder, scales, readout, policy kind. A *run* is one
variant, trained with one seed and rolled out on one set of initial states. Demonstrations, frames,
features, hyperparameters, policies and episodes are stored under names made of their inputs (see
``settings``). So a repeated run, a resumed run and a run that shares inputs all reuse them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.envs.tasks.names import file_name
from s2robot.evaluation.agents.camera_encoders import CameraEncoders
from s2robot.evaluation.agents.loaded_policy import encoder_of
from s2robot.evaluation.agents.recorded import RecordedActor
from s2robot.evaluation.evaluate import evaluate
from s2robot.evaluation.initial_states import InitialStates, ensure_initial_states
from s2robot.evaluation.results import Summary
from s2robot.evaluation.rollout import Encoder
from s2robot.experiments.external.run import evaluate_external
from s2robot.experiments.int8_rollouts import guarded
from s2robot.experiments.jobs import EvalJob, RunJob
from s2robot.experiments.jobs import TrainJob as TrainJob
from s2robot.experiments.policy_training import choose_hyperparameters as choose_hyperparameters
from s2robot.experiments.policy_training import policy_folder as policy_folder
from s2robot.experiments.policy_training import train_run as train_run
from s2robot.experiments.precision import other_precision
from s2robot.experiments.recorded.rollouts import clipped_words, fitted, is_recorded
from s2robot.experiments.run_folders import NOT_DESCRIBED, finished_run
from s2robot.experiments.run_folders import failed_runs as failed_runs
from s2robot.experiments.run_progress import RunTimes, count_episodes
from s2robot.experiments.settings import POLICY, read_training, run_record, training_record
from s2robot.experiments.sweeps.shards import (
    begin_shard,
    forget_shards,
    in_words,
    merge,
    missing_parts,
)
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import PolicyHeader, load_policy, read_header
from s2robot.policies.policy import Policy
from s2robot.runtimes.int8 import Int8Runtime
from s2robot.utils.console import MESSAGES, OUTPUT
from s2robot.utils.io import jsonl_length, read_jsonl, write_json

Describe = Callable[[PolicyHeader, dict[str, Any]], dict[str, Any] | None]
"""Header of a policy and content of ``run.json`` to that of ``cell.json``; None writes none."""


def initial_states_for(job: EvalJob, env_kwargs: dict[str, Any]) -> InitialStates:
    """Return the fixed initial states of a level, drawn once and verified by their hash.

    Args:
        job: settings of the evaluation.
        env_kwargs: of the policy's environment.
    """
    level = job.level or env_kwargs["level"]
    folder = job.data_dir / "conditions"
    return ensure_initial_states(folder, level, job.split, job.n, env_kwargs, job.first)


def eval_folder(job: EvalJob, own_level: str | None) -> Path:
    """Return the folder of the episodes: ``out``, else the policy's; a folder there by level.

    Args:
        job: settings of the evaluation.
        own_level: the policy's level, whose episodes need no further folder; None where it has
            none, as policies of recorded data.
    """
    beside = job.policy_file.parent
    own = job.level in (None, own_level)
    return job.out or (beside if own else beside / file_name(str(job.level)))


def _policy_of(
    job: EvalJob, aloud: bool = True
) -> tuple[Policy | RecordedActor, PolicyHeader, str | None]:
    """Return a file's policy for the task, its header there, and the level that it has itself."""
    policy, header = load_policy(job.policy_file)
    if is_recorded(header):
        return *fitted(policy, header, job.level, job.observations, aloud), None
    if job.observations:
        raise ValueError(
            f"observations is {job.observations}, which is of policies trained on recorded data "
            f"(data=PATH); {job.policy_file} has the names of its task {header.level}: leave it out"
        )
    return policy, header, header.level


def evaluate_policy(
    job: EvalJob,
    describe: Describe | None = None,
) -> Summary:
    """Roll a policy file out on fixed initial states and write rows and videos beside it.

    A policy that is not ours, ``job.policy``, is described by ``evaluate_external``.

    Args:
        job: settings of the evaluation.
        describe: the header and the content of ``run.json`` to that of ``cell.json``, which is
            written once the folder is taken; None takes what lies beside the policy file, and
            writes none, with a message, where that is nothing.

    Raises:
        MismatchError: the policy does not fit the level, or the folder holds other episodes.
        CorruptFileError: the policy file or the initial states are damaged.
    """
    if job.policy is not None:
        return evaluate_external(job)
    if job.shard is not None:
        return _evaluate_shard(job, describe)
    return _evaluate_file(job, describe)


def _evaluate_file(job: EvalJob, describe: Describe | None) -> Summary:
    policy, header, own_level = _policy_of(job)
    encoder = _rebuild_encoder(job, header)
    initial_states = initial_states_for(job, header.env_kwargs)
    out = eval_folder(job, own_level)
    training = None if describe else read_training(job.policy_file, header)

    def write_description(claimed: dict[str, Any]) -> None:
        path = out / "cell.json"
        if describe is not None:
            content = describe(header, claimed)
            if content is not None:
                write_json(path, content)
        elif training is not None:
            write_json(path, run_record(training, job.policy_file, header, claimed))
        elif not path.exists():
            MESSAGES.print(f"note: s2robot report leaves {out} out: {NOT_DESCRIBED}")

    def run(encoder: Encoder | None, fresh: bool, remark: dict[str, Any]) -> Summary:
        given = (policy, encoder, initial_states, job.rollout, out)
        options = {"header": header, "on_claim": write_description}
        return evaluate(*given, fresh=fresh, remark=remark, **options)

    if encoder is not None and isinstance(encoder.runtime, Int8Runtime) and job.int8_fallback:
        if isinstance(encoder, CameraEncoders):
            raise ValueError(
                f"runtime is {job.runtime} and the policy has {len(encoder.encoders)} cameras "
                f"({', '.join(encoder.encoders)}); frames are checked against the calibration of "
                "one camera alone. Take an exact runtime, or int8_fallback=false without the check"
            )
        summary = guarded(job, encoder, header, initial_states, out, run)
    else:
        summary = run(encoder, job.fresh, {})
    if isinstance(policy, RecordedActor):
        OUTPUT.print(clipped_words(read_jsonl(out / "episodes.jsonl")))
    return summary


def _evaluate_shard(job: EvalJob, describe: Describe | None) -> Summary:
    """Roll out a shard; the last one merges all, and returns the summary of the run."""
    header = read_header(job.policy_file)
    if is_recorded(header) and job.level is None:
        _policy_of(job)  # refuses it: no task is given
    out = eval_folder(job, None if is_recorded(header) else header.level)
    whole = dataclasses.replace(job, shard=None)
    if jsonl_length(out / "episodes.jsonl") < job.n:
        own = begin_shard(job, out)
        summary = evaluate_policy(own, lambda *_: None)
        missing = missing_parts(job, out)
        if missing:
            listed = ", ".join(in_words(missing, job.first))
            OUTPUT.print(f"shard {job.shard} is done; not done yet: initial states {listed}")
            return summary
        _, header, _ = _policy_of(job, aloud=False)
        merge(job, out, initial_states_for(whole, header.env_kwargs))
    summary = evaluate_policy(whole, describe)
    forget_shards(out)
    return summary


def _rebuild_encoder(job: EvalJob, header: PolicyHeader) -> FrameEncoder | CameraEncoders | None:
    """Return the policy's encoder, in the precision that ``job.dtype`` says."""
    encoder = encoder_of(header, job.weights, job.device, job.dtype, job.runtime)
    if encoder is not None:
        trained = EncoderSpec.from_dict(header.encoder).dtype
        if encoder.spec.dtype != trained:
            OUTPUT.print(other_precision(encoder.spec.dtype, trained))
    return encoder


def execute_run(
    job: RunJob, log: Callable[[str], None] = OUTPUT.print, times: RunTimes | None = None
) -> Summary:
    """Train and evaluate one run; results that exist are reused.

    Args:
        job: settings of the run.
        log: gets one line about the run, and one about each level after the first.
        times: is filled in.

    Returns:
        The summary of the first level.
    """
    variant = Variant(job.train.variant)
    log(
        f"run: {variant.config.level}, {variant.label}, {job.train.policy.kind}, "
        f"seed {job.train.seed}"
    )
    times = RunTimes() if times is None else times
    folder = policy_folder(job.train, variant)
    finished = _finished(job, variant, folder)
    if finished is not None:
        times.folder = str(folder)
        return finished
    times.trained = not (folder / POLICY).exists()
    times.enter("training", folder)
    started = time.monotonic()
    path = train_run(job.train, variant, job.train_together)
    times.training_s = time.monotonic() - started
    times.encoded, times.reused = variant.encoding_counts()
    before = count_episodes(path.parent)
    times.enter("rolling out", folder, before)
    summaries = {level: _evaluate_run(job, variant, path, level) for level in job.levels}
    times.rollout_s = time.monotonic() - started - times.training_s
    times.episodes = count_episodes(path.parent) - before
    times.folder = str(eval_folder(EvalJob(path, level=job.levels[0]), read_header(path).level))
    for level in job.levels[1:]:
        log(f"on {level}: {summaries[level]}")
    return summaries[job.levels[0]]


def _finished(job: RunJob, variant: Variant, folder: Path) -> Summary | None:
    """Return the summary of a run that is finished and has no policy file any more."""
    own = len(job.levels) == 1 and job.levels[0] == variant.config.level
    exact = not variant.config.runtime.startswith(Int8Runtime.name)
    if not (own and exact) or job.shard is not None or not (folder / "run.json").exists():
        return None
    asked = _eval_job(job, variant, folder / POLICY, job.levels[0])
    return finished_run(folder, initial_states_for(asked, variant.demos.env_kwargs), job.rollout)


def _evaluate_run(job: RunJob, variant: Variant, path: Path, level: str) -> Summary:
    """Roll one run's policy out on one level, and write its description for the report."""
    eval_job = _eval_job(job, variant, path, level)
    training = training_record(job.train, variant)
    return evaluate_policy(
        eval_job, lambda header, claimed: run_record(training, path, header, claimed)
    )


def _eval_job(job: RunJob, variant: Variant, path: Path, level: str) -> EvalJob:
    return EvalJob(
        checkpoint=path,
        level=level,
        split=job.split,
        n=job.n,
        first=job.first,
        shard=job.shard,
        rollout=job.rollout,
        weights=variant.config.weights,
        device=variant.config.device,
        dtype=variant.encoder_record.get("dtype", "auto"),  # as the features, whatever is faster
        runtime=variant.config.runtime,
        data_dir=variant.config.data_dir,
    )
