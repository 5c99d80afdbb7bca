"""``s2robot reconstruct``: results, messages, frames in blocks."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.recorded_data import CAMERAS, write_robomimic
from support.small_encoders import scenes
from support.tiny_models import write_tiny_model

from s2robot.analysis.reconstruction.study import Study
from s2robot.cli.main import main as s2robot
from s2robot.cli.reconstruct import cautions, frames_in_blocks, main, short_names
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.datasets.opening import open_dataset
from s2robot.utils.io import read_json, sha256_file, write_json


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Cards of three models whose weights differ; "huge" is nearer to "big" than "small" is."""
    folder = tmp_path_factory.mktemp("models")
    noise = {"small": 0.5, "big": 0.0, "huge": 0.1}
    return {stem: f"file:{changed(folder, stem, share)}" for stem, share in noise.items()}


def changed(folder: Path, stem: str, share: float) -> Path:
    """The tiny model with that share of noise in its weights."""
    card = write_tiny_model(folder, stem)
    weights, generator = card.with_suffix(".safetensors"), torch.Generator().manual_seed(0)
    state = load_file(weights)
    for tensor in state.values():
        noise = torch.randn(tensor.shape, generator=generator)
        tensor.add_(share * tensor.float().std(correction=0) * noise)
    save_file(state, weights)
    write_json(card, {**read_json(card), "sha256": sha256_file(weights)})
    return card


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    for i, frame in enumerate(scenes(48, 64)):
        iio.imwrite(folder / f"{i:02d}.png", frame)
    return str(folder)


def command_line(names: dict[str, str], pictures: str, out: Path, *more: str) -> list[str]:
    frames = ["--frames", pictures, "--block", "4", "--scales", "1", "1,2", "--device", "cpu"]
    return ["--target", names["big"], "--source", names["small"], *frames, "--out", str(out), *more]


