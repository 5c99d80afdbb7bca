"""Rendering of MuJoCo scenes without a display: a GL context for the main thread, one for others.

This module imports MuJoCo only inside functions: ``s2robot.envs.gl`` says why.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from s2robot.envs.gl import (
    RenderingError,
    describe_context,
    make_context,
    release_context,
    select_gl,
)
from s2robot.errors import unknown
from s2robot.utils.validation import checked_integer

if TYPE_CHECKING:
    import mujoco

__all__ = [
    "PixelLabels", "RenderQuality", "Renderer", "RenderingError", "gl_info", "renderer",
    "select_gl",
]  # fmt: skip
_MAX_SIZE_PX = 4096


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
    """Renderer of any number of models in one GL context; ``renderer()`` returns the thread's.

    Args:
        max_models: models whose GL resources are kept; the least recently used are freed.
    """

    def __init__(self, max_models: int = 4) -> None:
        self._gl = make_context()
        self._max_models = max_models
        self._canvases: OrderedDict[tuple[int, int], _Canvas] = OrderedDict()

    def render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str,
        height: int,
        width: int,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw a state through a named camera.

        Args:
            model: of the scene.
            data: state to draw; kinematics must be up to date.
            camera: its name in the model.
            height: of the picture [px].
            width: of the picture [px].
            out: (height, width, 3) uint8 to draw into, in C order, such as a slice of shared
                memory; None returns a new array.

        Returns:
            (height, width, 3) uint8 RGB: ``out``, where it is given.

        Raises:
            ValueError: an unknown camera, an impossible size, or an ``out`` that cannot hold the
                picture. Nothing was drawn.
        """
        camera_id = _checked_camera(model, camera, height, width)
        picture = np.empty((height, width, 3), np.uint8) if out is None else out
        _check_out(picture, height, width)
        with self._current():
            self._canvas(model, model.vis.quality.offsamples).draw(data, camera_id, picture)
        return picture

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
        with self._current():
            return self._canvas(model, samples=0).draw_labels(data, camera_id, height, width)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Draw in this renderer's context, which stays the thread's."""
        self._gl.make_current()
        yield

    def _canvas(self, model: mujoco.MjModel, samples: int) -> _Canvas:
        key = (id(model), samples)
        canvas = self._canvases.pop(key, None) or _Canvas(model, samples)
        self._canvases[key] = canvas  # last = most recently used
        if len(self._canvases) > self._max_models:
            self._canvases.popitem(last=False)[1].close()
        return canvas

    def info(self) -> dict[str, Any]:
        """Return the renderer's name, MuJoCo's backend, and whether it draws in software."""
        with self._current():
            return describe_context()

    def close(self) -> None:
        """Free every canvas and the GL context."""
        with self._current():
            while self._canvases:
                self._canvases.popitem()[1].close()
        self._gl.free()


class _SharedRenderer(Renderer):
    """Renderer of several threads, one after the other; between drawings no thread has its context.

    GL binds a context to a thread until that thread gives it back, and even a thread that has ended
    may keep it.
    """

    def __init__(self) -> None:
        super().__init__()
        release_context()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        with self._lock, super()._current():
            try:
                yield
            finally:
                release_context()


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


def _check_out(out: np.ndarray, height: int, width: int) -> None:
    """Raise a ValueError unless an array can hold a picture."""
    allowed = f"allowed: ({height}, {width}, 3) uint8, in C order and writable"
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out is a {type(out).__name__}; {allowed}")
    if out.shape != (height, width, 3) or out.dtype != np.uint8:
        raise ValueError(f"out is {out.shape} {out.dtype}; {allowed}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        state = "read-only" if out.flags.c_contiguous else "not in C order"
        raise ValueError(f"out is {state}; {allowed}")


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
        self._rows = np.empty((0, 0, 3), np.uint8)  # of the last picture, bottom row first

    def draw(self, data: mujoco.MjData, camera_id: int, picture: np.ndarray) -> None:
        """Fill the picture, (height, width, 3) uint8 RGB."""
        if self._rows.shape != picture.shape:
            self._rows = np.empty(picture.shape, np.uint8)
        self._draw(data, camera_id, self._rows, None)
        picture[:] = self._rows[::-1]  # GL's rows run bottom up

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


_renderers: dict[tuple[int, bool], Renderer] = {}
"""By process, so that a forked child knows its parent's, and whether of the main thread."""
_making = threading.Lock()


def renderer() -> Renderer:
    """Return the renderer of the main thread, or that of all others, which take turns.

    It is made at the first call and freed at exit.

    Raises:
        RenderingError: no GL context can be made, or the process was forked from one with GL.
    """
    key = os.getpid(), threading.current_thread() is threading.main_thread()
    found = _renderers.get(key)
    if found is not None:
        return found
    with _making:
        if any(process != key[0] for process, _ in _renderers):
            raise RenderingError(
                "this process was forked from one that had already drawn pictures, and GL does not "
                "survive a fork. Start workers by 'spawn' (AsyncVectorEnv(context='spawn'), "
                "multiprocessing.get_context('spawn')), or draw nothing before they start"
            )
        if key not in _renderers:
            _renderers[key] = Renderer() if key[1] else _SharedRenderer()
            atexit.register(_free, key)
        return _renderers[key]


def _free(key: tuple[int, bool]) -> None:
    if key[0] == os.getpid() and key in _renderers:
        _renderers.pop(key).close()


def gl_info() -> dict[str, Any]:
    """Return ``{"renderer": GL_RENDERER, "backend": …, "software": bool}`` of this process."""
    return renderer().info()
