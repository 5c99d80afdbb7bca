"""Cards of general vision encoders that robot-learning papers compare with."""

from __future__ import annotations

from typing import Any

from s2robot.backbones.architectures import VIT_SIZES, Architecture, vit_architecture
from s2robot.backbones.card import (
    APACHE,
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    MIT,
    BackboneCard,
    Layout,
    License,
    Preprocessing,
    vit_card,
)
from s2robot.backbones.robotics_models import CC_BY_NC, MAE_EXTRAS
from s2robot.backbones.state_dicts import dinov2_layout
from s2robot.backbones.weight_sources import Source

DINOV3_LICENSE = License("DINOv3")
FAIR_LICENSE = License("FAIR-NC", non_commercial=True)
NVIDIA_LICENSE = License("NVIDIA Open Model")

# The README's rule for a frame whose sides are not multiples of the patch.
RADIO_PIXELS = Preprocessing(
    512,
    CLIP_MEAN,
    CLIP_STD,
    fit="both",
    interpolation="bilinear",
    resampler="float",
    antialias=False,
)
RADIO_NOTE = (
    "The spatial features; the first prefix token is the first teacher's summary (readout cls). "
    "The published model takes frames of any shape and of any size up to 2048 px; here they are "
    "brought to 512 x 512 px, by the README's interpolation, with positions resampled as timm "
    "does: v3-vitb16 with aligned corners, as its code on the hub does and that on GitHub no "
    "longer does."
)


def general_cards() -> list[BackboneCard]:
    """Return the cards of all general vision encoders."""
    return [
        *_mae_cards(),
        *_dinov2_cards(),
        *_dinov3_cards(),
        *_eupe_cards(),
        *_clip_cards(),
        *_siglip2_cards(),
        *_pe_spatial_cards(),
        *_radio_cards(),
    ]


def timm_layout(classifier: str) -> Layout:
    """Return the layout of a file of timm's own hub, without the classifier."""
    return Layout(dropped=(f"{classifier}.",) if classifier else ())


def timm_sources(repository: str) -> tuple[Source, ...]:
    """Return where timm's hub keeps a model's file, safetensors first."""
    names = ("model.safetensors", "pytorch_model.bin")
    return tuple(Source(f"hf:{repository}/{name}") for name in names)


def _timm_card(
    name: str,
    timm_name: str,
    preprocessing: Preprocessing,
    shape: tuple[int, int, int],
    weights: str = "",
    **fields: Any,
) -> BackboneCard:
    """Return the card of a timm model; ``shape`` is (stride, prefix tokens, width)."""
    options = fields.pop("options", {"dynamic_img_size": True})
    classifier = "" if "num_classes" in options else "head"
    return BackboneCard(
        name=name,
        architecture=Architecture(timm_name, options),
        preprocessing=preprocessing,
        stride=shape[0],
        num_prefix_tokens=shape[1],
        dim=shape[2],
        origin="timm",
        layout=timm_layout(classifier),
        sources=timm_sources(f"timm/{weights or timm_name}"),
        filename=f"{name}.safetensors",
        **fields,
    )


def _mae_cards() -> list[BackboneCard]:
    files = {
        "vitb": ("mae_pretrain_vit_base", "md5:8cad7c"),
        "vitl": ("mae_pretrain_vit_large", "md5:b8b06e"),
    }
    return [
        vit_card(
            f"mae-{key}",
            vit_architecture(224, 16, *VIT_SIZES[key]),
            Preprocessing(224, resize=256, resampler="pil"),
            "published",
            layout=Layout(("model",), dropped=MAE_EXTRAS),
            sources=(Source(f"https://dl.fbaipublicfiles.com/mae/pretrain/{file}.pth", digest),),
            filename=f"mae-{key}.pth",
            license=CC_BY_NC,
            family="mae",
            citation="MAE, arXiv:2111.06377",
        )
        for key, (file, digest) in files.items()
    ]


def _dinov2_cards() -> list[BackboneCard]:
    return [_dinov2_card(key, reg) for reg in (False, True) for key in ("vits", "vitb", "vitl")]


