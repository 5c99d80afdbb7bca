"""Frozen encoders of a policy's cameras, and the embeddings of a data set's frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import MismatchError
from s2robot.policies.dataset import joined_shape, side_by_side

if TYPE_CHECKING:
    from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig


def make_encoder(config: S2robotConfig) -> FrameEncoder:
    """Return the encoder of a policy: by name, or that of a saved policy, verified by its digest.

    Args:
        config: settings of the policy.

    Raises:
        MismatchError: the weights are not those that the policy was trained with.
        ValueError: a name or an option is unknown.
    """
    device, runtime = config.device or "auto", config.runtime
    if config.encoder_spec:
        spec = EncoderSpec.from_dict(config.encoder_spec)
        check_unchanged(config, spec)
        return FrameEncoder.from_spec(spec, config.weights, device, runtime=runtime)
    options = {name: _tuples(value) for name, value in config.encoder_options.items()}
    return FrameEncoder.from_name(
        config.backbone,
        tuple(config.scales),
        config.readout,
        weights=config.weights,
        device=device,
        runtime=runtime,
        **options,
    )


def check_unchanged(config: S2robotConfig, spec: EncoderSpec) -> None:
    """Refuse settings of the encoder that are not those of the training.

    Args:
        config: settings of the policy.
        spec: the encoder of the training.

    Raises:
        MismatchError: a setting differs.
    """
    asked = {"backbone": config.backbone, "readout": config.readout, "scales": tuple(config.scales)}
    options = {k: _tuples(v) for k, v in config.encoder_options.items() if v != "auto"}
    asked |= {name: value for name, value in options.items() if hasattr(spec, name)}
    for name, value in asked.items():
        there = getattr(spec, name)
        if value != there:
            raise MismatchError(
                f"policy.{name} is {value}, but the saved policy was trained with {there}; leave "
                f"--policy.{name} out, or train another policy"
            )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


class CameraEmbeddings:
    """Embeddings of several cameras side by side, as s2robot's own policies have them.

    Args:
        encoder: of all cameras.
        sizes: height and width of the frames [px] of each camera, by its key in LeRobot's batches.
    """

    def __init__(self, encoder: FrameEncoder, sizes: Mapping[str, tuple[int, int]]) -> None:
        self.encoder = encoder
        self.keys, self._sizes = tuple(sizes), dict(sizes)
        self.shape = joined_shape(dict.fromkeys(self.keys, encoder.output_shape))

    def of_batch(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return embeddings ``(B, D)`` of images ``(B, 3, H, W)`` in 0-1, or ``(B, T, D)``.

        Images are 8-bit pixels divided by 255, and embeddings equal those of the pixels.

        Raises:
            KeyError: a camera is missing.
            MismatchError: frames have another size than those of the training.
        """
        missing = [key for key in self.keys if key not in batch]
        if missing:
            there = sorted(key for key in batch if key.startswith("observation."))
            raise KeyError(
                f"the batch lacks {', '.join(missing)}; it has {', '.join(there)}. Name cameras "
                "as in training, or rename them with --rename_map"
            )
        for key, size in self._sizes.items():
            seen = tuple(batch[key].shape[-2:])
            if seen != size:
                raise MismatchError(
                    f"{key} has frames of {seen[0]} × {seen[1]} px; the policy was trained on "
                    f"{size[0]} × {size[1]} px. Set the camera to that size "
                    "(pick-cube: --env.image_size)"
                )
        return self.joined([self._one(batch[key]) for key in self.keys])

    def _one(self, images: torch.Tensor) -> torch.Tensor:
        lead = images.shape[:-3]
        frames = images.flatten(0, -4).movedim(-3, -1).contiguous()  # (N, H, W, 3)
        # A policy is called in inference mode, and trained on what the encoder returned.
        return self.encoder(frames).unflatten(0, lead)

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return embeddings ``(..., D)`` of all cameras side by side."""
        lead = parts[0].shape[:-1]
        flat = [part.flatten(0, -2) for part in parts]
        return side_by_side(flat, self.encoder.output_shape).unflatten(0, lead)


@dataclass(frozen=True)
class _Frames:
    digest: str
    num_frames: int


@dataclass(frozen=True, eq=False)
class DatasetEmbeddings:
    """Embeddings of all frames of a data set, by their ``index``."""

    embeddings: torch.Tensor
    """``(N, D)`` float16."""
    first: torch.Tensor
    """``(N,)`` int64: index of the first frame of each frame's episode."""
    last: torch.Tensor

    def of(self, index: torch.Tensor, offsets: Sequence[int]) -> torch.Tensor:
        """Return embeddings ``(B, T, D)`` around frames; episodes repeat their first and last one.

        Args:
            index: of the frames ``(B,)``.
            offsets: T steps from them.
        """
        index = index.cpu().long().flatten()
        wanted = index[:, None] + torch.tensor(list(offsets))
        wanted = torch.minimum(
            torch.maximum(wanted, self.first[index, None]), self.last[index, None]
        )
        return self.embeddings[wanted]


def encode_dataset(
    root: str | Path, cameras: CameraEmbeddings, features_dir: Path
) -> DatasetEmbeddings:
    """Return the embeddings of a data set; frames that are not stored are encoded, in order.

    Args:
        root: folder of the data set, of layout v3.
        cameras: which to encode, and with what.
        features_dir: folder of the stored embeddings, which `s2robot train data=` shares.

    Raises:
        CorruptFileError: the data set is damaged, or videos are missing.
    """
    dataset = open_dataset(root, list(cameras.keys), [])
    store = FeatureStore(features_dir)
    ends = torch.from_numpy(dataset.episode_ends)
    frames = _Frames(dataset.digest, int(ends[-1]))
    parts = []
    for key in cameras.keys:
        reader = RecordedFrames(dataset, key)
        parts.append(store.load_or_encode(frames, reader, cameras.encoder))
    dataset.close()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    lengths = ends - starts
    return DatasetEmbeddings(
        cameras.joined(parts),
        starts.repeat_interleave(lengths),
        (ends - 1).repeat_interleave(lengths),
    )
