"""Runtimes: the same tokens by other means, int8 near them, and clear words where one cannot."""

from __future__ import annotations

import functools
import gc
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import pytest
import torch
from support.helpers import hide
from support.small_encoders import picture, scenes
from support.small_published import VITS, small_card

from s2robot.backbones import Backbone, get_card
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import S2RobotError
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError, TokenModel, base, difference
from s2robot.runtimes import openvino as openvino_runtime

Make = Callable[..., FrameEncoder]
EXACT = ("openvino", "onnxruntime")


FAMILIES = (
    "mvp-vitb-egosoup",
    "voltron-vcond-vits",
    "dinov2-vits14-reg",
    "theia-tiny",
    "spa-vitb",
    "r3m-resnet18",
    "d4r-resnet18",
)
"""One of each kind of network: class token, registers, gated layers, a map of positions, ..."""


@pytest.fixture(scope="module", autouse=True)
def all_graphs_stay() -> Iterator[None]:
    """Graphs, which take seconds to make, are kept until the last test of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_runtime, "_latest", deque(maxlen=99))
        yield


@pytest.fixture
def no_graphs_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: WeakValueDictionary[tuple[Any, ...], openvino_runtime.Request] = WeakValueDictionary()
    monkeypatch.setattr(openvino_runtime, "_graphs", graphs)
    monkeypatch.setattr(openvino_runtime, "_latest", deque(maxlen=2))


@pytest.mark.parametrize("runtime", EXACT)
@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "mean"},
        {"readout": "cls", "scales": (1, 2, 3)},
        {"scales": (0.5, 1, 1.5)},  # three tile sizes
        {"input_mode": "interpolate"},  # float pixels
        {"layers": (0, -1), "layers_merge": "mean"},
    ],
)
def test_exact_runtimes_give_eagers_embeddings(
    make: Make, runtime: str, settings: dict[str, Any]
) -> None:
    eager = make(**settings)
    other = make(**settings, runtime=runtime)
    assert other.runtime.name == runtime
    assert other.runtime.exact
    expected, found = eager(picture(3, 70, 90)), other(picture(3, 70, 90))
    assert difference(found, expected) < 1e-4
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    "name, runtime",
    [*((name, "openvino") for name in FAMILIES), ("r3m-resnet18", "onnxruntime")],
)
def test_every_kind_of_backbone(name: str, runtime: str) -> None:
    card = get_card(name)
    card = small_card(card) if name in VITS else card
    backbone = Backbone(card, card.architecture.build())
    spec = EncoderSpec(name, backbone.weights_digest, scales=(1, 2))
    eager = FrameEncoder(spec, backbone, "cpu")
    expected, found = eager(picture(3, 70, 90)), eager.with_runtime(runtime)(picture(3, 70, 90))
    assert difference(found, expected) < 1e-3


def test_openvino_does_not_depend_on_the_batch(make: Make) -> None:
    encoder = make(runtime="openvino")
    tiles = base.tiles_like((32, 32), count=9)
    together = encoder.tokens(tiles)
    assert all(torch.equal(encoder.tokens(tiles[i : i + 1])[0], together[i]) for i in range(9))


def test_reuse_over_openvino_is_bit_identical(make: Make) -> None:
    encoder = make((1, 2, 3), runtime="openvino")
    stream, frames = encoder.stream(), scenes(6)
    assert all(torch.equal(stream(frame), encoder(frame)) for frame in frames)
    assert stream.stats.hit_rate > 0.2


def test_runtimes_share_the_weights(make: Make) -> None:
    encoder = make()
    other = encoder.with_runtime("openvino")
    assert other.backbone is encoder.backbone
    assert (encoder.runtime.name, other.runtime.name) == ("eager", "openvino")


@pytest.mark.usefixtures("no_graphs_of_other_tests")
def test_encoders_of_equal_weights_share_openvinos_graph_until_their_weights_change(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    made: list[tuple[int, int]] = []
    real = openvino_runtime.converted

    def counting(model: TokenModel, shape: tuple[int, int]) -> Any:
        made.append(shape)
        return real(model, shape)

    monkeypatch.setattr(openvino_runtime, "converted", counting)
    frame = picture(1, 64, 64)
    first = make(runtime="openvino")(frame)  # of an encoder that is gone after this line
    gc.collect()
    encoder = make(runtime="openvino")  # loaded again, as by the next run of a sweep
    assert torch.equal(encoder(frame), first)
    assert torch.equal(encoder.with_runtime("openvino")(frame), first)
    assert len(made) == 1
    for parameter in encoder.backbone.parameters():
        parameter.data.mul_(0.9)  # which PyTorch does not count
    changed = encoder.with_runtime("openvino")
    assert len(made) == 2
    expected = encoder.with_runtime("eager")(frame)
    torch.testing.assert_close(changed(frame), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("no_graphs_of_other_tests")
def test_openvino_keeps_no_more_than_two_graphs_that_nobody_uses(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    encoder = make(runtime="openvino")
    for factor in (0.9, 0.8):
        for parameter in encoder.backbone.parameters():
            parameter.data.mul_(factor)
        encoder.with_runtime("openvino")(picture(1, 64, 64))
    del encoder
    gc.collect()
    assert len(openvino_runtime._graphs) == 2


def test_openvino_in_bfloat16_is_near(make: Make) -> None:
    low = make(dtype="bfloat16", runtime="openvino")
    cosine = torch.nn.functional.cosine_similarity(
        low(picture(3, 70, 90)), make()(picture(3, 70, 90)), dim=-1
    )
    assert cosine.min() > 0.99


def test_threads_may_share_an_encoder(make: Make) -> None:
    encoder = make(runtime="openvino")
    frames = picture(8, 70, 90)
    expected = [encoder(frame) for frame in frames]
    found: dict[int, bool] = {}

    def work(i: int) -> None:
        found[i] = all(torch.equal(encoder(frames[i]), expected[i]) for _ in range(10))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(len(frames)), True)


# --------------------------------------------------------------------------------------- errors
def test_unknown_runtime(make: Make) -> None:
    with pytest.raises(ValueError, match=r"unknown runtime 'openvin'.*did you mean 'openvino'"):
        make(runtime="openvin")


@pytest.mark.parametrize("runtime", EXACT)
def test_missing_package(make: Make, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, runtime)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'openvino>="):
        make(runtime=runtime)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_graphs_need_a_gpu(make: Make) -> None:
    with pytest.raises(RuntimeMissingError, match="needs a CUDA device; the encoder is on cpu"):
        make(runtime="cuda-graph")


def test_onnxruntime_has_no_bfloat16(make: Make) -> None:
    with pytest.raises(RuntimeMissingError, match="use dtype float32"):
        make(dtype="bfloat16", runtime="onnxruntime")


@pytest.mark.parametrize("runtime", EXACT)
def test_gradients_are_refused(make: Make, runtime: str) -> None:
    encoder = make(runtime=runtime)
    encoder.requires_grad_(True)
    with pytest.raises(S2RobotError, match="gives no gradients"):
        encoder(picture(3, 70, 90))
    with torch.no_grad():
        assert torch.isfinite(encoder(picture(3, 70, 90))).all()


@pytest.mark.usefixtures("no_graphs_of_other_tests")
def test_a_runtime_that_computes_something_else_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s2robot.runtimes import openvino

    honest = openvino.converted

    def wrong(model: base.TokenModel, shape: tuple[int, int]) -> Any:
        other = base.TokenModel(model.backbone, model.pooling)
        other.load_state_dict(model.state_dict())
        other.get_buffer("mean").add_(40)
        return honest(other, shape)

    monkeypatch.setattr(openvino, "converted", wrong)
    with pytest.raises(RuntimeFailedError, match="differs from eager PyTorch by"):
        make(runtime="openvino")


@pytest.mark.usefixtures("no_graphs_of_other_tests")
def test_a_failed_conversion_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("operation aten::odd is unknown")

    monkeypatch.setattr(openvino, "convert_model", broken)
    with pytest.raises(RuntimeFailedError, match=r"cannot take .* over \(operation aten::odd"):
        make(runtime="openvino")


def test_a_failed_compilation_is_told_with_what_it_needs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    torch.compiler.reset()
    with pytest.raises(RuntimeFailedError, match=r"(?s)Failed to find C compiler.*apt-get install"):
        make(runtime="compile")


# ------------------------------------------------------------------------------------------ GPU
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cuda_graphs_give_eagers_embeddings(make: Make, dtype: str) -> None:
    eager = make((1, 2, 3), device="cuda", dtype=dtype)
    graphs = make((1, 2, 3), device="cuda", dtype=dtype, runtime="cuda-graph")
    single = graphs.single_frame(70, 90)
    for frames in (picture(3, 70, 90), picture(5, 70, 90), picture(3, 70, 90, 1)):
        assert difference(graphs(frames), eager(frames)) < 1e-3
        assert difference(single(frames[0]), eager(frames[0])) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_processors_runtimes_refuse_a_gpu(make: Make) -> None:
    with pytest.raises(RuntimeMissingError, match="use device cpu"):
        make(device="cuda", runtime="openvino")
