"""Every mistake in a setting is one clear line, and what has one meaning is accepted."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest

from s2robot.cli.main import main
from s2robot.cli.settings.front import checked_words
from s2robot.cli.settings.names import is_list
from s2robot.cli.settings.schema import JOBS, SettingsError, flat, groups_of, settings_of

NEEDED = {"eval": ["checkpoint=policy.safetensors"]}
FOREIGN = re.compile(
    r"\?\?\?|generator object|Traceback|use \+|\+\w+=|Config\b|Job\b|object at|dacite|variant\.|"
    r"\bNoneType\b|hydra\.cc|mismatched|struct"
)
"""What no error may show: Hydra's advice, names of classes, marks of a missing value."""


def refusal(verb: str, *words: str) -> str:
    with pytest.raises((SettingsError, ValueError)) as caught:
        checked_words(verb, [*NEEDED.get(verb, []), *words], sweeps=verb == "sweep")
    return str(caught.value)


def wrong_values(kind: Any) -> list[str]:
    """Values that no setting of this type takes."""
    kinds = {kind, *typing.get_args(kind)}
    if is_list(kind):
        texts = str in kinds
        return ["null", "{a:1}"] if texts else ["null", "many", "[a]", "{a:1}", "[1,", "[[[1]]]"]
    found = [] if type(None) in kinds else ["null"]
    if int in kinds:
        found += ["many", "1.5", "true", "{a:1}", "nan"]
        found += [] if kind is not int and any(map(is_list, kinds)) else ["[1,2]"]
    if float in kinds:
        found += ["many", "[1,2]", "true", "nan", "inf"]
    if bool in kinds:
        found += ["3", "yes", "[true]"]
    return found


def sections(verb: str) -> set[str]:
    names = settings_of(verb)
    return {name for name in names if any(each.startswith(f"{name}.") for each in names)}


@pytest.mark.parametrize("verb", JOBS)
def test_a_name_with_a_letter_less_is_refused_with_the_right_one(verb: str) -> None:
    known = {**settings_of(verb), **groups_of(verb)}
    for name in known:
        first, _, last = name.rpartition(".")
        wrong = f"{first}.{last[:1]}{last[2:]}" if first else f"{last[:1]}{last[2:]}"
        if len(last) < 4 or wrong in known:
            continue
        message = refusal(verb, f"{wrong}=1")
        assert f"{verb} has no setting {wrong}" in message
        assert name in message
        assert f"s2robot {verb} --help" in message
        assert not FOREIGN.search(message), message


@pytest.mark.parametrize("verb", JOBS)
def test_values_of_another_type_are_refused_with_what_is_allowed(verb: str) -> None:
    for name, kind in settings_of(verb).items():
        if name in groups_of(verb):
            continue
        values = ["3", "many"] if name in sections(verb) else wrong_values(kind)
        for value in values:
            message = refusal(verb, f"{name}={value}")
            assert message.startswith(f"{name} is "), message
            assert "allowed: " in message
            assert "\n" not in message
            assert not FOREIGN.search(message), message


OUT_OF_RANGE = {
    "collect": "level=esy control=x episodes=1 seed=100 valid_share=1 hold_steps=0 env.horizon=0",
    "features": "level=esy control=x encoder=x scales=[] scales=[1,1] scales=[0] input_mode=x "
    "readout=x resize_output_to_idx=5 geometry=x layers_merge=x merge=x scale_weights=[1] "
    "tilings=[[1,1]] camera.name=x camera.size=1 demos.episodes=1 demos.seed=-1 device=x dtype=x "
    "runtime=x",
    "pretrain": "recipe=x source=[] frames=0 frame_size=1 every=0 views=0 batch_size=0 lr=0 "
    "weight_decay=-1 warmup=1 ema=1 clip_norm=0 checkpoint_every=0 seed=-1 device=x precision=x "
    "compile=x processes=-1 workers=-1 segments_weight=-1 mask_ratio=1 model.img_size=100 "
    "model.num_heads=5 sampling.scales=[0.5,1,2] sampling.weights=[1] sampling.jitter=1 "
    "sampling.flip=2",
    "train": "policy=x budget=x policy.kind=x policy.loss=x policy.keypoints=0 policy.hidden=[] "
    "train.epochs=0 train.batch_size=0 train.lr=0 train.warmup=1 train.dtype=x search.trials=0 "
    "search.lrs=[] seed=-1",
    "eval": "level=x split=x n=0 first=-1 device=x dtype=x runtime=x rollout.num_envs=0 "
    "rollout.workers=-1 rollout.videos=-1 rollout.video_size=17 rollout.horizon=0 "
    "rollout.tile_choice=x",
    "sweep": "split=x n=0 first=-1 eval_levels=[easy] eval_levels=[x] level=easy,x policy=mlp,x "
    "seed=0,-1 scales=[1],[0] rollout.num_envs=0",
}
"""Values of the right type that are not allowed."""


