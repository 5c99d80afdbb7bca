"""Training of a policy from stored embeddings, with checkpoints to resume from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.many_seeds import DivergedSeedsError, fit_many
from s2robot.training.seed_trainer import CHECKPOINT as CHECKPOINT
from s2robot.training.seed_trainer import FitResult, TrainConfig


def fit(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    run_dir: str | Path | None = None,
    resume: bool = True,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    device: str | torch.device = "auto",
) -> FitResult:
    """Train a policy; an interrupted training resumes from its last checkpoint.

    On the same machine with the same number of threads, a resumed training ends with the same
    weights, bit for bit, as an uninterrupted one. To train many seeds, see ``fit_many``.

    Args:
        data: embeddings, proprioception, actions.
        policy_config: network and readout.
        train_config: optimization.
        run_dir: folder of the checkpoint and of TensorBoard's logs (``tb/``); None writes nothing.
        resume: continue from the checkpoint in ``run_dir``, if there is one; else start again.
        on_epoch: called with each new row of the history.
        device: ``auto`` takes a GPU if there is one.

    Returns:
        The policy with averaged weights, and its history.

    Raises:
        DivergedError: the loss became NaN or infinite.
        MismatchError: the checkpoint in ``run_dir`` is of another training.
        CorruptFileError: the checkpoint cannot be read.
    """
    seed = train_config.seed
    folders = {} if run_dir is None else {seed: Path(run_dir)}
    show = None if on_epoch is None else lambda _, row: on_epoch(row)
    try:
        found = fit_many(data, policy_config, train_config, [seed], folders, resume, show, device)
    except DivergedSeedsError as error:
        raise error.errors[seed] from None
    return found[seed]