@pytest.mark.slow
def test_command(
    names: dict[str, str],
    pictures: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ("--reference", names["huge"])
    assert main(command_line(names, pictures, tmp_path, *more, "--json")) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "results.json").read_text())
    assert [row["scales"] for row in record["rows"]] == [[1], [1, 2], [1]]
    assert [row["reference"] for row in record["rows"]] == [False, False, True]
    assert record["frames"] == {"from": [pictures], "height": 64, "width": 64}  # of scale 2
    assert record["blocks"] == {"frames": 4, "test": 3}
    assert record["config"]["ridge"] == 1e-6
    coverage = [row["train_ratio"] for row in record["rows"]]
    assert coverage[0] < coverage[1] < coverage[2] == 1.0
    assert all(0.1 < row["train_information"] < 20 for row in record["rows"])
    assert len(record["words"]) == 2
    assert torch.__version__.startswith(record["provenance"]["versions"]["torch"])
    assert iio.imread(tmp_path / "information.png").shape[2] >= 3

    assert s2robot(["reconstruct", *command_line(names, pictures, tmp_path, *more)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "36 training and 12 test frames (3 blocks)" in printed
    models = Path(names["big"]).parent.name
    assert f"{models}/small (1, 2) recovers I = " in printed
    assert f"of {models}/big, " in printed
    assert "% of what" in printed
    assert "caution: the intervals come from 3 test blocks" in printed


def test_command_of_other_tokens(
    names: dict[str, str],
    pictures: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ("--target-layer", "0", "--per-place", "--input-mode", "interpolate", "--frame", "40x60")
    assert main(command_line(names, pictures, tmp_path, *more, "--json")) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["target"]["taps"] == [0]
    assert record["sources"][0]["input_mode"] == "interpolate"
    assert record["frames"]["height"] == 40
    assert record["config"]["per_place"]
    assert record["rows"][0]["train_ratio"] is None


def test_names_of_cards_are_shortened_while_they_differ() -> None:
    names = ["file:runs/big/encoder.json", "vc1-vitb", "timm/a.b", "file:/c/encoder.json"]
    assert short_names(names) == ["big/encoder", "vc1-vitb", "timm/a.b", "c/encoder"]
    assert short_names([names[0], names[0]]) == ["big/encoder"] * 2
    same = [names[0], "file:other/big/encoder.json"]
    assert short_names(same) == same


def test_cautions(study: Study) -> None:
    found = " ".join(cautions(study))
    assert "2 test blocks" in found
    assert "training tokens are few" not in found  # 576 for 48 channels
    few = Study(**{**vars(study), "train_tokens": 479})
    found = cautions(few)[0]
    assert "479 training tokens are few for the 48 channels of one prefix (1, 2)" in found


@pytest.mark.parametrize(
    "more, message",
    [
        (["--scales", "1,x"], "'1,x' is not a set of scales"),
        (["--scales", "0"], "'0' is not a set of scales"),
        (["--count", "0"], "'0' is not a whole number of at least 1"),
        (["--frame", "64"], "'64' is not HEIGHTxWIDTH"),
        (["--tokens", "all"], "unknown --tokens 'all'; available"),
    ],
)
def test_bad_arguments(
    more: list[str], message: str, names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--target", names["big"], "--source", names["small"], *more])
    assert message in capsys.readouterr().err


def test_mistakes_are_one_line(
    names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["reconstruct", "--out", str(tmp_path), "--frames", "noise", "--device", "cpu"]
    pair = ["--target", names["big"], "--source", names["small"], "--scales", "1"]
    assert s2robot([*start, "--target", "s2r-vitt16-12", "--source", names["small"]]) == 2
    assert "did you mean 's2r-vitt16-128'" in capsys.readouterr().err
    assert s2robot([*start, *pair, "--count", "30"]) == 2
    assert "30 frames in 2 blocks are too few" in capsys.readouterr().err
    assert s2robot([*start, *pair, "--ridge", "-1"]) == 2
    assert "ridge must be a number from 0" in capsys.readouterr().err
    assert s2robot([*start, *pair, "--target-layer", "9"]) == 2
    assert "has 2 layers" in capsys.readouterr().err


def test_frames_of_several_sources_are_in_blocks_of_their_own(
    pictures: str, tmp_path: Path
) -> None:
    frames, blocks = frames_in_blocks([pictures, pictures], 32, 32, 11, 4, tmp_path)
    assert frames.shape == (22, 32, 32, 3)
    assert blocks.tolist() == [0] * 4 + [1] * 4 + [2] * 3 + [3] * 4 + [4] * 4 + [5] * 3


def test_blocks_of_recorded_data_are_its_episodes_whichever_camera(tmp_path: Path) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=5))
    with pytest.raises(ValueError, match=r"has 2 cameras: .*name those of the study"):
        frames_in_blocks([path], 32, 32, 30, 4, tmp_path)
    one = frames_in_blocks([path], 32, 32, 30, 4, tmp_path, DataChoice(cameras=CAMERAS[:1]))
    assert one[1].tolist() == [number for number in range(5) for _ in range(6)]
    data = open_dataset(path)
    whole = np.stack([frame for e in range(5) for frame in data.frames(CAMERAS[0], e)])
    np.testing.assert_array_equal(one[0], whole)
    both = frames_in_blocks([path, path], 16, 24, 10, 4, tmp_path, DataChoice(cameras=CAMERAS))
    assert both[0].shape == (40, 16, 24, 3)
    assert both[1].tolist() == [*sorted([*range(5)] * 2) * 2, *sorted([*range(5, 10)] * 2) * 2]


@pytest.mark.slow
def test_frames_of_recorded_data_need_no_actions(
    names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=8)
    with h5py.File(path, "a") as file:
        for group in file["data"].values():  # pyright: ignore[reportAttributeAccessIssue]
            del group["actions"]
    words = ["--target", names["big"], "--source", names["small"], "--scales", "1"]
    frames = ["--frames", str(path), "--cameras", "agentview", "--out", str(tmp_path / "out")]
    assert main([*words, *frames, "--device", "cpu", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["frames"]["cameras"] == ["agentview"]
    assert record["test_blocks"] == 2
    assert s2robot(["reconstruct", *words, "--frames", "noise", "--cameras", "a"]) == 2
    assert "--cameras a chooses from recorded data, and noise is none" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
def test_blocks_of_pick_cube_are_its_episodes(tmp_path: Path) -> None:
    frames, blocks = frames_in_blocks(["pick-cube/precise"], 48, 48, 40, 20, tmp_path)
    assert frames.shape == (40, 48, 48, 3)
    first = np.flatnonzero(np.diff(blocks))[0] + 1
    assert first not in (20, 40)
    assert 2 <= len(np.unique(blocks)) < 20
    jumps = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert jumps[first - 1] > np.median(jumps)  # the arm starts anew


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        s2robot(["reconstruct", "--help"])
    assert "s2robot reconstruct --target vc1-vitl --source vc1-vitb" in capsys.readouterr().out