@pytest.mark.parametrize(
    "verb, word", [(verb, word) for verb, words in OUT_OF_RANGE.items() for word in words.split()]
)
def test_values_out_of_range_are_refused_before_anything_runs(verb: str, word: str) -> None:
    message = refusal(verb, word)
    assert word.partition("=")[0].rsplit(".", 1)[-1] in message or "unknown" in message
    assert not FOREIGN.search(message), message


@pytest.mark.parametrize(
    "verb, words, message",
    [
        ("train", ["recipe=vitb"], "unknown recipe 'vitb'; available: s2-paper"),
        ("pretrain", ["recipe=s2-paper"], "unknown recipe 's2-paper'; available: vitb, vitl"),
        (
            "train",
            ["recipe=s2-paper", "policy=mlp"],
            "does not go with recipe=s2-paper",
        ),
        ("train", ["recipe=s2-paper", "policy.hidden=[8]"], "no effect with policy=act: it has"),
        ("train", ["seed", "=", "3"], "write seed=3"),
        ("train", ["seed", "=3"], "write seed=3"),
        ("train", ["seed=", "3"], "write seed=3"),
        ("train", ["seed="], "write seed=VALUE"),
        ("train", ["seed"], "write seed=VALUE"),
        ("train", ["scales"], "write scales=[VALUE,VALUE]"),
        ("train", ["sead", "=", "3"], "did you mean seed or demos.seed?"),
        ("train", ["sead"], "did you mean seed=VALUE?"),
        ("train", ["=3"], "written NAME=VALUE"),
        ("train", ["--seed", "3"], "NAME=VALUE: seed=3"),
        ("train", ["--scales", "1", "2", "level=easy"], "NAME=VALUE: 'scales=[1,2]'"),
        ("train", ["--input-mode=native"], "NAME=VALUE: input_mode=native"),
        ("train", ["--zzz"], "train has no option --zzz"),
        ("train", ["scales=1", "2"], "'scales=[1,2]'"),
        ("train", ["plicy=mlp"], "did you mean policy?"),
        ("train", ["policy=mpl"], "did you mean 'mlp'?"),
        ("train", ["policy=null"], "unknown policy 'null'; available: act, gmm, mlp"),
        ("train", ["epochs=3"], "did you mean train.epochs or search.epochs?"),
        ("train", ["n=8"], "eval, sweep have it"),
        ("train", ["train.seed=3"], "seed=3 sets it"),
        ("train", ["seed=0,1"], "seed has several values (0, 1); train takes one"),
        ("train", ["policy=mlp,gmm"], "policy has several values"),
        ("train", ["policy=glob(*)"], "policy has several values"),
        ("train", ["seed=range(0,3)"], "seed has several values"),
        ("train", ["scales=[1],[1,2]"], "scales has several values"),
        ("train", ["policy.gmm_modes=3"], "no effect with policy=mlp"),
        ("train", ["budget=none", "search.trials=3"], "no effect with budget=none"),
        ("train", ["data_dir=${nothing}/x"], "data_dir: Interpolation key 'nothing' not found"),
        ("train", ["scales=[1,2"], "scales is '[1,2'; allowed: a list of numbers"),
        ("train", ["scales=[1,[2]"], "scales is '[1,[2]'; allowed: a list of numbers"),
        ("train", ["scales=(1,2"], "scales is '(1,2'; allowed: a list of numbers"),
        ("train", ["cameras=[front,[wrist]"], "cameras is '[front,[wrist]'; allowed"),
        ("sweep", ["scales=1,2"], "'scales=[1,2]' for one, 'scales=[1],[2]' for 2"),
        ("sweep", ["scales=[1],2"], "allowed: a list of numbers"),
        ("sweep", ["runs_dir=a,b"], "takes one"),
        ("sweep", ["train.lr=interval(0,1)"], "infinitely many values"),
        ("sweep", ["hydra/launcher=joblb"], "unknown hydra/launcher 'joblb'"),
        ("collect", ["env=X"], "env is 'X'; allowed: settings of its own"),
        ("collect", ["env.id=3"], "env has env.image_camera"),
        ("collect", ["env.yaw_range=0.1"], "did you mean env.yaw_range_rad?"),
        ("collect", ["env.yaw_range_rad=9"], "env.yaw_range_rad is 9.0; allowed"),
        ("collect", ["env={a:1}"], "unknown setting 'env.a'"),
        ("eval", ["checkpoint=null"], "eval needs checkpoint=PATH"),
    ],
)
def test_a_mistake_says_how_the_setting_is_written(
    verb: str, words: list[str], message: str
) -> None:
    found = refusal(verb, *words)
    assert message in found
    assert not FOREIGN.search(found), found


def test_eval_without_a_policy_says_what_it_needs() -> None:
    with pytest.raises(SettingsError, match="eval needs checkpoint=PATH, the policy file that"):
        checked_words("eval", ["n=3"])


