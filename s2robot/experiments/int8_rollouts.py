"""Rollouts in int8 that no frame can mislead: they are int8 throughout, or in another precision.

An int8 encoder is only as good as its calibration fits the camera's frames. The first frames of the
initial states are checked before a run begins, and all others while it runs. Where they do not fit,
the whole run is made in bfloat16 where the processor has it, else in float32, and says so.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.data.config import cameras_of
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import DTYPES
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import UnfitFramesError
from s2robot.evaluation.env_group import CameraView
from s2robot.evaluation.initial_states import InitialStates
from s2robot.evaluation.results import Summary
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.precision import agreement, in_precision, is_faster_in_bfloat16
from s2robot.multiscale.tiles import group_tiles
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.runtimes import live_check
from s2robot.runtimes.int8 import Int8Runtime
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import jsonable, locked, read_json

REMARK = "int8_fallback"
"""Entry of ``run.json`` of a run that was asked for in int8 and is not."""
CHECKED = 16
"""Initial states whose first frames are checked before a run."""
_KEPT = {"episodes.jsonl": "episodes.int8.jsonl", "run.json": "run.int8.json"}
"""Files of rows in int8 that were given up, and their names afterwards."""
Run = Callable[[FrameEncoder, bool, dict[str, Any]], Summary]


class StatesFrames:
    """First frames of initial states through the policy's camera.

    Args:
        states: the initial states; of the first ones.
        header: of the policy, with its environment and camera.
    """

    def __init__(self, states: InitialStates, header: PolicyHeader) -> None:
        self.digest = states.beginning(min(CHECKED, len(states))).sha256
        view = dataclasses.astuple(CameraView.of(cameras_of(header.frames)[0]))
        kwargs = {"image_camera": None, "render_mode": None}
        kwargs = {} if is_foreign(states.level) else kwargs
        env = make_env({**header.env_kwargs, **kwargs, "level": states.level})
        frames = []
        try:
            for state in states.states[:CHECKED]:
                env.reset(seed=0, options={"state": state})
                frames.append(env.render_frame(*view).copy())
        finally:
            env.close()
        self.images = np.stack(frames)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames ``(stop - start, H, W, 3)`` uint8 RGB."""
        return self.images[start:stop]


def guarded(
    job: EvalJob,
    encoder: FrameEncoder,
    header: PolicyHeader,
    states: InitialStates,
    out: Path,
    run: Run,
) -> Summary:
    """Roll out in int8 where all frames fit its calibration, else in another precision.

    A run that fell back stays so when it is repeated: its rows are never mixed.

    Args:
        job: settings of the evaluation.
        encoder: in int8.
        header: of the policy.
        states: the initial states.
        out: folder of the episodes.
        run: rolls out with an encoder; deletes earlier episodes if its second argument is True; its
            third is a remark for ``run.json``.
    """
    runtime: Any = encoder.runtime
    earlier = None if job.fresh else _earlier(out, runtime)
    if earlier is not None:
        return run(in_precision(encoder, earlier["taken"], "auto"), False, {REMARK: earlier})
    frames = StatesFrames(states, header)
    share = runtime.share_out_of_range(_tiles(encoder, frames.images))
    if share is None or share > live_check.TILES_LIMIT:
        found = "an old calibration cannot be checked" if share is None else f"{share:.0%} of tiles"
        return _fall_back(encoder, frames, f"{found}, before the run", run, job.fresh)
    runtime.refuses_unfit = True
    try:
        return run(encoder, job.fresh, {})
    except UnfitFramesError as error:
        runtime.refuses_unfit = False
        _set_aside(out)
        return _fall_back(encoder, frames, f"{error.share:.0%} of tiles, in mid-run", run, True)


def _tiles(encoder: FrameEncoder, images: np.ndarray) -> list[torch.Tensor]:
    return group_tiles(encoder.tiles(torch.from_numpy(images), encoder.scale_layouts))


def _earlier(out: Path, runtime: Int8Runtime) -> dict[str, Any] | None:
    """Return why the folder's run fell back from the same calibration; None where it did not."""
    path = out / "run.json"
    content = read_json(path) if path.exists() else None
    remark = content.get(REMARK) if isinstance(content, dict) else None
    if not isinstance(remark, dict) or remark.get("calibration") != runtime.calibration:
        return None
    return remark if remark.get("taken") in DTYPES else None


def _fall_back(
    encoder: FrameEncoder, frames: StatesFrames, why: str, run: Run, fresh: bool
) -> Summary:
    """Roll out in another precision, and say why."""
    taken = _precision(encoder, frames)
    runtime: Any = encoder.runtime
    named = f"{runtime.name}:{runtime.calibration}"
    OUTPUT.print(
        f"{named} does not fit the frames of this task ({why}): all episodes are rolled out in "
        f"{taken} by the fastest exact runtime; int8_fallback=false keeps int8"
    )
    remark = {"asked": named, "calibration": runtime.calibration, "why": why, "taken": taken}
    return run(in_precision(encoder, taken, "auto"), fresh, {REMARK: jsonable(remark)})


def _precision(encoder: FrameEncoder, frames: StatesFrames) -> str:
    """Return bfloat16 where the processor has it, is faster with it, and it is close to float32."""
    if not is_faster_in_bfloat16(in_precision(encoder, "float32", "eager"), "auto"):
        return "float32"
    close = agreement(in_precision(encoder, "bfloat16", "auto"), frames).is_close
    return "bfloat16" if close else "float32"


def _set_aside(out: Path) -> None:
    """Keep the rows that are given up under other names, which no report reads."""
    with locked(out / "evaluate"):
        for name, kept in _KEPT.items():
            if (out / name).exists():
                shutil.copyfile(out / name, out / kept)
