"""Choice of the GL backend that draws MuJoCo's scenes, and making of its context.

``import s2robot.envs`` calls ``select_gl`` before MuJoCo is imported, since MuJoCo does not import
with a wrong ``MUJOCO_GL``. This module therefore imports MuJoCo only inside functions.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import ctypes.util
import importlib
import importlib.util
import os
import sys
from typing import Any

from s2robot.errors import S2RobotError, unknown

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_OTHER_BACKENDS = ("glfw", "disable")
_SYNONYMS = ("glx", "enable", "enabled", "on", "true", "1", "disabled", "off", "false", "0")
_FIX = (
    "Install a software renderer (Debian, Ubuntu: `apt-get install libegl1 libgl1-mesa-dri`, or "
    "`apt-get install libosmesa6`) and set MUJOCO_GL=egl or MUJOCO_GL=osmesa, or unset it to let "
    "s2robot choose"
)
_SOFTWARE_NAMES = ("llvmpipe", "softpipe", "swrast", "software rasterizer")


class RenderingError(S2RobotError):
    """This machine cannot draw; the message states what to install or set."""


torch_follows = True
"""Whether this process may import PyTorch after it has drawn; see ``_load_triton_first``. Processes
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
    import mujoco

    backend = select_gl()
    _load_triton_first()
    try:
        context = _context_class(backend)(64, 64)
        context.make_current()
        empty = mujoco.MjModel.from_xml_string("<mujoco/>")
        mujoco.MjrContext(empty, mujoco.mjtFontScale.mjFONTSCALE_100).free()  # check that it draws
    except Exception as error:  # each backend raises its own types
        cause = f"{type(error).__name__}: {error}"
        raise RenderingError(
            f"no GL context with MUJOCO_GL={backend or '(unset)'} ({cause}). {_FIX}"
        ) from error
    return context


def _load_triton_first() -> None:
    """Import Triton, where it is installed, before Mesa's software renderer is loaded.

    Both contain their own LLVM. A process that draws first and then imports PyTorch (hence Triton)
    crashes with a segmentation fault; the other order works.
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
