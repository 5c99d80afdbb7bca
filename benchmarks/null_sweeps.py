"""How often do equal variants come out as different, do intervals cover, and what is the power?

Simulated sweeps (`simulated_sweeps.py`) go through the tests of `s2robot.stats` and through the
procedure used before: McNemar's test of all seeds' episodes pooled, confirmed by a bootstrap
interval over seeds and initial states, and Wilson's interval of the pooled rate.

    OMP_NUM_THREADS=1 python benchmarks/null_sweeps.py
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from simulated_sweeps import (
    ALPHA,
    CONDITION_CORRELATION,
    Design,
    clustered,
    draw,
    old_shown,
    pooled_mcnemar,
    t_covers,
    table,
    wilson_covers,
)

from s2robot.stats.cluster_variance import rate_limits
from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.intervals import wilson
from s2robot.stats.power import LEAST_SEEDS, power, seeds_needed
from s2robot.stats.sequential import anytime_equivalence_p, e_values
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results" / "null_sweeps.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "power.png"
SEED = 14
BASES, SEEDS, CONDITIONS = (0.05, 0.2, 0.5, 0.8, 0.97), (2, 3, 4, 8, 16), (32, 64, 256)
SEED_SDS, INTERACTION_SDS = (0.0, 0.07, 0.11), (0.0, 0.1, 0.17)
LAYOUTS = ("crossed", "nested")
APART = (
    (0.5, 0.6),
    (0.5, 0.8),
    (0.5, 0.97),
    (0.8, 0.97),
    (0.9, 0.99),
    (0.97, 0.9999),
    (0.02, 0.99),
)
"""True rates of two variants."""
DIFFERENCES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
LOOKS = 32
"""Seeds after which a sequential test gives up."""


def share(hits: float, of: int) -> dict[str, Any]:
    """A count as JSON, with its interval."""
    interval = wilson(int(hits), of)
    shares = {"share": interval.estimate, "low": interval.low, "high": interval.high}
    return {"count": int(hits), "of": of} | {key: round(x, 5) for key, x in shares.items()}


def headline(rng: np.random.Generator, sweeps: int, sweeps_old: int) -> dict[str, Any]:
    """Any pair shown among equal variants at the measured variances, over a mix of designs."""
    cells = [
        (Design(seeds, conditions, layout), base, variants)
        for seeds, conditions, layout, base, variants in itertools.product(
            SEEDS, CONDITIONS[:2], LAYOUTS, BASES, range(2, 7)
        )
    ]
    each, each_old = max(1, sweeps // len(cells)), max(1, sweeps_old // (len(cells) // 2))
    by: dict[str, list[int]] = {}
    for design, base, variants in cells:
        new, old = _any_shown(rng, design, (base,) * variants, each, each_old)
        keys = ["all", design.layout]
        keys += [f"seeds {design.seeds}", f"variants {variants}", f"base {base}"]
        for key, hits, size in [*((key, new, each) for key in keys), ("old", old, each_old)]:
            if key != "old" or design.layout == "crossed":
                tally = by.setdefault(key, [0, 0])
                tally[0] += hits
                tally[1] += size
    return {
        "variances": dataclasses.asdict(Design()) | {"seeds": SEEDS, "conditions": CONDITIONS[:2]},
        "condition_correlation": CONDITION_CORRELATION,
        "base_rates": BASES,
        "any_shown": share(*by.pop("all")),
        "any_shown_old_procedure": share(*by.pop("old")),
        "any_shown_by": {key: share(*tally) for key, tally in by.items()},
    }


def _any_shown(
    rng: np.random.Generator, design: Design, rates: tuple[float, ...], sweeps: int, sweeps_old: int
) -> tuple[int, int]:
    """Sweeps of `sweeps` with a pair shown, and of `sweeps_old` by the old procedure."""
    new = old = 0
    for outcomes in draw(rng, design, rates, sweeps):
        pairs = list(itertools.combinations(outcomes, 2))
        # Holm's procedure rejects any hypothesis exactly where it rejects the first.
        tail = ALPHA / len(pairs) / 2
        limits = [clustered(*pair, design.layout).limits(tail) for pair in pairs]
        if design.seeds >= LEAST_SEEDS:
            new += int(np.any([(low > 0) | (high < 0) for low, high in limits], axis=0).sum())
        if design.layout == "crossed" and sweeps_old:
            some = [variant[:sweeps_old] for variant in outcomes]
            old += int(old_shown(some).any(axis=1).sum())
            sweeps_old -= len(some[0])
    return new, old


def grid(rng: np.random.Generator, sweeps: int, again: int, worst: int) -> dict[str, Any]:
    """Two equal variants in each configuration; the worst are repeated with many more sweeps."""
    cells = [
        (Design(seeds, conditions, layout, seed_sd, 0.0, interaction_sd), base)
        for seeds, conditions, layout, seed_sd, interaction_sd, base in itertools.product(
            SEEDS, CONDITIONS, LAYOUTS, SEED_SDS, INTERACTION_SDS, BASES
        )
    ]
    tallies = np.array([_misses(rng, design, (base, base), sweeps) for design, base in cells])
    enough = np.array([design.seeds >= LEAST_SEEDS for design, _ in cells])
    results: dict[str, Any] = {"configurations": len(cells), "sweeps_each": sweeps}
    for column, name in enumerate(("difference", "rates", "wilson")):
        a_sweep = 2 if column else 1
        results[name] = {"misses": share(tallies[:, column].sum(), a_sweep * sweeps * len(cells))}
        for what, values in (("seeds", SEEDS), ("base", BASES)):
            of = np.array([d.seeds if what == "seeds" else b for d, b in cells])
            results[name][f"misses_by_{what}"] = {
                str(value): share(misses.sum(), a_sweep * sweeps * len(misses))
                for value in values
                for misses in [tallies[of == value, column]]
            }
        if name != "wilson":
            ranked = np.argsort(-np.where(enough, tallies[:, column], -1))[:worst]
            results[name]["worst_from_3_seeds_repeated"] = [
                dataclasses.asdict(design) | {"base": base} | share(misses[column], a_sweep * again)
                for design, base in (cells[i] for i in ranked)
                for misses in [_misses(rng, design, (base, base), again)]
            ]
    return results


def _misses(
    rng: np.random.Generator,
    design: Design,
    rates: tuple[float, float],
    sweeps: int,
    seeds_of_first: int | None = None,
) -> np.ndarray:
    """Misses of the intervals: difference, both rates, Wilson's, symmetric t, Welch's t; (5,)."""
    misses = np.zeros(5, dtype=int)
    for first, second in draw(rng, design, rates, sweeps):
        variants = (first[:, :seeds_of_first], second)
        model = clustered(*variants, design.layout)
        low, high = model.limits(ALPHA / 2)
        true = rates[1] - rates[0]
        misses[0] += ((low > true) | (high < true)).sum()
        misses[3:] += [(~covers).sum() for covers in t_covers(model, true, variants[0].shape[1])]
        for variant, true in zip(variants, rates, strict=True):
            low, high = rate_limits(*table(variant, design.layout), 1 - ALPHA)
            misses[1] += ((low > true) | (high < true)).sum()
            misses[2] += (~wilson_covers(variant, true)).sum()
    return misses


def coverage(rng: np.random.Generator, sweeps: int) -> list[dict[str, Any]]:
    """Misses of intervals where the true rates differ, or the numbers of seeds."""
    cells = [
        (Design(seeds, conditions, layout), rates, None)
        for layout, seeds, conditions, rates in itertools.product(
            LAYOUTS, SEEDS[1:], CONDITIONS[:2], APART
        )
    ]
    cells += [
        (Design(seeds, conditions), rates, fewer)
        for (fewer, seeds), conditions, rates in itertools.product(
            ((3, 8), (3, 16), (4, 16)), CONDITIONS[:2], ((0.5, 0.5), *APART[:3])
        )
    ]
    rows = []
    for design, rates, fewer in cells:
        difference, of_rates, _, t, welch = _misses(rng, design, rates, sweeps, fewer)
        rows.append(
            {
                "layout": design.layout,
                "seeds": [fewer or design.seeds, design.seeds],
                "conditions": design.conditions,
                "rates": rates,
                "difference_misses": share(difference, sweeps),
                "rates_misses": share(of_rates, 2 * sweeps),
                "symmetric_t_misses": share(t, sweeps),
                "welch_t_misses": share(welch, sweeps),
            }
        )
    return rows


def old_numbers(rng: np.random.Generator, sweeps: int, sweeps_of_six: int) -> list[dict[str, Any]]:
    """The old procedure on equal variants, with a seed SD of .07 and no heads."""
    rows = []
    for seeds, conditions in itertools.product((3, 4, 8), (64, 100)):
        design = Design(seeds, conditions, head_sd=0.0)
        rejected = covered = shown = 0
        for first, second in draw(rng, design, (0.5, 0.5), sweeps):
            rejected += int((pooled_mcnemar(first, second) < ALPHA).sum())
            covered += int(wilson_covers(first, 0.5).sum())
        for outcomes in draw(rng, design, (0.5,) * 6, sweeps_of_six):
            shown += int(old_shown(outcomes).any(axis=1).sum())
        rows.append(
            {"seeds": seeds, "conditions": conditions}
            | {"mcnemar_rejects": share(rejected, sweeps)}
            | {"wilson_covers": share(covered, sweeps)}
            | {"any_shown_among_6": share(shown, sweeps_of_six)}
        )
    return rows


def power_curves(rng: np.random.Generator, sweeps: int, sweeps_old: int) -> list[dict[str, Any]]:
    """Power against the difference from a rate of 50 %, new, predicted and old."""
    rows = []
    for seeds, difference in itertools.product(SEEDS[1:], DIFFERENCES):
        design = Design(seeds)
        new, old = _any_shown(rng, design, (0.5, 0.5 + difference), sweeps, sweeps_old)
        rows.append(
            {"seeds": seeds, "conditions": design.conditions, "difference": difference}
            | {"clustered": share(new, sweeps), "old_procedure": share(old, sweeps_old)}
            | {"predicted": round(power(difference, seeds, 64, components(design)), 4)}
        )
    return rows


def components(design: Design) -> VarianceComponents:
    """The design's components at a rate of 50 %."""
    seed = design.seed_sd**2 + design.head_sd**2
    condition = CONDITION_CORRELATION / 4
    return VarianceComponents(
        math.sqrt(seed), design.interaction_sd, math.sqrt(0.25 - seed - condition)
    )


