"""Settings of a recommendation; imports no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from s2robot.data.datasets.choice import DataChoice
from s2robot.encoder.spec import EncoderOptions
from s2robot.errors import unknown
from s2robot.utils.validation import require_finite, require_integers

METRICS = ("action-linear", "localization", "action")
"""Measures of a candidate; without a choice, the first that the data allows decides."""
DEFAULT_ENCODERS = (
    "s2r-vitt16-128",
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
)
"""Candidates where none are named: the encoder that ships and small published ones."""
DEFAULT_SCALES = ((1.0,), (1.0, 2.0), (1.0, 2.0, 3.0))
FRAMES = 1000
"""Frames that are probed at most."""


@dataclass(frozen=True)
class RecommendConfig:
    """Candidates, deadline and budget of a recommendation.

    Raises:
        ValueError: a value is not allowed; the message states what is.

    Examples:
        >>> config = RecommendConfig(deadline_ms=33.3)
        >>> len(list(config.candidates()))
        12
        >>> RecommendConfig(deadline_ms=0)
        Traceback (most recent call last):
        ValueError: deadline_ms is 0; allowed: above 0 and at most 60000
    """

    deadline_ms: float
    """Longest time from a frame of each camera in memory to their embeddings, for 95 % [ms]."""
    encoders: tuple[str, ...] = DEFAULT_ENCODERS
    """Names for ``FrameEncoder.from_name``."""
    scale_sets: tuple[tuple[float, ...], ...] = DEFAULT_SCALES
    options: EncoderOptions = field(default_factory=EncoderOptions)
    """Options of all encoders besides scales, readout and layers."""
    metric: str | None = None
    """One of ``METRICS``; None takes the first that the data allows."""
    with_head: bool = False
    """Measure ``action`` too where another error decides; its trainings take the longest."""
    frames: int = FRAMES
    """Frames that are probed at most, spread evenly over all episodes."""
    data: DataChoice = field(default_factory=DataChoice)
    """Cameras and observations of recorded data."""
    positions: str | None = None
    """Observation of recorded data with positions to be localized [m]; None for ``cube_pos`` where
    the data has it."""
    frame: tuple[int, int] | None = None
    """Height and width of the cameras' frames for the latency [px]; None for those of the data."""
    probe_all: bool = False
    """Also probe candidates that miss the deadline, which cannot be chosen."""
    device: str = "auto"
    runtime: str = "auto"
    """An exact runtime of ``FrameEncoder.use_runtime``."""
    data_dir: Path = Path("data")
    """Folder of demonstrations, frames and features."""
    out: Path = Path("runs/recommend")
    """Folder of results."""

    def __post_init__(self) -> None:
        if not 0 < self.deadline_ms <= 60_000:
            raise ValueError(
                f"deadline_ms is {self.deadline_ms}; allowed: above 0 and at most 60000"
            )
        require_finite(self, 0, "deadline_ms")
        require_integers(self, 1, "frames")
        for name in ("encoders", "scale_sets"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} are {values}; give at least one, and each only once")
        if self.metric is not None and self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)

    def candidates(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """Yield encoder and scales of every candidate."""
        for encoder in self.encoders:
            for scales in self.scale_sets:
                yield encoder, scales
