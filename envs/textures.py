"""Procedural textures of visual perturbations; they are gray, so that a color can tint them."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass

import mujoco

_SIDE_PX = 256
_UNIT_M = 2.0  # MuJoCo counts the copies of a uniform texture over this length
_PREFIX = "rare/"


@dataclass(frozen=True)
class Pattern:
    """One texture, which MuJoCo generates when the scene is compiled."""

    dark: float
    """Its darkest tone, as a share of the color that tints it."""
    builtin: mujoco.mjtBuiltin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
    mark: mujoco.mjtMark = mujoco.mjtMark.mjMARK_NONE
    period_m: float = 1.0
    """Edge of one copy on table, floor and wall; each face of the cube shows one copy."""
    dots: float = 0.0
    """Share of pixels that are dots (``mjMARK_RANDOM``)."""
    on_cube: bool = False
    """Whether it is for the cube, not for table, floor and wall."""


PATTERNS = {
    "checker": Pattern(0.55, mujoco.mjtBuiltin.mjBUILTIN_CHECKER, period_m=0.25),
    "glow": Pattern(0.45, mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, period_m=0.5),
    "grid": Pattern(0.40, mark=mujoco.mjtMark.mjMARK_EDGE, period_m=0.2),
    "crosses": Pattern(0.40, mark=mujoco.mjtMark.mjMARK_CROSS, period_m=0.25),
    "speckle": Pattern(0.45, mark=mujoco.mjtMark.mjMARK_RANDOM, period_m=1.0, dots=0.03),
    "cube-checker": Pattern(0.60, mujoco.mjtBuiltin.mjBUILTIN_CHECKER, on_cube=True),
    "cube-cross": Pattern(0.50, mark=mujoco.mjtMark.mjMARK_CROSS, on_cube=True),
}
SURFACE_PATTERNS = tuple(name for name, pattern in PATTERNS.items() if not pattern.on_cube)
CUBE_PATTERNS = tuple(name for name, pattern in PATTERNS.items() if pattern.on_cube)


def add_patterns(spec: mujoco.MjSpec) -> None:
    """Add each pattern to a scene, as a texture and a material that no geom uses yet."""
    for name, pattern in PATTERNS.items():
        kind = mujoco.mjtTexture
        spec.add_texture(
            name=_PREFIX + name,
            type=kind.mjTEXTURE_CUBE if pattern.on_cube else kind.mjTEXTURE_2D,
            builtin=pattern.builtin,
            mark=pattern.mark,
            random=pattern.dots,
            rgb1=(1.0, 1.0, 1.0),
            rgb2=(pattern.dark,) * 3,
            markrgb=(pattern.dark,) * 3,
            width=_SIDE_PX,
            height=_SIDE_PX * (6 if pattern.on_cube else 1),
        )
        material = spec.add_material(
            name=_PREFIX + name,
            texuniform=not pattern.on_cube,
            texrepeat=(_UNIT_M / pattern.period_m,) * 2,
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = _PREFIX + name


def pattern_material(model: mujoco.MjModel, pattern: str | None) -> int:
    """Return the id of a pattern's material; -1 (no material) for a plain surface.

    Args:
        model: the compiled scene of a level with visual perturbations.
        pattern: a key of ``PATTERNS``; None is plain.
    """
    return -1 if pattern is None else model.material(_PREFIX + pattern).id
