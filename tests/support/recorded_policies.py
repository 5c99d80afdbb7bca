"""Small policies of ROS bags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import TrainJob
from s2robot.experiments.recorded.training import train_recorded
from s2robot.policies.config import PolicyConfig
from s2robot.training.config import TrainConfig
from support.bag_episodes import COMMAND, write_bags
from support.tiny_models import write_tiny_model


def policy_of_bags(
    folder: Path, low_dim: tuple[str, ...], write: Callable[[Path], object] = write_bags
) -> Path:
    """Train a policy of a tiny encoder on bags and return its file.

    Args:
        folder: gets the bags, the encoder's card and the policy.
        low_dim: observations besides the camera's frames.
        write: writes the bags to a folder; by default those of ``reaching``.
    """
    bags, card = folder / "bags", folder / "tiny.json"
    if not bags.exists():
        write(bags)
        write_tiny_model(folder)
    variant = VariantConfig(
        data=bags,
        action=(COMMAND,),
        low_dim=low_dim,
        encoder=f"file:{card}",
        scales=(1.0,),
        readout="mean",
        data_dir=folder / "data",
        device="cpu",
        dtype="float32",
        runtime="eager",
    )
    given = (PolicyConfig(hidden=(8,)), TrainConfig(epochs=2), None, 0)
    return train_recorded(TrainJob(variant, *given, runs_dir=folder / "runs")).checkpoint
