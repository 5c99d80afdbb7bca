"""Recorded data of any layout, and demonstrations of a task, as the data of a recommendation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from s2robot.analysis.recommend.episodes import LEAST_EPISODES, EpisodeData
from s2robot.data.datasets.choice import DataChoice, cameras_to_take
from s2robot.data.datasets.contract import EpisodeDataset, choose, turned_over
from s2robot.data.datasets.opening import check_of_bags, layout_of
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_demonstrations import RenderedDemonstrations, frames_of
from s2robot.experiments.recorded.split import split_episodes
from s2robot.policies.dataset import stack_proprio

CUBE = "cube_pos"
"""Observation that is localized where the data has it: the cube's position in our own exports."""


def recorded(
    source: str, data_dir: Path, choice: DataChoice, positions: str | None = None
) -> EpisodeData:
    """Return recorded data: those episodes that a training would learn from.

    Episodes that `s2robot train` holds out are left out, so that the errors that it reports later
    have chosen nothing; where too few others are left, all are taken.

    Args:
        source: file or folder, as ``open_dataset`` takes it.
        data_dir: folder in which decoded frames are kept for the time of the work.
        choice: cameras and observations that are taken.
        positions: observation with positions to be localized [m]; None for ``cube_pos``.

    Raises:
        ValueError: there are several cameras and none is named, there is no such observation, or
            there are too few episodes.
        CorruptFileError: the content is damaged.
    """
    return _data_of(_opened(source, choice, positions), data_dir, choice, positions)


def of_task(
    demos: Demonstrations, data_dir: Path, choice: DataChoice, positions: str | None = None
) -> EpisodeData:
    """Return demonstrations of another task than pick-cube, with frames of the task's own cameras.

    Episodes are held out and observations taken as of recorded data; actions are those of a
    training, in [-1, 1].

    Args:
        demos: the demonstrations.
        data_dir: folder of drawn frames, which a training finds again.
        choice: cameras (the task's first where none are named) and observations.
        positions: observation with positions to be localized [m]; None for ``cube_pos``.

    Raises:
        MismatchError: the task's module was not named by the user.
        ValueError: there is no such camera or observation, something of bags is chosen, or there
            are too few episodes.
    """
    given = {"action": choice.action or None, "tolerance_s": choice.tolerance_s}
    check_of_bags("robomimic", demos.path, **given)
    there = tuple(demos.episodes[0].obs)
    named = choose("observation", choice.low_dim or None, there, str(demos.path))
    choose("observation", [positions] if positions else None, there, str(demos.path))
    keys = (*named, *(key for key in there if choice.low_dim and key not in named))
    dataset = RenderedDemonstrations(demos, choice.cameras or None, None, keys, data_dir / "frames")
    data = _data_of(dataset, data_dir, choice, positions)
    if choice.cameras:
        return data
    (first,) = data.camera_names
    told = f"Frames are those of {first}, the task's first camera; --cameras names others"
    return dataclasses.replace(data, notes=(*data.notes, told))


def _data_of(
    dataset: EpisodeDataset, data_dir: Path, choice: DataChoice, positions: str | None
) -> EpisodeData:
    drawn = dataset if isinstance(dataset, RenderedDemonstrations) else None
    sizes = cameras_to_take(dataset, choice, "the policy")
    target = _target(dataset, choice, positions)
    keys = _observations(dataset, choice, target)
    cameras = [frames_of(dataset, name, data_dir / "frames") for name in sizes]
    actions = dataset.actions if drawn is None else drawn.demos.actions
    has_actions = actions.shape[1] > 0
    lengths = np.diff(dataset.episode_ends, prepend=0)
    episode = np.repeat(np.arange(len(lengths)), lengths)
    data = EpisodeData(
        name=dataset.source,
        frames=cameras[0],
        digest=dataset.digest if drawn is None else drawn.demos.digest,
        episode=episode,
        actions=actions.astype(float) if has_actions else None,
        proprio=stack_proprio({key: dataset.low_dim(key) for key in keys}, keys) if keys else None,
        positions_m=_positions(dataset, target, positions is None),
        demos_path=None if drawn is None else dataset.source,
        more_cameras=tuple(cameras[1:]),
        camera_names=tuple(sizes),
    )
    notes = _notes(dataset, sizes, (*keys, target), has_actions)
    if not has_actions and target is None:
        return dataclasses.replace(data, notes=notes)
    learned, told = _learned(dataset)
    data = data.take(np.flatnonzero(np.isin(episode, learned)))
    return dataclasses.replace(data, notes=(told, *notes))


