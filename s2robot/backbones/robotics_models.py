"""Cards of the encoders that robot-learning groups have published."""

from __future__ import annotations

from s2robot.backbones.architectures import VIT_SIZES, Architecture, vit_architecture
from s2robot.backbones.card import (
    CLIP_MEAN,
    CLIP_STD,
    MIT,
    BackboneCard,
    Layout,
    License,
    Preprocessing,
    resnet_card,
    vit_card,
)
from s2robot.backbones.state_dicts import (
    CLIP_RESNET_NAMES,
    HF_VIT_NAMES,
    LANGUAGE_TOKENS,
    VOLTRON_NAMES,
    fold_language,
    join_qkv,
)
from s2robot.backbones.weight_sources import Source

CC_BY_NC = License("CC-BY-NC-4.0", non_commercial=True)
THEIA_LICENSE = License("Theia (research)", non_commercial=True)
MAE_EXTRAS = ("decoder_", "mask_token", "head.")

# R3M, VIP and MCR: the rule of the module's own forward for frames that are not 224 x 224 px.
R3M_PIXELS = Preprocessing(
    224, resize=256, interpolation="bilinear", resampler="float", keeps_base_size=True
)
R3M_NOTE = (
    "Frames of 224 x 224 px are taken whole; others as by the module's forward with obs_shape "
    "given (resized as floats). The README's example resizes with Pillow, which rounds."
)
_DRIVE = "https://drive.google.com/uc?id="


def robotics_cards() -> list[BackboneCard]:
    """Return the cards of all encoders of robot-learning groups."""
    return [
        *_mvp_cards(),
        *_r3m_cards(),
        *_vc1_cards(),
        _vip_card(),
        _liv_card(),
        _mcr_card(),
        *_spa_cards(),
        *_voltron_cards(),
        *_theia_cards(),
        *_data4robotics_cards(),
    ]


# MVP's small model has 12 heads where timm's has 6: the shapes match and the result would not.
_MVP_SMALL = (384, 12, 12)
_MVP = {
    "vits-hoi": (_MVP_SMALL, 224, "m93ynem558jo8vltlads5rcmnahgsyzr", "md5:fe6e30"),
    "vits-in": (_MVP_SMALL, 224, "qlsjkv03nngu37eyvtjikfe7rz14k66d", ""),
    "vits-sup": (_MVP_SMALL, 224, "95a4ncqrh1o7llne2b1gpsfip4dt65m4", ""),
    "vitb-egosoup": (VIT_SIZES["vitb"], 224, "0ckepd2ja3pi570z89ogd899cn387yut", "md5:526093"),
    "vitl-egosoup": (VIT_SIZES["vitl"], 256, "6p0pc47mlpp4hhwlin2hf035lxlgddxr", "md5:5352b0"),
}
_MVP_PAPERS = {"hoi": "arXiv:2203.06173", "in": "arXiv:2203.06173", "sup": "arXiv:2203.06173"}

_MVP_FAMILIES = {"in": "mvp-in", "sup": "mvp-sup"}
"""Those that saw other data than egocentric videos, or labels."""


def _mvp_cards() -> list[BackboneCard]:
    return [
        vit_card(
            f"mvp-{key}",
            vit_architecture(size, 16, *shape),
            Preprocessing(size),
            "published",
            layout=Layout(("model",), dropped=MAE_EXTRAS),
            sources=(Source(f"https://berkeley.box.com/shared/static/{file}.pth", digest),),
            filename=f"mvp-{key}.pth",
            license=License("none given"),
            family=_MVP_FAMILIES.get(key.split("-")[1], "mvp"),
            citation=f"MVP, {_MVP_PAPERS.get(key.split('-')[1], 'arXiv:2210.03109')}",
            note="layer -1 with readout cls gives the class token before the final norm, which "
            "MVP's own 'frozen' policies train.",
        )
        for key, (shape, size, file, digest) in _MVP.items()
    ]


_R3M = {
    18: "1A1ic-p4KtYlKXdXHcV2QV0cUzI4kn0u-",
    34: "15bXD3QRhspIRacOKyWPw5y2HpoWUCEnE",
    50: "1Xu0ssuG0N1zjZS54wmWzJ7-nb0-7XzbA",
}