def betting(differences: np.ndarray, episodes: int) -> np.ndarray:
    """E-values of betting on a mean of zero: a mixture of constant bets on either side."""
    del episodes  # the bound [-1, 1] is all that it takes
    bets = np.concatenate([np.linspace(0.05, 0.99, 20), -np.linspace(0.05, 0.99, 20)])
    return np.cumprod(1 + bets[:, None] * differences, axis=1).mean(axis=0)


def looks(
    rng: np.random.Generator,
    rates: tuple[float, float],
    design: Design,
    sweeps: int,
    process: Callable[[np.ndarray, int], np.ndarray] = e_values,
    comparisons: int = 1,
) -> tuple[int, float]:
    """Sweeps decided within 32 seeds if one looks after each, and the mean number of seeds."""
    decided, seeds = 0, 0
    for differences in _nested_differences(rng, rates, design, sweeps):
        hits = np.flatnonzero(process(differences, design.conditions) > comparisons / ALPHA) + 1
        hits = hits[hits >= LEAST_SEEDS]
        decided += bool(hits.size)
        seeds += hits[0] if hits.size else LOOKS
    return decided, seeds / sweeps


def _nested_differences(
    rng: np.random.Generator, rates: tuple[float, float], design: Design, sweeps: int
) -> np.ndarray:
    design = dataclasses.replace(design, layout="nested", seeds=LOOKS)
    parts = [second.mean(2) - first.mean(2) for first, second in draw(rng, design, rates, sweeps)]
    return np.concatenate(parts)


