"""Work of ``s2robot export-dataset``: demonstrations and rollouts in formats of other packages."""

from __future__ import annotations

import argparse
import contextlib

from s2robot.cli.parsers.export_dataset import parse
from s2robot.data.dataset_writers.lerobot import write_lerobot
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.datasets.contract import EpisodeDataset, Simulated
from s2robot.data.rendered_demonstrations import open_source
from s2robot.envs.tasks.loading import named_by_user
from s2robot.envs.tasks.names import stored_task
from s2robot.experiments.replay.dataset import RunRollouts, is_run
from s2robot.utils.console import OUTPUT


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    frames = options.data / "frames"
    chosen = (options.camera, options.low_dim)
    if options.task is not None:
        named_by_user(options.task)
    if is_run(options.source):
        _check_of_runs(options)
        data = RunRollouts(options.source, chosen[0], options.size, chosen[1], options.data)
    else:
        of_bags = (options.action, options.tolerance_s)
        data = open_source(options.source, *chosen, options.size, frames, *of_bags)
    with contextlib.closing(data):
        _check_task(options, data)
        if options.out.suffix:
            write_robomimic(data, options.out)
        else:
            write_lerobot(data, options.out, images=options.images)
        frames_of = f"frames of {', '.join(data.cameras) or 'no camera'}"
        OUTPUT.print(
            f"{options.out}: {len(data.episode_ends)} episodes, {int(data.episode_ends[-1])} "
            f"{frames_of}",
            markup=False,
            highlight=False,
        )
        if isinstance(data, RunRollouts):
            OUTPUT.print(f"{len(data.masks['success'])} of them with success, as mask `success`")
    return 0


def _check_task(options: argparse.Namespace, data: EpisodeDataset) -> None:
    """Refuse a task that is not the one of the data."""
    if options.task is None:
        return
    if not isinstance(data, Simulated):
        raise ValueError(
            f"--task is of an evaluation or of demonstrations of `s2robot collect`, and "
            f"{options.source} is a recording; leave it out"
        )
    own = str(data.env_kwargs["level"])
    if stored_task(options.task) != own:
        raise ValueError(f"--task is {options.task}, and {options.source} is of task {own}")


def _check_of_runs(options: argparse.Namespace) -> None:
    """Refuse options of bags for a run."""
    for name in ("action", "tolerance_s"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} is of ROS bags, and {options.source} is an "
                "evaluation, whose actions are stored; leave it out"
            )
