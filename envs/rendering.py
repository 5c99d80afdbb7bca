"""Rendering of MuJoCo scenes without a display, with one GL context per process.

``import s2robot.envs`` calls ``select_gl`` before MuJoCo is imported, since MuJoCo does not import
with a wrong ``MUJOCO_GL``. This module therefore imports MuJoCo only inside functions.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import importlib
import importlib.util
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from s2robot.errors import S2RobotError, unknown
from s2robot.utils.validation import checked_integer

if TYPE_CHECKING:
    import mujoco

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_OTHER_BACKENDS = ("glfw", "disable")
_SYNONYMS = ("glx", "enable", "enabled", "on", "true", "1", "disabled", "off", "false", "0")
_FIX = (
    "Install a software renderer (Debian, Ubuntu: `apt-get install libegl1 libgl1-mesa-dri`, or "
    "`apt-get install libosmesa6`) and set MUJOCO_GL=egl or MUJOCO_GL=osmesa, or unset it to let "
    "s2robot choose"
)
_SOFTWARE_NAMES = ("llvmpipe", "softpipe", "swrast", "software rasterizer")
_MAX_SIZE_PX = 4096


class RenderingError(S2RobotError):
    """This machine cannot draw; the message states what to install or set."""


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


@dataclass(frozen=True)
class RenderQuality:
    """Quality, and so cost, of pictures; the defaults suit a software renderer."""

    shadow_size: int = 0
    """Edge of the shadow map [px]; 0 draws no shadows (3-4 times faster in software)."""
    msaa: int = 0
    """Samples per pixel; 0 draws without antialiasing, as suits pictures that are shrunk later."""
    slices: int = 20
    """Facets around a cylinder or capsule."""

    def __post_init__(self) -> None:
        for name, low in (("shadow_size", 0), ("msaa", 0), ("slices", 3)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise ValueError(f"quality.{name} is {value!r}; allowed: an integer >= {low}")

    @classmethod
    def of(cls, value: RenderQuality | Mapping[str, int] | None) -> RenderQuality:
        """Return a quality: the value itself, one with a mapping's entries, the default for None.

        Raises:
            ValueError: a key of the mapping names no field, or a value is out of range.
        """
        if not isinstance(value, Mapping):
            return value or cls()
        names = [field.name for field in fields(cls)]
        for name in value:
            if name not in names:
                raise unknown("quality", name, names)
        return cls(**value)

    def apply(self, spec: mujoco.MjSpec) -> None:
        """Write the quality into a scene before it is compiled."""
        quality = spec.visual.quality
        quality.shadowsize, quality.offsamples = self.shadow_size, self.msaa
        quality.numslices, quality.numstacks = self.slices, max(3, self.slices // 2)


@dataclass(frozen=True)
class PixelLabels:
    """Geom and distance of each pixel of a picture."""

    geom_id: np.ndarray
    """(height, width) int32: id of the nearest geom in the model; -1 where there is none."""
    depth_m: np.ndarray
    """(height, width) float32: distance along the camera's axis; infinite without a geom."""


class Renderer:
    """Renderer of any number of models in one GL context; ``renderer()`` returns the process's own.

    Args:
        max_models: models whose GL resources are kept; the least recently used are freed.
    """

    def __init__(self, max_models: int = 4) -> None:
        self._gl = _make_gl_context()
        self._max_models = max_models
        self._canvases: OrderedDict[tuple[int, int], _Canvas] = OrderedDict()

    def render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str,
        height: int,
        width: int,
    ) -> np.ndarray:
        """Draw a state through a named camera.

        Args:
            model: of the scene.
            data: state to draw; kinematics must be up to date.
            camera: its name in the model.
            height: of the picture [px].
            width: of the picture [px].

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            ValueError: an unknown camera, or an impossible size.
        """
        camera_id = _checked_camera(model, camera, height, width)
        self._gl.make_current()
        canvas = self._canvas(model, model.vis.quality.offsamples)
        return canvas.draw(data, camera_id, height, width)

    def render_labels(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str,
        height: int,
        width: int,
    ) -> PixelLabels:
        """Return the geom and the distance of each pixel of ``render``'s picture.

        It has no antialiasing, whatever the model's quality: a pixel's label is that of its
        center. Sites and tendons hide the geoms behind them, and their pixels have no geom.

        Args:
            model: of the scene.
            data: state to draw; kinematics must be up to date.
            camera: its name in the model.
            height: of the picture [px].
            width: of the picture [px].
        """
        camera_id = _checked_camera(model, camera, height, width)
        self._gl.make_current()
        return self._canvas(model, samples=0).draw_labels(data, camera_id, height, width)

    def _canvas(self, model: mujoco.MjModel, samples: int) -> _Canvas:
        key = (id(model), samples)
        canvas = self._canvases.pop(key, None) or _Canvas(model, samples)
        self._canvases[key] = canvas  # last = most recently used
        if len(self._canvases) > self._max_models:
            self._canvases.popitem(last=False)[1].close()
        return canvas

    def info(self) -> dict[str, Any]:
        """Return the renderer's name, MuJoCo's backend, and whether it draws in software."""
        from OpenGL import GL

        self._gl.make_current()
        name = bytes(GL.glGetString(GL.GL_RENDERER) or b"unknown").decode()
        backend = os.environ.get("MUJOCO_GL", "")
        software = any(word in name.lower() for word in _SOFTWARE_NAMES)
        return {"renderer": name, "backend": backend, "software": software}

    def close(self) -> None:
        """Free every canvas and the GL context."""
        while self._canvases:
            self._canvases.popitem()[1].close()
        self._gl.free()


