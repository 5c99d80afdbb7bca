"""The work of a recommendation: check, time, encode, probe; finished parts are reused."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from s2robot.analysis.probes.action_errors import varying_entries
from s2robot.analysis.recommend import probing
from s2robot.analysis.recommend.choice import Errors
from s2robot.analysis.recommend.config import RecommendConfig
from s2robot.analysis.recommend.episodes import EpisodeData
from s2robot.analysis.recommend.probing import Features, errors_of, folds_of, metrics_of
from s2robot.analysis.recommend.results import Candidate, Recommendation, candidate_label
from s2robot.analysis.recommend.sources import TIMED_FRAMES, open_source
from s2robot.analysis.recommend.stored import Rows, error_row, latency_row
from s2robot.analysis.recommend.timing import Latency, time_encoder
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import spec_of
from s2robot.errors import DownloadError
from s2robot.policies.dataset import side_by_side
from s2robot.runtimes.measurement import machine
from s2robot.utils.io import digest_of
from s2robot.utils.provenance import deciding_versions, gpu_name, provenance

Encoders = dict[tuple[str, tuple[float, ...]], FrameEncoder]


def recommend(
    source: str | EpisodeData,
    config: RecommendConfig,
    log: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Recommendation:
    """Time candidates here, probe those that can be chosen, and choose; without rollouts.

    Args:
        source: what ``open_source`` takes, or data of the user's own reader.
        config: candidates, deadline and budget.
        log: called with a line of text for each finished step.
        progress: show bars while encoding.

    Raises:
        ValueError: a candidate is not possible, the data does not allow the measure, or there are
            too few episodes.
        DownloadError: the weights of no candidate can be had.
    """
    return _Study(config, log, progress).run(source)


def check_candidates(config: RecommendConfig) -> None:
    """Check all candidates before any work.

    Args:
        config: with the candidates.

    Raises:
        ValueError: an encoder is unknown, or does not support its scales.
    """
    for name, scales in config.candidates():
        spec_of(name, device=config.device, **_settings(config, scales))


class _Study:
    """One call of ``recommend``; rows of finished candidates are in ``<out>/rows.jsonl``."""

    def __init__(self, config: RecommendConfig, log: Callable[[str], None], progress: bool) -> None:
        self.config, self.log, self.progress = config, log, progress
        self.rows = Rows(config.out / "rows.jsonl")
        self.skipped: dict[str, str] = {}

    def run(self, source: str | EpisodeData) -> Recommendation:
        config, started = self.config, time.monotonic()
        check_candidates(config)
        whole = _opened(source, config)
        metrics = metrics_of(whole)
        metric = _decisive(config.metric, metrics, whole.name)
        if metric != "action" and not config.with_head:
            metrics = [name for name in metrics if name != "action"]
        data = whole.at_most(config.frames)
        if data.actions is not None:
            varying_entries(data.actions, whole.name)  # before any work
        encoders = self._encoders()
        shown = _shown(data, config.frame)
        latencies = {key: self._latency(each, shown) for key, each in encoders.items()}
        errors = self._probed(encoders, latencies, data, metrics)
        return Recommendation(
            source=whole.name,
            deadline_ms=config.deadline_ms,
            frame=(shown[0].shape[1], shown[0].shape[2]),
            frames=data.num_frames if metrics else 0,
            episodes=0 if data.episode is None else len(np.unique(data.episode)),
            metric=metric,
            candidates=tuple(
                Candidate(
                    *key,
                    round(len(shown) * encoder.gflops_per_frame, 4),
                    encoder.parameters_count,
                    latencies[key],
                    errors.get(key, {}),
                )
                for key, encoder in encoders.items()
            ),
            skipped=self.skipped,
            seconds=round(time.monotonic() - started, 1),
            provenance=provenance(),
            cameras=whole.camera_names,
            notes=whole.notes,
            constant=_constant(data, metrics),
        )

    def _encoders(self) -> Encoders:
        """Return the encoders whose weights can be had; others are named and left out."""
        config, found = self.config, Encoders()
        for name in config.encoders:
            try:
                for scales in config.scale_sets:
                    found[name, scales] = FrameEncoder.from_name(
                        name,
                        **_settings(config, scales),
                        device=config.device,
                        runtime=config.runtime,
                    )
            except (DownloadError, FileNotFoundError) as error:
                self.skipped[name] = str(error)
                self.log(f"{name} is left out: {str(error).splitlines()[0]}")
        if not found:
            reasons = "\n".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise DownloadError(f"the weights of no candidate can be had\n{reasons}")
        return found

    # -------------------------------------------------------------------------------- latency
    def _latency(self, encoder: FrameEncoder, shown: Sequence[np.ndarray]) -> Latency:
        spec = encoder.spec.to_dict()
        label = candidate_label(encoder.spec.backbone, encoder.spec.scales)
        where = [machine(), encoder.device.type, gpu_name(), self.config.runtime]
        shapes = [list(frames.shape[1:3]) for frames in shown]
        key = digest_of(["latency", spec, where, shapes[0], *shapes[1:]])[:32]
        known = self.rows.latency(key)
        if known is None:
            known = time_encoder(encoder, *shown)
            self.rows.add(latency_row(key, label, known))
        late = known.p95_ms > self.config.deadline_ms
        self.log(
            f"{label}: {known.p50_ms:.1f} ms, p95 {known.p95_ms:.1f} ms ({known.runtime}, "
            f"{known.device}){': misses the deadline' if late else ''}"
        )
        return known

    # --------------------------------------------------------------------------------- probes
    def _probed(
        self,
        encoders: Encoders,
        latencies: dict[tuple[str, tuple[float, ...]], Latency],
        data: EpisodeData,
        metrics: Sequence[str],
    ) -> dict[tuple[str, tuple[float, ...]], dict[str, Errors]]:
        deadline, errors = self.config.deadline_ms, {}
        for key, encoder in encoders.items():
            able = self.config.probe_all or latencies[key].p50_ms <= deadline
            if metrics and able:
                timed = encoder.with_runtime(latencies[key].runtime)  # a robot has this one too
                errors[key] = self._errors(timed, data, metrics)
        return errors

    def _errors(
        self, encoder: FrameEncoder, data: EpisodeData, metrics: Sequence[str]
    ) -> dict[str, Errors]:
        """Return the errors of a candidate by measure; stored ones are reused."""
        store = FeatureStore(self.config.data_dir / "features")
        assert data.episode is not None
        fold = folds_of(np.unique(data.episode))
        label = candidate_label(encoder.spec.backbone, encoder.spec.scales)

        @functools.cache
        def features() -> Features:
            found = [
                store.load_or_encode(data, camera, encoder, self.progress)
                for camera in data.cameras
            ]
            *grid, channels = encoder.output_shape
            return Features(
                side_by_side(found, encoder.output_shape), (*grid, len(found) * channels)
            )

        products = functools.cache(lambda: probing.inner_products(features()))
        errors = {}
        for metric in metrics:
            key = _error_key(metric, encoder, data)
            found = self.rows.errors(key, len(fold))
            if found is None:
                found = errors_of(metric, features(), data, products)
                self.rows.add(error_row(key, label, metric, found))
            errors[metric] = Errors(found, fold)
        listed = ", ".join(
            f"{probing.MEASURES[name].title} {own.mean:.{probing.MEASURES[name].digits}f} "
            f"{probing.MEASURES[name].unit}"
            for name, own in errors.items()
        )
        self.log(f"{label}: {listed}")
        return errors


def _settings(config: RecommendConfig, scales: tuple[float, ...]) -> dict[str, Any]:
    """Return the options of a candidate's encoder, for ``FrameEncoder.from_name``."""
    return {**config.options, "scales": scales, "readout": "spatial_softmax"}


