"""Words for success and failure in a task: only pick-cube has a cube to speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from s2robot.envs.tasks.names import is_foreign

_OF_PICK_CUBE = {
    "none": "held at the end",
    "drop": "lifted, then lost",
    "timeout": "still holding, not lifted in time",
    "lift": "grasped, never lifted",
    "grasp": "reached, never grasped",
    "reach": "never reached",
}
_OF_TASKS = {
    "none": "successful at the end",
    "drop": "successful, then not any more",
    "timeout": "not successful in time",
}
_LIFTED = {"success_once": "lifted at any step", "success_at_end": "held lifted when time is up"}
_REPORTED = {"success_once": "success at any step", "success_at_end": "success when time is up"}
_STARTS = {
    True: "the fixed state of arm and cube in which an episode begins",
    False: "the fixed state, or seed, from which an episode begins",
}
"""Beginning of the meaning of "initial state", by whether all tasks are pick-cube."""
_BASELINES = {
    True: "baselines without pixels: one gets no information about the cube, the other its true "
    "position.",
    False: "baselines without pixels: one gets the robot's own observations alone, the other, "
    "which only pick-cube has, the true position of the cube.",
}


def stages_of(task: str) -> Mapping[str, str]:
    """Return the descriptions of a task's failure stages, in the order of their display.

    Args:
        task: name in files.

    Examples:
        >>> stages_of("precise")["timeout"], stages_of("gym:Pusher-v5")["timeout"]
        ('still holding, not lifted in time', 'not successful in time')
    """
    return _OF_TASKS if is_foreign(task) else _OF_PICK_CUBE


def success_text(tasks: Iterable[str], metric: str) -> str:
    """Return when an episode is a success, as a sentence.

    Args:
        tasks: names in files.
        metric: one of ``METRICS``.

    Examples:
        >>> success_text(["precise"], "success_once")
        'An episode is a success if the cube is lifted at any step.'
        >>> success_text(["gym:Pusher-v5"], "success_once")
        'An episode is a success if its task reports success at any step.'
    """
    of_cubes = f"if the cube is {_LIFTED[metric]}"
    others, cubes = _kinds(tasks)
    if not others:
        return f"An episode is a success {of_cubes}."
    of_others = f"if its task reports {_REPORTED[metric]}"
    if not cubes:
        return f"An episode is a success {of_others}."
    return f"An episode of pick-cube is a success {of_cubes}, one of another task {of_others}."


def heading(tasks: Iterable[str]) -> str:
    """Return what names are called above them: "Level" where all are levels, else "Task".

    Args:
        tasks: names in files.

    Examples:
        >>> heading(["easy", "precise"]), heading(["easy", "module:own.Reach"])
        ('Level', 'Task')
    """
    return "Task" if _kinds(tasks)[0] else "Level"


def terms_of(tasks: Iterable[str]) -> dict[str, str]:
    """Return the terms whose meaning depends on the tasks.

    Args:
        tasks: names in files.
    """
    only_cubes = not _kinds(tasks)[0]
    start = _STARTS[only_cubes]
    return {
        "initial state": f"{start}. All variants have the same ones, so their outcomes are "
        "compared in pairs.",
        "blind, ground truth": _BASELINES[only_cubes],
    }


def _kinds(tasks: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return tasks other than pick-cube, and levels of pick-cube."""
    listed = list(tasks)
    others = [task for task in listed if is_foreign(task)]
    return others, [task for task in listed if not is_foreign(task)]
