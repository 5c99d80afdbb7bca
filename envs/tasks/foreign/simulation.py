"""MuJoCo's state and frames, of environments whose packages have MuJoCo inside."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def full_state(model: Any, data: Any) -> np.ndarray:
    """Return all that MuJoCo's next step depends on: (D,) float64."""
    state = np.empty(mujoco.mj_stateSize(model, _STATE))
    mujoco.mj_getState(model, data, state, _STATE)
    return state


def check_size(seen: int, wanted: int, task: str, package: str) -> None:
    """Refuse a state of another size than this release of a package has.

    Raises:
        ValueError: with both sizes and the versions.
    """
    if seen != wanted:
        raise ValueError(
            f"task {task}: the state has {seen} numbers; this release of {package} and MuJoCo "
            f"{mujoco.__version__} have {wanted}. Initial conditions and demonstrations go with "
            "the versions that made them"
        )


def restore_full_state(model: Any, data: Any, state: np.ndarray) -> None:
    """Return to a state of ``full_state``, with all positions and contacts that follow from it."""
    mujoco.mj_setState(model, data, state, _STATE)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, state, _STATE)  # its warm starts, which mj_forward moved


class Camera:
    """Draws upright square frames without shadows, reflections and multisampling.

    These take most of a frame's time in software. The renderer is made at the first frame.

    Args:
        model: of MuJoCo; its offscreen buffer is given the size of the frames.
        px: height and width of the frames.
        hidden_groups: groups of geoms that are not drawn, such as collision shapes.
    """

    def __init__(self, model: Any, px: int, hidden_groups: tuple[int, ...] = ()) -> None:
        self._model, self._px = model, px
        self._option = mujoco.MjvOption()
        for group in hidden_groups:
            self._option.geomgroup[group] = 0
        self._renderer: mujoco.Renderer | None = None

    def frame(
        self, data: Any, camera: Any, decorate: Callable[[Any], None] | None = None
    ) -> np.ndarray:
        """Return the present frame (px, px, 3) uint8 RGB.

        Args:
            data: of MuJoCo, which drawing leaves as it is.
            camera: name of one in the model, or an ``MjvCamera``.
            decorate: adds to the scene (``MjvScene``) what the model does not have.
        """
        if self._renderer is None:
            quality, size = self._model.vis.quality, self._model.vis.global_
            quality.offsamples = quality.shadowsize = 0
            size.offwidth = size.offheight = self._px
            self._renderer = mujoco.Renderer(self._model, self._px, self._px)
        self._renderer.update_scene(data, camera=camera, scene_option=self._option)
        scene = self._renderer.scene
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        if decorate is not None:
            decorate(scene)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def add_shape(
    scene: Any, shape: Any, half_sizes_m: tuple[float, float, float], place: Any, rgba: Any
) -> None:
    """Add a shape to a scene.

    Args:
        scene: an ``MjvScene``.
        shape: an ``mjtGeom``.
        half_sizes_m: of the shape, in meters.
        place: (3,) [m], its middle.
        rgba: (4,) in [0, 1].
    """
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        shape,
        np.array(half_sizes_m),
        np.asarray(place, np.float64),
        np.eye(3).ravel(),
        np.array(rgba, np.float32),
    )
    scene.ngeom += 1