def _r3m_cards() -> list[BackboneCard]:
    return [
        resnet_card(
            f"r3m-resnet{depth}",
            depth,
            R3M_PIXELS,
            "published",
            layout=Layout(
                ("r3m",),
                prefix="module.convnet.",
                dropped=("module.lang_enc", "module.lang_rew"),
            ),
            sources=(Source(_DRIVE + file),),
            filename=f"r3m-resnet{depth}.pt",
            license=MIT,
            family="r3m",
            citation="R3M, arXiv:2203.12601",
            note=R3M_NOTE,
        )
        for depth, file in _R3M.items()
    ]


def _vip_card() -> BackboneCard:
    url = "https://pytorch.s3.amazonaws.com/models/rl/vip/model.pt"
    return resnet_card(
        "vip-resnet50",
        50,
        R3M_PIXELS,
        "published",
        architecture=Architecture("resnet50", {"num_classes": 1024}),
        published="head",
        head_dim=1024,
        layout=Layout(("vip",), prefix="module.convnet."),
        sources=(Source(url), Source(f"{_DRIVE}1LuCFIV44xTZ0GLmLwk36BRsr9KjCW_yj")),
        filename="vip-resnet50.pt",
        license=CC_BY_NC,
        family="vip",
        citation="VIP, arXiv:2210.00030",
        note="The published output is a linear map (1024) of the average pool.",
    )


def _liv_card() -> BackboneCard:
    visual = "module.model.visual."
    return resnet_card(
        "liv-resnet50",
        50,
        Preprocessing(
            224, CLIP_MEAN, CLIP_STD, interpolation="bilinear", resampler="float", antialias=False
        ),
        "published",
        architecture=Architecture("resnet50_clip.openai", {"num_classes": 1024}),
        published="head",
        head_dim=1024,
        layout=Layout(
            ("liv",),
            prefix=visual,
            dropped=tuple(
                f"module.model.{name}"
                for name in (
                    "transformer.",
                    "token_embedding.",
                    "ln_final.",
                    "positional_embedding",
                    "text_projection",
                    "logit_scale",
                )
            ),
            renamed=CLIP_RESNET_NAMES,
        ),
        sources=(
            Source("hf:jasonyma/LIV/model.pt"),
            Source(f"{_DRIVE}1l1ufzVLxpE5BK7JY6ZnVBljVzmK5c4P3"),
        ),
        filename="liv-resnet50.pt",
        license=MIT,
        family="liv",
        citation="LIV, arXiv:2306.00958",
        note="The module's rule for tensors (bilinear, no antialiasing); for Pillow images it has "
        "another (bicubic).",
    )


def _mcr_card() -> BackboneCard:
    return resnet_card(
        "mcr-resnet50",
        50,
        R3M_PIXELS,
        "published",
        layout=Layout(),
        sources=(Source("hf:GqJiang/robots-pretrain-robots/mcr_resnet50.pth"),),
        filename="mcr-resnet50.pth",
        license=MIT,
        family="mcr",
        citation="MCR, arXiv:2410.22325",
        note="Normalized as in its training; the README's example leaves ImageNet's mean and "
        "standard deviation out.",
    )


def _vc1_cards() -> list[BackboneCard]:
    return [
        vit_card(
            f"vc1-{key}",
            vit_architecture(224, 16, *VIT_SIZES[key]),
            Preprocessing(224, resize=256, resampler="float"),
            "published",
            layout=Layout(("model",), dropped=MAE_EXTRAS),
            sources=(Source(f"https://dl.fbaipublicfiles.com/eai-vc/vc1_{key}.pth"),),
            filename=f"vc1-{key}.pth",
            license=CC_BY_NC,
            family="vc1",
            citation="VC-1, arXiv:2303.18240",
        )
        for key in ("vitb", "vitl")
    ]


def _spa_cards() -> list[BackboneCard]:
    encoder = "model.img_backbone."
    others = ("decoder", "mask_token", "head.", "upsample.", "readout_project.")
    return [
        vit_card(
            f"spa-{key}",
            vit_architecture(224, 16, *VIT_SIZES[key]),
            Preprocessing(224, resampler="float"),
            "published",
            layout=Layout(
                prefix=encoder, dropped=tuple(encoder + name for name in others), within_module=True
            ),
            sources=(Source(f"hf:HaoyiZhu/SPA/spa-{key[-1]}.safetensors"),),
            filename=f"spa-{key}.safetensors",
            license=MIT,
            family="spa",
            citation="SPA, arXiv:2410.08208",
        )
        for key in ("vitb", "vitl")
    ]


