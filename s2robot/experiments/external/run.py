"""Evaluation of a policy that is not ours, on the initial states of ours, and its description."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2robot.data.config import CameraConfig
from s2robot.envs.tasks.action_scale import scale_of
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import file_name, is_foreign, rare_share
from s2robot.errors import unknown
from s2robot.evaluation.agents.config import NO_CAMERA, OF_SERVERS, ExternalConfig, is_address
from s2robot.evaluation.agents.external import TaskDescription, named_policy, with_seed
from s2robot.evaluation.agents.external_agent import (
    ExternalActor,
    ExternalHeader,
    ObjectSource,
    Source,
)
from s2robot.evaluation.evaluate import evaluate
from s2robot.evaluation.identity import RECORD_FORMAT
from s2robot.evaluation.initial_states import ensure_initial_states
from s2robot.evaluation.results import Summary
from s2robot.experiments.jobs import EvalJob
from s2robot.policies.checkpoint import action_space_record
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import digest_of, jsonable, write_json
from s2robot.utils.provenance import provenance

EXTERNAL = "external"
"""Kind of such a policy in files, and beginning of its name in place of an encoder's."""
RUNS = Path("runs/cells")
"""Folder of the runs where none is given."""


def evaluate_external(job: EvalJob) -> Summary:
    """Roll a policy that is not ours out on fixed initial states; write rows and a description.

    Args:
        job: settings of the evaluation, with ``policy`` and a task.

    Raises:
        ValueError: the policy or an observation is unknown, or does not fit the contract.
        S2RobotError: the policy fails, or its actions do not fit the task.
        MismatchError: the folder holds other episodes.
    """
    given = job.external
    with contextlib.closing(make_env(_env_kwargs(str(job.level), given))) as env:
        task = _described(env, given)
        env_kwargs = jsonable(env.env_kwargs())
    name = with_seed(str(job.policy), given.seed)
    source, known = _source(str(job.policy), given, task)
    with contextlib.closing(source):
        header = _header(job, task, env_kwargs, known)
        camera = next(iter(task.cameras)) if len(task.cameras) == 1 else None
        late = job.rollout.realtime and job.rollout.num_envs > 1
        actor = ExternalActor(source, name, camera, task.action_names, given.execute, late)
        states = ensure_initial_states(
            job.data_dir / "conditions", task.name, job.split, job.n, env_kwargs, job.first
        )
        out = job.out or RUNS / _folder_name(job, header)
        summary = evaluate(
            actor,
            None,
            states,
            job.rollout,
            out,
            header=header,
            fresh=job.fresh,
            remark={EXTERNAL: {"policy": name, "seed": given.seed, **known}},
            on_claim=lambda claimed: write_json(
                out / "cell.json", run_record(job, header, claimed, out.name)
            ),
        )
    OUTPUT.print(str(out))
    return summary


def _env_kwargs(level: str, given: ExternalConfig) -> dict[str, Any]:
    if not is_foreign(level):
        return {"level": level, "control": given.control}
    for name in ("control", "size"):
        if getattr(given, name) != getattr(ExternalConfig(), name):
            raise ValueError(
                f"external.{name} is {getattr(given, name)}, which is of pick-cube; the task "
                f"{level} has its own: leave it out"
            )
    return {"level": level}


def _described(env: TaskEnv, given: ExternalConfig) -> TaskDescription:
    """Return what a policy is told of its task; check camera and observations."""
    cameras = {}
    if given.camera != NO_CAMERA:
        for name in given.cameras or (given.camera or env.cameras[0],):
            if name not in env.cameras:
                if given.cameras:
                    raise unknown("camera in external.cameras", name, env.cameras)
                raise unknown("external.camera", name, (*env.cameras, NO_CAMERA))
            cameras[name] = env.frame_shape(name) or (given.size, given.size)
    obs, _ = env.reset(seed=0)
    keys = given.low_dim or env.proprio_keys()
    for key in keys:
        if key not in obs:
            raise unknown("observation in external.low_dim", key, obs)
    record = action_space_record(env.action_space, env.control, env.rate_hz)
    return TaskDescription(
        name=str(env.env_kwargs()["level"]),
        cameras=cameras,
        proprio={key: int(obs[key].size) for key in keys},
        action_names=tuple(record["meaning"]),
        control=env.control,
        control_hz=env.rate_hz,
        horizon=env.horizon,
        action_scale=scale_of(env),
    )


