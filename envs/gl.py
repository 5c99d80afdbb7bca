"""Choice of the GL backend that draws MuJoCo's scenes, and making of its context.

``import s2robot.envs`` calls ``select_gl`` before MuJoCo is imported, since MuJoCo does not import
with a wrong ``MUJOCO_GL``. This module therefore imports MuJoCo only inside functions.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import importlib
import importlib.util
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.errors import S2RobotError, unknown
from s2robot.utils.workers import is_silent

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_OTHER_BACKENDS = ("glfw", "disable")
_SYNONYMS = ("glx", "enable", "enabled", "on", "true", "1", "disabled", "off", "false", "0")
_FIX = (
    "Install a software renderer (Debian, Ubuntu: `apt-get install libegl1 libgl1-mesa-dri`, or "
    "`apt-get install libosmesa6`) and set MUJOCO_GL=egl or MUJOCO_GL=osmesa, or unset it to let "
    "s2robot choose"
)
GPU_FIX = (
    "Install the EGL driver of the GPU (NVIDIA on Debian, Ubuntu: `apt-get install "
    "libnvidia-gl-VERSION` with the driver's version; AMD, Intel: `libgl1-mesa-dri`); a container "
    "needs NVIDIA_DRIVER_CAPABILITIES=all, a user the group render"
)
"""What to do where a GPU does not draw."""
_DEVICE = "MUJOCO_EGL_DEVICE_ID"
_EXTENSIONS, _CUDA_DEVICE = 0x3055, 0x323A  # EGL_EXTENSIONS, EGL_CUDA_DEVICE_NV
_VENDORS = ("0x10de", "0x1002", "0x8086")  # NVIDIA, AMD, Intel
_SOFTWARE_NAMES = ("llvmpipe", "softpipe", "swrast", "software rasterizer")


class RenderingError(S2RobotError):
    """This machine cannot draw; the message states what to install or set."""


torch_follows = True
"""Whether this process may import PyTorch after it has drawn; see ``load_triton_first``. Processes
that never do set it to False and save 75 MB."""


def select_gl() -> str:
    """Choose MuJoCo's GL backend, unless ``MUJOCO_GL`` names one.

    Returns:
        The backend in use: ``egl`` where libEGL is found, else ``osmesa``, else ``""`` (physics
        works; rendering raises).

    Raises:
        ValueError: ``MUJOCO_GL`` is not a name that MuJoCo knows.
        RenderingError: ``MUJOCO_GL`` names a backend whose library is missing.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if sys.platform != "linux":
        return chosen
    if not chosen:
        return _select_found()
    if chosen not in (*_LIBRARIES, *_OTHER_BACKENDS, *_SYNONYMS):
        error = unknown("MUJOCO_GL", chosen, (*_LIBRARIES, *_OTHER_BACKENDS))
        raise ValueError(f"{error}. Unset it to let s2robot choose")
    if chosen in _LIBRARIES and not _has_library(chosen):
        raise RenderingError(f"MUJOCO_GL={chosen}, but lib{_LIBRARIES[chosen]} is missing. {_FIX}")
    return chosen


def _select_found() -> str:
    for backend in _LIBRARIES:
        if _has_library(backend):
            os.environ["MUJOCO_GL"] = backend
            return backend
    return ""


def _has_library(backend: str) -> bool:
    return ctypes.util.find_library(_LIBRARIES[backend]) is not None


def make_context() -> Any:
    """Return a GL context without a display, which is current and draws.

    Raises:
        RenderingError: no context can be made.
    """
    backend = select_gl()
    load_triton_first()
    try:
        context = _egl_context() if backend == "egl" else _drawing(_context_class(backend))
    except Exception as error:  # each backend raises its own types
        cause = f"{type(error).__name__}: {error}"
        raise RenderingError(
            f"no GL context with MUJOCO_GL={backend or '(unset)'} ({cause}). {_FIX}"
        ) from error
    _warn_of_software()
    return context


def release_context() -> None:
    """Leave the thread without a context, so that another may draw in it; with EGL alone."""
    if select_gl() != "egl":
        return
    egl = importlib.import_module("mujoco.egl")
    none = egl.EGL.EGL_NO_SURFACE
    egl.EGL.eglMakeCurrent(egl.EGL_DISPLAY, none, none, egl.EGL.EGL_NO_CONTEXT)


def _drawing(make: Callable[[int, int], Any]) -> Any:
    """Return a context that is current and draws."""
    import mujoco

    context = make(64, 64)
    context.make_current()
    empty = mujoco.MjModel.from_xml_string("<mujoco/>")
    mujoco.MjrContext(empty, mujoco.mjtFontScale.mjFONTSCALE_100).free()
    return context


def _egl_context() -> Any:
    """Return a context on the best EGL device that draws; MUJOCO_EGL_DEVICE_ID names another."""
    egl = importlib.import_module("mujoco.egl")
    opened = getattr(egl, "EGL_DISPLAY", None) is not None  # by a program's own renderer
    if opened or os.environ.get(_DEVICE):
        return _drawing(egl.GLContext)
    devices = _egl_devices()
    for number in device_order(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))[:-1]:
        os.environ[_DEVICE] = str(number)  # MuJoCo reads it as it makes the context
        try:
            return _drawing(egl.GLContext)
        except Exception:  # each driver raises its own types; the next device may draw
            egl.EGL_DISPLAY = None
        finally:
            del os.environ[_DEVICE]
    return _drawing(egl.GLContext)  # the last one, or what MuJoCo takes by itself


