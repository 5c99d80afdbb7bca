"""Every example runs on a small budget, prints what it promises, and is listed and short."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import ROOT

from s2robot.preprocessing.video_files import read_video

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(path.name for path in (EXAMPLES / "notebooks").glob("*.ipynb"))


def without_numbers(line: str) -> str:
    """Replace every number, path and name of a failure stage by a mark."""
    line = re.sub(r"\S*rollouts/\S+", "PATH", line)
    line = re.sub(r"failed: .*", "failed: STAGES", line)
    return re.sub(r"[-+]?\d[\d.]*(e[-+]\d+)?", "N", line.strip())


def check_promise(name: str, printed: str) -> None:
    """Compare the lines under "Expected output" with what was printed, but for numbers."""
    text = (EXAMPLES / name).read_text(encoding="utf-8").split('"""')[1]
    promised = text.partition("Expected output")[2].splitlines()[1:]
    lines = {without_numbers(line) for line in printed.splitlines()}
    missing = {without_numbers(line) for line in promised if line.strip()} - lines
    assert not missing, f"{name} promises {missing}, but prints:\n{printed}"


class Runner:
    """Run examples in this process, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, *argv: object) -> str:
        """Run an example with arguments; return what it printed."""
        printed = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(),
        ):
            patch.chdir(self.folder)
            warnings.filterwarnings("error", ".* is now called ", FutureWarning)
            patch.setattr(sys, "argv", [name, *map(str, argv)])
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        check_promise(name, printed.getvalue())
        return printed.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A policy of one epoch by train_policy.py, and what that printed."""
    folder = tmp_path_factory.mktemp("policy")
    run = Runner(folder)
    printed = run("train_policy.py", "--size", 128, "--episodes", 3, "--epochs", 1)
    return folder / "policy.safetensors", printed


def numbers(pattern: str, text: str) -> list[float]:
    """Return the groups of a pattern that a text must contain, as numbers."""
    found = re.search(pattern, text)
    assert found is not None, f"{pattern!r} is not in:\n{text}"
    return [float(group) for group in found.groups()]


def test_a_promise_that_is_not_kept_is_found() -> None:
    check_promise("ros_callback.py", "stamp 1.5 s, frame camera: embedding (2, 7)\n")
    with pytest.raises(AssertionError, match="promises"):
        check_promise("ros_callback.py", "stamp 1.5 s, camera: embedding (1, 384)\n")


def test_embed_frames_writes_one_row_a_frame(run: Runner) -> None:
    out = run("embed_frames.py", "--count", 3, "--height", 128, "--width", 160)
    embeddings = np.load(run.folder / "embeddings.npy")
    assert embeddings.shape == (3, 384)
    assert np.isfinite(embeddings).all()
    assert np.ptp(embeddings, axis=0).any()  # frames differ
    assert "frames: (3, 128, 160, 3) uint8" in out


def test_stream_camera_is_exact_and_reuses_tiles(run: Runner) -> None:
    out = run("stream_camera.py", "--count", 4)
    (rate,) = numbers(r"cache: (\d+)% of all", out)
    assert 0 < rate < 100
    assert numbers(r"median ([\d.]+) ms", out)[0] > 0
    assert numbers(r"without a cache: (\S+)", out)[0] < 1e-5


def test_wrap_any_module_equals_the_module(run: Runner) -> None:
    out = run("wrap_any_module.py")
    assert "embeddings (2, 384)" in out
    assert numbers(r"scale 1: (\S+)", out)[0] < 1e-4


def test_own_weights_loads_through_its_card(run: Runner) -> None:
    out = run("own_weights.py")
    assert json.loads((run.folder / "own_weights/mine.json").read_text())["name"] == "mine"
    assert "file:own_weights/mine.json, scales (1, 2): embeddings (2, 384)" in out


def test_multi_camera_equals_single_cameras(run: Runner) -> None:
    out = run("multi_camera.py")
    assert "both cameras joined: (1, 768)" in out
    assert numbers(r"per camera: (\S+)", out)[0] < 1e-5


def test_train_policy_writes_a_policy_that_loads(trained: tuple[Path, str]) -> None:
    from s2robot.policies.checkpoint import load_policy

    path, out = trained
    policy, header = load_policy(path)
    assert header.encoder["backbone"] == "s2r-vitt16-128"
    assert policy.action_dim == 4
    assert 0 < numbers(r"held-out demonstrations: ([\d.]+) mm", out)[0] < 100


def test_run_policy_prints_a_rate_with_its_interval(run: Runner, trained: tuple[Path, str]) -> None:
    video = run.folder / "rollouts/first.mp4"
    out = run("run_policy.py", trained[0], "--episodes", 2, "--horizon", 3, "--video", video)
    rate, low, high = numbers(r"of 2 episodes: (\d+)% \[(\d+)%, (\d+)%\]", out)
    assert low <= rate <= high
    assert len(list(read_video(video))) == 3


