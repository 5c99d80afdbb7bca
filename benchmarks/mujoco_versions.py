"""Which releases of MuJoCo simulate and draw pick-cube alike?

Every release is installed into a folder of its own. Each draws the same pictures and carries the
same actions out for one control step (0.2 s) from the same states, which the newest release of
MuJoCo 3 recorded on the expert's episodes; so differences cannot build up. Each also counts the
expert's successes from the same seeds. `s2robot.utils.provenance` is the table made of it.

    OMP_NUM_THREADS=1 python benchmarks/mujoco_versions.py
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "mujoco_versions.json"
ROOT = Path(__file__).parents[1]
RELEASES = (
    "3.3.0 3.3.1 3.3.2 3.3.3 3.3.4 3.3.5 3.3.6 3.3.7 3.4.0 3.5.0 3.6.0 3.7.0 3.8.0 3.8.1 3.9.0 "
    "3.10.0 3.11.0 3.12.0 3.13.0 3.14.0 3.15.0 3.16.0 3.17.0 4.0.0"
)
REFERENCE = "3.17.0"
ROUNDING = 1e-9
"""Differences of one control step below this [rad, m] are those of rounding."""
SETTINGS = tuple((level, c) for level in ("easy", "precise") for c in ("ee_delta", "joint_delta"))
HOLD_STEPS = 4
SIZE = 384
CAMERAS = {"easy": "front", "precise": "far", "easy-hard": "front", "hard": "far"}
CUBE = 9  # first joint position of the cube: position, orientation


def install(version: str, folder: Path) -> Path:
    """Install one release without its dependencies, which the environment has."""
    target = folder / version
    packages = [f"mujoco=={version}"]
    if int(version.split(".")[0]) >= 4:  # the bindings are packages of their own
        packages += [f"mujoco-core=={version}", f"mujoco-studio=={version}"]
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*command, "--target", str(target), *packages], check=True)
    return target


def run_child(package: Path, *words: str) -> str | None:
    """Run this script under a release; return the last line of an error, or None."""
    paths = os.pathsep.join([str(package), str(ROOT)])
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


# --------------------------------------------------------------------------- under one release
def record_reference(out: Path, episodes: int) -> None:
    """Record states and actions of the expert's episodes."""
    from s2robot.data.collection import record_episode
    from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv

    found = {}
    for level, control in SETTINGS:
        env = PickCubeTaskEnv(level, control=control)
        recorded = [record_episode(env, seed, HOLD_STEPS) for seed in range(episodes)]
        found[f"{level}/{control}/states"] = np.concatenate([e.states for e in recorded])
        found[f"{level}/{control}/actions"] = np.concatenate([e.executed for e in recorded])
    np.savez(out, allow_pickle=False, **found)


def record_release(reference: Path, out: Path, episodes: int) -> None:
    """Record what the imported release makes of the reference, and its pictures."""
    with np.load(reference) as there:
        given = {name: there[name] for name in there.files}
    found = {f"motion/{s}": steps(given, *s.split("/")) for s in map("/".join, SETTINGS)}
    np.savez(out, allow_pickle=False, **found, **pictures(), **successes(episodes))


def steps(given: dict[str, np.ndarray], level: str, control: str) -> np.ndarray:
    """Return the joint positions (N, 16) after one control step from each state."""
    from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv

    env = PickCubeTaskEnv(level, control=control)
    states, actions = (given[f"{level}/{control}/{name}"] for name in ("states", "actions"))
    after = []
    for state, action in zip(states, actions, strict=True):
        env.set_state(state)
        env.step(action)
        after.append(env.data.qpos.copy())
    return np.array(after)


def pictures() -> dict[str, np.ndarray]:
    """Return pictures by kind, (n, H, W, 3) uint8 each."""
    from s2robot.envs.domain_randomization import RandomScenes
    from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv

    found: dict[str, list[np.ndarray]] = {"nominal": [], "perturbed": [], "with shadows": []}
    for level, camera in CAMERAS.items():
        env = PickCubeTaskEnv(level)
        kind = "perturbed" if env.level.appearance_varies else "nominal"
        for seed in range(10):
            env.reset(seed=seed)
            found[kind] += [env.render_frame(name, SIZE, SIZE) for name in (camera, "wrist")]
    fine = PickCubeTaskEnv("precise", quality={"shadow_size": 1024, "msaa": 4})
    for seed in range(5):
        fine.reset(seed=seed)
        found["with shadows"].append(fine.render_frame("far", SIZE, SIZE))
    scenes = RandomScenes(0, size=192)
    found["pre-training"] = [scenes.frame(index) for index in range(40)]
    return {f"pictures/{kind}": np.stack(each) for kind, each in found.items()}