def _opened(source: str, choice: DataChoice, positions: str | None) -> EpisodeDataset:
    """Open the data with the observations that are named, and that with the positions."""
    wanted = positions or CUBE
    if not choice.low_dim or wanted in choice.low_dim:
        return choice.open(source)
    more = dataclasses.replace(choice, low_dim=(*choice.low_dim, wanted))
    if positions is not None:
        return more.open(source)
    found = choice.open(source)  # which says what is wrong with those that are named
    try:
        with_cube = more.open(source)
    except ValueError:  # it has no cube
        return found
    found.close()
    return with_cube


def _target(dataset: EpisodeDataset, choice: DataChoice, positions: str | None) -> str | None:
    """Return the whole name of the observation with positions; None where there is none."""
    names = tuple(dataset.low_dim_names)
    if positions is None:
        return CUBE if CUBE in names else None
    if positions in names:
        return positions
    if choice.low_dim:  # its whole name
        return names[[*choice.low_dim, positions].index(positions)]
    full = f"observation.{positions}"
    given = full if full in names else positions
    (found,) = choose("observation", [given], names, dataset.source)
    return found


def _observations(
    dataset: EpisodeDataset, choice: DataChoice, target: str | None
) -> tuple[str, ...]:
    """Return the observations that the policy reads."""
    if choice.low_dim:
        return tuple(dataset.low_dim_names)[: len(choice.low_dim)]
    return tuple(key for key in choice.measured(dataset) if key != target)


def _positions(dataset: EpisodeDataset, target: str | None, of_cube: bool) -> np.ndarray | None:
    """Return positions (N, K) [m]; of the cube, those on the table."""
    if target is None:
        return None
    found = dataset.low_dim(target).astype(float)
    return found[:, :2] if of_cube else found


def _learned(dataset: EpisodeDataset) -> tuple[np.ndarray, str]:
    """Return the episodes that a training learns from, or all, and a sentence that says which."""
    count = len(dataset.episode_ends)
    split = split_episodes(dataset.source, count, dataset.masks)
    others = f"those that `s2robot train` holds out ({split.origin})"
    if len(split.train) < LEAST_EPISODES:
        return np.arange(count), (
            f"All {count} episodes are used, also {others}: fewer than {LEAST_EPISODES} would be "
            "left. Errors that it reports for the choice are somewhat too small"
        )
    return split.train, f"{len(split.train)} of {count} episodes are used; the others are {others}"


def _notes(
    dataset: EpisodeDataset,
    sizes: Mapping[str, str],
    taken: tuple[str | None, ...],
    has_actions: bool,
) -> tuple[str, ...]:
    """Return sentences on cameras, observations and actions."""
    found = []
    if len(sizes) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        found.append(
            f"Latency and GFLOPs are of one frame of each of {len(sizes)} cameras: {listed}"
        )
    turned = turned_over(dataset)
    found += [] if turned is None else [turned]
    left_out = [key for key in dataset.low_dim_names if key not in taken]
    if left_out and has_actions:
        found.append(
            f"Not used: {', '.join(left_out)}, which a simulator alone knows; --low-dim may name "
            "them"
        )
    if not has_actions and layout_of(dataset.source) == "bags":
        found.append(
            f"{dataset.source} holds bags, which do not tell what the actions are; for the error "
            "of actions name their topics, --action TOPIC"
        )
    return tuple(found)
