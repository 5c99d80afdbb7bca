"""Work of ``s2robot encoders``: encoders listed, shown, downloaded or verified."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.backbones.card import BackboneCard, Preprocessing
from s2robot.backbones.download.converted import converted_path
from s2robot.backbones.download.hub import cached_by_hub
from s2robot.backbones.download.packages import installed_file
from s2robot.backbones.registry import CARDS, OPEN_NAMES, get_card
from s2robot.backbones.weight_sources import Source
from s2robot.cli.parsers.encoders import parse
from s2robot.encoder.spec import READOUTS, EncoderSpec, scale_set
from s2robot.utils.console import OUTPUT, make_console

OUTPUTS = {
    "cls": "class token after the final norm",
    "mean": "average of the grid",
    "grid": "all grid tokens",
    "head": "learned pooling or projection",
}


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    action, names = _action(options.words)
    if action == "list":
        return _list(options)
    if action == "show":
        return _show(names[0], options)
    if action == "fetch":
        return _fetch(names, options)
    from s2robot.analysis.parity.verify import verify

    return max(verify(name, options.weights, as_json=options.json) for name in names)


def _action(words: list[str]) -> tuple[str, list[str]]:
    if not words:
        return "list", []
    if words[0] in ("fetch", "verify"):
        if not words[1:]:
            raise ValueError(f"s2robot encoders {words[0]} needs a NAME; see `s2robot encoders`")
        return words[0], words[1:]
    if len(words) > 1:
        raise ValueError(
            f"one NAME at a time, or fetch | verify before the names; got {' '.join(words)}"
        )
    return "show", words


def _list(options: argparse.Namespace) -> int:
    cards = [card for name, card in CARDS.items() if options.match in name]
    if options.json:
        print(json.dumps([describe(card) for card in cards], indent=2))
        return 0
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for title, justify in _COLUMNS.items():
        table.add_column(title, justify=justify, no_wrap=True)
    for card in cards:
        table.add_row(*_row(card))
    console = wide_console()
    console.print(table)
    console.print(
        "\nViT 12 x 3: blocks x heads. px: image side at scale 1; cell: side of a token [px]. "
        "$: not for commercial use.\n"
        f"Also: {', '.join(OPEN_NAMES)}. Details: s2robot encoders NAME",
    )
    return 0


def wide_console() -> Console:
    """Return a console of at least 104 columns, so that rows are not broken."""
    return make_console(columns=104)


_COLUMNS: dict[str, Any] = {
    "name": "left",
    "architecture": "left",
    "px": "right",
    "cell": "right",
    "prefix": "right",
    "width": "right",
    "published": "left",
    "license": "left",
    "weights": "left",
}


def _row(card: BackboneCard) -> list[str]:
    return [
        card.name,
        short_architecture(card),
        str(card.preprocessing.image_size),
        str(card.stride),
        str(card.num_prefix_tokens),
        str(card.dim),
        card.published + (f" {card.head_dim}" if card.head_dim else ""),
        card.license.name + (" $" if card.license.non_commercial else ""),
        where(card),
    ]


def short_architecture(card: BackboneCard) -> str:
    """Return the architecture in short: of a transformer, its blocks and heads."""
    options = card.architecture.to_dict()
    if "num_heads" in options:
        return f"ViT {options['depth']} x {options['num_heads']}"
    name = str(options.get("timm") or options.get("transformers")).split(".")[0]
    return re.sub(r"_(patch|clip).*", "", name).replace("vit_", "ViT ").replace("pe_spatial_", "")


def where(card: BackboneCard) -> str:
    """Return where the weights are: in the package, on this machine, or still to download."""
    if card.origin == "random":
        return "untrained"
    if card.origin == "package":
        return "ships"
    if card.origin == "file":
        return "your file"
    return (
        "here" if any(map(_is_kept, card.sources)) or converted_path(card).exists() else _host(card)
    )


def _is_kept(source: Source) -> bool:
    """Return whether the hub's cache or an installed package has the file."""
    if source.in_package:
        return installed_file(source) is not None
    return source.on_hub and cached_by_hub(source) is not None


def _host(card: BackboneCard) -> str:
    if not card.sources:
        return "bring a file"
    url = card.sources[0].url
    if url.startswith("hf:"):
        return "hub"
    if url.startswith("package:"):
        return "package"
    hosts = {"drive.google": "Drive", "box.com": "Box"}
    return next((name for part, name in hosts.items() if part in url), "web")