def test_run_policy_says_how_to_get_a_policy(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("run_policy.py")
    assert "examples/train_policy.py writes one" in capsys.readouterr().err


def test_own_environment_acts(run: Runner, trained: tuple[Path, str]) -> None:
    out = run("own_environment.py", trained[0], "--steps", 2)
    action = numbers(r"dx (\S+), dy (\S+), dz (\S+), gripper (\S+)", out)
    assert max(map(abs, action)) <= 1


def test_own_task_is_reached_by_its_expert(run: Runner) -> None:
    out = run("own_task.py")
    (steps,) = numbers(r"reaches the goal in (\d+) steps; frames are \(96, 128\)", out)
    assert 1 <= steps <= 16


def test_own_dataset_reports_an_error_and_no_success(run: Runner) -> None:
    out = run("own_dataset.py", "--episodes", 5, "--epochs", 2)
    error, baseline = numbers(r"action error: ([\d.]+); of always the mean action: ([\d.]+)", out)
    assert 0 < error < 2
    assert 0 < baseline < 2
    assert "success" not in out


@pytest.mark.runtime
def test_export_onnx_equals_the_encoder(run: Runner) -> None:
    pytest.importorskip("onnxruntime")
    out = run("export_onnx.py", "--height", 96, "--width", 128, "--scales", "[1]")
    assert (run.folder / "encoder.onnx").stat().st_size > 1e6
    assert "embeddings (1, 192)" in out
    assert numbers(r"from the encoder: (\S+)", out)[0] < 1e-4


def test_ros_callback_reads_a_message(run: Runner) -> None:
    assert run("ros_callback.py") == "stamp 12.500000000 s, frame camera: embedding (1, 384)\n"


def test_encode_bag_writes_embeddings_that_are_read_back(run: Runner) -> None:
    pytest.importorskip("rosbags")
    from s2robot.data.rosbag import read_embeddings

    out = run("encode_bag.py")
    found = read_embeddings(run.folder / "embeddings.mcap")
    assert found.values.shape == (5, 384)
    assert np.diff(found.stamps_ns).tolist() == [100_000_000] * 4
    assert "5 embeddings of 5 messages" in out


def test_compare_encoders_prints_a_paired_interval(run: Runner) -> None:
    out = run("compare_encoders.py", "--size", 128, "--episodes", 6, "--resets", 6)
    pattern = r"minus s2r-vitt16-128: (\S+) mm \[(\S+), (\S+)\]"
    estimate, low, high = numbers(pattern, out)
    assert low <= estimate <= high
    assert len(re.findall(r"on (\d+) frames", out)) == 2


SMALL_BUDGET: dict[str, dict[str, Any]] = {
    "what_each_scale_sees.ipynb": {"SIZE": 128, "SCALES": (1, 2)},
    "larger_or_more_scales.ipynb": {"SMALL": "random/vitt16-128", "LARGE": "s2r-vitt16-128"},
}
"""What replaces the values of a notebook's cell of parameters."""


def code_cells(name: str) -> list[dict[str, Any]]:
    """Return the code cells of a notebook."""
    content = json.loads((EXAMPLES / "notebooks" / name).read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def run_cells(name: str) -> list[str]:
    """Run the code cells of a notebook in this process; return what each printed."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for cell in code_cells(name):
        with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
            warnings.filterwarnings("error", ".* is now called ", FutureWarning)
            exec(compile("".join(cell["source"]), name, "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(SMALL_BUDGET[name]) <= set(namespace)
            namespace.update(SMALL_BUDGET[name])
        printed.append(out.getvalue())
    return printed


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return the number of things drawn in each figure that a notebook shows."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    shown: list[int] = []

    def show() -> None:
        figure = plt.gcf()
        figure.canvas.draw()
        shown.append(sum(len(axes.get_children()) for axes in figure.axes))
        plt.close(figure)

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.chdir(EXAMPLES / "notebooks")
    yield shown
    plt.close("all")


def test_notebook_shows_tiles_cube_and_tokens(figures: list[int]) -> None:
    printed = "".join(run_cells("what_each_scale_sees.ipynb"))
    assert len(figures) == 3
    assert numbers(r"the cube covers (\d+) pixels", printed)[0] > 9
    assert "scales (1, 2): 5 tiles, 3.74 GFLOP per frame, embedding (8, 8, 384)" in printed


def test_notebook_prints_the_numbers_of_the_recorded_result(figures: list[int]) -> None:
    """What is stored in the notebook is what its cells print today."""
    name = "larger_or_more_scales.ipynb"
    printed = run_cells(name)
    compared = 0
    for cell, text in zip(code_cells(name), printed, strict=True):
        if "SMALL" not in "".join(cell["source"]):
            stored = [line for out in cell["outputs"] for line in out.get("text", [])]
            assert text == "".join(stored)
            compared += bool(text)
    assert compared == 4
    assert len(figures) == 1
    assert "random/vitt16-128" in printed[1]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_notebooks_are_small_complete_and_name_no_machine(name: str) -> None:
    path = EXAMPLES / "notebooks" / name
    assert path.stat().st_size < 300_000
    assert all(cell["execution_count"] for cell in code_cells(name))
    kinds = {(o["output_type"], o.get("name")) for c in code_cells(name) for o in c["outputs"]}
    assert kinds <= {("stream", "stdout"), ("display_data", None)}
    assert "site-packages" not in path.read_text(encoding="utf-8")


def test_ros2_subscriber_is_run_where_rclpy_is() -> None:
    text = (ROOT / "tests/ros/test_ros2_camera.py").read_text(encoding="utf-8")
    assert 'check_promise("ros2_subscriber.py"' in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_example_has_a_test_a_help_text_and_20_to_60_lines(name: str, run: Runner) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert 20 <= len(lines) <= 60
    assert "Expected output" in text
    assert f'"{name}"' in Path(__file__).read_text(encoding="utf-8")
    if "argparse" in text:
        with pytest.raises(SystemExit, match="0"):
            run(name, "--help")


def test_every_example_is_listed() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [*SCRIPTS, *(f"notebooks/{name}" for name in NOTEBOOKS)]
    linked = re.findall(r"\]\((\S+?)\)", readme)
    assert sorted(linked) == sorted(files)


def test_ruff_finds_nothing() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, EXAMPLES], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
