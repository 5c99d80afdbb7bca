from __future__ import annotations

import os
import subprocess
import sys
from typing import ClassVar

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


SOFTWARE, CARD = gl.EglDevice(True), gl.EglDevice(False)
GPUS = [gl.EglDevice(False, number) for number in range(3)]


@pytest.mark.parametrize(
    ("devices", "visible", "order"),
    [
        ([SOFTWARE, *GPUS], None, [1, 2, 3, 0]),
        ([SOFTWARE, *GPUS], "2,0", [3, 1, 2, 0]),
        ([*GPUS[::-1], SOFTWARE], "7", [2, 1, 0, 3]),  # numbers of the process, not the machine
        ([SOFTWARE, *GPUS], "GPU-8932f937", [1, 2, 3, 0]),
        ([GPUS[0], SOFTWARE], "-1", [1, 0]),
        ([SOFTWARE, CARD], None, [1, 0]),
        ([], "0", []),
    ],
)
def test_gpus_are_tried_before_software_and_the_visible_one_first(devices, visible, order):
    assert gl.device_order(devices, visible) == order


@pytest.fixture
def egl(monkeypatch):
    """MuJoCo's EGL module with a stand-in for its context; notes the devices that are tried."""
    pytest.importorskip("mujoco.egl")
    import mujoco.egl as module

    class Context:
        broken: ClassVar[set[str]] = set()
        tried: ClassVar[list[str | None]] = []

        def __init__(self, *_):
            Context.tried.append(os.environ.get("MUJOCO_EGL_DEVICE_ID"))
            if Context.tried[-1] in Context.broken:
                module.EGL_DISPLAY = "no display"
                raise ImportError("Cannot initialize a EGL device display")

    monkeypatch.setattr(module, "EGL_DISPLAY", None)
    monkeypatch.setattr(module, "GLContext", Context)
    monkeypatch.setattr(gl, "_drawing", lambda make: make(64, 64))
    monkeypatch.setattr(gl, "_egl_devices", lambda: [SOFTWARE, *GPUS[:2]])
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Context


def test_a_device_that_does_not_draw_is_passed_over(egl):
    egl.broken = {"1"}
    gl._egl_context()
    assert egl.tried == ["1", "2"]
    assert "MUJOCO_EGL_DEVICE_ID" not in os.environ  # children choose for themselves


def test_software_draws_where_no_gpu_does(egl):
    egl.broken = {"1", "2"}
    gl._egl_context()
    assert egl.tried == ["1", "2", None]


def test_a_device_that_the_user_names_is_the_only_one(egl, monkeypatch):
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "0")
    gl._egl_context()
    assert egl.tried == ["0"]


@pytest.mark.parametrize(("gpu", "software"), [(True, True), (True, False), (False, True)])
def test_software_beside_a_gpu_is_told_with_the_remedy(gpu, software, monkeypatch, recwarn):
    monkeypatch.setattr(gl, "gpu_for_drawing", lambda: gpu)
    monkeypatch.setattr(gl, "describe_context", lambda: {"software": software})
    gl._warn_of_software()
    assert [("NVIDIA_DRIVER_CAPABILITIES=all" in str(w.message)) for w in recwarn] == (
        [True] if gpu and software else []
    )


def test_a_silent_worker_does_not_repeat_the_warning(monkeypatch, recwarn):
    monkeypatch.setattr(gl, "gpu_for_drawing", lambda: True)
    monkeypatch.setattr(gl, "describe_context", lambda: {"software": True})
    monkeypatch.setattr(gl, "is_silent", lambda: True)
    gl._warn_of_software()
    assert not recwarn.list


def test_hidden_gpus_are_no_gpus_for_drawing(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(gl.Path, "glob", lambda *_: pytest.fail("looked"))
    assert not gl.gpu_for_drawing()


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
