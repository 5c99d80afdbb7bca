"""What differs between settings, and which settings a group shares."""

from __future__ import annotations

from typing import Any

from s2robot.reporting.setting_differences import (
    baseline_key,
    changes,
    group_key,
    in_short,
    own_words,
    shared_changes,
    value,
    words,
)
from s2robot.utils.provenance import simulation_generation


def settings(backbone: str = "vit", **sections: Any) -> dict[str, Any]:
    pixels = backbone not in ("none", "state")
    return {
        "encoder": {"backbone": backbone, "weights_digest": f"digest of {backbone}"},
        "camera": {"name": "far"} if pixels else None,
        "inference": {"dtype": "float32"} if pixels else None,
        "rollout": {"horizon": 32, "tile_budget": 4 if pixels else None},
        "train": {"epochs": 60},
        **sections,
    }


def test_a_group_shares_everything_but_the_encoder():
    assert group_key(settings("vit")) == group_key(settings("resnet"))
    assert group_key(settings()) != group_key(settings(train={"epochs": 30}))


def test_a_baseline_shares_everything_that_is_not_of_pixels():
    assert baseline_key(settings("none")) == baseline_key(settings("vit"))
    assert baseline_key(settings("none")) != baseline_key(settings(train={"epochs": 30}))


def test_a_backbones_weights_are_named_only_where_its_name_is_the_same():
    assert changes(settings("vit"), settings("resnet")) == {"backbone": ("vit", "resnet")}
    other = settings(encoder={"backbone": "vit", "weights_digest": "another"})
    assert changes(settings(), other) == {"weights_digest": ("digest of vit", "another")}


def test_settings_of_pixels_do_not_differ_from_a_baselines():
    assert changes(settings("none"), settings("vit")) == {"backbone": ("blind", "vit")}
    assert shared_changes(settings("none"), settings("vit")) == {}


def test_a_section_that_one_run_lacks_differs_as_a_whole():
    found = changes(settings(search=None), settings(search={"trials": 8}))
    assert words(found) == ['search unset against {"trials": 8}']


def test_long_values_and_long_lists_are_cut():
    assert value("x" * 100) == "x" * 24 + "…"
    assert in_short([str(i) for i in range(9)]) == "0; 1; 2; 3; 4; 5; and 3 more"


def test_runs_of_two_releases_of_mujoco_are_kept_apart_and_both_are_named():
    one = settings(versions={"mujoco": simulation_generation("3.11.0")})
    other = settings(versions={"mujoco": simulation_generation("3.17.0")})
    assert group_key(one) != group_key(other)
    assert baseline_key(one) != baseline_key(other)
    assert words(shared_changes(one, other)) == ["versions.mujoco 3.11.0 against 3.17.0"]


RECORDED = {
    "recorded": 1,
    "low_dim": ["agent_pos"],
    "task": {"level": "module:push.Push", "observations": {"state": ["agent_pos"]}},
    "demonstrations": {"digest": "c75db76412", "n": 12, "level": "recorded"},
}
SIMULATED = {
    "task": {"level": "module:push.Push"},
    "demonstrations": {"digest": "08f13a5587", "n": 40, "level": "module:push.Push"},
}


def test_what_recorded_data_and_a_task_differ_in_is_said_in_words():
    lines = words(shared_changes(settings(**RECORDED), settings(**SIMULATED)))
    assert sorted(lines) == [
        "number of demonstrations 12 against 40",
        "training on recorded data against demonstrations of the task",
    ]
    assert not any(key in " ".join(lines) for key in ("digest", "unset", "{", "c75db", "task."))


def test_two_sets_of_demonstrations_are_different_and_told_apart_by_their_digests():
    other = {**RECORDED, "demonstrations": {"digest": "08f13a5587", "n": 12, "level": "recorded"}}
    found = shared_changes(settings(**RECORDED), settings(**other))
    assert words(found) == ["different demonstrations"]
    assert own_words(found) == ["demonstrations of digest c75db764"]


def test_other_observations_are_said_in_words():
    found = {"task.observations": (RECORDED["task"]["observations"], None)}
    assert words(found) == [
        "observations that stand for those of the data: (state from agent_pos) against the "
        "task's own"
    ]
    other = {**RECORDED, "low_dim": ["agent_pos", "goal"]}
    other["task"] = {**RECORDED["task"], "observations": {"state": ["agent_pos", "goal"]}}
    assert sorted(words(shared_changes(settings(**RECORDED), settings(**other)))) == [
        "observations that the policy reads: (agent_pos) against (agent_pos, goal)",
        "what stands for the observation state of the data: (agent_pos) against (agent_pos, goal)",
    ]


def test_cameras_that_differ_are_named():
    one = settings(camera={"cameras": [{"name": "far"}, {"name": "wrist"}], "gl": "egl"})
    assert words({"camera": (one["camera"], None)}) == ["camera (far, wrist) against unset"]
    assert words({"camera": ({"name": "far"}, None)}) == ["camera (far) against unset"]