def _source(
    typed: str, given: ExternalConfig, task: TaskDescription
) -> tuple[Source, dict[str, Any]]:
    """Return the source of the actions, and what is known of the policy behind it."""
    name = with_seed(typed, given.seed)
    if is_address(name):
        from s2robot.evaluation.agents.openpi import ServerSource

        server = ServerSource(name, given)
        return server, {"server": server.metadata}
    found = named_policy(typed, given.seed, task)
    return ObjectSource(found, name), {"source": found.source, "files": dict(found.files)}


def _header(
    job: EvalJob, task: TaskDescription, env_kwargs: dict[str, Any], known: Mapping[str, Any]
) -> ExternalHeader:
    given, typed = job.external, str(job.policy)
    cameras: list[dict[str, Any]] = []
    for name, (height, width) in task.cameras.items():
        own = {"name": name, "height": height, "width": width}
        cameras.append(own if is_foreign(task.name) else dict(vars(CameraConfig(name, given.size))))
    frames = {"camera": cameras[0]} if len(cameras) == 1 else {"cameras": cameras}
    told = {} if not is_address(typed) else {k: getattr(given, k) for k in OF_SERVERS}
    encoder = {
        "backbone": f"{EXTERNAL}:{given.label or typed}",
        "scales": [],
        "source": known.get("source"),
        "low_dim": list(task.proprio),
        "execute": given.execute,
        **told,
    }
    name = with_seed(typed, given.seed)
    return ExternalHeader(
        env_kwargs=env_kwargs,
        proprio_keys=tuple(task.proprio),
        encoder=encoder,
        frames=frames if cameras else {},
        sha256=digest_of(jsonable({**encoder, "policy": name, "seed": given.seed, **known})),
    )


def _folder_name(job: EvalJob, header: ExternalHeader) -> str:
    """Return a name of the folder, for each policy, seed, task and rollout another one."""
    given, rollout = job.external, job.rollout
    deciding = {
        "policy": header.sha256,
        "env": header.env_kwargs,
        "frames": header.frames,
        "rollout": [rollout.horizon, rollout.realtime_record()],
        "states": [job.split, job.first],
    }
    label = re.sub(r"[^A-Za-z0-9._]+", "-", given.label or str(job.policy)).strip("-")[:60]
    digest = digest_of(jsonable(deciding))[:10]
    return f"{file_name(header.level)}_{label}_seed{given.seed}_{digest}"


def run_record(
    job: EvalJob, header: ExternalHeader, claimed: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return the content of ``cell.json``, which describes a run for the report.

    Args:
        job: settings of the evaluation.
        header: of the policy.
        claimed: content of ``run.json``.
        name: of the run.
    """
    given = job.external
    sections = ("task", "camera", "rollout", "inference", "versions")
    settings = {key: claimed[key] for key in sections}
    return {
        "format": RECORD_FORMAT,
        "name": name,
        "label": given.label or job.policy,
        "level": header.level,
        "rare_share": rare_share(header.level),
        "policy_kind": EXTERNAL,
        "seed": given.seed,
        "family": None,
        "scales": [],
        "input_mode": None,
        "readout": None,
        "parameters": None,
        "gflops_per_frame": None,
        "embedding_dim": None,
        "encoder": header.encoder,
        "conditions": claimed["conditions"],
        "demos": None,
        "head": {},
        "settings": {**settings, "encoder": header.encoder, "policy": {"kind": EXTERNAL}},
        "provenance": provenance(),
    }
