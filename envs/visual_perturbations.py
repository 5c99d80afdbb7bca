"""Visual perturbations: colors, textures, light and camera pose that no demonstration shows.

An appearance is a function of one number. A level with perturbations draws the number at each
reset and keeps it in the environment's state. It changes pictures only; geometry, dynamics and the
start of the episode do not depend on it.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import colorsys
import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from s2robot.envs.levels import Level
from s2robot.envs.rendering import RenderQuality
from s2robot.envs.scene import (
    COLORS,
    CUBE,
    FIXED_CAMERAS,
    TABLE,
    CameraPose,
    compiled_scene,
    look_at,
)
from s2robot.envs.textures import (
    CUBE_PATTERNS,
    PATTERNS,
    SURFACE_PATTERNS,
    pattern_material,
)

SEEDS = 2**31
"""Numbers of perturbed appearances lie in [0, this)."""
NOMINAL = -1
"""Number of the nominal appearance."""
SURFACES = (TABLE, "floor", "wall")
"""Geoms that get a new material besides the cube."""
RED_BAND = 0.14
"""Least distance of the cube's hue from red, its nominal hue (hue is a circle of length 1)."""
NEW_COLOR = 0.25
"""Least distance of a surface's color from its nominal one, in RGB of [0, 1]."""
CONTRAST = 0.4
"""Least distance of the cube's tones from the table's in RGB of [0, 1], where one is found."""
PLAIN_SHARE = 0.25
"""Share of surfaces, and of cubes, without a texture."""
CAMERA_SHIFT = 0.012
"""Largest shift of a fixed camera along each axis, as a share of the distance to its target."""
AIM_SHIFT_M = 0.002
"""Largest shift of the point that it looks at, along each axis [m]."""
ROLL_RAD = 0.006
"""Largest turn of the camera about its line of sight [rad]."""
_CHANGED_FIELDS = (
    "geom_rgba",
    "geom_matid",
    "light_pos",
    "light_dir",
    "light_diffuse",
    "cam_pos",
    "cam_quat",
)
_CANDIDATES = 64  # colors to choose from
_STREAM = 0x5A2E  # separates these draws from other uses of the same number


@dataclass(frozen=True)
class SurfaceMaterial:
    """Material of a surface: a color, and the pattern that it tints."""

    rgb: tuple[float, float, float]
    """Color in [0, 1]."""
    pattern: str | None = None
    """A key of ``PATTERNS``; None is plain."""

    def tones(self) -> np.ndarray:
        """Return the lightest and the darkest tone: (2, 3) in [0, 1]."""
        dark = 1.0 if self.pattern is None else PATTERNS[self.pattern].dark
        return np.array([self.rgb, np.multiply(self.rgb, dark)])


@dataclass(frozen=True)
class Light:
    """Change of the scene's lights."""

    turn_rad: float
    """Turn of the main light about the vertical axis through the workspace."""
    strength: float
    """Factor of the main light."""
    fill: float
    """Factor of the ambient light."""
    tint: tuple[float, float, float]
    """Factors of the lights' red, green and blue."""


@dataclass(frozen=True)
class View:
    """Change of the fixed cameras' poses; the wrist camera is fixed to the hand and stays."""

    shift: tuple[float, float, float]
    """Shift of the position, as a share of the distance to the target."""
    aim_m: tuple[float, float, float]
    """Shift of the target."""
    roll_rad: float
    """Turn about the line of sight."""

    def pose(self, nominal: CameraPose) -> tuple[np.ndarray, np.ndarray]:
        """Return a camera's position (3,) [m] and orientation (4,) wxyz from its nominal pose."""
        distance = np.linalg.norm(np.subtract(nominal.position, nominal.target))
        position = np.add(nominal.position, distance * np.array(self.shift))
        quat = look_at(position, np.add(nominal.target, self.aim_m), (0.0, 0.0, 1.0))
        mujoco.mju_quatIntegrate(quat, np.array([0.0, 0.0, self.roll_rad]), 1.0)
        return position, quat


