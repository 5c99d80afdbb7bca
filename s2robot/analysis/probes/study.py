"""A probe study: one row for each encoder, choice of layers, scale set and task.

Rows are stored as they are finished.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.probes import LINEAR_TASKS
from s2robot.analysis.probes.grids import TokenGrids
from s2robot.analysis.probes.intervals import metric_difference, metric_interval, summed_by_episode
from s2robot.analysis.probes.recorded import RecordedConfig
from s2robot.analysis.probes.scenes import SceneConfig, split_frames
from s2robot.analysis.probes.stored_rows import is_whole
from s2robot.analysis.probes.tasks import Outcome, Parts, Problem, Task, check_tasks, get_task
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import spec_of
from s2robot.encoder.spec import EncoderOptions
from s2robot.stats.intervals import Interval
from s2robot.utils.console import MESSAGES
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import append_jsonl, atomic_path, digest_of, locked, read_jsonl, write_json
from s2robot.utils.progress import duration
from s2robot.utils.provenance import deciding_versions, provenance
from s2robot.utils.validation import require_at_least, require_fractions

VERSION = 1
"""Version of the computation; raised whenever the same frames would give other numbers."""
NO_ENCODER = "(no features)"
SAMPLES = 4
"""Number of test frames whose predicted maps are stored for figures."""
Row = dict[str, Any]


@dataclass(frozen=True)
class StudyConfig:
    """Encoders, tasks and frames of a probe study.

    Examples:
        >>> config = StudyConfig(("s2r-vitt16-128",), scale_sets=((1,), (1, 2)))
        >>> len(list(config.variants()))
        2
        >>> config.tasks
        ('localization', 'segmentation', 'depth', 'grasp')
    """

    encoders: tuple[str, ...]
    """Names for ``FrameEncoder.from_name``."""
    scale_sets: tuple[tuple[float, ...], ...] = ((1,), (1, 2), (1, 2, 3))
    layers: tuple[tuple[int, ...], ...] = ((),)
    """Sets of intermediate layers; an empty set is the normalized output of the last layer."""
    tasks: tuple[str, ...] = LINEAR_TASKS
    scenes: SceneConfig | RecordedConfig = SceneConfig()
    options: EncoderOptions = field(default_factory=EncoderOptions)
    """Options of all encoders besides scales, readout and layers."""
    test_share: float = 0.25
    """Fraction of the episodes for testing."""
    valid_share: float = 0.2
    """Fraction of the other episodes for choosing penalties."""
    split_seed: int = 0
    head_seeds: int = 5
    """Training seeds of task ``localization-head``; their errors are averaged."""
    data_dir: Path = Path("data")
    """Folder of frames (``probes/``) and features (``features/``)."""
    out: Path = Path("runs/probes")
    """Folder of results."""
    device: str = "auto"
    runtime: str = "auto"
    """An exact runtime of ``FrameEncoder.use_runtime``."""

    def __post_init__(self) -> None:
        for name in ("encoders", "scale_sets", "layers", "tasks"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} are {values}; give at least one, and each only once")
        check_tasks(self.tasks, self.scenes.tasks)
        require_fractions(self, "test_share", "valid_share")
        require_at_least(self, 1, "head_seeds")
        require_at_least(self, 0, "split_seed")

    def variants(self) -> Iterator[tuple[str, tuple[int, ...], tuple[float, ...]]]:
        """Yield encoder, layers and scales of every variant."""
        for encoder in self.encoders:
            for layers in self.layers:
                for scales in self.scale_sets:
                    yield encoder, layers, scales

    def spec_settings(self, layers: tuple[int, ...], scales: tuple[float, ...]) -> dict[str, Any]:
        """Return the options of a variant's encoder, for ``FrameEncoder.from_name``.

        Args:
            layers: intermediate layers of a variant; empty for the final output.
            scales: of a variant.
        """
        fixed = {"scales": scales, "readout": "spatial_softmax", "layers": layers}
        return {**self.options, **fixed}

    def check_variants(self) -> None:
        """Check all variants before any work.

        Raises:
            ValueError: an unknown encoder, or layers or scales that it does not support.
        """
        for encoder, layers, scales in self.variants():
            spec_of(encoder, device=self.device, **self.spec_settings(layers, scales))

    def row_key(self, encoder: FrameEncoder | None, task: str) -> str:
        """Return the digest of all that decides a row: settings, device, versions of packages.

        Args:
            encoder: with a named runtime; None for the row without features.
            task: name or key of the task.
        """
        runtime = "eager" if encoder is None else encoder.runtime.name
        task = get_task(task).key
        seeds = {"head_seeds": self.head_seeds} if task == "localisation-head" else {}
        content = {
            "version": VERSION,
            "scenes": self.scenes.key(),
            "parts": [self.test_share, self.valid_share, self.split_seed],
            "spec": None if encoder is None else encoder.spec.to_dict(),
            "task": task,
            "computed_with": [deciding_versions(), resolve_device(self.device).type, runtime],
            **seeds,
        }
        return digest_of(content)[:32]


class Study:
    """Runs a study; reads finished rows from ``<out>/rows.jsonl`` and adds the others.

    Args:
        config: of the study.
        log: called with a line of text for each row.
        progress: show bars while rendering and encoding.
    """

    def __init__(
        self,
        config: StudyConfig,
        log: Callable[[str], None] = lambda _: None,
        progress: bool = False,
    ) -> None:
        self.config, self.log, self.progress = config, log, progress
        self.path = config.out / "rows.jsonl"
        self._known = {row["key"]: row for row in read_jsonl(self.path) if is_whole(row)}

    @cached_property
    def data(self) -> Any:
        """Labeled frames, rendered or read on first use."""
        return self.config.scenes.load(self.config.data_dir, self.progress)

    @cached_property
    def parts(self) -> Parts:
        """Split of the frames into fitting, validation and test.

        Raises:
            ValueError: too few episodes.
        """
        config, episode = self.config, self.data.episode
        training, test = self.data.split(config.test_share, config.split_seed)
        learn, valid = split_frames(episode[training], config.valid_share, config.split_seed + 1)
        return Parts(training[learn], training[valid], test)

    @cached_property
    def samples(self) -> np.ndarray:
        """Indices, among the test frames, of those in figures: before and during the grasp."""
        test, data = self.parts.test, self.data
        lengths = np.bincount(data.episode)
        moving = lengths[data.episode[test]] > 1
        groups = [np.flatnonzero(moving & (data.grasped[test] == held)) for held in (False, True)]
        picks = [group[np.linspace(0, len(group) - 1, 4).astype(int)[1:3]] for group in groups
                 if len(group)]  # fmt: skip
        chosen = np.unique(np.concatenate(picks)) if picks else np.arange(len(test))
        return chosen[:SAMPLES]

    def run(self) -> list[Row]:
        """Return all rows: those without features first, then variant by variant.

        Raises:
            ValueError: a variant is not possible, or there are too few episodes.
            NonFiniteError: features are NaN or infinite.
        """
        self.config.check_variants()
        variants, spent_s = list(self.config.variants()), []
        rows = [self._row(get_task(name), None) for name in self.config.tasks]
        for done, (encoder, layers, scales) in enumerate(variants, start=1):
            started, known = time.monotonic(), len(self._known)
            rows += self._variant(encoder, layers, scales)
            if len(self._known) > known:  # what was stored says nothing of the time of others
                spent_s.append(time.monotonic() - started)
            if self.progress:
                MESSAGES.print(_progress(done, len(variants), spent_s))
        return rows

    def _variant(self, name: str, layers: tuple[int, ...], scales: tuple[float, ...]) -> list[Row]:
        config = self.config
        settings = config.spec_settings(layers, scales)
        encoder = FrameEncoder.from_name(
            name, **settings, device=config.device, runtime=config.runtime
        ).for_batches_of()
        problem: Problem | None = None
        rows = []
        for task in map(get_task, config.tasks):
            if not self._is_stored(task, encoder):
                problem = problem or self._problem(encoder)
            rows.append(self._row(task, encoder, problem))
        return rows

    def _is_stored(self, task: Task, encoder: FrameEncoder | None) -> bool:
        key = self.config.row_key(encoder, task.key)
        drawn = encoder is None or not task.dense or self.sample_path(key).exists()
        return key in self._known and drawn

    def _problem(self, encoder: FrameEncoder) -> Problem:
        store = FeatureStore(self.config.data_dir / "features")
        embeddings = store.load_or_encode(self.data, self.data, encoder, self.progress)
        shape, parts = encoder.output_shape, self.parts
        grids = TokenGrids(embeddings, shape, parts.training)
        return Problem(self.data, parts, embeddings, shape, grids, self.config.head_seeds)

    def _row(self, task: Task, encoder: FrameEncoder | None, problem: Problem | None = None) -> Row:
        key = self.config.row_key(encoder, task.key)
        stored = self._is_stored(task, encoder)
        if not stored:
            self._compute(key, task, encoder, problem)
        row = self._known[key]
        self.log(f"{describe(row)}{' (stored)' if stored else ''}")
        return row

    def _compute(
        self, key: str, task: Task, encoder: FrameEncoder | None, problem: Problem | None
    ) -> None:
        """Compute a row and store it; its predicted maps are stored first."""
        if problem is None:
            outcome = task.baseline(self.data, self.parts)
        else:
            outcome = task.probe(problem)
        if outcome.maps is not None:
            self._save_sample(key, outcome.maps)
        row = {"key": key, **self._content(task, outcome, encoder)}
        with locked(self.path):
            append_jsonl(self.path, [row])
        self._known[key] = row

    def _content(self, task: Task, outcome: Outcome, encoder: FrameEncoder | None) -> Row:
        data, test = self.data, self.parts.test
        sums = summed_by_episode(outcome.frames, data.episode[test])
        measures = {m.name: metric_interval(sums, m.metric) for m in task.measures}
        measures |= outcome.intervals
        return {
            "task": task.key,
            **_variant_facts(encoder, data.frame_size),
            "measures": {name: _interval(value) for name, value in measures.items()},
            "details": outcome.details,
            "train_frames": len(self.parts.training),
            "test_frames": len(test),
            "test_episodes": len(sums),
            "sums": sums.tolist(),
        }

    def sample_path(self, key: str) -> Path:
        """Return the file of the maps that a dense row predicted for ``samples``."""
        return self.config.out / "samples" / f"{key}.npy"

    def _save_sample(self, key: str, maps: np.ndarray) -> None:
        kept = maps[self.samples]
        kept = kept if kept.dtype == np.uint8 else kept.astype(np.float32)
        with atomic_path(self.sample_path(key)) as temporary, temporary.open("wb") as file:
            np.save(file, kept, allow_pickle=False)


def _progress(done: int, total: int, spent_s: Sequence[float]) -> str:
    """Return how many variants are done, and the time left at the mean of the new ones."""
    text = f"{done} of {total} variants"
    if not spent_s or done == total:
        return text
    return f"{text}, {duration(sum(spent_s) / len(spent_s) * (total - done))} left"


def _variant_facts(encoder: FrameEncoder | None, frame_size: int) -> Row:
    if encoder is None:
        return {"encoder": NO_ENCODER, "scales": [], "taps": [], "gflops": None, "spec": None}
    layouts = encoder.layout.scales.values()
    return {
        "encoder": encoder.spec.backbone,
        "scales": list(encoder.spec.scales),
        "taps": list(encoder.spec.layers),
        "gflops": encoder.gflops_per_frame,
        "tiles": encoder.tiles_per_frame,
        "parameters": encoder.parameters_count,
        "grid": list(encoder.output_shape),
        "enlarged": any(max(scale.image_shape) > frame_size for scale in layouts),
        "spec": encoder.spec.to_dict(),
    }


def _interval(value: Interval) -> dict[str, float | None]:
    """Return an interval as JSON-able values; None for NaN."""
    numbers = {"estimate": value.estimate, "low": value.low, "high": value.high}
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}


def differences(rows: Sequence[Row]) -> list[Row]:
    """Compare every scale set with the first of the same encoder, layers and task.

    A difference is the first measure of the set minus that of the first set, paired by episode.
    """
    first: dict[tuple[Any, ...], Row] = {}
    found = []
    for row in rows:
        if row["encoder"] == NO_ENCODER:
            continue
        series = (row["encoder"], tuple(row["taps"]), row["task"])
        base = first.setdefault(series, row)
        if base is row:
            continue
        measure = get_task(row["task"]).measures[0]
        before, after = np.array(base["sums"]), np.array(row["sums"])
        found.append(
            {
                **{name: row[name] for name in ("key", "encoder", "taps", "task", "scales")},
                "against": base["scales"],
                "measure": measure.name,
                **_interval(metric_difference(before, after, measure.metric)),
            }
        )
    return found


def mark_of(difference: Row) -> str:
    """Return ``*`` for a clearly better scale set, ``!`` for a clearly worse one, else ""."""
    low, high = difference["low"], difference["high"]
    if low is None or low <= 0 <= high:
        return ""
    better = (low > 0) == get_task(difference["task"]).measures[0].higher_is_better
    return "*" if better else "!"


def describe(row: Row) -> str:
    """Return a row as one line of text."""
    measure = get_task(row["task"]).measures[0]
    value = row["measures"][measure.name]["estimate"]
    text = "undefined" if value is None else f"{value:.{measure.digits}f}"
    return f"{get_task(row['task']).name}: {variant_label(row)}: {measure.name} {text}"


def variant_label(row: Row) -> str:
    """Return encoder, scales and layers of a row as text."""
    if row["encoder"] == NO_ENCODER:
        return NO_ENCODER
    return f"{row['encoder']} ({scales_label(row)}){layers_label(row)}"


def scales_label(row: Row) -> str:
    """Return the scales of a row as on the command line, ``1,2``."""
    return ",".join(f"{scale:g}" for scale in row["scales"])


def layers_label(row: Row) -> str:
    """Return `` layers 5,11``; "" for the output of the last layer."""
    return f" layers {','.join(map(str, row['taps']))}" if row["taps"] else ""


def write_results(config: StudyConfig, rows: Sequence[Row]) -> Path:
    """Write ``probes.json``: settings, rows, differences and provenance.

    Args:
        config: of the study.
        rows: of the study.

    Returns:
        Path of the file.
    """
    settings = {
        name: getattr(config, name)
        for name in ("test_share", "valid_share", "split_seed", "head_seeds")
    }
    record = {
        "scenes": dataclasses.asdict(config.scenes),
        "settings": settings,
        "rows": [{k: v for k, v in row.items() if k != "sums"} for row in rows],
        "differences": differences(rows),
        "provenance": provenance(),
    }
    path = config.out / "probes.json"
    write_json(path, record)
    return path
