"""Settings of the policy: ``--policy.type=s2robot`` and ``--policy.NAME=VALUE``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lerobot.configs import NormalizationMode
from lerobot.configs.policies import PreTrainedConfig
from lerobot.optim import AdamWConfig, CosineDecayWithWarmupSchedulerConfig
from lerobot.utils.constants import OBS_STATE

from s2robot.policies.config import PolicyConfig


def _normalization() -> dict[str, NormalizationMode]:
    return {
        "VISUAL": NormalizationMode.IDENTITY,
        "STATE": NormalizationMode.MEAN_STD,
        "ACTION": NormalizationMode.MIN_MAX,
    }


@PreTrainedConfig.register_subclass("s2robot")
@dataclass
class S2robotConfig(PreTrainedConfig):
    """Settings of a policy on a frozen encoder.

    Raises:
        ValueError: two settings do not go together; the message states what is allowed.
    """

    backbone: str = "s2r-vitt16-128"
    """Name of the frozen backbone, as `s2robot encoders` lists it."""
    scales: tuple[float, ...] = (1.0, 2.0)
    """Image sizes as multiples of the backbone's own."""
    readout: str = "spatial_softmax"
    """``published``, ``cls``, ``mean`` or ``spatial_softmax`` (the whole grid of tokens)."""
    encoder_options: dict[str, Any] = field(default_factory=dict)
    """Further options of the encoder by name, such as ``{"layers": [5, 11]}``."""
    weights: str | None = None
    """File with the backbone's weights; None searches and downloads them."""
    runtime: str = "auto"
    """Who runs the backbone: eager, cuda-graph, onnx, openvino, ...; see `s2robot bench`."""
    features_dir: Path = Path("data/features")
    """Folder of the embeddings of data sets; each frame is encoded once, whatever is trained."""

    head: PolicyConfig = field(default_factory=lambda: PolicyConfig(kind="act"))
    """Network on the embeddings: ``--policy.head.kind=act`` (chunks) or ``mlp`` and others."""
    checkpoint: str | None = None
    """Policy file of `s2robot train` to run instead; the settings above are then those of it."""

    normalization_mapping: dict[str, NormalizationMode] = field(default_factory=_normalization)
    optimizer_lr: float = 1e-3
    optimizer_weight_decay: float = 1e-2
    optimizer_grad_clip_norm: float = 1.0
    scheduler_warmup_steps: int = 1000
    scheduler_decay_steps: int = 100_000
    """Both are shortened in proportion where ``--steps`` is smaller."""

    encoder_spec: dict[str, Any] = field(default_factory=dict)
    """Written when the encoder is made: its identity, with the digest of the weights."""
    policy_header: dict[str, Any] = field(default_factory=dict)
    """Written for a policy of `s2robot train`: the header of its file."""
    policy_sizes: dict[str, int] = field(default_factory=dict)
    """Written with it: entries of the measurements, and whether actions have units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head.past_actions and not self.is_converted:
            raise ValueError(
                "head.past_actions is true; LeRobot's batches do not hold the actions before each "
                "step. Allowed: false"
            )

    @property
    def is_converted(self) -> bool:
        """Whether the policy was trained by `s2robot train`."""
        return bool(self.checkpoint or self.policy_header)

    @property
    def observation_offsets(self) -> list[int]:
        """Steps of the observations that the head reads, from the present one."""
        if self.head.kind == "rnn_gmm":
            return list(range(self.head.context))
        if self.head.is_sequence:
            return list(range(1 - self.head.context, 1))
        return [0]

    @property
    def action_offsets(self) -> list[int]:
        """Steps of the actions that the head predicts, from the present one."""
        return list(range(self.head.chunk)) if self.head.is_chunked else self.observation_offsets

    @property
    def observation_delta_indices(self) -> list[int] | None:
        """Steps of the observations, for LeRobot's own reading of rows."""
        return self.observation_offsets if self.head.is_sequence else None

    @property
    def action_delta_indices(self) -> list[int] | None:
        """Steps of the actions, for LeRobot's own reading of rows."""
        return self.action_offsets if self.head.is_sequence else None

    @property
    def reward_delta_indices(self) -> None:
        """None: rewards are not read."""
        return None

    def validate_features(self) -> None:
        """Check what data set or environment offer.

        Raises:
            ValueError: there is no camera, or no action.
        """
        names = sorted(self.input_features or {})
        if not self.image_features:
            raise ValueError(
                f"policy s2robot needs at least one camera; the inputs are {names}. Give a data "
                "set with observation.images.NAME"
            )
        if self.action_feature is None:
            raise ValueError(
                f"policy s2robot needs the feature action; the outputs are "
                f"{sorted(self.output_features or {})}"
            )

    @property
    def camera_sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of the frames [px] by camera."""
        shapes = {key: tuple(each.shape) for key, each in self.image_features.items()}
        return {key: (height, width) for key, (_, height, width) in shapes.items()}

    @property
    def state_size(self) -> int:
        """Entries of ``observation.state``; 0 without."""
        feature = self.robot_state_feature
        return 0 if feature is None else int(feature.shape[0])

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        feature = self.action_feature
        return 0 if feature is None else int(feature.shape[0])

    @property
    def state_key(self) -> str:
        """Key of the measurements in LeRobot's batches."""
        return OBS_STATE

    def get_optimizer_preset(self) -> AdamWConfig:
        """Return AdamW; weight decay is of matrices only."""
        return AdamWConfig(
            lr=self.optimizer_lr,
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> CosineDecayWithWarmupSchedulerConfig:
        """Return a warm-up and a cosine to zero."""
        return CosineDecayWithWarmupSchedulerConfig(
            num_warmup_steps=self.scheduler_warmup_steps,
            num_decay_steps=self.scheduler_decay_steps,
            peak_lr=self.optimizer_lr,
            decay_lr=0.0,
        )
