"""Videos inside the page: which ones, how many, and with which command."""

from __future__ import annotations

import base64
import json
import shlex

import pytest
from support.synthetic_runs import SMALL, outcomes, write_run

from s2robot.cli.parsers.replay import parse
from s2robot.reporting.page import media
from s2robot.reporting.report import make_report
from s2robot.reporting.run_files import load_runs

MP4 = b"\0\0\0\x18ftypisom"


def variants(folder, contents):
    """Variants of one run each, whose videos have the contents given by scale set and name."""
    for scales, files in contents.items():
        run = write_run(folder, outcomes(0.5, 0), SMALL, scales)
        summary = json.loads((run / "summary.json").read_text())
        (run / "videos").mkdir()
        for name, content in files.items():
            (run / "videos" / name).write_bytes(content)
        summary["videos"] = [f"videos/{name}" for name in files]
        (run / "summary.json").write_text(json.dumps(summary))
    (group,) = make_report(folder).groups
    return [(f"0-{i}", variant) for i, variant in enumerate(group.variants)]


def test_the_first_failure_and_the_first_success_of_a_variant_are_held(tmp_path):
    names = ("success_00001.mp4", "success_00002.mp4", "failure_00003.mp4")
    found = media.videos(variants(tmp_path, {(1,): dict.fromkeys(names, MP4)}))
    assert [each["kind"] for each in found] == ["failure", "success"]
    assert found[0]["caption"].startswith(f"{SMALL} (1), seed 0, initial state 3: ")
    assert found[0]["command"].endswith(" 3")
    assert base64.b64decode(found[0]["uri"].split(",")[1]) == MP4


def test_a_file_that_is_no_video_or_is_gone_is_left_out(tmp_path):
    files = {"failure_00000.mp4": b"<html>", "failure_00001.mp4": MP4}
    named = variants(tmp_path, {(1,): files})
    assert [each["command"][-1] for each in media.videos(named)] == ["1"]
    for path in tmp_path.rglob("*.mp4"):
        path.unlink()
    assert media.videos(named) == []


def test_every_variant_has_a_failure_before_any_has_a_second_video(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MOST_VIDEO_BYTES", 3 * len(MP4))
    files = {"failure_00000.mp4": MP4, "success_00001.mp4": MP4}
    found = media.videos(variants(tmp_path, {(1,): files, (1, 2): files}))
    assert [(each["id"], each["kind"]) for each in found] == [
        ("0-0", "failure"), ("0-0", "success"), ("0-1", "failure")
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["../outside.mp4", "/etc/passwd"])
def test_a_path_out_of_the_run_is_not_read(tmp_path, path):
    ((_, variant),) = variants(tmp_path / "cells", {(1,): {}})
    (tmp_path / "outside.mp4").write_bytes(MP4)
    run = variant.runs[0].path
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "videos": [path]}))
    (group,) = make_report(tmp_path / "cells").groups
    assert media.videos([("0-0", group.variants[0])]) == []


@pytest.mark.parametrize("task", ["module:push.Push", "gym:push:NC/Push-v0?width=96"])
def test_the_command_names_a_task_whose_module_no_file_may_name(tmp_path, task):
    run = write_run(tmp_path, outcomes(0.5, 0), level=task)
    (result,) = load_runs(tmp_path)
    words = shlex.split(media.replay_command(result, 3))
    options = parse(words[2:])
    assert words[:2] == ["s2robot", "replay"]
    assert (options.run, options.episode, options.task) == (run.as_posix(), "3", task)


@pytest.mark.parametrize("task", ["precise", "gym:Pusher-v5", "so101/pick-cube"])
def test_the_command_of_other_tasks_is_short(tmp_path, task):
    run = write_run(tmp_path, outcomes(0.5, 0), level=task)
    (result,) = load_runs(tmp_path)
    words = shlex.split(media.replay_command(result, 3))
    assert words == ["s2robot", "replay", run.as_posix(), "3"]
