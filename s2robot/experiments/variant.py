"""Variants: what is compared (camera, encoder, scales, readout), and the inputs made from it."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from s2robot.data.collection import collect
from s2robot.data.config import CameraConfig, CollectConfig
from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.feature_store import DataSet, FeatureStore
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.envs.levels import get_level
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.camera_encoders import CameraEncoders, encoders_of
from s2robot.evaluation.baselines import (
    baseline_embedding,
    baseline_shape,
    is_baseline,
    stored_name,
)
from s2robot.experiments.config import CameraChoice, DemosChoice, VariantConfig
from s2robot.experiments.precision import Agreement, with_precision
from s2robot.policies.dataset import TrajectoryData, default_proprio_keys
from s2robot.runtimes import AUTO
from s2robot.training.frames import assemble
from s2robot.utils.console import OUTPUT
from s2robot.utils.io import read_json

__all__ = ["CameraChoice", "DemosChoice", "Variant", "VariantConfig"]


class Variant:
    """Inputs of one variant; each is computed, or read from disk, at its first use.

    Args:
        config: settings of the variant.
    """

    def __init__(self, config: VariantConfig) -> None:
        self.config = config
        self.agreement: Agreement | None = None
        """How bfloat16 agrees with float32 on the frames, once the encoder was compared."""

    @property
    def _stored_encoder(self) -> str:
        return stored_name(self.config.encoder)

    @property
    def is_baseline(self) -> bool:
        """Whether the variant is a baseline, which uses no pixels."""
        return is_baseline(self._stored_encoder)

    @property
    def camera(self) -> CameraConfig:
        """The first camera, by default the level's own; "" stands for another task's own."""
        return self.cameras[0]

    @property
    def cameras(self) -> tuple[CameraConfig, ...]:
        """Cameras in the policy's order; see ``camera``."""
        choice, level = self.config.camera, self.config.level
        own = "" if is_foreign(level) else get_level(level).camera
        names = self.config.cameras or (choice.name or own,)
        return tuple(CameraConfig(name, choice.size) for name in names)

    @functools.cached_property
    def demos(self) -> Demonstrations:
        """Demonstrations; they are collected where there are none."""
        config = self.config
        if config.demos.path is not None:
            return _opened(config.demos.path, config.level)
        return collect(
            CollectConfig(
                level=config.level,
                task=config.task,
                control=config.control,
                episodes=config.demos.episodes,
                seed=config.demos.seed,
                data_dir=config.data_dir,
            )
        )

    @functools.cached_property
    def encoder(self) -> FrameEncoder | None:
        """The frozen encoder; None for a baseline."""
        if self.is_baseline:
            return None
        given = (self.config, self._store, lambda: self.demos, lambda: self.frames)
        encoder, self.agreement = encoder_for(*given)
        return encoder

    @functools.cached_property
    def _encoders(self) -> FrameEncoder | CameraEncoders | None:
        """The encoder of all cameras, with the scales of each; None for a baseline."""
        return None if self.encoder is None else encoders_of(self.encoder, self._camera_records)

    @functools.cached_property
    def encoder_record(self) -> dict[str, Any]:
        """Identity of the encoder: its spec, or the baseline's name in files."""
        if self.encoder is None:
            return {"backbone": self._stored_encoder}
        return self.encoder.spec.to_dict()

    @property
    def yaw(self) -> bool:
        """Whether the level turns the cube."""
        return float(self.demos.env_kwargs.get("yaw_range_rad", 0.0)) > 0

    @property
    def frames(self) -> RenderedFrames:
        """The demonstrations' frames through the variant's first camera."""
        return self._readers[0]

    @functools.cached_property
    def _readers(self) -> list[RenderedFrames]:
        """The demonstrations' frames through each camera, in the policy's order."""
        cache = self.config.data_dir / "frames"
        return [RenderedFrames(self.demos, camera, cache) for camera in self.cameras]

    @functools.cached_property
    def _camera_records(self) -> list[dict[str, Any]]:
        """Name and size of each camera, and scales where it has some of its own."""
        own = self.config.camera_scales
        return [
            {**reader.source["camera"], **({"scales": list(own[name])} if name in own else {})}
            for name, reader in zip([c.name for c in self.cameras], self._readers, strict=True)
        ]

    @property
    def frames_record(self) -> dict[str, Any]:
        """Source of the policy's frames for its file; of several cameras with ``cameras``."""
        if self.is_baseline:
            return {}
        source = self.frames.source
        if len(self.cameras) == 1:
            return source
        camera = {"cameras": self._camera_records}
        return {key: value for key, value in source.items() if key != "camera"} | camera

    @property
    def gflops_per_frame(self) -> float:
        """Cost of a control step [GFLOP]: of one frame of each camera."""
        if isinstance(self._encoders, CameraEncoders):
            return sum(each.gflops_per_frame for each in self._encoders.encoders.values())
        return 0.0 if self.encoder is None else self.encoder.gflops_per_frame

    @property
    def embedding_shape(self) -> tuple[int, ...]:
        """Shape of one embedding, with the channels of all cameras side by side."""
        if self._encoders is None:
            return baseline_shape(self._stored_encoder, self.yaw)
        return tuple(self._encoders.output_shape)

    def embeddings(self) -> torch.Tensor:
        """Return the embeddings ``(N, D)`` of all frames; an encoder's are in the feature store."""
        if self.encoder is None:
            keys = ("cube_pos", "cube_quat")
            if self._stored_encoder == "none":  # needs the number of frames alone
                keys = tuple(self.demos.episodes[0].obs)[:1]
            low_dim = {key: self.demos.low_dim(key) for key in keys}
            return torch.from_numpy(baseline_embedding(self._stored_encoder, low_dim, self.yaw))
        if not isinstance(self._encoders, CameraEncoders):
            return self._store.load_or_encode(self.demos, self.frames, self.encoder)
        each = zip(self._readers, self._encoders.encoders.values(), strict=True)
        parts = [self._store.load_or_encode(self.demos, *one) for one in each]
        return self._encoders.joined(parts)

    def encoding_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return numbers of frames by scale: those encoded here, and those whose features were.

        Both are empty before the embeddings were asked for.
        """
        if self.encoder is None or "data" not in vars(self):
            return {}, {}
        frames, totals = self.demos.num_frames, Counter[float]()
        for camera in self._camera_records:
            totals.update(dict.fromkeys(camera.get("scales", self.encoder.spec.scales), frames))
        encoded = {scale: self._store.encoded.get(scale, 0) for scale in totals}
        return (
            {f"{scale:g}": n for scale, n in encoded.items() if n},
            {f"{scale:g}": totals[scale] - n for scale, n in encoded.items() if n < totals[scale]},
        )

    @functools.cached_property
    def _store(self) -> FeatureStore:
        return FeatureStore(self.config.data_dir / "features")

    @functools.cached_property
    def proprio_keys(self) -> tuple[str, ...]:
        """Low-dimensional observations of the policy."""
        if not is_foreign(self.demos.level):
            return default_proprio_keys(self.demos.control, self.yaw)
        with contextlib.closing(make_env(self.demos.env_kwargs)) as env:
            return env.proprio_keys()

    @functools.cached_property
    def data(self) -> TrajectoryData:
        """Training data."""
        return assemble(self.demos, self.embeddings(), self.embedding_shape, self.proprio_keys)

    @property
    def encoder_name(self) -> str:
        """Name of the encoder in files; for a card file, its name and the weights' digest."""
        return name_in_files(self._stored_encoder, self.encoder)

    @property
    def stored_label(self) -> str:
        """The label in files, where baselines have their first names."""
        return self._stored_encoder if self.is_baseline else self.label

    @property
    def label(self) -> str:
        """Short name for messages and tables, such as ``s2r-vitt16-128 (1,2)``."""
        if self.is_baseline:
            return self.config.encoder
        return " ".join([*encoder_words(self.config, self.encoder_name), *self._seen()])

    def _seen(self) -> list[str]:
        """Return words on the cameras where there are several: ``far + wrist (1)``."""
        if len(self.config.cameras) < 2:
            return []
        own = {
            name: f" ({','.join(f'{scale:g}' for scale in scales)})"
            for name, scales in self.config.camera_scales.items()
        }
        return ["of", " + ".join(f"{name}{own.get(name, '')}" for name in self.config.cameras)]