@dataclass(frozen=True)
class Appearance:
    """A visual perturbation: materials, light and camera poses of an episode."""

    cube: SurfaceMaterial
    surfaces: Mapping[str, SurfaceMaterial]
    """Materials of table, floor and wall."""
    light: Light
    view: View


def draw_number(rng: np.random.Generator, rare_share: float) -> int:
    """Draw the number of an episode's appearance.

    Args:
        rng: both of its draws are made whatever the outcome.
        rare_share: probability of a perturbation.

    Returns:
        A number in [0, ``SEEDS``), or ``NOMINAL``.
    """
    chance, number = rng.random(), int(rng.integers(SEEDS))
    return number if chance < rare_share else NOMINAL


def check_number(entry: float) -> int:
    """Return the number of an appearance from the last entry of a state.

    Raises:
        ValueError: the entry is not the number of an appearance.
    """
    if entry != int(entry) or not NOMINAL <= entry < SEEDS:
        raise ValueError(
            f"appearance {entry:g} is unknown; allowed: {NOMINAL} (nominal) and whole numbers "
            f"in [0, {SEEDS}), the last entry of states on levels with visual perturbations"
        )
    return int(entry)


@functools.lru_cache(maxsize=256)  # a vector environment draws each of its environments' in turn
def draw_appearance(seed: int) -> Appearance:
    """Return the perturbed appearance of a number in [0, ``SEEDS``).

    Raises:
        ValueError: the number is out of range.
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"appearance number is {seed}; allowed: an integer in [0, {SEEDS})")
    rng = np.random.default_rng([_STREAM, seed])
    surfaces = {name: _draw_surface(rng, name) for name in SURFACES}
    return Appearance(_draw_cube(rng, surfaces[TABLE]), surfaces, _draw_light(rng), _draw_view(rng))


def _draw_surface(rng: np.random.Generator, name: str) -> SurfaceMaterial:
    pattern = _draw_pattern(rng, SURFACE_PATTERNS)
    colors = _colors(rng, hues=(0.0, 1.0), saturations=(0.0, 0.6), values=(0.35, 0.9))
    nominal = SurfaceMaterial(COLORS[name][:3])
    return _first_apart([SurfaceMaterial(rgb, pattern) for rgb in colors], nominal, NEW_COLOR)


def _draw_cube(rng: np.random.Generator, table: SurfaceMaterial) -> SurfaceMaterial:
    pattern = _draw_pattern(rng, CUBE_PATTERNS)
    hues = (RED_BAND, 1.0 - RED_BAND)
    colors = _colors(rng, hues, saturations=(0.6, 1.0), values=(0.45, 1.0))
    return _first_apart([SurfaceMaterial(rgb, pattern) for rgb in colors], table, CONTRAST)


def _draw_pattern(rng: np.random.Generator, names: tuple[str, ...]) -> str | None:
    plain = rng.random() < PLAIN_SHARE
    name = str(rng.choice(names))
    return None if plain else name


def _colors(
    rng: np.random.Generator,
    hues: tuple[float, float],
    saturations: tuple[float, float],
    values: tuple[float, float],
) -> list[tuple[float, float, float]]:
    """Draw ``_CANDIDATES`` colors, uniform in hue, saturation and value."""
    low, high = np.array([hues, saturations, values]).T
    drawn = rng.uniform(low, high, (_CANDIDATES, 3))
    return [colorsys.hsv_to_rgb(*map(float, color)) for color in drawn]


def _first_apart(
    candidates: list[SurfaceMaterial], other: SurfaceMaterial, least: float
) -> SurfaceMaterial:
    """Return the first candidate whose tones are ``least`` from the other's, else the farthest."""
    gaps: list[float] = []
    for material in candidates:
        gaps.append(_gap(material, other))
        if gaps[-1] >= least:
            return material
    return candidates[int(np.argmax(gaps))]


