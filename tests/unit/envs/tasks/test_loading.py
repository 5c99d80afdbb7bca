"""Tasks by name, and which modules may be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from support.own_tasks import NAME, Reach

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.tasks import loading
from s2robot.envs.tasks.loading import make_env, named_by_user, task_named, trust, trusted_tasks
from s2robot.errors import MismatchError


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the tasks that other tests named."""
    monkeypatch.setattr(loading, "_trusted", set())
    task_named.cache_clear()


def test_a_level_gives_the_pick_cube_environment_with_its_arguments() -> None:
    env = make_env({"level": "precise", "control": "joint_delta", "horizon": 7})
    own = PickCubeEnv("precise", "joint_delta", horizon=7)
    assert env.env_kwargs() == own.env_kwargs()
    assert (env.horizon, env.rate_hz, env.start) == (7, 5.0, "state")
    assert env.cameras == ("far", "front", "wrist")


def test_a_module_that_only_a_file_names_is_not_imported(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="name the task yourself: 'task=module:support"):
        make_env({"level": NAME})
    with pytest.raises(MismatchError, match="Nothing is imported"):
        make_env({"level": "gym:antigravity:X-v0"})


def test_a_task_that_the_user_named_is_made() -> None:
    assert named_by_user(NAME) == NAME
    assert isinstance(task_named(NAME), Reach)
    assert make_env({"level": NAME}).env_kwargs()["level"] == NAME


def test_worker_processes_take_over_what_the_user_named() -> None:
    named_by_user(NAME)
    names = trusted_tasks()
    loading._trusted.clear()
    task_named.cache_clear()
    trust(names)
    assert isinstance(task_named(NAME), Reach)


def test_a_module_in_the_present_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here_only.py").write_text("from support.own_tasks import Reach as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path[:])
    named_by_user("module:here_only.Mine")
    assert isinstance(task_named("module:here_only.Mine"), Reach)


def test_a_module_or_class_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="there is no module 'no_such_thing'"):
        named_by_user("module:no_such_thing.Reach")
    with pytest.raises(ValueError, match=r"unknown task in support.own_tasks 'Reech'.*Reach"):
        named_by_user("module:support.own_tasks.Reech")


def test_an_import_that_fails_inside_the_users_module_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        named_by_user("module:needs_more.Task")


def test_a_class_without_the_methods_of_a_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no make, expert_of, noise_of; derive the class"):
        named_by_user("module:support.own_tasks.ReachEnv")


@pytest.mark.parametrize("name", ["gym:Nope-v0", "gym:no_such_library:Lift-v0"])
def test_an_unknown_environment_is_named_and_how_packages_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"there is no environment .*gym:MODULE:ID"):
        named_by_user(name)


def test_options_of_a_name_are_those_of_the_task_or_of_the_environment() -> None:
    task = task_named("gym:Pusher-v5?width=96&success_key=done&horizon=9&proprio=goal")
    assert isinstance(task, loading.task_named("gym:Pusher-v5").__class__)
    found = {key: vars(task)[key] for key in ("success_key", "horizon", "proprio", "options")}
    assert found == {
        "success_key": "done",
        "horizon": 9,
        "proprio": ("goal",),
        "options": {"width": 96},
    }


@pytest.mark.process
@pytest.mark.parametrize("name", ["module:draws.Task", "gym:draws:Drawn-v0"])
def test_torch_can_be_imported_after_a_module_that_draws_when_it_is_imported(
    name: str, tmp_path: Path
) -> None:
    """As dm_control does. Mesa's LLVM before Triton's would end the process."""
    (tmp_path / "draws.py").write_text(
        "import gymnasium, mujoco\n"
        "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
        "with mujoco.Renderer(model, 8, 8) as renderer:\n"
        "    renderer.update_scene(mujoco.MjData(model))\n"
        "    renderer.render()\n"
        "class Task:\n    make = expert_of = noise_of = None\n"
        "gymnasium.register('Drawn-v0', 'draws:Task')\n"
    )
    program = (
        "from s2robot.envs.gl import select_gl; select_gl(); import sys\n"
        "from s2robot.envs.tasks.loading import named_by_user, task_named\n"
        f"task_named(named_by_user({name!r}))\n"
        "assert 'draws' in sys.modules and 'torch' not in sys.modules\n"
        "import torch, torchvision; print(1)"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.stdout == "1\n", (result.returncode, result.stderr)


def test_a_registered_environment_of_the_present_folder_is_found_as_a_class_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registers_here.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('NC/Here-v0', 'support.own_tasks:ReachEnv', max_episode_steps=4)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [each for each in sys.path if each])
    name = named_by_user("gym:registers_here:NC/Here-v0")
    names = trusted_tasks()
    monkeypatch.setattr("sys.path", [each for each in sys.path if each != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "registers_here")
    monkeypatch.delitem(gymnasium.registry, "NC/Here-v0")
    loading._trusted.clear()
    task_named.cache_clear()
    trust(names)  # as in a worker process, whose path has the present folder not either
    assert make_env({"level": name}).horizon == 4


@pytest.mark.parametrize("name", ["gym:Nope-v0", "gym:no_such_library:Lift-v0", "gym:Pusher-v9"])
def test_the_error_of_an_unknown_environment_has_whole_sentences(name: str) -> None:
    with pytest.raises(ValueError, match="there is no environment") as error:
        named_by_user(name)
    assert re.search(r"[.?] An environment of a package", str(error.value))
    assert "looked for in the present folder" in str(error.value)