def sequential(rng: np.random.Generator, sweeps: int) -> dict[str, Any]:
    """False decisions when one looks after each of 32 seeds, and seeds until a decision."""
    false, equivalent, seeds = [], [], []
    for base, conditions, (seed_sd, head_sd) in itertools.product(
        BASES, CONDITIONS[:2], ((0.0, 0.0), (0.07, 0.08))
    ):
        design = Design(conditions=conditions, seed_sd=seed_sd, head_sd=head_sd)
        decided, _ = looks(rng, (base, base), design, sweeps)
        row = {"base": base, "conditions": conditions, "seed_sd": seed_sd, "head_sd": head_sd}
        false.append(row | share(decided, sweeps))
    for rates in ((0.5, 0.55), (0.9, 0.95), (0.9499, 0.9999)):
        differences = _nested_differences(rng, rates, Design(), sweeps // 4)
        p_values = [anytime_equivalence_p(row, 64, 0.05) for row in differences]
        equivalent.append({"rates": rates} | share(sum(p < ALPHA for p in p_values), len(p_values)))
    for rates in ((0.02, 0.99), (0.5, 0.9999), (0.35, 0.65), (0.4, 0.6), (0.45, 0.55)):
        for comparisons, (name, process) in itertools.product(
            (1, 15), (("t", e_values), ("betting", betting))
        ):
            design = Design(conditions=32)
            decided, mean = looks(rng, rates, design, sweeps // 4, process, comparisons)
            fixed = {
                f"fixed_seeds_for_{100 * wanted:.0f}_percent_power": seeds_needed(
                    rates[1] - rates[0],
                    32,
                    components(design),
                    wanted=wanted,
                    comparisons=comparisons,
                    layout="nested",
                )
                for wanted in (0.8, 0.9)
            }
            seeds.append(
                {"rates": rates, "comparisons": comparisons, "process": name}
                | {"decided_in_32": share(decided, sweeps // 4), "mean_seeds": round(mean, 2)}
                | fixed
            )
    return {
        "false_decisions": false,
        "false_equivalence_at_margin": equivalent,
        "seeds_until_decided": seeds,
    }


def picture(results: dict[str, Any], path: Path) -> None:
    """Draw power curves of both procedures, and the seeds that the sequential test takes."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), sharey=True)
    titles = ("clustered model", "before: pooled McNemar and bootstrap")
    for axis, key, title in zip(axes, ("clustered", "old_procedure"), titles, strict=True):
        for seeds in SEEDS[1:]:
            rows = [row for row in results["power"] if row["seeds"] == seeds]
            x = [100 * row["difference"] for row in rows]
            low, y, high = ([100 * row[key][of] for row in rows] for of in ("low", "share", "high"))
            (line,) = axis.plot(x, y, "o-", label=f"{seeds} seeds")
            axis.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
            if key == "clustered":
                predicted = [100 * row["predicted"] for row in rows]
                axis.plot(x, predicted, ":", color=line.get_color())
        axis.axhline(100 * ALPHA, color="black", linewidth=0.8)
        axis.set_title(title, fontsize=14)
        axis.set_xlabel("true difference from 50 % [points]", fontsize=13)
        axis.tick_params(labelsize=12)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("called different [%]", fontsize=13)
    axes[0].set_ylim(0, 101)
    axes[0].plot([], [], "k:", label="predicted")
    axes[0].legend(fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sweeps, no files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    part = 10 if options.quick else 1
    rng = np.random.default_rng(SEED)
    started = time.process_time()
    results: dict[str, Any] = {"seed": SEED, "alpha": ALPHA, **provenance()}
    sections = {
        "null_sweeps": lambda: headline(rng, 10_000 // part, 2000 // part),
        "grid": lambda: grid(rng, 150 // part, 5000 // part, 5),
        "coverage": lambda: coverage(rng, 2000 // part),
        "old_numbers": lambda: old_numbers(rng, 4000 // part, 300 // part),
        "power": lambda: power_curves(rng, 2000 // part, 300 // part),
        "sequential": lambda: sequential(rng, 4000 // part),
    }
    for name, section in sections.items():
        results[name] = section()
        print(f"{name}: {time.process_time() - started:.0f} s", flush=True)
    results["cpu_seconds"] = round(time.process_time() - started)
    if not options.quick:
        write_json(options.out, results)
        picture(results, options.picture)
    _summary(results)


def _summary(results: dict[str, Any]) -> None:
    for key in ("any_shown", "any_shown_old_procedure"):
        print(key, results["null_sweeps"][key])
    for name in ("difference", "rates"):
        worst = results["grid"][name]["worst_from_3_seeds_repeated"]
        print("worst miss rate", name, max(row["share"] for row in worst))
    print("coverage", max(row["difference_misses"]["share"] for row in results["coverage"]))
    print("false decisions", max(r["share"] for r in results["sequential"]["false_decisions"]))


if __name__ == "__main__":
    main()
