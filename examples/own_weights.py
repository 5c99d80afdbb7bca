"""Load a checkpoint of your own: write a model card beside it and name it `file:CARD.json`.

The card says which timm architecture the weights belong to, how frames are prepared,
and where in the checkpoint the tensors are. Loading is strict: a tensor that is missing
or left over is an error. This example writes a checkpoint with random weights in the
form that a training script would leave: inside `state_dict`, names with a prefix.

    python examples/own_weights.py

Expected output:

    wrote own_weights/checkpoint.pth and own_weights/mine.json
    file:own_weights/mine.json, scales (1, 2): embeddings (2, 384)
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch

from s2robot import FrameEncoder

CARD = {
    "name": "mine",
    "architecture": {"timm": "vit_tiny_patch16_224"},
    "preprocessing": {"input_size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "weights": "checkpoint.pth",  # or a .safetensors file
    "layout": {"key": "state_dict", "prefix": "encoder.", "dropped": ["action_head."]},
    "license": "MIT",
}


def write_checkpoint(path: Path) -> None:
    """Write what stands for your own training: an encoder and another part."""
    torch.manual_seed(0)
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    state["action_head.weight"] = torch.zeros(4, 192)  # `dropped` leaves it out
    torch.save({"state_dict": state, "epoch": 10}, path)


def main() -> None:
    """Write checkpoint and card, then load them as an encoder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("own_weights"))
    folder = parser.parse_args().folder

    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder / "checkpoint.pth")
    card = folder / "mine.json"
    card.write_text(json.dumps(CARD, indent=2), encoding="utf-8")
    print(f"wrote {folder / 'checkpoint.pth'} and {card}")

    encoder = FrameEncoder.from_name(f"file:{card}", scales=(1, 2))
    embeddings = encoder(np.zeros((2, 480, 640, 3), dtype=np.uint8))
    print(f"file:{card}, scales {encoder.spec.scales}: embeddings {tuple(embeddings.shape)}")


if __name__ == "__main__":
    main()
