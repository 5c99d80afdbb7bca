"""Larger encoder or more scales, with published weights: numbers of benchmarks/published_sweep.sh.

Each question of the script is a sequential test of its own: training seeds are the units, each is
rolled out from initial states of its own, and a pair that is decided gets no more. For each variant
the file has its success rate over all of its seeds, with the interval for further seeds and states,
GFLOPs of a frame and measured milliseconds of one frame; for each pair its anytime-valid interval
and verdict, and for each family what follows. Questions that are not finished are listed as such.
``--earlier`` takes the questions of an earlier results file that have more seeds there, with their
variants: a question is a test of its own, so its result does not depend on the others.
``--latency`` takes milliseconds of one quiet machine, in place of those that the runs noted beside
other work on several machines.

    bash benchmarks/published_sweep.sh runs/published
    python benchmarks/published_sweep.py runs/published --plot docs/pictures/published.png

``--keep`` stores the runs without policies, frames and actions, their demonstrations and initial
states in a small archive. Where FOLDER has no runs, the script of the sweep begins with those of
the archive, on any machine: a finished run counts without its policy file.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from s2robot.evaluation.baselines import is_baseline
from s2robot.experiments.sequential_results import SequentialResults, read_sequential
from s2robot.reporting.html_report import report_answers
from s2robot.reporting.json_report import rate_record
from s2robot.reporting.report import make_report
from s2robot.reporting.run_results import VariantResults
from s2robot.utils.io import atomic_path, read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "published_sweep.json"
ARCHIVE = RESULTS.with_name("published_sweep_runs.tar.xz")
_KEPT = ("cell.json", "run.json", "summary.json", "training.json", "episodes.jsonl")
METRIC = "success_once"
SIDES = ("first", "second")


def main() -> None:
    parser = argparse.ArgumentParser(description="Collect the sweep's results.")
    parser.add_argument("folder", type=Path, help="that benchmarks/published_sweep.sh filled")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--earlier", type=Path, help="results file with further questions")
    parser.add_argument("--latency", type=Path, help="file of benchmarks/published_latency.py")
    parser.add_argument("--keep", action="store_true", help=f"write {ARCHIVE.name} too")
    parser.add_argument("--plot", type=Path, help="picture of success against both costs")
    options = parser.parse_args()
    runs = options.folder / "runs"
    report = make_report(runs / "cells", METRIC)
    variants = [variant for group in report.groups for variant in group.variants]
    tests, unusable = read_sequential(runs / "cells")
    if not tests:
        parser.error(f"{runs} holds no sequential test; run benchmarks/published_sweep.sh first")
    rows = [row_of(variant) for variant in variants]
    questions = {each.path.stem: question_of(each) for each in tests}
    found = {
        "command": f"bash benchmarks/published_sweep.sh {options.folder.name}",
        "metric": METRIC,
        "variants": in_order(rows),
        "questions": questions,
        "families": {answer.family: str(answer) for answer in report_answers(report)},
        "problems": [str(problem) for problem in report.problems] + [str(u) for u in unusable],
        "runs_of": machines(variants),
        "provenance": provenance(),
    }
    if options.earlier:
        found = with_earlier(found, read_json(options.earlier))
    if options.latency:
        found = with_latency(found, read_json(options.latency))
    write_json(options.out, found)
    for name, question in found["questions"].items():
        for pair in question["pairs"]:
            print(f"{name}: {pair['second']} against {pair['first']}: {pair['text']}")
    for answer in found["families"].values():
        print(answer)
    if options.keep:
        keep(options.folder)
    if options.plot:
        draw(found["variants"], options.plot)


def with_earlier(found: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Results with those questions of an earlier file that have more seeds, and their variants."""
    questions, rows = dict(found["questions"]), {row["label"]: row for row in found["variants"]}
    added = [
        name
        for name, question in earlier["questions"].items()
        if seeds_of(question) > seeds_of(questions.get(name, {"pairs": []}))
    ]
    questions |= {name: earlier["questions"][name] for name in added}
    needed = {pair[side] for name in added for pair in questions[name]["pairs"] for side in SIDES}
    families = dict(found["families"])
    for row in earlier["variants"]:
        label = row["label"]
        if label in needed and row["episodes"] > rows.get(label, {"episodes": 0})["episodes"]:
            rows[label] = row
            families |= {k: v for k, v in earlier["families"].items() if k == row["family"]}
    others = [each for each in earlier["runs_of"] if each not in found["runs_of"]]
    return {
        **found,
        "variants": in_order(list(rows.values())),
        "questions": questions,
        "families": families,
        "runs_of": [*found["runs_of"], *others],
        "earlier": {"questions": sorted(added), "provenance": earlier["provenance"]},
    }


def with_latency(found: Mapping[str, Any], latency: Mapping[str, Any]) -> dict[str, Any]:
    """Results with the milliseconds of one machine, in place of those that each run noted."""
    timed = latency["variants"]
    rows = [
        {**row, "p50_ms": timed[row["label"]]["p50_ms"]} if row["label"] in timed else row
        for row in found["variants"]
    ]
    told = {name: latency[name] for name in ("command", "frame", "provenance")}
    return {**found, "variants": rows, "latency": told}


