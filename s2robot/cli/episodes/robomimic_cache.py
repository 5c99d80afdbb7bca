"""Work of ``s2robot robomimic-cache``: images of a robomimic file as embeddings."""

from __future__ import annotations

import json

from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.robomimic_cache import DEFAULTS, parse
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.utils.console import OUTPUT
from s2robot.utils.process_state import without_output


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    with without_output():  # robomimic prints advice about macros
        from s2robot.plugins.robomimic.cache import cache_embeddings
    encoder = FrameEncoder.from_name(
        options.encoder,
        **{**DEFAULTS, **encoder_options(options)},
        weights=options.weights,
        device=options.device,
        runtime=options.runtime,
    )
    found = cache_embeddings(
        options.source, options.out, encoder, options.camera, options.keep_images, options.batch
    )
    text = f"{found.path}: {found.episodes} episodes, {found.frames} frames encoded, "
    OUTPUT.print(f"{text}{encoder.embedding_dim} numbers each", markup=False, highlight=False)
    modalities = {"obs": {"low_dim": [*found.keys, *found.low_dim], "rgb": []}}
    text = f'in the configuration: "modalities": {json.dumps(modalities)}'
    OUTPUT.print(text, markup=False, highlight=False)
    return 0
