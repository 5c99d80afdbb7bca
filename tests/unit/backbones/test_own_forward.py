"""Any module as a backbone: its own forward pass is run, never a rebuilt default of its name."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from s2robot import FrameEncoder
from s2robot.multiscale.forward import multiscale_forward
from s2robot.runtimes.base import RuntimeFailedError

SIZE = 64


class Patches(nn.Module):
    """Ten lines of a user: maps, tokens or a vector."""

    def __init__(self, layout: str, factor: float = 1.0, stride: int = 16) -> None:
        super().__init__()
        self.layout, self.factor = layout, factor
        self.conv = nn.Conv2d(3, 8, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).tanh() * self.factor
        if self.layout == "bchw":
            return maps
        tokens = maps.flatten(2).transpose(1, 2)
        mean = tokens.mean(dim=1, keepdim=True)
        return mean[:, 0] if self.layout == "vector" else torch.cat([mean, tokens], dim=1)


def made(module: Any, **options: Any) -> FrameEncoder:
    return FrameEncoder.from_module(module, device="cpu", runtime="eager", **options)


def frames_of(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalized(encoder: FrameEncoder, frames: np.ndarray, scale: float = 1) -> Tensor:
    """The images that the encoder gives its module at a scale, put together from their tiles."""
    layout = encoder.layout.scales[scale]
    tiles = encoder.tiles(torch.from_numpy(frames), [layout])[0]
    rules = encoder.backbone.card.preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (rules.mean, rules.std))
    return (tiles / 255 - mean) / std


def own_output(module: nn.Module, encoder: FrameEncoder, frames: np.ndarray) -> Tensor:
    with torch.no_grad():
        return module.eval()(normalized(encoder, frames))


def differs(encoder: FrameEncoder, module: nn.Module, frames: np.ndarray) -> float:
    """Largest difference of the published embedding from the module's output, in deviations."""
    expected = own_output(module, encoder, frames)
    return float((encoder(frames) - expected).abs().max() / expected.std())


TIMM = {
    "max pool": ("resnet18", {"global_pool": "max"}, 224),
    "output stride 16": ("resnet18", {"output_stride": 16}, 224),
    "SiLU": ("resnet18", {"act_layer": nn.SiLU}, 224),
    "average pool, no norm after it": (
        "vit_tiny_patch16_224",
        {"global_pool": "avg", "fc_norm": False},
        224,
    ),
    "average pool with its norm": ("vit_tiny_patch16_224", {"global_pool": "avg"}, 224),
    "pool with prefix tokens": (
        "vit_tiny_patch16_224",
        {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True},
        224,
    ),
    "another size": ("vit_tiny_patch16_224", {"img_size": 96}, 96),
}


@pytest.mark.parametrize("case", TIMM)
def test_timm_models_run_as_they_were_made(case: str) -> None:
    name, options, size = TIMM[case]
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=0, **options)
    encoder = made(module)
    assert encoder.backbone.card.preprocessing.image_size == size
    assert encoder.spec.backbone.startswith("module:")
    assert differs(encoder, module, frames_of(256)) < 1e-4


def test_a_default_timm_model_keeps_its_name_and_its_classifier_does_not_count() -> None:
    torch.manual_seed(0)
    module: Any = timm.create_model("resnet10t", num_classes=7)
    encoder = made(module)
    assert encoder.spec.backbone == "timm/resnet10t.c3_in1k"
    module.reset_classifier(0)
    assert differs(encoder, module, frames_of(256)) < 1e-4
    assert made(module.train()).spec == encoder.spec
    assert module.training  # the module itself is left alone


def test_the_overlay_of_a_pretrained_config_counts() -> None:
    overlay = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "crop_pct": 1.0}
    module = timm.create_model("resnet10t", num_classes=0, pretrained_cfg_overlay=overlay)
    rules = made(module).backbone.card.preprocessing
    assert (rules.mean, rules.std) == (overlay["mean"], overlay["std"])
    assert rules.resize == rules.image_size
    rules = made(module, mean=(0.5, 0.5, 0.5), input_size=96).backbone.card.preprocessing
    assert (rules.image_size, rules.mean, rules.std) == (96, (0.5, 0.5, 0.5), overlay["std"])


