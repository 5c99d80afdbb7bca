"""Export of the pre-trained encoder and its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from s2robot.pretraining.config import RENDERED, PretrainConfig
from s2robot.pretraining.masked_autoencoder import MEAN, STD
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.io import atomic_path, digest_of, jsonable, read_jsonl, sha256_file, write_json
from s2robot.utils.provenance import provenance

_ARCHITECTURE = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")


def export(trainer: Trainer) -> Path:
    """Write the averaged encoder in half precision and its model card; return the card's path."""
    weights = trainer.config.out / "encoder.safetensors"
    state = trainer.average.encoder.state_dict()
    tensors = {name: value.half().cpu().contiguous() for name, value in state.items()}
    with atomic_path(weights) as temporary:
        save_file(tensors, temporary)
    card = trainer.config.out / "encoder.json"
    write_json(card, _model_card(trainer, sha256_file(weights)))
    return card


def _model_card(trainer: Trainer, digest: str) -> dict[str, Any]:
    config, shape = trainer.config, trainer.config.model
    architecture = {"timm": "vision_transformer.VisionTransformer"}
    return {
        "name": config.name,
        "family": family_of(config),
        "architecture": architecture | {name: getattr(shape, name) for name in _ARCHITECTURE},
        "preprocessing": {"mean": MEAN, "std": STD, "input_size": shape.img_size},
        "weights": "encoder.safetensors",
        "sha256": digest,
        "license": "MIT" if set(config.source) == {RENDERED} else "as the frames allow",
        "method": _method(config),
        "data": _data(config),
        "recipe": jsonable(config.recipe()),
        "steps": trainer.step,
        "views": trainer.step * config.batch_size,
        "views_planned": config.views,
        "precision": str(trainer.precision).removeprefix("torch."),
        "loss_curve": loss_curve(config.out / "loss.jsonl"),
        "provenance": provenance(),
    }


def family_of(config: PretrainConfig) -> str:
    """Return the name that encoders share if they differ in size, learning rate and name alone."""
    shared = {k: v for k, v in config.recipe().items() if k not in ("name", "lr", "model")}
    return f"pretrained-{digest_of(jsonable({**shared, 'views': config.views}))[:8]}"


def _method(config: PretrainConfig) -> str:
    if not config.segments_weight:
        return "masked autoencoding (He et al. 2021, arXiv 2111.06377)"
    return (
        "masked autoencoding that also predicts the segment at each place, from the renderer "
        "(MultiMAE with RGB input: Bachmann et al. 2022, arXiv 2204.01678)"
    )


def _data(config: PretrainConfig) -> str:
    rendered = (
        f"{config.frames} frames of {config.frame_size} px rendered by "
        f"s2robot.envs.domain_randomization.RandomScenes(seed={config.seed})"
    )
    origins = [rendered if source == RENDERED else source for source in config.source]
    spans = ", ".join(f"1/{scale:g}" for scale in config.sampling.scales)
    return f"{'; '.join(origins)}; crops span {spans} of a frame's shorter side"


def loss_curve(log: Path, points: int = 60) -> list[list[float]]:
    """Return ``[step, mean loss]`` for consecutive parts of the log.

    Args:
        log: file with one row for each step.
        points: number of parts, approximately.
    """
    rows = read_jsonl(log)
    length = max(1, -(-len(rows) // points))
    parts = [rows[i : i + length] for i in range(0, len(rows), length)]
    return [
        [part[-1]["step"], round(sum(row["loss"] for row in part) / len(part), 5)] for part in parts
    ]
