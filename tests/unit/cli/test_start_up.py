"""What a command imports before it begins its work: help, lists and refused words are quick."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from s2robot.cli.verbs import VERBS

pytestmark = pytest.mark.process

HEAVY = (
    *("torch", "torchvision", "timm", "transformers", "openvino", "onnxruntime", "nncf", "onnx"),
    *("mujoco", "gymnasium", "hydra", "h5py", "scipy", "matplotlib", "robomimic", "tensorboard"),
)
"""Libraries that take long to import, or much memory."""
_PROGRAM = """
import json, sys
from s2robot.cli.main import main
try:
    status = main(sys.argv[3:])
except SystemExit as stop:
    status = stop.code or 0
seen = sorted(name for name in json.loads(sys.argv[1]) if name in sys.modules)
with open(sys.argv[2], "w") as file:
    json.dump([status, seen], file)
"""
GRAMMAR = {"hydra": "its grammar reads settings, and it composes them"}
TYPOS = {
    "compar": {},
    "train sedd=1": GRAMMAR,
    "train policy=mpl": GRAMMAR,
    "train encoder=s2r-vit16-128": GRAMMAR,
    "train 'scales=[1,x]'": GRAMMAR,
    "train level=esy": GRAMMAR,
    "train device=gpu": GRAMMAR,
    "features readout=clss": GRAMMAR,
    "eval n=0 checkpoint=policy.safetensors": GRAMMAR,
    "sweep seed=0,a": GRAMMAR,
    "pretrain views=many": GRAMMAR,
    "collect episodes=1": GRAMMAR,
    "collect env.yaw_range=0.2": GRAMMAR,
    "decide 'scals=[1],[1,2]'": GRAMMAR,
    "decide seed=1": GRAMMAR,
    "collect env.horizon=0": {
        **GRAMMAR,
        "mujoco": "the environment checks its own arguments, and is built for it",
        "gymnasium": "the environment is one of Gymnasium's",
    },
    "bench --hz fast": {},
    "bench s2r-vit16-128": {},
    "probe --task segmentaton": {},
    "probe --level esy": {},
    "recommend pick-cube --hz 0": {},
    "recommend pick-cube --hz 30 --encoder s2r-vit16-128": {},
    "plan --difference much": {},
    "compare runs/cells --margin much": {},
    "report --metric success": {},
    "export s2r-vit16-128 --out encoder.onnx": {},
    "encode-bag in.mcap out.mcap --runtime fast": {},
    "ros2-node image:=/camera/image_raw": {},
    "ros1-node now": {},
    "ros2-camera run.mp4 --hz fast": {},
    "ros2-record run.bag /camera": {},
    "robomimic-cache in.hdf5 out.hdf5 --runtime fast": {},
    "robomimic-train --config bc.json --epochs many": {},
    "reconstruct --target vc1-vitl --source vc1-vit": {},
    "encoders --mach r3m": {},
    "encoders s2r-vit16-128": {},
    "doctor now": {},
    "demo --level esy": {},
}
"""Wrong command lines with the libraries that they import, and why."""
QUICK = {
    "": {},
    "--version": {},
    "encoders": {},
    "encoders --json": {},
    "doctor": {"mujoco": "it draws, to name the renderer"},
}
"""Right command lines that need no PyTorch, with the libraries that they import, and why."""


def imports_of(command: str, folder: Path) -> tuple[int, list[str]]:
    """Run a command in a fresh interpreter; return its status and the heavy libraries it has."""
    found = folder / "found.json"
    words = [sys.executable, "-c", _PROGRAM, json.dumps(HEAVY), str(found), *shlex.split(command)]
    subprocess.run(words, cwd=folder, env=dict(os.environ), check=True, capture_output=True)
    status, seen = json.loads(found.read_text())
    return status, seen


@pytest.mark.parametrize("verb", VERBS)
def test_a_help_imports_no_heavy_library(verb: str, tmp_path: Path) -> None:
    assert imports_of(f"{verb} --help", tmp_path) == (0, [])


@pytest.mark.parametrize("command", QUICK)
def test_lists_and_checks_of_the_machine_import_no_pytorch(command: str, tmp_path: Path) -> None:
    assert imports_of(command, tmp_path) == (0, sorted(QUICK[command]))


@pytest.mark.parametrize("command", TYPOS)
def test_a_wrong_word_is_refused_before_pytorch_is_imported(command: str, tmp_path: Path) -> None:
    assert imports_of(command, tmp_path) == (2, sorted(TYPOS[command]))


def test_every_command_with_flags_has_a_parser_of_its_own() -> None:
    assert [verb.name for verb in VERBS.values() if not verb.hydra and verb.parse is None] == []


@pytest.mark.parametrize(
    "module",
    ["s2robot", "s2robot.envs", "s2robot.backbones", "s2robot.runtimes", "s2robot.encoder.spec"],
)
def test_packages_import_no_heavy_library_before_they_are_used(module: str) -> None:
    program = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout == "[]\n"