@pytest.mark.parametrize(
    "verb, given, expected",
    [
        ("eval", "checkpoint=epoch=3/p.st", 'checkpoint="epoch=3/p.st"'),
        ("eval", "checkpoint=a,b(1).st", 'checkpoint="a,b(1).st"'),
        ("eval", "checkpoint=my runs/p.st", "checkpoint=my runs/p.st"),
        ("eval", "checkpoint='epoch=3'", "checkpoint='epoch=3'"),
        ("features", "weights=2024", 'weights="2024"'),
        ("features", "data_dir=1e3", 'data_dir="1e3"'),
        ("features", "scales=2", "scales=[2]"),
        ("features", "scales=1,2", "scales=[1,2]"),
        ("features", "scales=(1,2)", "scales=[1,2]"),
        ("features", "layers=-1", "layers=[-1]"),
        ("features", "+level=easy", "level=easy"),
        ("features", "++level=easy", "level=easy"),
        ("features", "camera={name:front}", "camera={name:front}"),
        ("features", "data_dir=${oc.env:HOME}/x", "data_dir=${oc.env:HOME}/x"),
        ("pretrain", "source=photos", "source=[photos]"),
        ("pretrain", "source=run=1.mp4", 'source=["run=1.mp4"]'),
        ("pretrain", "source=[a,run=1.mp4]", 'source=["a","run=1.mp4"]'),
        ("pretrain", "views=1e6", "views=1e6"),
        ("collect", "env.yaw_range_rad=0.5", "++env.yaw_range_rad=0.5"),
        ("collect", "+env.yaw_range_rad=0.5", "++env.yaw_range_rad=0.5"),
        ("train", "~policy", "~policy"),
        ("train", "search=null", "search=null"),
        ("sweep", "scales=[1],[1,2]", "scales=[1],[1,2]"),
        ("sweep", "scales=2", "scales=[2]"),
        ("sweep", "encoder=blind,privileged_state", "encoder=blind,privileged_state"),
        ("sweep", "seed=range(0,3)", "seed=range(0,3)"),
        ("sweep", "policy=glob(*)", "policy=glob(*)"),
        ("sweep", "data_dir=a=1", 'data_dir="a=1"'),
        ("sweep", "hydra/launcher=basic", "hydra/launcher=basic"),
        ("sweep", "hydra.verbose=true", "hydra.verbose=true"),
    ],
)
def test_what_has_one_meaning_is_written_for_hydra(verb: str, given: str, expected: str) -> None:
    found = checked_words(verb, [*NEEDED.get(verb, []), given], sweeps=verb == "sweep")
    assert found[-1] == expected


@pytest.mark.parametrize(
    "options",
    [["-m"], ["--multirun"], ["--cfg", "job"], ["--cfg=job"], ["--config-dir", "."], ["--info"]],
)
def test_options_of_hydra_go_through(options: list[str]) -> None:
    assert checked_words("train", ["level=easy", *options]) == ["level=easy", *options]


def test_several_values_are_allowed_with_multirun() -> None:
    assert checked_words("train", ["seed=0,1", "-m"]) == ["seed=0,1", "-m"]
    with pytest.raises(SettingsError, match="seed is -1"):
        checked_words("train", ["seed=0,-1", "-m"])


def test_a_folder_of_own_settings_is_searched(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "small.yaml").write_text("kind: mlp\nhidden: [8]\n")
    words = ["policy=small", "--config-dir", str(tmp_path)]
    assert checked_words("train", words) == words
    with pytest.raises(SettingsError, match="unknown policy 'smaxll'"):
        checked_words("train", ["policy=smaxll", "--config-dir", str(tmp_path)])


def test_other_settings_files_are_left_to_hydra() -> None:
    words = ["anything=3", "--config-name", "mine"]
    assert checked_words("train", words) == words


def test_the_command_ends_with_status_2_and_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in (["eval"], ["train", "plicy=mlp"], ["sweep", "scales=1,2"], ["collect", "env=X"]):
        assert main(argv) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: ")
        assert len(shown.splitlines()) == 1
        assert not FOREIGN.search(shown)
    assert main(["decide", "plicy=mlp"]) == 2
    assert "decide has no setting plicy" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_setting_has_a_default() -> None:
    from hydra import compose, initialize_config_module

    with initialize_config_module("s2robot.configs", version_base="1.3"):
        contents = {verb: flat(_content(compose(verb))) for verb in JOBS}
    missing = [(v, name) for v, found in contents.items() for name in found if found[name] == "???"]
    assert not missing


def _content(config: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(config)
    return found


def test_paths_may_begin_with_a_tilde_and_hold_letters_of_any_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    words = checked_words("train", ["data_dir=~/x", "runs_dir=Läufe", "weights=~/ä b.pth"])
    assert words == ["data_dir=/home/a/x", 'runs_dir="Läufe"', 'weights="/home/a/ä b.pth"']


def test_a_file_in_place_of_a_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("x")
    with pytest.raises(SystemExit, match="2"):
        main(["collect", "out=file.txt/a.hdf5", "episodes=2", "level=easy"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "file.txt" in line
    assert [path.name for path in tmp_path.rglob("*")] == ["file.txt"]


def test_a_value_after_a_space_is_shown_with_its_name() -> None:
    with pytest.raises(SettingsError, match="level has no value; write level=easy"):
        checked_words("train", ["level", "easy"])


def test_a_list_with_a_space_is_shown_without() -> None:
    assert "'scales=[1,2]'" in refusal("train", "scales=[1,", "2]")
