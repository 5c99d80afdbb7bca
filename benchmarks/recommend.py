"""`s2robot recommend`: how long it takes, and whether its errors rank variants as rollouts do.

    s2robot encoders fetch efficientnet-lite0 efficientnet-lite1 efficientnet-lite2
    OMP_WAIT_POLICY=PASSIVE python benchmarks/recommend.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/recommend.py --runs runs/cells --deadline-ms 60000

The first times 12 candidates on 1,000 frames. With runs of `s2robot sweep` or `decide` on the same
level, every encoder and scale set that was rolled out is a candidate, and each error (`METRICS`) is
compared with the closed-loop success: rank correlations (1: the least error has the most
successes), and by how many points the choice is behind the best variant. Intervals are over a
bootstrap of training seeds. Give a deadline that all candidates meet, so that all are compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as sps

from s2robot.analysis.recommend import Recommendation, RecommendConfig, recommend
from s2robot.analysis.recommend.config import DEFAULT_ENCODERS, DEFAULT_SCALES, METRICS
from s2robot.reporting.run_files import read_runs
from s2robot.reporting.run_results import group_runs
from s2robot.stats.intervals import limits
from s2robot.utils.io import write_json

RESULTS = Path(__file__).parent / "results"
DRAWS = 2000
METRIC = "success_once"
Key = tuple[str, tuple[float, ...]]


def success_by_variant(folder: Path, level: str) -> dict[Key, list[float]]:
    """Return the success rate of each seed, by encoder and scales, of native variants."""
    runs = [run for run in read_runs(folder)[0] if run.finished and run.info["level"] == level]
    rates: dict[Key, list[float]] = {}
    keys: dict[Key, str] = {}
    for group in group_runs(runs):
        for variant in group.variants:
            if variant.is_baseline or variant.input_mode != "native":
                continue
            key = variant.backbone, tuple(float(scale) for scale in variant.scales)
            if keys.setdefault(key, variant.key) != variant.key:
                raise ValueError(
                    f"{folder} has several variants of {variant.label} that differ in other "
                    "settings; give a folder with one of them"
                )
            counts = [run.count(METRIC) for run in variant.runs]
            rates[key] = [successes / episodes for successes, episodes in counts]
    return rates


def agreement(
    errors: Mapping[Key, float], rates: Mapping[Key, Sequence[float]]
) -> dict[str, Any] | None:
    """Return how errors rank variants against success, with intervals over seeds.

    Args:
        errors: of a measure, by variant.
        rates: success rates of each variant's seeds.

    Returns:
        ``spearman``, ``kendall`` (1: the least error has the most successes) and ``points_behind``
        the best variant of the choice; None with fewer than three variants.
    """
    both = [key for key in errors if key in rates]
    if len(both) < 3:
        return None
    found = np.array([errors[key] for key in both])
    rng = np.random.default_rng(0)
    means = [np.array([np.mean(rates[key]) for key in both])]
    for _ in range(DRAWS):
        means.append(np.array([rng.choice(rates[key], len(rates[key])).mean() for key in both]))
    table = np.array([_statistics(found, each) for each in means])
    names = ("spearman", "kendall", "points_behind")
    return {
        "variants": len(both),
        "choice": _label(both[int(found.argmin())]),
        "best": _label(both[int(means[0].argmax())]),
        **{
            name: {"estimate": round(float(column[0]), 3), "interval_95": _limits(column[1:])}
            for name, column in zip(names, table.T, strict=True)
        },
    }


def _statistics(errors: np.ndarray, rates: np.ndarray) -> tuple[float, float, float]:
    behind = 100 * float(rates.max() - rates[errors.argmin()])
    if len(set(rates)) < 2:
        return 0.0, 0.0, behind
    spearman: Any = sps.spearmanr(-errors, rates)
    kendall: Any = sps.kendalltau(-errors, rates)
    return float(spearman.statistic), float(kendall.statistic), behind


def _limits(draws: np.ndarray) -> list[float]:
    return [round(each, 3) for each in limits(draws)]


def _label(key: Key) -> str:
    return f"{key[0]} ({','.join(f'{scale:g}' for scale in key[1])})"


def _compared(found: Recommendation, rates: Mapping[Key, Sequence[float]]) -> dict[str, Any]:
    """Return the agreement of each measure, and the variants with their errors and rates."""
    errors = {
        metric: {
            (c.encoder, c.scales): c.errors[metric].mean
            for c in found.candidates
            if metric in c.errors
        }
        for metric in METRICS
    }
    return {
        "agreement": {metric: agreement(own, rates) for metric, own in errors.items()},
        "variants": [
            {
                "label": _label(key),
                "success_by_seed": [round(rate, 4) for rate in own],
                "errors": {m: round(errors[m][key], 3) for m in METRICS if key in errors[m]},
            }
            for key, own in rates.items()
        ],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder of runs (cells) to compare with")
    parser.add_argument("--level", default="precise")
    parser.add_argument("--demos", help="file of demonstrations (default: those of --level)")
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--work", type=Path, default=Path("runs/recommend-benchmark"))
    parser.add_argument("--out", type=Path, default=RESULTS / "recommend.json")
    return parser.parse_args()


def main() -> None:
    """Recommend, compare with rollouts if there are any, print and write the result."""
    options = _arguments()
    rates = success_by_variant(options.runs, options.level) if options.runs else {}
    encoders = dict.fromkeys(key[0] for key in rates) or DEFAULT_ENCODERS
    scales = dict.fromkeys(key[1] for key in rates) or DEFAULT_SCALES
    config = RecommendConfig(
        deadline_ms=options.deadline_ms,
        encoders=tuple(encoders),
        scale_sets=tuple(scales),
        frames=options.frames,
        with_head=bool(rates),  # every error is compared with rollouts
        device=options.device,
        runtime=options.runtime,
        data_dir=options.work / "data",
        out=options.work / "out",
    )
    found = recommend(options.demos or f"pick-cube/{options.level}", config, print, True)
    record = found.to_dict()
    for candidate in record["candidates"]:
        for errors in candidate["errors"].values():
            errors.pop("by_training_and_episode")
    if rates:
        record["closed_loop"] = _compared(found, rates)
        for metric, own in record["closed_loop"]["agreement"].items():
            print(metric, own)
    print(f"{found.headline}\n{len(found.candidates)} candidates, {found.seconds} s")
    write_json(options.out, record)


if __name__ == "__main__":
    main()
