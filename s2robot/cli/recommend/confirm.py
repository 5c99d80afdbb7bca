"""Rollouts of the two best candidates, seed after seed, and whether the choice held."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from s2robot.analysis.recommend import Recommendation, RecommendConfig
from s2robot.analysis.recommend.results import Candidate
from s2robot.analysis.recommend.sources import PICK_CUBE, RECORDED, STATES, TASK
from s2robot.cli.decide import make_plan
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.demonstrations import Demonstrations
from s2robot.experiments.config import DemosChoice, VariantConfig
from s2robot.experiments.jobs import RunJob, TrainJob
from s2robot.experiments.seed_runs import SeedRuns
from s2robot.experiments.sequential_sweep import SequentialSweep
from s2robot.utils.console import OUTPUT

METRIC = "success_once"
ALPHA = MARGIN = 0.05
AT_ONCE = 4


def check_can_confirm(source: str, kind: str, choice: DataChoice) -> None:
    """Refuse rollouts for a source without a simulator, before any work.

    Args:
        source: as the user named it.
        kind: of it, as ``kind_of`` returns it.
        choice: what is taken of it.

    Raises:
        ValueError: the source is neither a level of pick-cube nor a file of demonstrations, or
            policies of its task cannot read what is chosen.
    """
    if kind == TASK and choice.low_dim:
        raise ValueError(
            f"--low-dim is {' '.join(choice.low_dim)}, but policies that --confirm trains read the "
            "task's own proprioception; leave one of both out"
        )
    if kind in (PICK_CUBE, STATES, TASK):
        return
    if kind == RECORDED:
        raise ValueError(
            f"--confirm rolls policies out in the simulator, and {source} is recorded data, which "
            "has none. Without it, train the choice and the second best on several seeds and "
            f"compare their held-out errors: `s2robot train data={source} encoder=NAME "
            "'scales=[S,S]' seeds=3`. Where a task of the same robot, cameras and actions exists, "
            "`s2robot eval checkpoint=POLICY task=TASK` rolls those policies out"
        )
    raise ValueError(
        f"--confirm rolls policies out in the simulator, and {source} holds none of its "
        "demonstrations; give FILE.hdf5 of `s2robot collect`, or pick-cube/LEVEL"
    )


def confirm(
    found: Recommendation, demos_path: str, config: RecommendConfig, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Train and roll out the two best candidates until they are told apart, or the seeds end.

    Args:
        found: the recommendation.
        demos_path: file of the demonstrations.
        config: of the recommendation.
        options: numbers of seeds (``confirm``) and of initial states (``states``).

    Returns:
        The verdict as JSON-able values: ``held`` is True where the choice is better or equivalent,
        False where it is worse, None where that is not shown. None without two candidates.
    """
    best = found.two_best
    if len(best) < 2:
        OUTPUT.print("nothing to confirm: fewer than two candidates meet the deadline")
        return None
    jobs = [_job(candidate, demos_path, config, options) for candidate in best]
    choice = jobs[0]
    settings = argparse.Namespace(metric=METRIC, alpha=ALPHA, margin=MARGIN)
    plan, jobs = make_plan(jobs, settings)
    runs_dir = jobs[0].train.runs_dir
    runs = SeedRuns(jobs, METRIC, [variant.label for variant in plan.variants])
    sweep = SequentialSweep(plan, runs, runs_dir, options.confirm, AT_ONCE)
    sweep.claim()
    for each in sweep.rounds():
        rates = [sweep.rates.get((number, each.seed)) for number in (0, 1)]
        listed = ", ".join(
            f"{variant.label} {'failed' if rate is None else f'{100 * rate:.0f} %'}"
            for variant, rate in zip(plan.variants, rates, strict=True)
        )
        OUTPUT.print(f"seed {each.seed}: {listed}")
    pair, evidence = plan.pairs[0], sweep.family.pairs[0]
    turned = jobs[pair.second] is not choice  # the verdict is on the second variant of the pair
    return _record(
        [each.label for each in best],
        evidence.verdict,
        list(evidence.differences),
        turned,
        options,
    )


def _job(
    candidate: Candidate, demos_path: str, config: RecommendConfig, options: argparse.Namespace
) -> RunJob:
    demos = Demonstrations(demos_path)
    given: dict[str, Any] = {**config.options}
    variant = VariantConfig(
        level=demos.level,
        control=demos.control,
        encoder=candidate.encoder,
        scales=candidate.scales,
        demos=DemosChoice(path=Path(demos_path)),
        cameras=config.data.cameras,
        device=config.device,
        runtime=config.runtime,
        data_dir=config.data_dir,
        **given,
    )
    return RunJob(TrainJob(variant, runs_dir=config.out / "confirm"), n=options.states)


def _record(
    best: list[str],
    verdict: str,
    differences: list[float],
    turned: bool,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the verdict as one on the choice, and print it."""
    turns = {"better": "worse", "worse": "better"}
    on_choice = turns.get(verdict, verdict) if turned else verdict
    held = {"better": True, "equivalent": True, "worse": False}.get(on_choice)
    points = [-100 * each if turned else 100 * each for each in differences]
    words = {True: "held", False: "did not hold", None: "is neither confirmed nor refuted"}[held]
    mean = f"{sum(points) / len(points):+.1f} points" if points else "no seed"
    OUTPUT.print(
        f"The recommendation {words}: {best[0]} against {best[1]}: {mean} of success "
        f"over {len(points)} seeds of {options.states} initial states: {on_choice}"
    )
    return {
        "choice": best[0],
        "against": best[1],
        "verdict": on_choice,
        "held": held,
        "points_by_seed": [round(each, 3) for each in points],
        "initial_states": options.states,
    }
