"""Files for other runtimes: the encoder's numbers from camera frames, and nothing else needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.changed_weights import scale_in_place
from support.published_files import write_published
from support.small_published import difference, some_frames
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.cli import export as export_command
from s2robot.cli.main import main
from s2robot.encoder.spec import EncoderSpec
from s2robot.export import onnx as export
from s2robot.export.onnx import Exported, ExportError, export_encoder, fold_resizes

Make = Callable[..., FrameEncoder]
FRAME = (60, 80)
EXACT = 1e-4
"""Largest difference of embeddings, in their standard deviations."""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a tiny ViT: base size 32, patch 8, 24 channels; 8-bit kernel."""
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture(scope="module")
def make(card: str) -> Make:
    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        return FrameEncoder.from_name(card, scales=scales, device="cpu", **settings)

    return build


@pytest.fixture(scope="module")
def exported(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One file that several tests look at."""
    path = tmp_path_factory.mktemp("exported") / "encoder.onnx"
    return export_encoder(make(readout="spatial_softmax"), path, FRAME)


def embed(path: Path, frames: np.ndarray) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    return torch.from_numpy(session.run(["embedding"], {"frames": frames})[0])


def check(encoder: FrameEncoder, path: Path, frame: tuple[int, int]) -> Exported:
    done = export_encoder(encoder, path, frame)
    assert done.exporter == "dynamo"
    assert set(done.differences) == {"onnxruntime", "openvino"}
    assert max(done.differences.values()) <= EXACT
    frames = some_frames(*frame)
    assert difference(embed(path, frames), encoder(frames)) <= EXACT
    return done


def test_shipped_encoder(tmp_path: Path) -> None:
    encoder = FrameEncoder.from_name(
        "s2r-vitt16-128", scales=(1, 2), readout="spatial_softmax", device="cpu"
    )
    done = check(encoder, tmp_path / "encoder.onnx", (240, 320))
    assert done.input_shape == (240, 320, 3)
    assert done.embedding_dim == encoder.embedding_dim
    assert done.megabytes < 25


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("name", ["r3m-resnet18", "theia-tiny", "voltron-vcond-vits"])
def test_published_encoders(name: str, tmp_path: Path, shrink: Any) -> None:
    """Of the resamplers "float", "pil" and "rounded"; a ConvNet, a grid, attention pooling."""
    path = write_published(name, tmp_path, shrink(name))
    encoder = FrameEncoder.from_name(name, scales=(1, 2), weights=path, device="cpu")
    check(encoder, tmp_path / "encoder.onnx", (97, 120))


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": (1, 2, 3), "readout": "mean", "geometry": "full"},
        {"scales": (0.5, 1.5), "readout": "spatial_softmax", "geometry": "padded"},
        {"readout": "spatial_softmax", "layers": (0, -1), "input_mode": "interpolate"},
        {"readout": "mean", "geometry": "full", "tilings": ((1, 1), (2, 3)), "merge": "mean"},
    ],
    ids=["full", "padded", "taps", "tilings"],
)
def test_settings(make: Make, settings: dict[str, Any], tmp_path: Path) -> None:
    check(make(**settings), tmp_path / "encoder.onnx", (50, 90))


_ALONE = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
np.save(sys.argv[3], session.run(None, {"frames": np.load(sys.argv[2])})[0])
assert not {"torch", "PIL", "s2robot", "torchvision"} & set(sys.modules)
"""


def test_numpy_and_onnxruntime_are_enough(exported: Exported, make: Make, tmp_path: Path) -> None:
    frames = np.concatenate([some_frames(*FRAME), some_frames(*FRAME)[:1, ::-1]])  # three
    np.save(tmp_path / "frames.npy", frames)
    words = [str(exported.path), str(tmp_path / "frames.npy"), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-c", _ALONE, *words], check=True, cwd=tmp_path)
    found = torch.from_numpy(np.load(tmp_path / "found.npy"))
    assert difference(found, make(readout="spatial_softmax")(frames)) <= EXACT


def test_a_file_of_changed_weights_names_them(make: Make) -> None:
    encoder = make(readout="spatial_softmax")
    loaded = encoder.spec.digest()
    scale_in_place(encoder.backbone)
    with pytest.warns(UserWarning, match="were changed after they were loaded"):
        facts = export.metadata_of(encoder, FRAME)
    assert facts["s2robot.spec_digest"] == encoder.spec.digest() != loaded
    assert json.loads(facts["s2robot.spec"]) == encoder.spec.to_dict()


def test_the_file_says_what_it_is(exported: Exported, make: Make) -> None:
    encoder = make(readout="spatial_softmax")
    model = onnx.load(exported.path)
    facts = {entry.key.removeprefix("s2robot."): entry.value for entry in model.metadata_props}
    assert EncoderSpec.from_dict(json.loads(facts["spec"])) == encoder.spec
    assert facts["spec_digest"] == encoder.spec.digest()
    assert json.loads(facts["frame_shape"]) == [*FRAME, 3]
    assert json.loads(facts["output_shape"]) == list(encoder.output_shape)
    assert facts["licence"] == "MIT"
    assert facts["encoder"] == encoder.spec.backbone
    assert {"version", "non_commercial"} <= facts.keys()
    assert model.opset_import[0].version == 18


def test_other_frames_are_refused(exported: Exported) -> None:
    with pytest.raises(Exception, match="invalid dimensions"):
        embed(exported.path, some_frames(FRAME[0] + 1, FRAME[1]))


def test_nothing_is_resized_but_by_products(exported: Exported) -> None:
    kinds = {node.op_type for node in onnx.load(exported.path).graph.node}
    assert "Resize" not in kinds


def test_resized_weights_are_computed_once() -> None:
    weights = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        agraph (float[n,1,2,2] x) => (float[n,1,2,2] y) <float[4] scales = {1, 1, 0.5, 0.5}> {
            doubled = Add(weights, weights)
            small = Resize <mode = "linear"> (doubled, , scales)
            y = Add(x, small)
        }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    fold_resizes(model)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["small"]


def test_half_precision(make: Make, exported: Exported, tmp_path: Path) -> None:
    """The tiny model's weights were stored in half precision: nothing is lost."""
    path = tmp_path / "half.onnx"
    done = export_encoder(make(readout="spatial_softmax"), path, FRAME, half=True)
    frames = some_frames(*FRAME)
    assert done.megabytes < exported.megabytes
    assert torch.equal(embed(path, frames), embed(exported.path, frames))


def test_older_exporter_where_the_new_one_fails(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(export, "by_dynamo", fails)
    done = export_encoder(make(readout="mean"), tmp_path / "encoder.onnx", FRAME)
    assert done.exporter == "torchscript"
    assert max(done.differences.values()) <= EXACT
    monkeypatch.setattr(export, "by_torchscript", fails)
    with pytest.raises(ExportError, match="no such operation"):
        export_encoder(make(), tmp_path / "other.onnx", FRAME)


def test_wrong_numbers_are_not_kept(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "fold_resizes", _spoil)
    with pytest.raises(ExportError, match="differ from the encoder's by .* was not written"):
        export_encoder(make((1,)), tmp_path / "encoder.onnx", FRAME)
    assert list(tmp_path.iterdir()) == []


def _spoil(model: Any) -> None:
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    wrong = np.flip(onnx.numpy_helper.to_array(weights[0])).copy()  # the patch embedding
    weights[0].CopyFrom(onnx.numpy_helper.from_array(wrong, weights[0].name))


def test_bad_targets(make: Make, tmp_path: Path) -> None:
    encoder = make((1,))
    with pytest.raises(FileNotFoundError, match="there is no folder .*absent.*make it first"):
        export_encoder(encoder, tmp_path / "absent" / "encoder.onnx", FRAME)
    with pytest.raises(ValueError, match="is a folder; name a file"):
        export_encoder(encoder, tmp_path, FRAME)
    there = tmp_path / "there.onnx"
    there.write_text("mine")
    with pytest.raises(ExportError, match="there already; give another name, or --force"):
        export_encoder(encoder, there, FRAME)
    assert there.read_text() == "mine"
    export_encoder(encoder, there, FRAME, force=True)
    assert there.stat().st_size > 1000


def test_old_opsets_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opset must be at least 18; got 11"):
        export_encoder(make((1,)), tmp_path / "encoder.onnx", FRAME, opset=11)


def test_weights_beyond_one_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_BYTES", 10_000)
    with pytest.raises(ExportError, match="at most .* give half=True .--half., or take a smaller"):
        export_encoder(make((1,)), tmp_path / "encoder.onnx", FRAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_missing(
    make: Make, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"needs {package}, .*pip install 'openvino>="):
        export_encoder(make((1,)), tmp_path / "encoder.onnx", FRAME)


@pytest.mark.slow
def test_command(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.onnx"
    words = f"export {card} --scales 1 2 --readout mean --frame 60x80 --out {path}"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "uint8   (batch, 60, 80, 3) RGB" in said
    assert "float32 (batch, 48)" in said
    assert "onnxruntime" in said
    snippet = said.split("alone:\n\n")[1].replace("\n  ", "\n").strip()
    assert len(snippet.splitlines()) <= 6
    answer = subprocess.run(
        [sys.executable, "-c", snippet], check=True, capture_output=True, text=True
    )
    assert answer.stdout.startswith("(1, 48)")
    assert main(words.split()) == 2
    assert "or --force to replace it" in capsys.readouterr().err


def test_command_with_a_policy(
    make: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The spec, and the shape of the frames where the policy knows it."""
    spec = make((1,), dtype="bfloat16", readout="mean").spec
    frames = {"camera": "front", "height": 48, "width": 64}
    _use_header(monkeypatch, spec.to_dict(), frames)
    path = tmp_path / "encoder.onnx"
    assert main(f"export --policy policy.safetensors --out {path}".split()) == 0
    said = capsys.readouterr().out
    assert "(batch, 48, 64, 3)" in said
    assert "the policy was trained with bfloat16; this file computes in float32" in said
    assert main(f"export --policy p --readout cls --aspect --out {path}".split()) == 2
    assert "--readout, --aspect: the policy file fixes this" in capsys.readouterr().err
    _use_header(monkeypatch, {"backbone": "state"}, {})
    assert main(f"export --policy p --frame 48x64 --out {path}".split()) == 2
    assert "sees no pixels (encoder state)" in capsys.readouterr().err


def _use_header(
    monkeypatch: pytest.MonkeyPatch, encoder: dict[str, Any], frames: dict[str, Any]
) -> None:
    header: Any = type("Header", (), {"encoder": encoder, "frames": frames})()
    monkeypatch.setattr(export_command, "read_header", lambda path: header)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("NAME --frame 480 --out x.onnx", "--frame must be HEIGHTxWIDTH"),
        ("NAME --frame 0x40 --out x.onnx", "--frame must be HEIGHTxWIDTH"),
        ("NAME --out x.onnx", "--frame HEIGHTxWIDTH is missing"),
        ("--frame 48x64 --out x.onnx", "either the NAME of an encoder or --policy"),
        ("NAME --policy p --frame 48x64 --out x.onnx", "and not both"),
        ("NAME --frame 48x64 --out absent/x.onnx", "there is no folder absent"),
    ],
)
def test_bad_commands(
    card: str, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words.replace("NAME", card).split()]) == 2
    assert message in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "s2robot export --policy" in capsys.readouterr().out


@pytest.mark.usefixtures("fresh_home")
def test_rounded_pixels_and_half_precision_may_differ_more(
    make: Make, tmp_path: Path, shrink: Any
) -> None:
    path = write_published("voltron-vcond-vits", tmp_path, shrink("voltron-vcond-vits"))
    rounded = FrameEncoder.from_name("voltron-vcond-vits", weights=path, device="cpu")
    assert export.allowed_difference(make(), half=False) == export.AGREEMENT
    assert export.allowed_difference(rounded, half=False) == export.ROUNDED_AGREEMENT
    assert export.allowed_difference(make(), half=True) == export.HALF_AGREEMENT
