"""Tasks of Gymnasium environments."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from support.own_tasks import Reach

from s2robot.envs.tasks.gymnasium_task import GymnasiumTask
from s2robot.envs.tasks.loading import make_env, named_by_user

ID = "S2RobotTestReach-v0"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the environment for one test."""
    monkeypatch.setattr(gymnasium, "registry", gymnasium.registry)
    monkeypatch.delitem(gymnasium.registry, ID, raising=False)
    gymnasium.register(ID, "support.own_tasks:ReachEnv", max_episode_steps=8)


def test_a_registered_environment_is_a_task_with_its_own_time_limit() -> None:
    name = named_by_user(f"gym:{ID}")
    env = make_env({"level": name})
    assert env.horizon == 8
    assert env.env_kwargs() == {"level": name, "control": "native", "horizon": 8}
    assert make_env({**env.env_kwargs(), "horizon": 20}).horizon == 20


def test_options_of_the_name_reach_the_environment() -> None:
    env = make_env({"level": f"gym:{ID}?key=won&success_key=won"})
    env.reset(seed=0)
    assert env.step(np.zeros(2))[4]["is_success"] is False


def test_an_option_that_the_environment_has_not_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="cannot be built or drawn: .*unexpected"):
        make_env({"level": f"gym:{ID}?edge=3"})


def test_an_error_of_the_users_own_code_is_not_hidden() -> None:
    class Broken(Reach):
        def environment(self, horizon: int | None) -> gymnasium.Env:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken().make({})


def test_a_class_without_an_environment_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"GymnasiumTask has no environment\(\)"):
        GymnasiumTask().make({})


def test_execution_noise_has_its_size_and_its_seed() -> None:
    task = Reach()
    env = task.make({})
    one, same = task.noise_of(env, 1), task.noise_of(env, 1)
    noisy = [one(np.zeros(2, np.float32)) for _ in range(300)]
    assert 0.17 < np.std(noisy) < 0.23
    assert np.array_equal(noisy[0], same(np.zeros(2, np.float32)))