def name_in_files(stored: str, encoder: FrameEncoder | None) -> str:
    """Return the name of an encoder in files; for a card file, its name and the weights' digest.

    Args:
        stored: name of the encoder, or of the baseline.
        encoder: made of it; None for a baseline.
    """
    if encoder is None or not stored.startswith("file:"):
        return stored
    path = Path(stored.removeprefix("file:")).with_suffix(".json")
    title = read_json(path).get("name") or path.stem
    return f"{title}@{encoder.backbone.weights_digest[:6]}"


def encoder_words(config: VariantConfig, name: str) -> list[str]:
    """Return words that tell an encoder from others: its name, scales and options.

    Args:
        config: settings of the variant.
        name: of the encoder in files.

    Examples:
        >>> config = VariantConfig(encoder="r3m-resnet18", readout="mean", copies=2)
        >>> encoder_words(config, "r3m-resnet18")
        ['r3m-resnet18 (1,2)', 'mean', '2 copies']
    """
    scales = ",".join(f"{scale:g}" for scale in config.scales)
    words = [f"{name} ({scales})"]
    if config.input_mode != "native" and config.scales != (1.0,):
        words.append(config.input_mode)
    if config.readout != "spatial_softmax":
        words.append(config.readout)
    if config.geometry != "published":
        words.append(f"{config.geometry} frame")
    if config.layers:
        words.append(f"layers {','.join(str(layer) for layer in config.layers)}")
    if config.resize_output_to_idx:
        words.append(f"grid of scale {config.resize_output_to_idx}")
    return [*words, *_merging(config)]


