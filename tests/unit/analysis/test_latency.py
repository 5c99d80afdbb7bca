"""``s2robot bench``: honest percentiles, a verdict that can fail, and the path it times."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from support.helpers import hide
from support.small_encoders import encoder_of, picture, scenes
from support.tiny_models import write_tiny_model

from s2robot.analysis.latency import WARM_UP_FRAMES, measure
from s2robot.cli.bench import main
from s2robot.cli.main import main as s2robot
from s2robot.data.frame_sources import frames_from
from s2robot.errors import CorruptFileError


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    defaults = ["--frame", "64x64", "--frames-from", "noise", "--count", "20", "--json"]
    status = main([*words, *defaults])
    return status, json.loads(capsys.readouterr().out)


def test_rows_and_record(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    status, record = bench(capsys, name, "--runtime", "openvino", "--reuse", "--out", str(out))
    assert status == 0
    assert json.loads(out.read_text())["rows"] == record["rows"]
    names = [row["path"] for row in record["rows"]]
    assert names == ["eager (baseline)", "openvino", "openvino, reuse"]
    assert record["tiles"] == 5
    assert all(row["frames"] == 20 for row in record["rows"])
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in record["rows"])
    assert record["rows"][1]["difference"] < 1e-4
    assert record["rows"][2]["hit_rate"] == 0.0  # noise never stands still
    assert torch.__version__.startswith(record["provenance"]["versions"]["torch"])


def test_a_rate_is_held_or_not(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, record = bench(capsys, name, "--runtime", "eager", "--hz", "2")
    assert (status, record["rows"][0]["holds"], record["rows"][0]["late"]) == (0, True, 0)
    status, record = bench(capsys, name, "--runtime", "eager", "--hz", "10000")
    assert (status, record["rows"][0]["holds"], record["rows"][0]["late"]) == (1, False, 20)


def test_the_unasked_baseline_is_not_judged(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, record = bench(capsys, name, "--runtime", "openvino", "--hz", "10000")
    assert [row["path"] for row in record["rows"]] == ["eager (baseline)", "openvino"]


def test_a_missing_runtime_is_told_and_fails(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "openvino")
    status, record = bench(capsys, name, "--runtime", "openvino")
    assert status == 1
    assert "pip install" in record["left_out"]["openvino"]
    assert [row["path"] for row in record["rows"]] == ["eager (baseline)"]


def test_calibration_on_the_way(
    name: str, capsys: pytest.CaptureFixture[str], fresh_home: Path
) -> None:
    status, record = bench(
        capsys, name, "--runtime", "openvino-int8", "--calibrate", "noise", "--scales", "1"
    )
    assert status == 0
    assert 0.9 < record["rows"][1]["cosine_min"] < 1.0


def test_table_for_people(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--frame", "64x64", "--frames-from", "noise", "--count", "12", "--hz", "10000"]
    assert main([name, *words, "--runtime", "eager"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "5 tiles" in printed
    assert "p95 ms" in printed
    assert "FAIL" in printed


def test_measured_times_are_the_paths_own() -> None:
    frames = np.zeros((WARM_UP_FRAMES + 10, 8, 8, 3), dtype=np.uint8)

    def path(seconds: float, value: float) -> Any:
        def run(_: np.ndarray) -> torch.Tensor:
            time.sleep(seconds)
            return torch.tensor([[1.0, value, 3.0]])

        return run

    slow, fast = measure({"slow": path(0.02, 2.0), "fast": path(0.002, 2.5)}, frames)
    assert (slow.frames, slow.speedup, slow.difference) == (10, 1.0, 0.0)
    assert slow.p50_ms >= 20
    assert fast.p50_ms >= 2
    assert fast.speedup > 1
    spread = np.tile([1.0, 2.0, 3.0], len(frames)).std(ddof=1)
    assert fast.difference == pytest.approx(0.5 / spread, rel=1e-6)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--frame", "640"], "'640' is not HEIGHTxWIDTH"),
        (["--hz", "0"], "'0' is not a rate in Hz"),
        (["--count", "-3"], "'-3' is not a whole number of at least 1"),
        (["--runtime", "tensorrt"], "unknown runtime"),
    ],
)
def test_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        s2robot(["bench", "--help"])
    assert "s2robot bench s2r-vitt16-128 --scales '[1,2,3]' --hz 30" in capsys.readouterr().out


# -------------------------------------------------------------------------------- single frames
@pytest.mark.parametrize("runtime", ["eager", "openvino"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scales": (0.5, 1, 3), "readout": "mean"},
        {"scales": (2, 1), "input_mode": "interpolate"},
        {"geometry": "padded", "scales": (1, 2), "readout": "mean"},
    ],
)
def test_single_frames_are_the_encoders(runtime: str, settings: dict[str, Any]) -> None:
    encoder = encoder_of(**settings).with_runtime(runtime)
    single = encoder.single_frame(70, 90)
    for frame in picture(4, 70, 90):
        assert torch.equal(single(frame), encoder(frame))


def test_single_frames_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"made for frames of shape \(70, 90, 3\); got \(90, 70"):
        encoder_of().single_frame(70, 90)(picture(1, 90, 70)[0])


# -------------------------------------------------------------------------------- frame sources
def test_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    for i in (2, 0, 1):
        iio.imwrite(tmp_path / f"{i}.png", np.full((40, 60, 3), 50 * i, dtype=np.uint8))
    frames = frames_from(str(tmp_path), 20, 30, 5)
    assert frames.shape == (3, 20, 30, 3)
    assert [frame.max() for frame in frames] == [0, 50, 100]


def test_video(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.mp4", scenes(12, 64), fps=30)
    frames = frames_from(str(tmp_path / "a.mp4"), 64, 64, 8)
    assert frames.shape == (8, 64, 64, 3)
    assert abs(frames.astype(int) - scenes(12, 64)[:8]).mean() < 10  # compressed


@pytest.mark.slow
def test_episodes_go_on_after_each_other() -> None:
    frames = frames_from("pick-cube", 48, 64, 20)
    assert frames.shape == (20, 48, 64, 3)
    assert len(np.unique(frames.reshape(20, -1), axis=0)) > 10


@pytest.mark.slow
def test_episodes_of_a_level() -> None:
    easy, precise = (frames_from(f"pick-cube/{level}", 48, 48, 1) for level in ("easy", "precise"))
    assert np.array_equal(easy, frames_from("pick-cube", 48, 48, 1))
    assert not np.array_equal(easy, precise)
    with pytest.raises(ValueError, match="unknown level 'precis'"):
        frames_from("pick-cube/precis", 48, 48, 1)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="use pick-cube or noise"):
        frames_from(str(tmp_path / "missing.mp4"), 8, 8, 1)
    with pytest.raises(ValueError, match="holds no pictures"):
        frames_from(str(tmp_path), 8, 8, 1)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="neither a picture nor a folder of pictures"):
        frames_from(str(tmp_path / "a.txt"), 8, 8, 1)
    (tmp_path / "b.png").write_text("x")
    with pytest.raises(CorruptFileError, match="cannot be read as a picture"):
        frames_from(str(tmp_path), 8, 8, 1)
    (tmp_path / "c.mp4").write_text("x")
    with pytest.raises(CorruptFileError, match="cannot be read as a video"):
        frames_from(str(tmp_path / "c.mp4"), 8, 8, 1)