def _dinov2_card(key: str, registers: bool) -> BackboneCard:
    kind = "_reg4" if registers else ""
    options: dict[str, Any] = {"init_values": 1e-5}
    if registers:
        options.update(reg_tokens=4, no_embed_class=True)
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{key}14/dinov2_{key}14{kind}_pretrain.pth"
    return vit_card(
        f"dinov2-{key}14{'-reg' if registers else ''}",
        vit_architecture(224, 14, *VIT_SIZES[key], **options),
        Preprocessing(224, resize=256, resampler="pil"),
        "published",
        layout=dinov2_layout(224 // 14),
        sources=(Source(url),),
        filename=f"dinov2-{key}14{'-reg' if registers else ''}.pth",
        license=APACHE,
        family="dinov2-reg" if registers else "dinov2",
        citation="DINOv2, arXiv:2304.07193",
        note="At 224 px, with positions resampled from 518 px as its own code does; "
        "timm/vit_*_patch14*_dinov2.lvd142m is the same at 518 px.",
    )


def _dinov3_cards() -> list[BackboneCard]:
    return [
        _timm_card(
            f"dinov3-{key}16",
            f"vit_{size}_patch16_dinov3.lvd1689m",
            Preprocessing(256, fit="both", interpolation="bilinear"),
            (16, 5, VIT_SIZES[key][0]),
            published="cls",
            license=DINOV3_LICENSE,
            family="dinov3",
            citation="DINOv3, arXiv:2508.10104",
            note="Class token, as the published model returns; timm's own default is the mean.",
        )
        for key, size in (("vits", "small"), ("vitb", "base"), ("vitl", "large"))
    ]


def _eupe_cards() -> list[BackboneCard]:
    return [
        _timm_card(
            f"eupe-{key}16",
            f"vit_{size}_patch16_dinov3_qkvb.eupe_lvd1689m",
            Preprocessing(256, fit="both", interpolation="bilinear"),
            (16, 5, VIT_SIZES[key][0]),
            published="cls",
            license=FAIR_LICENSE,
            family="eupe",
            citation="EUPE, arXiv:2603.22387",
            note="Class token, as the published model returns; timm's own default is the mean. "
            "From the file that timm converted; not compared with the authors' own package.",
        )
        for key, size in (("vitt", "tiny"), ("vits", "small"), ("vitb", "base"))
    ]


def _clip_cards() -> list[BackboneCard]:
    pixels = Preprocessing(224, CLIP_MEAN, CLIP_STD, resampler="pil")
    common: dict[str, Any] = {
        "published": "head",
        "license": MIT,
        "citation": "CLIP, arXiv:2103.00020",
        "note": "The published output is encode_image: projected, not normalized. Its GELU is the "
        "quick one, which timm has under separate names.",
    }
    vits = [
        _timm_card(
            f"clip-{key}{patch}",
            f"vit_{size}_patch{patch}_clip_quickgelu_224.openai",
            pixels,
            (patch, 1, VIT_SIZES[key][0]),
            f"vit_{size}_patch{patch}_clip_224.openai",
            options={"num_classes": out, "dynamic_img_size": True},
            head_dim=out,
            family="clip",
            **common,
        )
        for key, size, patch, out in (("vitb", "base", 16, 512), ("vitl", "large", 14, 768))
    ]
    resnet = _timm_card(
        "clip-resnet50",
        "resnet50_clip.openai",
        pixels,
        (32, 0, 2048),
        options={"num_classes": 1024},
        head_dim=1024,
        family="clip-resnet",
        **common,
    )
    return [*vits, resnet]


def _siglip2_cards() -> list[BackboneCard]:
    rows = (
        ("vitb16-224", "vit_base_patch16_siglip_224.v2_webli", 224, 16, 768),
        ("vitl16-256", "vit_large_patch16_siglip_256.v2_webli", 256, 16, 1024),
        ("so400m14-224", "vit_so400m_patch14_siglip_224.v2_webli", 224, 14, 1152),
    )
    return [
        _timm_card(
            f"siglip2-{key}",
            timm_name,
            Preprocessing(size, HALF, HALF, fit="both", interpolation="bilinear", resampler="pil"),
            (patch, 0, dim),
            options={"dynamic_img_size": True, "act_layer": "gelu_tanh"},
            published="head",
            head_dim=dim,
            license=APACHE,
            family="siglip2",
            citation="SigLIP 2, arXiv:2502.14786",
            note="No class token; the published output is the attention pooling. Its GELU is the "
            "tanh one, where timm's own default is the exact one: they differ by some 1e-3. Frames "
            "as by Pillow; transformers 5 takes torchvision by default, one level of 255 apart.",
        )
        for key, timm_name, size, patch, dim in rows
    ]


def _pe_spatial_cards() -> list[BackboneCard]:
    rows = (
        ("vitt16", "tiny_patch16_512", 512, 16, 192, 1),
        ("vits16", "small_patch16_512", 512, 16, 384, 1),
        ("vitb16", "base_patch16_512", 512, 16, 768, 1),
        ("vitl14", "large_patch14_448", 448, 14, 1024, 1),
    )
    return [
        _timm_card(
            f"pe-spatial-{key}",
            f"vit_pe_spatial_{timm_name}.fb",
            Preprocessing(size, HALF, HALF, fit="both", interpolation="bilinear", resampler="pil"),
            (patch, prefix, dim),
            published="grid",
            license=APACHE,
            family="pe-spatial",
            citation="Perception Encoder, arXiv:2504.13181",
            note="The tokens of the last block, without a final norm. The published forward puts "
            "the class token before them; strip_cls_token leaves the grid, as here.",
        )
        for key, timm_name, size, patch, dim, prefix in rows
    ]


def _radio_cards() -> list[BackboneCard]:
    rows = (
        ("v3-vitb16", "base_patch16_radio_v3", 768, 8),
        ("v3-vitl16", "large_patch16_radio_v3", 1024, 8),
        ("v4-so400m16", "so400m_patch16_radio_v4", 1152, 10),
        ("v4-vith16", "huge_patch16_radio_v4", 1280, 10),
    )
    return [
        _timm_card(
            f"c-radio-{key}",
            f"vit_{timm_name}.c_radio",
            RADIO_PIXELS,
            (16, prefix, dim),
            published="grid",
            license=NVIDIA_LICENSE,
            family=f"c-radio-{key.split('-')[0]}",
            citation="RADIO, arXiv:2312.06709",
            note=RADIO_NOTE,
        )
        for key, timm_name, dim, prefix in rows
    ]
