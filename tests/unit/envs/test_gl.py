from __future__ import annotations

import os
import subprocess
import sys

import pytest

from s2robot.envs import gl
from s2robot.envs.gl import RenderingError, select_gl


def test_unset_backend_prefers_egl_then_osmesa(monkeypatch):
    for present, chosen in (({"egl", "osmesa"}, "egl"), ({"osmesa"}, "osmesa"), (set(), "")):
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.setattr(gl, "_has_library", present.__contains__)
        assert select_gl() == chosen
        assert os.environ.get("MUJOCO_GL", "") == chosen


def test_chosen_backend_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(gl, "_has_library", lambda _: False)
    with pytest.raises(RenderingError, match=r"libOSMesa is missing.*apt-get install"):
        select_gl()


def _run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.process
def test_wrong_mujoco_gl_is_explained_on_import():
    done = _run("import s2robot.envs", MUJOCO_GL="elg")
    assert done.returncode != 0
    assert "unknown MUJOCO_GL 'elg'" in done.stderr
    assert "did you mean 'egl'" in done.stderr


@pytest.mark.process
def test_physics_runs_without_gl_and_rendering_says_what_is_missing():
    code = (
        "import s2robot.envs.pick_cube as p\n"
        "env = p.PickCubeEnv(); env.reset(seed=0); env.step(env.action_space.sample())\n"
        "print('stepped'); env.render_frame('front', 32, 32)\n"
    )
    done = _run(code, MUJOCO_GL="disable")
    assert "stepped" in done.stdout
    assert "RenderingError: no GL context with MUJOCO_GL=disable" in done.stderr
    assert "apt-get install" in done.stderr


@pytest.mark.process
def test_importing_mujoco_first_does_no_harm():
    code = (
        "import mujoco\nfrom s2robot.envs.pick_cube import PickCubeEnv\n"
        "env = PickCubeEnv(); env.reset(seed=0); print(env.render_frame('front', 32, 32).std() > 5)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.process
def test_torch_can_be_imported_after_drawing():
    """Mesa's LLVM before Triton's would end the process with a segmentation fault."""
    program = (
        "from s2robot.envs.rendering import gl_info; gl_info(); import torch, torchvision; print(1)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
