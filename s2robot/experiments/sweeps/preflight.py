"""Runs that cannot succeed, named before the first run of a sweep begins."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable

from s2robot.backbones import get_card
from s2robot.backbones.download.cache import fetch
from s2robot.backbones.download.converted import converted_path
from s2robot.data.collection import check_expert
from s2robot.data.demonstrations import Demonstrations
from s2robot.encoder.layout import EmbeddingLayout, spec_of
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import S2RobotError
from s2robot.evaluation.agents.camera_encoders import check_choice
from s2robot.evaluation.baselines import is_baseline, stored_name
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import VariantConfig
from s2robot.experiments.jobs import RunJob
from s2robot.policies.dataset import joined_shape
from s2robot.policies.pooling import make_head

FAULTS = (S2RobotError, ValueError, KeyError, OSError)
"""Errors of a run's settings, or of the files that they name."""
MOST_NAMED = 12
"""Impossible runs that a message names."""


def check_runs(runs: Iterable[tuple[str, Callable[[], RunJob]]]) -> None:
    """Check that each run of a sweep can begin; weights that are missing are downloaded.

    Args:
        runs: name of each run, and a function that makes its job.

    Raises:
        ValueError: some cannot; the message names each one and why.
    """
    checked: dict[str, str | None] = {}
    total, found = 0, []
    for name, make in runs:
        total += 1
        reason = _reason(make, checked)
        if reason is not None:
            found.append(f"  {name}: {reason}")
    if found:
        more = [f"  and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
        raise ValueError(
            f"{len(found)} of {total} runs cannot succeed, so none was begun:\n"
            + "\n".join([*found[:MOST_NAMED], *more])
            + "\nMend their settings, or leave them out"
        )


def _reason(make: Callable[[], RunJob], checked: dict[str, str | None]) -> str | None:
    """Return why a run cannot succeed; equal variants are checked once."""
    try:
        job = make()
    except FAULTS as error:
        return _text(error)
    variant = job.train.variant
    settings = repr((variant, job.train.policy, job.rollout))
    weights = repr((variant.encoder, variant.weights))  # a download is tried once
    return _once(checked, settings, lambda: check_run(job)) or _once(
        checked, weights, lambda: ensure_weights(variant)
    )


def _once(checked: dict[str, str | None], key: str, check: Callable[[], None]) -> str | None:
    if key not in checked:
        try:
            check()
            checked[key] = None
        except FAULTS as error:
            checked[key] = _text(error)
    return checked[key]


def _text(error: BaseException) -> str:
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def check_run(job: RunJob) -> None:
    """Check demonstrations, encoder, scales, readout and choice of tiles of a run.

    Args:
        job: settings of the run.

    Raises:
        S2RobotError: a file is damaged.
        ValueError: settings do not go together.
        FileNotFoundError: a file is missing.
    """
    variant = job.train.variant
    if variant.demos.path is not None:
        Demonstrations(variant.demos.path)
    elif is_foreign(variant.level):
        check_expert(variant.level)
    if is_baseline(stored_name(variant.encoder)):
        return
    names = variant.cameras or ((variant.camera.name,) if variant.camera.name else ())
    if names and is_foreign(variant.level):
        _check_cameras(variant.level, names)
    layouts = {name: _layout(variant, name) for name in variant.cameras or ("",)}
    shape = joined_shape({name: layout.output_shape for name, layout in layouts.items()})
    make_head(shape, job.train.policy)
    for name, layout in layouts.items():
        _check_tile_choice(layout, job.rollout, name)
    if len(layouts) > 1:
        check_choice(job.rollout.tile_choice, job.rollout.tile_budget, list(layouts))


@functools.cache
def _check_cameras(level: str, names: tuple[str, ...]) -> None:
    """Refuse cameras that the task does not have."""
    with contextlib.closing(make_env({"level": level})) as env:
        for name in names:
            env.frame_shape(name)


def _layout(variant: VariantConfig, camera: str) -> EmbeddingLayout:
    options = {**variant.keywords(), "dtype": "float32"}
    given = {"weights": variant.weights, "device": "cpu"}
    scales = variant.scales_of(camera)
    spec = spec_of(variant.encoder, scales, variant.readout, **given, **options)
    return EmbeddingLayout(spec, get_card(variant.encoder, variant.weights))


def _check_tile_choice(layout: EmbeddingLayout, rollout: EvalConfig, camera: str) -> None:
    if rollout.tile_budget is None:
        return
    sizes = {scale: math.prod(part.image_shape) for scale, part in layout.scales.items()}
    above = layout.tiles - layout.scales[min(sizes, key=lambda scale: sizes[scale])].tiles
    if not above:
        raise ValueError(
            f"rollout.tile_budget is {rollout.tile_budget}, but the encoder has one scale"
            f"{camera and f' for {camera}'}, {layout.spec.scales[0]:g}: nothing is left to choose; "
            "give two scales or more"
        )
    if not 0 <= rollout.tile_budget <= above:
        raise ValueError(
            f"rollout.tile_budget is {rollout.tile_budget}; allowed: 0 to {above}, the tiles of a "
            "frame above the smallest scale"
        )
    if rollout.tile_choice == "attention" and len(layout.output_shape) != 3:
        raise ValueError(
            f"rollout.tile_choice is attention, but readout {layout.spec.readout} leaves policies "
            "without an attention map; take readout spatial_softmax"
        )


def ensure_weights(variant: VariantConfig) -> None:
    """Download weights that are missing, since nodes of a cluster may have no network.

    Args:
        variant: settings of the variant.

    Raises:
        DownloadError: they cannot be had.
        FileNotFoundError: there is no such file.
    """
    if is_baseline(stored_name(variant.encoder)):
        return
    card, weights = get_card(variant.encoder, variant.weights), variant.weights
    if card.origin not in ("published", "timm", "hub"):
        return
    if weights is not None:
        if not weights.is_file():
            raise FileNotFoundError(f"no weights at {weights}")
    elif not converted_path(card).exists():
        fetch(card)
