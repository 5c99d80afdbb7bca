"""A sweep as jobs of a real Slurm: canceled in mid-run, requeued, and resumed.

The cluster is started by the tests (``support.slurm_cluster``); ``make test-slurm`` runs them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.paths import ROOT
from support.slurm_cluster import SlurmCluster, missing_programs

LACKS = missing_programs() + (
    [] if importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") else ["extra slurm"]
)
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(LACKS), reason=f"this machine lacks {', '.join(LACKS)}"),
]

RUNS = (
    "level=easy",
    "encoder=random/vitt16-128",
    "scales=[1],[1,2]",
    "seed=0,1",
    "camera.size=128",
    "demos.episodes=4",
    "budget=quick",
    "train.epochs=2",
    "search.trials=1",
    "search.epochs=1",
    "n=6",
    "rollout.num_envs=1",
    "rollout.workers=0",
    "rollout.videos=0",
)
JOBS = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.partition=low",
)


def start(folder: Path, env: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "s2robot.cli.main", "sweep", *RUNS, *words]
    paths = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))
    with (folder / "sweep.log").open("ab") as log:
        own = {**env, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log)


def rows(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.glob("runs/cells/*/episodes.jsonl"))
    return {path.parent.name: path.read_bytes() for path in found}


def wait_for(holds: Callable[[], object], seconds: float = 300) -> object:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return found


def rolling_out(folder: Path) -> str | None:
    """The job of a run that has some of its episodes, but not all."""
    for path in folder.glob("runs/progress/running/*.json"):
        sign = json.loads(path.read_text())
        episodes = Path(folder, sign["folder"], "episodes.jsonl")
        if sign["job"] and episodes.is_file() and 1 <= len(episodes.read_bytes().splitlines()) < 5:
            return sign["job"]
    return None


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Rows of the same sweep in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder, dict(os.environ)).wait() == 0, (folder / "sweep.log").read_text()[-3000:]
    return rows(folder)


def test_a_canceled_job_is_resumed_by_the_same_command(
    cluster: SlurmCluster, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    first = start(tmp_path, cluster.env, *JOBS)
    job = str(wait_for(lambda: rolling_out(tmp_path)))
    cluster.run("scancel", job)
    wait_for(lambda: job not in cluster.jobs())
    before = {name: text for name, text in rows(tmp_path).items() if text}
    first.terminate()  # submitit notices a canceled job only after minutes
    first.wait()
    cluster.run("scancel", "--user", str(os.getuid()))
    wait_for(lambda: not cluster.jobs())
    again = start(tmp_path, cluster.env, *JOBS)
    assert again.wait() == 0, (tmp_path / "sweep.log").read_text()[-3000:]
    assert rows(tmp_path) == undisturbed
    assert all(undisturbed[name].startswith(text) for name, text in before.items())


def test_a_requeued_job_goes_on(
    cluster: SlurmCluster, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    sweep = start(tmp_path, cluster.env, *JOBS)
    job = str(wait_for(lambda: rolling_out(tmp_path)))
    cluster.run("scontrol", "requeue", job)
    assert sweep.wait() == 0, (tmp_path / "sweep.log").read_text()[-3000:]
    assert rows(tmp_path) == undisturbed
    assert int(cluster.run("sacct", "-nXPD", "-j", job, "-o", "State").count("\n")) >= 1
