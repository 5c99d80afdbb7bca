"""Rare appearances of the scene: colours, textures, light and viewpoint of no demonstration.

An appearance is a function of one number, which a rare level draws at each reset and keeps in the
environment's state. It decides pictures alone; geometry, dynamics and the start do not know of it.
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
"""The number of a rare appearance lies in [0, this)."""
NOMINAL = -1
"""The number of the ordinary appearance."""
SURFACES = (TABLE, "floor", "wall")
RED_BAND = 0.14
"""The cube's hue keeps this far from red, the demonstrations' (hue is a circle of length 1)."""
NEW_COLOR = 0.25
"""A surface's colour is at least this far from its ordinary one, in RGB of [0, 1]."""
CONTRAST = 0.4
"""The cube's tones are this far from the table's, or as far as they can be, in RGB of [0, 1]."""
PLAIN_SHARE = 0.25
"""Share of surfaces, and of cubes, without a texture."""
CAMERA_SHIFT = 0.012
"""Largest shift of a fixed camera along each axis, as a share of the distance to its target."""
AIM_SHIFT_M = 0.002
"""Largest shift of the point that it looks at, along each axis."""
ROLL_RAD = 0.006
"""Largest turn about its line of sight."""
_CHANGED_FIELDS = (
    "geom_rgba",
    "geom_matid",
    "light_pos",
    "light_dir",
    "light_diffuse",
    "cam_pos",
    "cam_quat",
)
_CANDIDATES = 64  # colours to choose from
_STREAM = 0x5A2E  # keeps these draws apart from other uses of the same number


@dataclass(frozen=True)
class SurfaceMaterial:
    """A colour and the pattern that it tints."""

    rgb: tuple[float, float, float]
    pattern: str | None = None
    """A key of ``PATTERNS``; None is plain."""

    def tones(self) -> np.ndarray:
        """The lightest and the darkest tone: (2, 3) in [0, 1]."""
        dark = 1.0 if self.pattern is None else PATTERNS[self.pattern].dark
        return np.array([self.rgb, np.multiply(self.rgb, dark)])


@dataclass(frozen=True)
class Light:
    """What becomes of the scene's lamps."""

    turn_rad: float
    """The main lamp's turn about the vertical axis through the workspace."""
    strength: float
    """Factor of the main lamp."""
    fill: float
    """Factor of the light from all sides."""
    tint: tuple[float, float, float]
    """Factor of the lamps' red, green and blue."""


@dataclass(frozen=True)
class View:
    """How the fixed cameras stand; the wrist camera is bolted to the hand and stays."""

    shift: tuple[float, float, float]
    """Of the position, as a share of the distance to the target."""
    aim_m: tuple[float, float, float]
    """Of the point looked at."""
    roll_rad: float

    def pose(self, ordinary: CameraPose) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) [m] and orientation (4,) wxyz of a camera that stands at ``ordinary``."""
        distance = np.linalg.norm(np.subtract(ordinary.position, ordinary.target))
        position = np.add(ordinary.position, distance * np.array(self.shift))
        quat = look_at(position, np.add(ordinary.target, self.aim_m), (0.0, 0.0, 1.0))
        mujoco.mju_quatIntegrate(quat, np.array([0.0, 0.0, self.roll_rad]), 1.0)
        return position, quat


@dataclass(frozen=True)
class Appearance:
    """All that a rare appearance decides."""

    cube: SurfaceMaterial
    surfaces: Mapping[str, SurfaceMaterial]
    """Table, floor and wall."""
    light: Light
    view: View


def draw_number(rng: np.random.Generator, rare_share: float) -> int:
    """Number of an episode's appearance, rare with probability ``rare_share``."""
    chance, number = rng.random(), int(rng.integers(SEEDS))
    return number if chance < rare_share else NOMINAL


def check_number(entry: float) -> int:
    """The number of an appearance, read off the end of a state.

    Raises:
        ValueError: it is none.
    """
    if entry != int(entry) or not NOMINAL <= entry < SEEDS:
        raise ValueError(
            f"appearance {entry:g} is unknown; allowed: {NOMINAL} (ordinary) and whole numbers "
            f"in [0, {SEEDS}), as states of levels with rare appearances end with"
        )
    return int(entry)


@functools.lru_cache(maxsize=256)  # environments in lockstep ask for theirs in turn
def draw_appearance(seed: int) -> Appearance:
    """The rare appearance that a number of [0, ``SEEDS``) stands for.

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
    ordinary = SurfaceMaterial(COLORS[name][:3])
    return _first_apart([SurfaceMaterial(rgb, pattern) for rgb in colors], ordinary, NEW_COLOR)


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
    """``_CANDIDATES`` colours, uniform in hue, saturation and value."""
    low, high = np.array([hues, saturations, values]).T
    drawn = rng.uniform(low, high, (_CANDIDATES, 3))
    return [colorsys.hsv_to_rgb(*map(float, color)) for color in drawn]


def _first_apart(
    candidates: list[SurfaceMaterial], other: SurfaceMaterial, least: float
) -> SurfaceMaterial:
    """The first candidate whose tones are ``least`` from the other's, or else the farthest."""
    gaps: list[float] = []
    for coat in candidates:
        gaps.append(_gap(coat, other))
        if gaps[-1] >= least:
            return coat
    return candidates[int(np.argmax(gaps))]


def _gap(first: SurfaceMaterial, second: SurfaceMaterial) -> float:
    """Smallest distance between the tones of two coats, in RGB of [0, 1]."""
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
    """A scene's model that is dressed anew for each picture; physics never sees it.

    One serves all environments of a process, so that a renderer keeps one set of GL resources:
    textures are uploaded once, and a change of appearance only changes who wears which.

    Args:
        model: the compiled scene of a rare level; it is copied, not changed.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._ordinary = model
        self._model = copy.copy(model)
        self._worn = NOMINAL

    def apply(self, number: int, data: mujoco.MjData) -> mujoco.MjModel:
        """The model in an appearance, and ``data``'s cameras and lamps moved to suit it."""
        if number != self._worn:
            self._restore()
            if number != NOMINAL:
                self._apply_material(draw_appearance(number))
            self._worn = number
        mujoco.mj_camlight(self._model, data)
        return self._model

    def _restore(self) -> None:
        model, ordinary = self._model, self._ordinary
        for field in _CHANGED_FIELDS:
            getattr(model, field)[:] = getattr(ordinary, field)
        for part in ("ambient", "diffuse"):
            getattr(model.vis.headlight, part)[:] = getattr(ordinary.vis.headlight, part)

    def _apply_material(self, appearance: Appearance) -> None:
        for name, coat in {CUBE: appearance.cube, **appearance.surfaces}.items():
            geom = self._model.geom(name).id
            self._model.geom_rgba[geom, :3] = coat.rgb
            self._model.geom_matid[geom] = pattern_material(self._model, coat.pattern)
        self._shine(appearance.light)
        for name, pose in FIXED_CAMERAS.items():
            camera = self._model.camera(name)
            camera.pos[:], camera.quat[:] = appearance.view.pose(pose)

    def _shine(self, light: Light) -> None:
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
    """The process's one wardrobe of a scene."""
    return PerturbedScene(compiled_scene(level, quality, arm_path))
