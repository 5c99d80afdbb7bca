"""Segmentation classes of a scene's geoms."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from s2robot.envs.kinematics import joint_body
from s2robot.envs.panda import FINGER_JOINTS, HAND_BODY, PREFIX
from s2robot.envs.scene import CUBE, EXTRA_BOX, TABLE

SEGMENTS = ("background", "table", "arm", "gripper", "cube")
"""Classes of pixels in the task's scenes; "background" is floor, wall and empty space."""
ALL_SEGMENTS = (*SEGMENTS, "box")
"""Classes of pixels in randomized scenes, which have further boxes."""


def segment_of_geom(model: mujoco.MjModel) -> np.ndarray:
    """Return the class of each geom, by the names of geoms and bodies.

    Returns:
        (ngeom,) uint8, indices into ``ALL_SEGMENTS``.
    """
    hand = model.body(PREFIX + HAND_BODY).id
    fingers = {joint_body(model, PREFIX + joint) for joint in FINGER_JOINTS}
    classes = np.zeros(model.ngeom, dtype=np.uint8)
    for geom in range(model.ngeom):
        name, body = model.geom(geom).name, int(model.geom_bodyid[geom])
        if name in (CUBE, TABLE):
            classes[geom] = ALL_SEGMENTS.index(name)
        elif name.startswith(EXTRA_BOX):
            classes[geom] = ALL_SEGMENTS.index("box")
        elif not {hand, *fingers}.isdisjoint(_ancestors(model, body)):
            classes[geom] = ALL_SEGMENTS.index("gripper")
        elif model.body(body).name.startswith(PREFIX):
            classes[geom] = ALL_SEGMENTS.index("arm")
    return classes


def _ancestors(model: mujoco.MjModel, body: int) -> Iterator[int]:
    """Yield a body and all its ancestors but the world."""
    while body:
        yield body
        body = int(model.body_parentid[body])
