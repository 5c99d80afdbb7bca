"""Inputs of a training on recorded data: each is computed, or read from disk, at its first use."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import torch

from s2robot.data.datasets.contract import PRIVILEGED, EpisodeDataset, episode_name
from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.evaluation.agents.camera_encoders import CameraEncoders, encoders_of
from s2robot.evaluation.baselines import is_baseline, stored_name
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.precision import Agreement
from s2robot.experiments.recorded.split import Split, split_episodes
from s2robot.experiments.variant import encoder_for, encoder_words, name_in_files
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.dataset import TrajectoryData, stack_proprio
from s2robot.training.config import TrainConfig
from s2robot.training.precision import resolved
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import digest_of


class RecordedInputs:
    """Data set, frames, encoder and embeddings of a variant with ``data``.

    Args:
        config: settings of the variant.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: its layout is unknown, or it lacks what the settings name.
        CorruptFileError: its content is damaged.
    """

    def __init__(self, config: VariantConfig) -> None:
        assert config.data is not None
        self.config = config
        self.dataset: EpisodeDataset = open_dataset(
            config.data,
            config.cameras or None,
            config.low_dim or None,
            config.action or None,
            config.tolerance_s,
        )
        self.agreement: Agreement | None = None
        """How bfloat16 agrees with float32 on the frames, once the encoder was compared."""
        if self.is_blind and not self.proprio_keys:
            raise ValueError(
                f"{config.data} has no low-dimensional observations, so a blind policy has nothing "
                "to read; give an encoder"
            )
        if not self.is_blind and not self.dataset.cameras:
            raise ValueError(
                f"{config.data} has no camera, so there is nothing to encode. A file of simulator "
                "states of `s2robot collect` is trained on with demos.path=, robomimic's "
                "dataset_states_to_obs.py writes images for its states; encoder=blind uses no "
                "images"
            )

    @functools.cached_property
    def split(self) -> Split:
        """Training, tuning and held-out episodes."""
        episodes = len(self.dataset.episode_ends)
        return split_episodes(self.dataset.source, episodes, self.dataset.masks)

    @property
    def episodes_text(self) -> str:
        """How the episodes are divided, in words; those that no mask names are listed."""
        split, ends = self.split, self.dataset.episode_ends
        unused = [episode_name(self.dataset, each) for each in split.unused(len(ends)).tolist()]
        more = ", ..." if len(unused) > 5 else ""
        listed = f", {len(unused)} not used, in no mask ({', '.join(unused[:5])}{more})"
        return (
            f"{len(split.train)} for training, {len(split.held_out)} held out ({split.origin})"
            f"{listed if unused else ''}; {int(ends[-1])} frames in all"
        )

    @property
    def rate_text(self) -> str:
        """Control rate in words."""
        rate = self.dataset.rate_hz
        if rate is not None:
            return f"{rate:g} Hz"
        return (
            "not told by the data, so control_hz of the policy is None; give control_freq in a "
            "robomimic file's env_args, or rate_hz in dataset.json, or call the policy at the rate "
            "of the recording"
        )

    @property
    def is_blind(self) -> bool:
        """Whether the variant uses no images."""
        return is_baseline(stored_name(self.config.encoder))

    @property
    def label(self) -> str:
        """Short name for messages, such as ``r3m-resnet18 (1,2), front + wrist``."""
        if self.is_blind:
            return self.config.encoder
        scales = ",".join(f"{scale:g}" for scale in self.config.scales)
        return f"{self.config.encoder} ({scales}), {self._named_cameras}"

    @property
    def _named_cameras(self) -> str:
        """Names of the cameras, with the scales of those that have their own."""
        return " + ".join(
            f"{c['name']} ({','.join(f'{s:g}' for s in c['scales'])})"
            if "scales" in c
            else str(c["name"])
            for c in self._camera_records
        )

    @property
    def stored_label(self) -> str:
        """The label in files, where it names what decides the policy and no path."""
        stored = stored_name(self.config.encoder)
        if self.is_blind:
            return stored
        words = encoder_words(self.config, name_in_files(stored, self.encoder))
        return " ".join([*words, "of", self._named_cameras])

    @property
    def gflops_per_frame(self) -> float:
        """Cost of a control step [GFLOP]: of one frame of each camera."""
        if isinstance(self._encoders, CameraEncoders):
            return sum(each.gflops_per_frame for each in self._encoders.encoders.values())
        return 0.0 if self.encoder is None else self.encoder.gflops_per_frame

    @functools.cached_property
    def readers(self) -> list[RecordedFrames]:
        """Frames of each camera, in the order of the policy."""
        return [RecordedFrames(self.dataset, camera) for camera in self.dataset.cameras]

    @functools.cached_property
    def _store(self) -> FeatureStore:
        return FeatureStore(self.config.data_dir / "features")

    @functools.cached_property
    def _frame_set(self) -> _FrameSet:
        return _FrameSet(self.dataset.digest, int(self.dataset.episode_ends[-1]))

    @functools.cached_property
    def encoder(self) -> FrameEncoder | None:
        """The frozen encoder, of cameras without scales of their own; None for a blind policy."""
        if self.is_blind:
            return None
        data, frames = (lambda: self._frame_set), (lambda: self.readers[0])
        encoder, self.agreement = encoder_for(self.config, self._store, data, frames)
        return encoder

    @functools.cached_property
    def _encoders(self) -> FrameEncoder | CameraEncoders | None:
        """The encoder of all cameras, with the scales of each; None for a blind policy."""
        return None if self.encoder is None else encoders_of(self.encoder, self._camera_records)

    @property
    def encoder_record(self) -> dict[str, Any]:
        """Identity of the encoder for files."""
        if self.encoder is None:
            return {"backbone": stored_name(self.config.encoder)}
        return self.encoder.spec.to_dict()

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one embedding: the channels of all cameras side by side."""
        if self._encoders is None:
            return (0,)
        return tuple(self._encoders.output_shape)

    def embeddings(self) -> torch.Tensor:
        """Return the embeddings ``(N, D)`` of all frames, which are in the feature store.

        Each frame is decoded and encoded once. The embeddings of several cameras lie side by side:
        at each place of the grid, the channels of the first camera, then those of the next.
        """
        found = self._encoders
        if found is None:
            return torch.zeros(self._frame_set.num_frames, 0)
        several = isinstance(found, CameraEncoders)
        encoders = list(found.encoders.values()) if several else [found]
        parts = []
        for camera, reader, one in zip(self.dataset.cameras, self.readers, encoders, strict=True):
            OUTPUT.print(f"camera {camera}")
            parts.append(self._store.load_or_encode(self._frame_set, reader, one))
        return found.joined(parts) if several else parts[0]

    @property
    def proprio_keys(self) -> tuple[str, ...]:
        """Low-dimensional observations of the policy, in order."""
        if self.config.low_dim:
            return tuple(self.dataset.low_dim_names)  # the whole names of those that are named
        return tuple(key for key in self.dataset.low_dim_names if key not in PRIVILEGED)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Observations that only a simulator knows and that the settings do not name."""
        return tuple(key for key in self.dataset.low_dim_names if key not in self.proprio_keys)

    @functools.cached_property
    def action_units(self) -> ActionUnits:
        """Range of each entry of the training episodes' actions."""
        low, high = self.action_range
        return ActionUnits.of_range(torch.from_numpy(low), torch.from_numpy(high))

    @functools.cached_property
    def action_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest values ``(A,)`` in the training episodes."""
        actions = self.dataset.actions[self.frames_of(self.split.train)]
        return actions.min(axis=0), actions.max(axis=0)

    def frames_of(self, episodes: np.ndarray) -> np.ndarray:
        """Return the numbers of all frames of some episodes."""
        ends = [0, *self.dataset.episode_ends.tolist()]
        return np.concatenate([np.arange(ends[e], ends[e + 1]) for e in episodes.tolist()])

    @functools.cached_property
    def data(self) -> TrajectoryData:
        """Training data with actions in [-1, 1]; held-out episodes are for validation."""
        keys, count = self.proprio_keys, self._frame_set.num_frames
        low_dim = {key: self.dataset.low_dim(key) for key in keys}
        proprio = stack_proprio(low_dim, keys) if keys else np.zeros((count, 0), np.float32)
        actions = self.action_units.scaled(torch.from_numpy(self.dataset.actions))
        return TrajectoryData(
            embedding=self.embeddings(),
            embedding_shape=self.embedding_shape,
            proprio=torch.from_numpy(proprio),
            actions=actions,
            episode_ends=torch.from_numpy(self.dataset.episode_ends),
            train_episodes=torch.from_numpy(self.split.train),
            valid_episodes=torch.from_numpy(self.split.held_out),
            motion_dims=actions.shape[1],
            motion_unit=1.0,
        )

    def trained_with(self, config: TrainConfig) -> TrainConfig:
        """Return the settings of a training, with the precision in force.

        Args:
            config: as the user gave them.
        """
        given = (self._frame_set.num_frames, self.embedding_shape, self.config.device)
        return resolved(config, *given)

    @property
    def tuning_data(self) -> TrajectoryData:
        """Data of the hyperparameter search, which does not see the held-out episodes."""
        learned = np.setdiff1d(self.split.train, self.split.tuning)
        return dataclasses.replace(
            self.data,
            train_episodes=torch.from_numpy(learned),
            valid_episodes=torch.from_numpy(self.split.tuning),
        )

    @property
    def identity_digest(self) -> str:
        """Digest of the data set and of its division."""
        return digest_of([self.dataset.digest, self.split.record()])

    @property
    def frames_record(self) -> dict[str, Any]:
        """Cameras of the policy for its file, in order; empty without."""
        if self.is_blind:
            return {}
        return {"kind": "recorded", "cameras": self._camera_records}

    @property
    def _camera_records(self) -> list[dict[str, Any]]:
        """Name and size of each camera, and scales where it has some of its own."""
        own, found = self.config.camera_scales, []
        typed = self.config.cameras or tuple(self.dataset.cameras)  # may be short names
        for given, (name, size) in zip(typed, self.dataset.cameras.items(), strict=True):
            scales = {"scales": list(own[given])} if given in own else {}
            found.append({"name": name, "height": size[0], "width": size[1], **scales})
        return found


@dataclasses.dataclass(frozen=True)
class _FrameSet:
    """Identity of the frames for the feature store."""

    digest: str
    num_frames: int