TORCHVISION = {
    "resnet18": ("fc", 512, 0),
    "convnext_tiny": ("classifier", 768, 0),
    "vit_b_32": ("heads", 768, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_models(name: str) -> None:
    classifier, dim, prefix = TORCHVISION[name]
    torch.manual_seed(0)
    module: Any = getattr(torchvision.models, name)(weights=None)
    encoder = made(module, scales=(1, 2))
    assert (encoder.embedding_dim, encoder.backbone.card.num_prefix_tokens) == (2 * dim, prefix)
    if classifier == "classifier":
        module.classifier[-1] = nn.Identity()
    else:
        setattr(module, classifier, nn.Identity())
    single = made(module)
    assert differs(single, module, frames_of(224)) < 1e-4


def test_changes_of_known_models_count() -> None:
    torch.manual_seed(0)
    resnet: Any = torchvision.models.resnet18(weights=None)
    resnet.fc, resnet.avgpool = nn.Identity(), nn.AdaptiveMaxPool2d(1)
    assert differs(made(resnet), resnet, frames_of(224)) < 1e-4
    resnet._forward_impl = lambda x: x.mean(dim=(2, 3))
    with pytest.raises(ValueError, match="layout='bchw'"):
        made(resnet)
    assert made(resnet, layout="vector", input_size=64).embedding_dim == 3
    convnext: Any = torchvision.models.convnext_tiny(weights=None)
    convnext.classifier = nn.Identity()
    single = made(convnext)
    expected = own_output(convnext, single, frames_of(224)).flatten(1)
    assert torch.allclose(single(frames_of(224)), expected, atol=1e-4)
    module: Any = timm.create_model("resnet10t", num_classes=0)
    module.forward = lambda x: x
    with pytest.raises(ValueError, match="forward of this ResNet was replaced"):
        made(module)


@pytest.mark.parametrize("layout", ["bchw", "tokens", "vector"])
def test_a_module_of_ten_lines(layout: str) -> None:
    torch.manual_seed(0)
    module = Patches(layout)
    prefix = 1 if layout == "tokens" else 0
    call = {"layout": layout, "input_size": SIZE, "prefix_tokens": prefix}
    encoder = made(module, readout="mean", scales=(1, 2), **call)
    frames = frames_of(2 * SIZE)
    images = normalized(made(module, **{**call, "input_size": 2 * SIZE}), frames)
    small = normalized(made(module, **call), frames)

    def maps(x: Tensor) -> Tensor:
        out = Patches.forward(module, x)
        if layout == "bchw":
            return out
        return out[:, :, None, None] if layout == "vector" else out

    with torch.no_grad():
        one, two = (
            _mean(multiscale_forward(maps, x, scales=(1,), max_split_size=SIZE, **_shape(layout)))
            for x in (small, images)
        )
    assert torch.allclose(encoder(frames), torch.cat([one, two], dim=1), atol=1e-5)


def _shape(layout: str) -> dict[str, Any]:
    return {"num_prefix_token": 1} if layout == "tokens" else {"output_shape": "bchw"}


def _mean(features: Tensor) -> Tensor:
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features[:, 1:].mean(dim=1)


def test_interpolated_scales_equal_multiscale_forward_on_the_module() -> None:
    torch.manual_seed(0)
    module = Patches("bchw")
    call: dict[str, Any] = {"layout": "bchw", "input_size": SIZE}
    encoder = made(module, scales=(1, 2, 3), input_mode="interpolate", **call)
    frames = frames_of(SIZE)
    images = normalized(made(module, **call), frames)
    with torch.no_grad():
        expected = multiscale_forward(module, images, scales=(1, 2, 3), output_shape="bchw")
    found = encoder(frames).unflatten(1, encoder.layout.output_shape)
    assert torch.allclose(found.permute(0, 3, 1, 2), expected, atol=1e-5)


def test_wrappers_of_pytorch_are_taken_off() -> None:
    module = Patches("bchw")
    call: dict[str, Any] = {"layout": "bchw", "input_size": SIZE}
    frames = frames_of(SIZE)
    expected = made(module, **call)(frames)
    for wrapped in (nn.DataParallel(module), torch.compile(module)):
        assert torch.equal(made(wrapped, **call)(frames), expected)


def test_the_encoder_keeps_its_own_weights() -> None:
    module = Patches("bchw")
    encoder = made(module, layout="bchw", input_size=SIZE)
    before = encoder(frames_of(SIZE))
    with torch.no_grad():
        module.conv.weight.zero_()
    assert torch.equal(encoder(frames_of(SIZE)), before)


def test_the_digest_tells_functions_with_equal_weights_apart() -> None:
    class Other(Patches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    torch.manual_seed(0)
    module = Patches("bchw")
    call: dict[str, Any] = {"layout": "bchw", "input_size": SIZE}
    alike, factor, other = Patches("bchw"), Patches("bchw", factor=2.0), Other("bchw")
    for each in (alike, factor, other):
        each.load_state_dict(module.state_dict())
    digests = [made(m, **call).spec.weights_digest for m in (module, alike, factor, other)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    act = nn.Sequential(module.conv, nn.ReLU()), nn.Sequential(module.conv, nn.SiLU())
    assert made(act[0], **call).spec.weights_digest != made(act[1], **call).spec.weights_digest
    mean = made(module, **call, mean=(0.5, 0.5, 0.5)).spec.weights_digest
    assert mean != digests[0]


class Attributes(Patches):
    def __init__(self, **attributes: Any) -> None:
        super().__init__("bchw")
        self.register_buffer("table", attributes.pop("table", torch.zeros(2)), persistent=False)
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    "one, other",
    [
        ({"_scale": 1.0}, {"_scale": 2.0}),
        ({"table": torch.zeros(2)}, {"table": torch.ones(2)}),
        ({"offset": torch.tensor(1.0)}, {"offset": torch.tensor(2.0)}),
        ({"offset": np.zeros(2)}, {"offset": np.ones(2)}),
        ({"options": {"gain": [1, 2]}}, {"options": {"gain": [1, 3]}}),
        ({"act": torch.tanh}, {"act": torch.relu}),
        ({"act": partial(F.gelu, approximate="tanh")}, {"act": F.gelu}),
        ({"act": eval("lambda x: x * 2")}, {"act": eval("lambda x: x * 3")}),
    ],
    ids=["private", "table", "tensor", "array", "dict", "function", "partial", "lambda"],
)
def test_the_digest_holds_attributes_of_every_kind(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    def digest(attributes: dict[str, Any]) -> str:
        torch.manual_seed(0)
        module = Attributes(**attributes)
        return made(module, layout="bchw", input_size=SIZE).spec.weights_digest

    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_cost_and_name() -> None:
    encoder = made(Patches("bchw"), layout="bchw", input_size=SIZE)
    cells, weights = (SIZE // 16) ** 2, 3 * 16 * 16 * 8
    assert encoder.gflops_per_frame == pytest.approx(2 * cells * weights / 1e9)
    assert encoder.spec.backbone == "module:Patches"
    with pytest.raises(ValueError, match="was a module in memory"):
        FrameEncoder.from_spec(encoder.spec)


@pytest.mark.runtime
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("layout", ["bchw", "tokens", "vector"])
def test_runtimes_take_a_given_module_over(runtime: str, layout: str) -> None:
    module = Patches(layout)
    call = {"layout": layout, "input_size": SIZE, "prefix_tokens": int(layout == "tokens")}
    options: dict[str, Any] = {"readout": "mean", "scales": (1, 2), "device": "cpu", **call}
    eager = FrameEncoder.from_module(module, runtime="eager", **options)
    other = FrameEncoder.from_module(module, runtime=runtime, **options)
    for count in (1, 3):
        frames = frames_of(2 * SIZE, count)
        assert torch.allclose(other(frames), eager(frames), atol=1e-5)


class CountsItsBatch(Patches):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(len(x), 8, 4, 4)


@pytest.mark.runtime
def test_a_module_that_a_runtime_takes_over_for_one_batch_alone() -> None:
    options: dict[str, Any] = {"layout": "bchw", "input_size": SIZE, "device": "cpu"}
    with pytest.raises(RuntimeFailedError, match=r"len\(x\).*runtime eager"):
        FrameEncoder.from_module(CountsItsBatch("bchw"), runtime="onnxruntime", **options)
    encoder = FrameEncoder.from_module(CountsItsBatch("bchw"), runtime="auto", **options)
    assert encoder(frames_of(SIZE, 5)).shape == (5, 8 * 16)


class ReadsValues(nn.Module):
    """A forward pass that looks at a value, which no pass without values can run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if float(x.sum()) > -1e9 else self.conv(-x)


def test_the_cost_of_a_module_that_reads_values() -> None:
    encoder = made(ReadsValues(), layout="bchw", input_size=32)
    assert encoder.gflops_per_frame == pytest.approx(2 * 16 * 3 * 64 * 4 / 1e9)


class TwoOutputs(Patches):
    def forward(self, x: Tensor) -> Any:
        return {"features": super().forward(x)}


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no layout": (Patches("bchw"), {"input_size": 64}, "layout='bchw'"),
    "unknown layout": (Patches("bchw"), {"layout": "bhwc", "input_size": 64}, "layout.*'bhwc'"),
    "no size": (Patches("bchw"), {"layout": "bchw"}, "input_size is missing"),
    "another layout": (Patches("bchw"), {"layout": "tokens", "input_size": 64}, r"\(1, 8, 4, 4\)"),
    "a dictionary": (TwoOutputs("bchw"), {"layout": "bchw", "input_size": 64}, "returns a dict"),
    "prefix of maps": (
        Patches("bchw"),
        {"layout": "bchw", "input_size": 64, "prefix_tokens": 1},
        "prefix_tokens is 1 with layout 'bchw'",
    ),
    "wrong prefix": (Patches("tokens"), {"layout": "tokens", "input_size": 64}, "no square grid"),
    "too small": (Patches("bchw"), {"layout": "bchw", "input_size": 8}, "does not run on an image"),
    "range": (
        Patches("bchw"),
        {"layout": "bchw", "input_size": 64, "mean": (123, 117, 104), "std": (58, 57, 57)},
        "from 0 to 255",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(case: str) -> None:
    module, options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        made(module, **options)


def test_a_scale_whose_tiles_the_module_does_not_take() -> None:
    module = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=96)
    with pytest.raises(ValueError, match=r"tiles of 80 px.*whole scales"):
        made(module, scales=(1, 80 / 96))


class Uncopyable(Patches):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("holds a file")


def test_a_module_that_cannot_be_copied() -> None:
    with pytest.raises(ValueError, match="cannot be copied"):
        made(Uncopyable("bchw"), layout="bchw", input_size=SIZE)
