"""Configuration of a policy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from s2robot.errors import unknown
from s2robot.utils import validation
from s2robot.utils.deprecation import moved_names

KINDS = ("mlp", "gmm", "rnn_gmm", "transformer", "act")
SEQUENCE_KINDS = ("rnn_gmm", "transformer", "act")
LOSSES = ("l1_l2", "smooth_l1", "l2")
_WITHOUT_HIDDEN = ("transformer", "act")
_OF_CHUNKS = ("chunk", "ensemble", "action_steps", "past_actions", "shortcut_width")


@dataclass(frozen=True)
class PolicyConfig:
    """Network and readout head of a policy.

    Raises:
        ValueError: a field is out of range; the message states what is allowed.

    Examples:
        >>> PolicyConfig(kind="rnn_gmm", context=5).is_sequence
        True
        >>> PolicyConfig(keypoints=0)
        Traceback (most recent call last):
        ValueError: keypoints is 0; it must be at least 1
    """

    kind: str = "mlp"
    """Network: ``mlp`` (deterministic), ``gmm``, ``rnn_gmm``, ``transformer`` (both also GMM),
    ``act`` (deterministic action chunks)."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers; ``rnn_gmm`` has them after the RNN, transformers none."""

    keypoints: int = 32
    """Spatial softmax: number of attention maps, each of which gives one expected position."""
    softmax_scale: float = 3.0
    """Spatial softmax: initial factor on the logits (inverse temperature), which is trained."""
    keypoint_features: int = 16
    """Spatial softmax: local features averaged by each map; they encode offsets inside a token."""
    vector_width: int = 0
    """Vector embeddings: width of a hidden layer before the network; 0 for none."""
    vector_layer_norm: bool = False
    """Vector embeddings: apply LayerNorm first (MVP's frozen recipe trains its last norm)."""

    loss: str = "l1_l2"
    """Loss of ``mlp`` and ``act`` on actions: ``l1_l2`` (their sum), ``smooth_l1``, ``l2``."""
    gmm_modes: int = 5
    """Gaussians in the mixture of the other kinds, trained by likelihood."""
    gmm_min_std: float = 0.01
    """Smallest standard deviation of a Gaussian, in units of the action (a full step is 1)."""

    context: int = 10
    """Length of a sequence policy's input [control steps]."""
    rnn_hidden: int = 256
    """Width of the LSTM."""
    rnn_layers: int = 2
    """Layers of the LSTM."""
    transformer_width: int = 192
    """Width of the transformer."""
    transformer_layers: int = 4
    """Blocks of the transformer."""
    transformer_heads: int = 4
    """Attention heads of the transformer; its width must be a multiple."""
    dropout: float = 0.1
    """Dropout inside the transformer."""

    chunk: int = 8
    """``act``: number of actions that are predicted at once, from the present step on."""
    ensemble: float | None = 0.01
    """``act``: temporal ensembling. An action is the mean of all predictions for its step; the
    i-th oldest has the weight exp(-ensemble · i). None carries out ``action_steps`` of a chunk."""
    action_steps: int = 1
    """``act`` without ensembling: actions of a chunk that are carried out before the next one."""
    past_actions: bool = False
    """``act``: also read the action before each step of the context."""
    shortcut_width: int = 256
    """``act``: width of two hidden layers from the newest step to the chunk, whose output is added
    to that of the transformer; 0 for none, as in policy files that do not name it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("policy kind", self.kind, KINDS)
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        validation.require_at_least(
            self, 1, "keypoints", "gmm_modes", "context", "rnn_hidden", "rnn_layers"
        )
        validation.require_at_least(
            self, 1, "transformer_width", "transformer_layers", "transformer_heads"
        )
        validation.require_at_least(self, 0, "keypoint_features", "vector_width", "dropout")
        validation.require_positive(self, "softmax_scale", "gmm_min_std")
        if any(width < 1 for width in self.hidden) or (not self.hidden and not self.is_sequence):
            raise ValueError(f"hidden is {self.hidden}; give one or more widths of at least 1")
        validation.require_below_one(self, "dropout")
        if self.transformer_width % self.transformer_heads:
            raise ValueError(
                f"transformer_width {self.transformer_width} is not a multiple of "
                f"transformer_heads {self.transformer_heads}; change either"
            )
        self._check_chunks()

    def _check_chunks(self) -> None:
        validation.require_integers(self, 1, "chunk", "action_steps")
        validation.require_integers(self, 0, "shortcut_width")
        if self.ensemble is not None:
            validation.require_finite(self, 0, "ensemble")
        if self.ensemble is not None and self.action_steps > 1:
            raise ValueError(
                f"action_steps is {self.action_steps} and ensemble {self.ensemble}; ensembling "
                "predicts a chunk at each step: allowed is an ensemble of None (null), or one step"
            )
        if self.action_steps > self.chunk:
            raise ValueError(
                f"action_steps is {self.action_steps}; a chunk has {self.chunk} actions: allowed "
                f"are 1 to {self.chunk}"
            )

    @property
    def is_sequence(self) -> bool:
        """Whether the policy's input is ``context`` steps instead of one."""
        return self.kind in SEQUENCE_KINDS

    @property
    def has_hidden_layers(self) -> bool:
        """Whether the network has the layers of ``hidden``."""
        return self.kind not in _WITHOUT_HIDDEN

    @property
    def is_chunked(self) -> bool:
        """Whether the policy predicts ``chunk`` actions at once."""
        return self.kind == "act"

    @property
    def reads_past_actions(self) -> bool:
        """Whether the policy's own last actions are part of its input."""
        return self.is_chunked and self.past_actions

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, for files and digests; those of chunks only where there are chunks."""
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if self.is_chunked or k not in _OF_CHUNKS}


__getattr__ = moved_names(
    __name__,
    {
        "config_from_dict": "s2robot.utils.validation:config_from_dict",
        "require_at_least": "s2robot.utils.validation:require_at_least",
        "require_positive": "s2robot.utils.validation:require_positive",
    },
)