def _gap(first: SurfaceMaterial, second: SurfaceMaterial) -> float:
    """Return the smallest distance between the tones of two materials, in RGB of [0, 1]."""
    gaps = first.tones()[:, None] - second.tones()[None]  # (2, 2, 3)
    return float(np.linalg.norm(gaps, axis=-1).min())


def _draw_light(rng: np.random.Generator) -> Light:
    red, green, blue = rng.uniform(0.85, 1.15, 3)
    return Light(
        turn_rad=float(rng.uniform(-np.pi, np.pi)),
        strength=float(rng.uniform(0.4, 1.6)),
        fill=float(rng.uniform(0.75, 1.15)),
        tint=(float(red), float(green), float(blue)),
    )


def _draw_view(rng: np.random.Generator) -> View:
    x, y, z = rng.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, 3)
    aim_x, aim_y, aim_z = rng.uniform(-AIM_SHIFT_M, AIM_SHIFT_M, 3)
    roll = float(rng.uniform(-ROLL_RAD, ROLL_RAD))
    return View((float(x), float(y), float(z)), (float(aim_x), float(aim_y), float(aim_z)), roll)


class PerturbedScene:
    """Copy of a scene's model whose appearance changes for each picture; physics never uses it.

    All environments of a process share one, so that the renderer needs one set of GL resources:
    textures are uploaded once, and a change of appearance only assigns materials.

    Args:
        model: the compiled scene of a level with visual perturbations; it is copied, not changed.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._nominal = model
        self._model = copy.copy(model)
        self._applied = NOMINAL

    def apply(self, number: int, data: mujoco.MjData) -> mujoco.MjModel:
        """Return the model in an appearance, and move the cameras and lights of ``data`` with it.

        Args:
            number: of the appearance; ``NOMINAL`` restores the nominal one.
            data: state to draw; only its cameras and lights change.
        """
        if number != self._applied:
            self._restore()
            if number != NOMINAL:
                self._apply_appearance(draw_appearance(number))
            self._applied = number
        mujoco.mj_camlight(self._model, data)
        return self._model

    def _restore(self) -> None:
        model, nominal = self._model, self._nominal
        for field in _CHANGED_FIELDS:
            getattr(model, field)[:] = getattr(nominal, field)
        for part in ("ambient", "diffuse"):
            getattr(model.vis.headlight, part)[:] = getattr(nominal.vis.headlight, part)

    def _apply_appearance(self, appearance: Appearance) -> None:
        for name, material in {CUBE: appearance.cube, **appearance.surfaces}.items():
            geom = self._model.geom(name).id
            self._model.geom_rgba[geom, :3] = material.rgb
            self._model.geom_matid[geom] = pattern_material(self._model, material.pattern)
        self._apply_light(appearance.light)
        for name, pose in FIXED_CAMERAS.items():
            camera = self._model.camera(name)
            camera.pos[:], camera.quat[:] = appearance.view.pose(pose)

    def _apply_light(self, light: Light) -> None:
        model = self._model
        center = np.array([0.45, 0.0, 0.0])
        cos, sin = np.cos(light.turn_rad), np.sin(light.turn_rad)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        model.light_pos[0] = center + turn @ (model.light_pos[0] - center)
        model.light_dir[0] = turn @ model.light_dir[0]
        model.light_diffuse[:] *= light.tint
        model.light_diffuse[0] *= light.strength
        for part in (model.vis.headlight.ambient, model.vis.headlight.diffuse):
            part[:] *= light.fill


@functools.lru_cache(maxsize=4)
def perturbed_scene(
    level: Level, quality: RenderQuality, arm_path: str | None = None
) -> PerturbedScene:
    """Return the perturbed scene of a configuration, of which a process has one.

    Args:
        level: a level with visual perturbations.
        quality: settings of the renderer.
        arm_path: MJCF file of another arm.
    """
    return PerturbedScene(compiled_scene(level, quality, arm_path))