def successes(episodes: int) -> dict[str, np.ndarray]:
    """Return the expert's successes under execution noise, (episodes,) bool for each setting."""
    from s2robot.data.collection import record_episode
    from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv

    found = {}
    for level, control in SETTINGS:
        env = PickCubeTaskEnv(level, control=control)
        ends = [record_episode(env, s, HOLD_STEPS).success[-1] for s in range(episodes)]
        found[f"success/{level}/{control}"] = np.array(ends)
    return found


# ----------------------------------------------------------------------------------- comparison
def motion_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the largest differences of the joint positions after one control step."""
    gaps = [np.abs(one[n] - other[n]) for n in one if n.startswith("motion/")]
    gap = np.concatenate(gaps)
    return {
        "arm_rad": float(gap[:, :CUBE].max()),
        "cube_m": float(gap[:, CUBE : CUBE + 3].max()),
        "cube_quat": float(gap[:, CUBE + 3 :].max()),
        "share_of_steps": round(float((gap.max(axis=1) > ROUNDING).mean()), 4),
    }


def pictures_changed(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return by kind how many pixels differ, and by how many levels at most."""
    found = {}
    for name in one:
        if name.startswith("pictures/"):
            gap = np.abs(one[name].astype(int) - other[name])
            share = float((gap.max(axis=-1) > 0).mean())
            found[name.removeprefix("pictures/")] = {
                "share_of_pixels": round(share, 4),
                "max_level": int(gap.max()),
            }
    return found


def row_of(version: str, found: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return the row of a release against those before it."""
    own, earlier = found[version], [v for v in found if v != version]
    digests = {n[9:]: hashlib.sha256(own[n].tobytes()).hexdigest()[:16] for n in own if "pict" in n}
    return {
        "mujoco": version,
        "expert": {n[8:]: [int(own[n].sum()), len(own[n])] for n in own if n.startswith("success")},
        "pictures": digests,
        "pictures_changed": pictures_changed(own, found[earlier[-1]]) if earlier else {},
        "motion_against": {v: motion_difference(own, found[v]) for v in earlier},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", nargs="+", default=RELEASES.split())
    parser.add_argument("--episodes", type=int, default=25, help="of each of the four settings")
    parser.add_argument("--packages", type=Path, help="folder of the installed releases")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=2, metavar=("REFERENCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        reference, out = map(Path, options.child)
        if reference.exists():
            return record_release(reference, out, options.episodes)
        return record_reference(reference, options.episodes)
    with tempfile.TemporaryDirectory() as scratch:
        rows, unusable = compare(options, Path(scratch))
    record = {
        "seed": "environment seeds 0 to episodes - 1",
        "episodes": options.episodes,
        "reference": REFERENCE,
        "rounding": ROUNDING,
        "unusable": unusable,
        "rows": rows,
    }
    write_json(options.out, {**record, "provenance": provenance()})


def compare(options: argparse.Namespace, scratch: Path) -> tuple[list[Any], dict[str, str]]:
    """Return a row for each release that builds the scene, and the errors of the others."""
    folder = options.packages or scratch
    reference = scratch / "reference.npz"
    words = ["--episodes", str(options.episodes), "--child", str(reference)]
    error = run_child(install(REFERENCE, folder), *words, "-")
    if error is not None:
        raise SystemExit(error)
    found, rows, unusable = {}, [], {}
    for version in options.releases:
        out = scratch / f"{version}.npz"
        error = run_child(install(version, folder), *words, str(out))
        if error is not None:
            unusable[version] = error
            continue
        with np.load(out) as there:
            found[version] = {name: there[name] for name in there.files}
        rows.append(row_of(version, found))
        print(version, rows[-1]["expert"], rows[-1]["pictures_changed"], flush=True)
    return rows, unusable


if __name__ == "__main__":
    main()