def _merging(config: VariantConfig) -> list[str]:
    """Return words on how tiles and scales are put together, where that is not the default."""
    words = []
    if config.tilings:
        tilings = ",".join(f"{rows}x{columns}" for rows, columns in config.tilings)
        words.append(f"tiles {tilings}")
    if config.merge != "concat":
        words.append(f"{config.merge} of scales")
    if config.scale_weights:
        words.append(f"weights {','.join(f'{w:g}' for w in config.scale_weights)}")
    if config.copies != 1:
        words.append(f"{config.copies} copies")
    return words


def encoder_for(
    config: VariantConfig,
    store: FeatureStore,
    data: Callable[[], DataSet],
    frames: Callable[[], RenderedFrames | RecordedFrames],
) -> tuple[FrameEncoder, Agreement | None]:
    """Return a variant's encoder, and say in which precision and with which runtime it runs.

    Args:
        config: settings of the variant, whose encoder is no baseline.
        store: of its features, whose runtime is taken where the settings leave it open.
        data: returns the demonstrations; called where the runtime is left open.
        frames: returns their frames; called where precisions or runtimes are compared.

    Returns:
        The encoder, and how bfloat16 agrees with float32, if these were compared.
    """
    encoder = FrameEncoder.from_name(
        config.encoder,
        config.scales,
        config.readout,
        weights=config.weights,
        device=config.device,
        runtime=config.runtime,
        **config.keywords(),
    )
    folder = config.data_dir / "precision"
    encoder, agreement = with_precision(encoder, config.dtype, config.runtime, frames, folder)
    if agreement is not None:
        OUTPUT.print(str(agreement))
    if encoder.runtime.name == AUTO:  # one for all features, which digests of policies name
        encoder = store.with_one_runtime(data(), frames(), encoder)
    how = f"{encoder.spec.dtype}, runtime {encoder.runtime.name}"
    OUTPUT.print(f"{config.encoder} on {encoder.device}, {how}")
    return encoder, agreement


def _opened(path: Path, level: str) -> Demonstrations:
    """Open demonstrations that the user names, with a warning where another MuJoCo made them."""
    demos = Demonstrations(path)
    if demos.level != level and (is_foreign(demos.level) or is_foreign(level)):
        raise MismatchError(
            f"{path} holds demonstrations of task {demos.level}, the settings name {level}; give "
            f"task={demos.level}"
        )
    if demos.simulation_change is not None:
        warnings.warn(
            f"{path} was collected under another MuJoCo than the installed one: "
            f"{demos.simulation_change}. Frames are drawn by the installed one, and rollouts run "
            "in it; the labels are those of the other",
            UserWarning,
            stacklevel=2,
        )
    return demos