_VOLTRON = {
    "vits": ("v-cond", "12g5QckQSMKqrfr4lFY3UPdy7oLw4APpG"),
    "vitb": ("v-cond-base", "1PwczOijL0hfYD8DI4xLOPLf1xL_7Kg9S"),
}


def _voltron_cards() -> list[BackboneCard]:
    return [
        vit_card(
            f"voltron-vcond-{key}",
            vit_architecture(
                224,
                16,
                *VIT_SIZES[key],
                class_token=False,
                reg_tokens=LANGUAGE_TOKENS,
                no_embed_class=True,
                rms_norm=True,
                norm_eps=1e-16,
                swiglu=True,
                mlp_ratio=8.0,
                init_values=0.1,
                voltron_attention=True,
            ),
            Preprocessing(224, interpolation="bilinear", resampler="rounded"),
            "published",
            published="grid",
            layout=Layout(
                (0,),
                dropped=(
                    "decoder_",
                    "mask_token",
                    "encoder2decoder.",
                    "lm.embeddings.position_ids",
                ),
                renamed=VOLTRON_NAMES,
                convert=fold_language,
            ),
            sources=(Source(_DRIVE + file),),
            filename=f"{name}.pt",
            license=MIT,
            family="voltron",
            citation="Voltron, arXiv:2302.12766",
            note="V-Cond's patch tokens with no sentence given (mode='visual'). Its prefix tokens "
            "are the language tokens of an empty sentence. V-Dual and V-Gen take two frames and "
            "are not covered.",
        )
        for key, (name, file) in _VOLTRON.items()
    ]


_THEIA = {"tiny": "vitt", "small": "vits", "base": "vitb"}


def _theia_cards() -> list[BackboneCard]:
    return [
        vit_card(
            f"theia-{size}",
            vit_architecture(224, 16, *VIT_SIZES[key], norm_eps=1e-12),
            Preprocessing(224, resize=256, fit="both", resampler="pil"),
            "published",
            published="grid",
            layout=Layout(
                prefix="backbone.model.",
                dropped=("translator.", "backbone.model.pooler."),
                renamed=HF_VIT_NAMES,
                convert=join_qkv,
            ),
            sources=(Source(f"hf:theaiinstitute/theia-{size}-patch16-224-cdiv/model.safetensors"),),
            filename=f"theia-{size}.safetensors",
            license=THEIA_LICENSE,
            family="theia",
            citation="Theia, arXiv:2407.20179",
            note="The -cdiv models of the paper; the published feature is all patch tokens.",
        )
        for size, key in _THEIA.items()
    ]


D4R_PIXELS = Preprocessing(
    224, fit="both", interpolation="bilinear", resampler="float", antialias=False
)


def _data4robotics_cards() -> list[BackboneCard]:
    url = "https://cmu.box.com/shared/static/rrlrp5g6ynk03io4rj9uzf6nik5urfl6"
    license, citation = MIT, "data4robotics, arXiv:2310.09289"
    vit = vit_card(
        "d4r-vitb",
        vit_architecture(224, 16, *VIT_SIZES["vitb"]),
        D4R_PIXELS,
        "published",
        layout=Layout(("features", "model"), dropped=MAE_EXTRAS),
        sources=(Source(url, member="visual_features/vit_base/SOUP_1M_DH.pth"),),
        filename="d4r-vitb.pth",
        license=license,
        citation=citation,
        note="SOUP_1M_DH, the strongest of the archive's; give another of its files as weights.",
    )
    resnet = resnet_card(
        "d4r-resnet18",
        18,
        D4R_PIXELS,
        "published",
        architecture=Architecture("resnet18", {"group_norm": 16}),
        layout=Layout(("features", "model"), prefix="_model."),
        sources=(Source(url, member="visual_features/resnet18/IN_1M_resnet18.pth"),),
        filename="d4r-resnet18.pth",
        license=license,
        citation=citation,
        note="GroupNorm (16 groups) instead of batch norm.",
    )
    return [vit, resnet]