def _constant(data: EpisodeData, metrics: Sequence[str]) -> dict[str, Errors]:
    """Return the errors of a prediction that needs no camera, by measure."""
    if data.episode is None:
        return {}
    fold = folds_of(np.unique(data.episode))
    return {name: Errors(probing.constant_errors(name, data), fold) for name in metrics}


def _error_key(metric: str, encoder: FrameEncoder, data: EpisodeData) -> str:
    """Return the digest of all that decides the errors of a candidate."""
    known = {
        name: None if values is None else digest_of(values.tolist())
        for name in ("episode", "actions", "proprio", "positions_m")
        for values in [getattr(data, name)]
    }
    return digest_of(
        [
            *("errors", probing.VERSION, metric, encoder.spec.to_dict(), encoder.runtime.name),
            *(encoder.device.type, data.digest, data.frames.source, known, deciding_versions()),
            *(camera.source for camera in data.more_cameras),
            *([] if data.demos_path else ["actions in their range"]),
            *(probing.FOLDS, probing.SEEDS, probing.EPOCHS),
        ]
    )[:32]


def _opened(source: str | EpisodeData, config: RecommendConfig) -> EpisodeData:
    if isinstance(source, EpisodeData):
        return source
    return open_source(source, config.data_dir, config.data, config.positions)


def _decisive(wanted: str | None, metrics: Sequence[str], name: str) -> str | None:
    """Return the measure that decides."""
    if wanted is None:
        return next(iter(metrics), None)
    if wanted not in metrics:
        needed = "positions" if wanted == "localization" else "actions"
        raise ValueError(
            f"metric is {wanted}, but {name} has no {needed}; allowed with it: "
            f"{', '.join(metrics) or 'none, since it has neither actions nor positions'}"
        )
    return wanted


def _shown(data: EpisodeData, shape: tuple[int, int] | None) -> list[np.ndarray]:
    """Return some frames of each camera, of the size that is to be timed."""
    count = min(TIMED_FRAMES, data.num_frames)
    return [_fitted(camera.read(0, count), shape) for camera in data.cameras]


def _fitted(frames: np.ndarray, shape: tuple[int, int] | None) -> np.ndarray:
    """Return frames of a size; None leaves theirs."""
    if shape is None or frames.shape[1:3] == shape:
        return np.ascontiguousarray(frames)
    size = (shape[1], shape[0])
    return np.stack(
        [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX)) for f in frames]
    )
