"""Use a model that is already in memory as the backbone of a multi-scale encoder.

`FrameEncoder.from_module` copies the weights and runs the model's own forward pass: of timm's and
torchvision's models as they are, of any other module with what it returns, such as
`layout="tokens", input_size=224, prefix_tokens=1`. The weights here are random, so nothing is
downloaded; write `pretrained=True` for trained ones.

    python examples/wrap_any_module.py

Expected output:

    backbone timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k, 5524416 parameters
    scales (1, 2): 5 tiles per frame, embeddings (2, 384)
    largest difference from the model itself at scale 1: 3.3e-06
"""

import argparse

import numpy as np
import timm
import torch
from timm.data import resolve_model_data_config

from s2robot import FrameEncoder


def main() -> None:
    """Wrap a timm model and compare the encoder with the model itself."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="name of a timm model")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = timm.create_model(args.model, pretrained=False, num_classes=0).eval()
    encoder = FrameEncoder.from_module(model, scales=(1, 2), device="cpu")
    frames = np.random.default_rng(0).integers(0, 256, (2, 448, 448, 3), dtype=np.uint8)
    embeddings = encoder(frames)
    print(f"backbone {encoder.spec.backbone}, {encoder.parameters_count} parameters")
    print(
        f"scales {encoder.spec.scales}: {encoder.tiles_per_frame} tiles per frame, "
        f"embeddings {tuple(embeddings.shape)}"
    )

    single = FrameEncoder.from_module(model, scales=(1,), device="cpu")
    tiles = single.tiles(torch.from_numpy(frames), list(single.layout.scales.values()))[0]
    pixels = resolve_model_data_config(model)
    mean, std = (torch.tensor(pixels[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = model((tiles / 255 - mean) / std)
    difference = float((single(frames) - expected).abs().max())
    print(f"largest difference from the model itself at scale 1: {difference:.1e}")


if __name__ == "__main__":
    main()