def _show(name: str, options: argparse.Namespace) -> int:
    card = get_card(name, options.weights)
    costs = [cost(card, scales) for scales in options.scales]
    if options.json:
        print(json.dumps({**describe(card), "costs": costs}, indent=2))
        return 0
    console = wide_console()
    console.print(Text(f"{card.name}\n", "bold"))
    facts = Table(box=None, show_header=False, padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in _facts(card).items():
        facts.add_row(key, value)
    console.print(facts)
    console.print()
    console.print(_cost_table(costs))
    console.print("\nPer frame: tiles, operations (a multiply-add is two), width of each readout.")
    return 0


def _facts(card: BackboneCard) -> dict[str, str]:
    pixels, options = card.preprocessing, card.architecture.to_dict()
    width = card.head_dim if card.published == "head" else card.dim
    license = card.license.name
    if card.license.non_commercial:
        license += ": not for commercial use"
    if card.license.gated:
        license += "; behind a form on the hub"
    rows = {
        "architecture": ", ".join(f"{k} {v}" for k, v in options.items() if k != "config"),
        "tokens": f"cells of {card.stride} px, {card.dim} channels, "
        f"prefix tokens: {card.num_prefix_tokens}",
        "published output": f"{OUTPUTS[card.published]} ({width})",
        "frames": frames_rule(pixels),
        "then": f"RGB in 0-1, minus {_numbers(pixels.mean)}, over {_numbers(pixels.std)}",
        "license": license,
        "paper": card.citation or "-",
        "weights": where(card),
        "from": "\n".join(_sources(card)) or "-",
        "note": card.note or "-",
    }
    return {key: value for key, value in rows.items() if value != "-"}


def frames_rule(pixels: Preprocessing) -> str:
    """Return the published preprocessing of frames as text."""
    size = f"{pixels.image_size} x {pixels.image_size}"
    side = "both sides" if pixels.fit == "both" else "the shorter side"
    arithmetic = {
        "uint8": "8 bits",
        "float": "floats",
        "rounded": "floats, rounded to 8 bits",
        "pil": "Pillow",
    }[pixels.resampler]
    kernel = pixels.interpolation + ("" if pixels.antialias else ", no antialiasing")
    rule = f"{side} to {pixels.resize} px ({kernel}; {arithmetic})"
    if pixels.resize != pixels.image_size or pixels.fit != "both":
        rule += f", center {size}"
    return rule + (f"; {size} unchanged" if pixels.keeps_base_size else "")


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _sources(card: BackboneCard) -> list[str]:
    return [
        source.page
        + (f" ({source.inside})" if source.inside else "")
        + (f" {source.digest}" if source.digest else "")
        for source in card.sources
    ]


def describe(card: BackboneCard) -> dict[str, Any]:
    """Return a card as JSON-able values."""
    return {
        "name": card.name,
        "architecture": card.architecture.to_dict(),
        "preprocessing": dataclasses.asdict(card.preprocessing),
        "stride": card.stride,
        "num_prefix_tokens": card.num_prefix_tokens,
        "dim": card.dim,
        "published": card.published,
        "published_dim": card.head_dim or card.dim,
        "license": dataclasses.asdict(card.license),
        "citation": card.citation,
        "note": card.note,
        "sources": [dataclasses.asdict(source) for source in card.sources],
        "weights": where(card),
    }


def cost(card: BackboneCard, scales: Sequence[float] | str) -> dict[str, Any]:
    """Return the cost of one frame: tiles, operations, widths of the readouts.

    Args:
        card: of the backbone.
        scales: such as (1, 2) or "[1,2]".

    Raises:
        ValueError: the scales are no numbers, or do not fit the backbone.
    """
    from s2robot.backbones.flops import card_cost, gflops_of
    from s2robot.encoder.layout import EmbeddingLayout

    spec = EncoderSpec(card.name, "", scales=scale_set(scales), readout="mean")
    layouts = EmbeddingLayout(spec, card).scales.values()
    weights, at_base = card_cost(card)
    model = card.architecture.build_empty().eval()
    base = card.preprocessing.image_size
    gflops = sum(
        scale.tiles * (at_base if scale.tile_size == base else gflops_of(model, scale.tile_size))
        for scale in layouts
    )
    return {
        "scales": [scale.scale for scale in layouts],
        "tiles": sum(scale.tiles for scale in layouts),
        "parameters": weights,
        "gflops": gflops,
        "embedding_dims": _widths(card, spec.scales),
    }


def _widths(card: BackboneCard, scales: tuple[float, ...]) -> dict[str, int]:
    from s2robot.encoder.layout import EmbeddingLayout

    widths = {}
    for readout in READOUTS:
        if readout == "cls" and not card.num_prefix_tokens:
            continue
        spec = EncoderSpec(card.name, "", scales=scales, readout=readout)
        widths[readout] = EmbeddingLayout(spec, card).embedding_dim
    return widths


def _cost_table(costs: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    widths = list(costs[0]["embedding_dims"])
    for title in ("scales", "tiles", "M weights", "GFLOP", *widths):
        table.add_column(title, justify="right", no_wrap=True)
    for row in costs:
        table.add_row(
            "(" + ",".join(f"{scale:g}" for scale in row["scales"]) + ")",
            str(row["tiles"]),
            f"{row['parameters'] / 1e6:.1f}",
            f"{row['gflops']:.1f}",
            *(str(row["embedding_dims"][name]) for name in widths),
        )
    return table


def _fetch(names: list[str], options: argparse.Namespace) -> int:
    from s2robot.backbones import load_backbone

    for name in names:
        backbone = load_backbone(name, options.weights)
        millions = backbone.parameters_count / 1e6
        OUTPUT.print(
            f"{name}: {millions:.1f} M parameters, digest {backbone.weights_digest[:12]}, "
            f"{where(backbone.card)}",
        )
    return 0
