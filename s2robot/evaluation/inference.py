"""Runtime of an evaluation's encoder: one for all rows of a run, also with runtime "auto"."""

from __future__ import annotations

from typing import Any

from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.errors import MismatchError
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.identity import exact_runtime
from s2robot.evaluation.rollout import Encoder
from s2robot.runtimes import AUTO, RUNTIMES, RuntimeFailedError, RuntimeMissingError
from s2robot.utils.io import read_json


def encoder_of_run(encoder: Encoder | None, folder: RunFolder, fresh: bool) -> Encoder | None:
    """Return the encoder with the one runtime of a run's rows.

    With runtime "auto" that is the runtime of the rows that the folder holds, even where another
    one would be chosen today; in an empty folder, the fastest for the frames of a step.

    Args:
        encoder: of the policy; None for a baseline.
        folder: of the run.
        fresh: whether its rows are deleted first.

    Raises:
        MismatchError: the rows' runtime cannot be used on this machine.
    """
    if not isinstance(encoder, TileEncoder) or encoder.runtime.name != AUTO:
        return encoder
    there = None if fresh else _runtime_in(folder)
    if there is None:
        chosen = encoder.for_batches_of(folder.num_envs)
    else:
        try:
            chosen = encoder.with_runtime(there)
        except (RuntimeMissingError, RuntimeFailedError) as error:
            raise MismatchError(
                f"{folder.path} holds episodes that were made with runtime {there}, and all rows "
                f"of a run are made with one: {error}. Or give another folder (out= of eval, "
                "runs_dir= of sweep), or start over with fresh=true of eval"
            ) from error
    chosen.chosen_by_auto = True
    return chosen


def _runtime_in(folder: RunFolder) -> str | None:
    """Return the name of the exact runtime in ``run.json``, if there is one.

    What else is wrong with the file is found when the folder is claimed.
    """
    path = folder.path / "run.json"
    record: Any = read_json(path) if path.exists() else None
    name = exact_runtime(record) if isinstance(record, dict) else None
    return name if name in RUNTIMES else None


def for_one_frame(encoder: Encoder | None) -> Encoder | None:
    """Return the encoder as a robot would run it, on one frame at a time.

    Args:
        encoder: as ``encoder_of_run`` returns it.
    """
    if not isinstance(encoder, TileEncoder) or not encoder.chosen_by_auto:
        return encoder
    return encoder.with_runtime(AUTO).for_batches_of(1)
