"""Data for probes of the action, recorded or of a task: frames of a camera, actions, episodes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from s2robot.analysis.probes import COUNT
from s2robot.analysis.probes.action_errors import varying_entries
from s2robot.analysis.probes.scenes import split_frames
from s2robot.data.datasets.choice import DataChoice, cameras_to_take
from s2robot.data.datasets.contract import EpisodeDataset
from s2robot.data.feature_store import ChosenFrames
from s2robot.data.rendered_demonstrations import frames_of, open_chosen
from s2robot.utils.io import digest_of

_DRAWN = Path("data") / "frames"  # of a data set's own reader, which is not used here


@dataclass(frozen=True, eq=False)
class RecordedData(ChosenFrames):
    """N frames of one camera and their actions; the frames of an episode are consecutive."""

    actions: np.ndarray
    """(N, A) as recorded."""
    episode: np.ndarray
    """(N,) int64: episode of each frame."""
    digest: str
    """Identifies the frames in a feature store."""
    frame_size: int
    """Longer side of the frames [px]."""

    @property
    def num_frames(self) -> int:
        """Number of frames N."""
        return len(self)

    def split(self, test_share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of training and test frames; no episode is in both.

        Args:
            test_share: fraction of the episodes for testing.
            seed: of the draw.

        Raises:
            ValueError: there are too few episodes.
        """
        return split_frames(self.episode, test_share, seed)


@dataclass(frozen=True)
class RecordedConfig:
    """Recorded data and the number of frames to probe."""

    source: str
    """File or folder, as ``open_chosen`` takes it."""
    choice: DataChoice = field(default_factory=DataChoice)
    """The camera; of bags, the topics of the actions."""
    count: int = COUNT
    """Frames that are probed at most, spread evenly over the episodes."""

    tasks = ("action",)
    """Names of the tasks that there are labels for."""

    @functools.cached_property
    def _dataset(self) -> EpisodeDataset:
        """The data set, opened once.

        Raises:
            ValueError: there is not exactly one camera, or there are no actions that vary.
        """
        data = open_chosen(self.source, self.choice, _DRAWN)
        names = cameras_to_take(data, self.choice, "the probe")
        if len(names) > 1:
            raise ValueError(
                f"cameras are {', '.join(names)}; a probe reads one: name one of them, and repeat "
                "the command for the others. `s2robot recommend` takes several side by side"
            )
        if not data.actions.shape[1]:
            raise ValueError(
                f"{self.source} has no actions, so there is nothing to probe; of ROS bags name "
                "their topics, --action TOPIC. `s2robot reconstruct` needs frames alone"
            )
        varying_entries(data.actions, self.source)
        return data

    @property
    def _chosen(self) -> np.ndarray:
        total = int(self._dataset.episode_ends[-1])
        return np.linspace(0, total - 1, min(self.count, total)).round().astype(int)

    def key(self) -> str:
        """Return the digest of all that decides the content."""
        data = self._dataset
        return digest_of([data.digest, list(data.cameras), self._chosen.tolist()])[:16]

    def load(self, data_dir: Path, progress: bool = False) -> RecordedData:
        """Return the data; frames are decoded when they are read, and once.

        Args:
            data_dir: folder of decoded or drawn frames.
            progress: not used.
        """
        del progress
        data, chosen = self._dataset, self._chosen
        (camera,) = data.cameras
        return RecordedData(
            frames_of(data, camera, data_dir / "frames"),
            chosen,
            data.actions[chosen].astype(float),
            np.searchsorted(data.episode_ends, chosen, side="right"),
            digest_of([data.digest, chosen.tolist()]),
            max(data.cameras[camera]),
        )
