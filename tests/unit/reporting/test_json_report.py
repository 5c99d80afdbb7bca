"""The report's numbers as JSON."""

from __future__ import annotations

import numpy as np
from support.synthetic_runs import write_run

from s2robot.reporting.html_report import write_report
from s2robot.utils.io import read_json


def test_counts_and_comparison_are_those_of_the_episodes(tmp_path):
    first = [np.arange(20) < 8, np.arange(20) < 10]
    second = [np.arange(20) < 12, np.arange(20) < 15]
    for seed in (0, 1):
        write_run(tmp_path / "cells", first[seed], scales=(1,), seed=seed)
        write_run(tmp_path / "cells", second[seed], scales=(1, 2), seed=seed)
    record = read_json(write_report(tmp_path / "cells", tmp_path / "out").json)
    (group,) = record["groups"]
    counts = {
        tuple(variant["encoder"]["scales"]): variant["success_once"] for variant in group["arms"]
    }
    assert counts[1,]["per_seed"] == {"0": [8, 20], "1": [10, 20]}
    assert (counts[1, 2]["successes"], counts[1, 2]["episodes"]) == (27, 40)
    (pair,) = group["comparisons"]
    assert pair["question"] == "scales"
    assert pair["difference"] == 0.225
    assert pair["mcnemar_pooled"]["only_second"] == 9
    assert pair["mcnemar_pooled"]["only_first"] == 0
    assert "trials" not in group["arms"][0]["head"][0]
