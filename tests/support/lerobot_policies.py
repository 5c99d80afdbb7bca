"""Small policies and data sets for the tests of the LeRobot plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.envs.configs import EnvConfig
from lerobot.envs.factory import make_env
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot_policy_s2robot import S2robotConfig
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.policies.checkpoint import save_policy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from support.expert_policies import ENV_KWARGS, PROPRIO, header
from support.tiny_models import write_tiny_model

FRONT = "observation.images.agentview"
ACT = PolicyConfig(
    kind="act", context=3, chunk=4, transformer_width=16, transformer_layers=1, dropout=0.0
)
HEADS = {
    "act": ACT,
    "mlp": PolicyConfig(kind="mlp", hidden=(8,)),
    "rnn_gmm": PolicyConfig(kind="rnn_gmm", context=3, rnn_hidden=8, rnn_layers=1, hidden=(8,)),
}


def small_config(folder: Path, head: PolicyConfig = ACT, **changes: Any) -> S2robotConfig:
    """Settings with a tiny encoder, which lies in the folder."""
    card = folder / "tiny.json"
    options = {
        "backbone": f"file:{card if card.exists() else write_tiny_model(folder)}",
        "scales": (1.0,),
        "readout": "mean",
        "runtime": "eager",
        "device": "cpu",
        "push_to_hub": False,
        "features_dir": folder / "features",
        "head": head,
    }
    return S2robotConfig(**{**options, **changes})


class Rows(Protocol):
    """A ``LeRobotDataset`` with the reading of batches that the plug-in adds."""

    meta: LeRobotDatasetMetadata

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return a row as LeRobot reads it, with pictures."""
        ...

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch."""
        ...


def open_set(root: Path, config: S2robotConfig, **options: Any) -> Rows:
    """Open a data set as `lerobot-train` does."""
    meta = LeRobotDatasetMetadata("tests/small", root=root)
    steps = resolve_delta_timestamps(config, meta)
    made = LeRobotDataset("tests/small", root=root, delta_timestamps=steps, **options)
    return cast(Rows, made)


def vector_env(
    config: EnvConfig, n_envs: int, use_async_envs: bool = False
) -> SyncVectorEnv | AsyncVectorEnv:
    """Return pick-cube's environments as `lerobot-eval` makes them."""
    made = make_env(config, n_envs, use_async_envs)["s2robot_pick_cube"][0]
    assert isinstance(made, SyncVectorEnv | AsyncVectorEnv)
    return made


def new_policy(config: S2robotConfig, dataset: Rows) -> tuple[S2robotPolicy, Any, Any]:
    """Return a policy for a data set, and its processors, as `lerobot-train` makes them."""
    torch.manual_seed(0)
    policy: Any = make_policy(config, ds_meta=dataset.meta)
    stats: Any = dataset.meta.stats  # arrays, which the processors take as tensors
    pre, post = make_pre_post_processors(config, dataset_stats=stats)
    return policy, pre, post


def policy_file(folder: Path, head: PolicyConfig = ACT) -> Path:
    """Write a random policy for pick-cube's pictures of 32 px, with a tiny encoder."""
    encoder = FrameEncoder.from_name(f"file:{write_tiny_model(folder)}", (1.0,), "mean")
    torch.manual_seed(1)
    policy = Policy(head, (24,), len(PROPRIO) + 2, 4).eval()
    policy.proprio_normalizer.fit(torch.randn(20, 4))
    made = header(
        "state",
        policy_config=head,
        embedding_shape=(24,),
        encoder=encoder.spec.to_dict(),
        env_kwargs={**ENV_KWARGS},
        frames={"camera": {"name": "front", "size": 32}},
    )
    save_policy(folder / "policy.safetensors", policy, made)
    return folder / "policy.safetensors"