def _checked_camera(model: mujoco.MjModel, camera: str, height: int, width: int) -> int:
    """Return the camera's id.

    Raises:
        ValueError: an unknown camera, or an impossible size.
    """
    camera_names = [model.camera(i).name for i in range(model.ncam)]
    if camera not in camera_names:
        raise unknown("camera", camera, camera_names)
    for name, size in (("height", height), ("width", width)):
        checked_integer(f"image {name} [px]", size, 1, _MAX_SIZE_PX)
    return camera_names.index(camera)


class _Canvas:
    """GL resources of one model; it holds the model, so that no other model gets its id."""

    def __init__(self, model: mujoco.MjModel, samples: int) -> None:
        import mujoco

        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=500)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        quality = model.vis.quality
        before, quality.offsamples = quality.offsamples, samples
        try:  # the context reads the number of samples from the model
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        finally:
            quality.offsamples = before
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._size = (0, 0)

    def draw(self, data: mujoco.MjData, camera_id: int, height: int, width: int) -> np.ndarray:
        """Return the picture, (height, width, 3) uint8 RGB."""
        frame = np.empty((height, width, 3), dtype=np.uint8)
        self._draw(data, camera_id, frame, None)
        return np.ascontiguousarray(frame[::-1])  # GL's rows run bottom up

    def draw_labels(
        self, data: mujoco.MjData, camera_id: int, height: int, width: int
    ) -> PixelLabels:
        """Return the labels, drawing each object in the flat color of its number."""
        import mujoco

        colors = np.empty((height, width, 3), dtype=np.uint8)
        nearness = np.empty((height, width), dtype=np.float32)
        flags = self._scene.flags
        before = flags.copy()
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        try:
            self._draw(data, camera_id, colors, nearness)
        finally:
            flags[:] = before
        geoms = self._geom_of_number()[colors[::-1] @ np.array([1, 256, 65536])]
        return PixelLabels(geoms, self._meters(nearness[::-1]))

    def _geom_of_number(self) -> np.ndarray:
        """Return geom ids by the number that a pixel's color encodes; 0 is the background."""
        import mujoco

        drawn = self._scene.geoms[: self._scene.ngeom]
        ids = np.full(len(drawn) + 1, -1, dtype=np.int32)
        for item in drawn:
            if item.segid >= 0 and item.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                ids[item.segid + 1] = item.objid
        return ids

    def _meters(self, nearness: np.ndarray) -> np.ndarray:
        """Return distances [m] (float32) from the depth buffer: 1 at the near, 0 at the far plane.

        It inverts the projection of glFrustum; the far plane itself becomes infinity.
        """
        planes, extent = self._model.vis.map, self._model.stat.extent
        near, far = planes.znear * extent, planes.zfar * extent
        depth = near * far / (near + nearness.astype(np.float64) * (far - near))
        return np.where(nearness > 0, depth, np.inf).astype(np.float32)

    def _draw(
        self,
        data: mujoco.MjData,
        camera_id: int,
        colors: np.ndarray,
        nearness: np.ndarray | None,
    ) -> None:
        """Fill ``colors`` (H, W, 3) and ``nearness`` (H, W), bottom row first."""
        import mujoco

        height, width, _ = colors.shape
        context = self._context
        if self._size != (height, width):
            mujoco.mjr_resizeOffscreen(width, height, context)
            self._size = (height, width)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        self._camera.fixedcamid = camera_id
        visible = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, visible, self._scene
        )
        view = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(view, self._scene, context)
        mujoco.mjr_readPixels(colors, nearness, view, context)

    def close(self) -> None:
        """Free the GL resources."""
        self._context.free()


def _make_gl_context() -> Any:
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
    if importlib.util.find_spec("triton") is not None:
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")


def _context_class(backend: str) -> Any:
    """Return the class of the backend's own module; ``mujoco.GLContext`` is fixed at import."""
    import mujoco

    if backend in _LIBRARIES:
        return importlib.import_module(f"mujoco.{backend}").GLContext
    return mujoco.GLContext


_shared: dict[int, Renderer] = {}  # by process id, so that a forked child recognizes its parent's


def renderer() -> Renderer:
    """Return the process's renderer, which is made at the first call and freed at exit.

    Raises:
        RenderingError: no GL context can be made, or the process was forked from one with GL.
    """
    process = os.getpid()
    if process not in _shared:
        if _shared:
            raise RenderingError(
                "this process was forked from one that had already drawn pictures, and GL does not "
                "survive a fork. Start workers by 'spawn' (AsyncVectorEnv(context='spawn'), "
                "multiprocessing.get_context('spawn')), or draw nothing before they start"
            )
        _shared[process] = Renderer()
        atexit.register(_free, process)
    return _shared[process]


def _free(process: int) -> None:
    if process == os.getpid() and process in _shared:
        _shared.pop(process).close()


def gl_info() -> dict[str, Any]:
    """Return ``{"renderer": GL_RENDERER, "backend": …, "software": bool}`` of this process."""
    return renderer().info()