def seeds_of(question: Mapping[str, Any]) -> int:
    """Seeds of the pair of a question that has the most."""
    return max((pair["seeds"] for pair in question["pairs"]), default=0)


def keep(folder: Path) -> None:
    """Write the archive of finished runs, tests, searches and what they began with.

    Demonstrations and initial states are in it, since those of another release may differ in their
    last digits, and a test does not go on with others.
    """
    runs = folder / "runs"
    finished = [path.parent for path in (runs / "cells").glob("*/summary.json")]
    files = [cell / name for cell in finished for name in _KEPT if (cell / name).exists()]
    files += [*(runs / "sequential").glob("*.json"), *(runs / "heads").glob("*.jsonl")]
    files += (folder / "data" / "demos").glob("*.hdf5")
    files += (folder / "data" / "conditions").glob("*.npz")
    with atomic_path(ARCHIVE) as path, tarfile.open(path, "w:xz") as archive:
        for file in sorted(files):
            archive.add(file, file.relative_to(folder), filter=_without_owner)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by family and cost."""
    return sorted(rows, key=lambda row: (row["family"] or "", row["gflops_per_frame"]))


def row_of(variant: VariantResults) -> dict[str, Any]:
    """Costs and success of one variant."""
    return {
        "label": variant.label,
        "family": variant.family,
        "parameters": variant.parameters,
        "gflops_per_frame": round(variant.gflops, 3),
        "embedding_dim": variant.embedding_dim,
        "p50_ms": variant.latency_ms("single_frame", "total", "p50"),
        **rate_record(variant, METRIC),
    }


def question_of(results: SequentialResults) -> dict[str, Any]:
    """The pairs of one sequential test."""
    plan = results.content["plan"]
    pairs = []
    for described, (first, second, test) in zip(plan["pairs"], results.pairs, strict=True):
        record = test.record()
        low, high = (100 * limit for limit in record["anytime_interval"])
        pairs.append(
            {
                "question": described["question"],
                "first": first["label"],
                "second": second["label"],
                **record,
                "text": f"{100 * record['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] over "
                f"{record['seeds']} seeds: {record['verdict']}",
            }
        )
    return {
        "initial_states_per_seed": plan["initial_states"],
        "pairs": pairs,
        "episodes": dict(results.content["episodes"]),
    }


def machines(variants: Sequence[VariantResults]) -> list[Any]:
    """Distinct machines and versions of the runs."""
    found: list[Any] = []
    for variant in variants:
        for run in variant.runs:
            record = run.info.get("provenance")
            if record and record not in found:
                found.append(record)
    return found


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success against GFLOPs and against milliseconds; bars are 95 % intervals.

    An encoder is a line through its scale sets; controls are hollow.
    """
    costs = (("gflops_per_frame", "GFLOP a frame"), ("p50_ms", "ms a frame, measured"))
    shown = [row for row in rows if row["gflops_per_frame"] and not is_baseline(row["label"])]
    lines: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for row in shown:
        encoder, scales, control = parts_of(row["label"])
        lines.setdefault((encoder, control), []).append((scales, row))
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = plt.subplots(1, 2, figsize=(12, 5.2), sharey=True, layout="constrained")
    for axis, (key, name) in zip(axes, costs, strict=True):
        for number, ((encoder, control), members) in enumerate(sorted(lines.items())):
            color, label = f"C{number % 10}", f"{encoder} {control}".strip()
            rates = [100 * row["rate"] for _, row in members]
            lower = [100 * (row["rate"] - row["interval_95"][0]) for _, row in members]
            upper = [100 * (row["interval_95"][1] - row["rate"]) for _, row in members]
            shift = 1.015 ** (number - len(lines) / 2)  # equal costs side by side
            x = [row[key] * shift for _, row in members]
            face = {"mfc": "white", "lw": 0, "elinewidth": 0.8} if control else {"lw": 1.2}
            axis.errorbar(
                x, rates, [lower, upper], marker="os^Dv"[number % 5], color=color, capsize=2,
                label=label, **face,
            )  # fmt: skip
            for (scales, _), place, rate in zip(members, x, rates, strict=True):
                if not control:
                    axis.annotate(
                        f"({scales})", (place, rate), (4, 4), textcoords="offset points",
                        fontsize=8, color=color,
                    )  # fmt: skip
        axis.set(xscale="log", xlabel=name)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("success [%]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parts_of(label: str) -> tuple[str, str, str]:
    """Encoder, scale set and what else a variant's label says.

    Examples:
        >>> parts_of("efficientnet-lite0 (1,2) mean of scales")
        ('efficientnet-lite0', '1,2', 'mean of scales')
    """
    encoder, _, rest = label.partition(" (")
    scales, _, control = rest.partition(")")
    return encoder, scales, control.strip()


if __name__ == "__main__":
    main()
