"""Models that other packages have loaded, taken over as encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from support.published_files import write_published
from support.small_published import HEADS, SMALL, some_frames

from s2robot import FrameEncoder
from s2robot.backbones import get_card
from s2robot.errors import MismatchError

pytestmark = pytest.mark.usefixtures("fresh_home")


def module_like(name: str, package: str, kind: str, **members: Any) -> torch.nn.Module:
    """A module of a class as the other package would name it, holding the tensors of ``name``."""
    cls = type(kind, (torch.nn.Module,), {"__module__": f"{package}.models.somewhere"})
    module = cls()
    for key, value in members.items():
        setattr(module, key, value)
    return module


@pytest.mark.slow
def test_what_load_r3m_returns(tmp_path: Path) -> None:
    path = write_published("r3m-resnet18", tmp_path, 18)
    direct = FrameEncoder.from_name("r3m-resnet18", weights=path, device="cpu")
    convnet = get_card("r3m-resnet18").architecture.build()
    convnet.load_state_dict(direct.backbone.model.state_dict())
    r3m = torch.nn.DataParallel(module_like("r3m", "r3m", "R3M", convnet=convnet, size=18))
    encoder = FrameEncoder.from_module(r3m, scales=(1, 2), device="cpu")
    expected = FrameEncoder.from_name("r3m-resnet18", scales=(1, 2), weights=path, device="cpu")
    frames = some_frames(60, 80)
    assert torch.equal(encoder(frames), expected(frames))
    assert encoder.spec == expected.spec


def test_what_mvp_load_returns(tmp_path: Path, shrink: Any) -> None:
    path = write_published("mvp-vits-hoi", tmp_path, shrink("mvp-vits-hoi"))
    direct = FrameEncoder.from_name("mvp-vits-hoi", weights=path, device="cpu")
    kind = type(
        "VisionTransformer",
        (timm.models.vision_transformer.VisionTransformer,),
        {"__module__": "mvp.backbones.vit"},
    )
    module: Any = kind(
        img_size=SMALL.image_size,
        patch_size=SMALL.patch,
        embed_dim=SMALL.dim,
        depth=SMALL.depth,
        num_heads=HEADS,
        num_classes=0,
    )
    module.load_state_dict(direct.backbone.model.state_dict())
    encoder = FrameEncoder.from_module(module, name="mvp-vits-hoi", device="cpu")
    frames = some_frames(60, 80)
    assert torch.equal(encoder(frames), direct(frames))
    with torch.no_grad():
        module.cls_token.add_(1)  # the encoder has its own copy
    assert torch.equal(encoder(frames), direct(frames))


def test_timm_modules_and_unknown_ones() -> None:
    model = timm.create_model("resnet10t", num_classes=0)
    encoder = FrameEncoder.from_module(model, device="cpu")
    assert encoder.spec.backbone.startswith("timm/resnet10t")
    with pytest.raises(ValueError, match="could be several backbones or none"):
        FrameEncoder.from_module(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="got str"):
        FrameEncoder.from_module("r3m")  # pyright: ignore[reportArgumentType]
    with pytest.raises(MismatchError, match="do not fit the architecture"):
        FrameEncoder.from_module(model, name="mcr-resnet50")


def test_the_card_of_a_torchvision_resnet_can_be_named() -> None:
    net: Any = torchvision.models.resnet50(weights=None)
    net.fc = torch.nn.Identity()
    encoder = FrameEncoder.from_module(net, name="mcr-resnet50", device="cpu")
    assert (encoder.embedding_dim, encoder.spec.backbone) == (2048, "mcr-resnet50")
    with pytest.raises(ValueError, match="input_size cannot be given for mcr-resnet50"):
        FrameEncoder.from_module(net, name="mcr-resnet50", input_size=96)