@dataclass(frozen=True)
class EglDevice:
    """An EGL device, as its driver describes it."""

    software: bool
    cuda: int | None = None
    """Number of the GPU for CUDA; None where it has none."""


def device_order(devices: Sequence[EglDevice], visible: str | None) -> list[int]:
    """Return the order in which EGL devices are tried: GPUs, then software.

    Args:
        devices: by their EGL number.
        visible: ``CUDA_VISIBLE_DEVICES``. Its first GPU comes first. Where it hides all GPUs,
            software comes first.

    Examples:
        >>> devices = [EglDevice(True), EglDevice(False, 0), EglDevice(False, 1)]
        >>> device_order(devices, None), device_order(devices, "1"), device_order(devices, "")
        ([1, 2, 0], [2, 1, 0], [0, 1, 2])
    """
    first = (visible or "").split(",")[0].strip()
    wanted = int(first) if first.isdigit() else None

    def rank(number: int) -> tuple[bool, bool, int]:
        device = devices[number]
        other = wanted is not None and device.cuda != wanted
        last = device.software != hides_gpus(visible)
        return last, other, number if device.cuda is None else device.cuda

    return sorted(range(len(devices)), key=rank)


def hides_gpus(visible: str | None) -> bool:
    """Return whether a value of ``CUDA_VISIBLE_DEVICES`` hides all GPUs."""
    return visible is not None and visible.strip() in ("", "-1")


def _egl_devices() -> list[EglDevice]:
    """Return the EGL devices; none where the driver does not describe them."""
    from mujoco.egl import egl_ext as egl

    kinds = (egl.EGLDeviceEXT, egl.EGLint)
    ask_string = _function(egl, "eglQueryDeviceStringEXT", ctypes.c_char_p, *kinds)
    pointer = ctypes.POINTER(ctypes.c_ssize_t)
    ask_number = _function(egl, "eglQueryDeviceAttribEXT", ctypes.c_uint, *kinds, pointer)
    if ask_string is None or ask_number is None:
        return []
    found = []
    for device in egl.eglQueryDevicesEXT():
        extensions = (ask_string(device, _EXTENSIONS) or b"").decode().split()
        number = ctypes.c_ssize_t()
        has_cuda = "EGL_NV_device_cuda" in extensions
        known = has_cuda and ask_number(device, _CUDA_DEVICE, ctypes.byref(number))
        software = "EGL_MESA_device_software" in extensions
        found.append(EglDevice(software, int(number.value) if known else None))
    return found


def _function(egl: Any, name: str, *kinds: Any) -> Any:
    """Return an extension's function by its name, with types of result and arguments; or None."""
    address = ctypes.cast(egl.eglGetProcAddress(name), ctypes.c_void_p).value
    return ctypes.CFUNCTYPE(*kinds)(address) if address else None


def gpu_for_drawing() -> bool:
    """Return whether this machine has a GPU that is not hidden, by its device files."""
    if hides_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")):
        return False
    vendors = Path("/sys/class/drm").glob("render*/device/vendor")
    cards = any(path.read_text().strip() in _VENDORS for path in vendors)
    return cards or any(Path("/dev").glob("nvidia[0-9]*"))


def _warn_of_software() -> None:
    """Warn, in one of sibling processes, where a GPU is there and software draws."""
    first = multiprocessing.parent_process() is None
    first = first or multiprocessing.current_process().name.endswith("-1")
    if first and not is_silent() and gpu_for_drawing() and describe_context()["software"]:
        warnings.warn(
            f"pictures are drawn in software although this machine has a GPU. {GPU_FIX}",
            UserWarning,
            stacklevel=2,
        )


def load_triton_first() -> None:
    """Import Triton, where it is installed, before Mesa's software renderer is loaded.

    Both contain their own LLVM. A process that draws first and then imports PyTorch (hence Triton)
    crashes with a segmentation fault; the other order works. To be called before other packages
    are imported that may draw: some do so when they are imported.
    """
    if torch_follows and importlib.util.find_spec("triton") is not None:
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")


def _context_class(backend: str) -> Any:
    """Return the class of the backend's own module; ``mujoco.GLContext`` is fixed at import."""
    import mujoco

    if backend in _LIBRARIES:
        return importlib.import_module(f"mujoco.{backend}").GLContext
    return mujoco.GLContext


def describe_context() -> dict[str, Any]:
    """Return the current context's renderer, MuJoCo's backend, and whether it draws in software."""
    from OpenGL import GL

    name = bytes(GL.glGetString(GL.GL_RENDERER) or b"unknown").decode()
    backend = os.environ.get("MUJOCO_GL", "")
    software = any(word in name.lower() for word in _SOFTWARE_NAMES)
    return {"renderer": name, "backend": backend, "software": software}
