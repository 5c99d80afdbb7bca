"""From composed settings to the job that a command runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from s2robot.cli.settings.schema import job_class, settings_of
from s2robot.errors import unknown
from s2robot.utils.config import converted, from_config, in_users_words

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from s2robot.experiments.jobs import RunJob, TrainCommand, TrainJob

# Settings of a variant are at the top level of train.yaml and sweep.yaml, so that a user types
# level=... and not variant.level=...; the dataclasses nest them.
_EVAL_KEYS = ("n", "first", "split", "rollout", "eval_levels", "shard", "train_together")
_TRAIN_KEYS = ("policy", "train", "search", "seed", "runs_dir")


def job_of(verb: str, content: Mapping[str, Any]) -> Any:
    """Return the dataclass that a command runs.

    Args:
        verb: name of the command.
        content: its settings, composed and resolved.

    Raises:
        ValueError: a setting is unknown, missing or of another type, or a value is not allowed.
    """
    if verb == "train":
        return _train_command(content)
    if verb == "sweep":
        return _run_job(content)
    job = from_config(job_class(verb), content)
    if verb == "collect":
        _check_environment(content)
    return job


def run_job(config: DictConfig) -> RunJob:
    """Return the settings of one run of a sweep."""
    return _run_job(plain(config))


def train_command(config: DictConfig) -> TrainCommand:
    """Return the settings of ``s2robot train``."""
    return _train_command(plain(config))


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as dictionaries, with its interpolations resolved."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(config, resolve=True)
    return found


def by_dataclass(config: DictConfig) -> dict[str, Any]:
    """Return the settings of a run as records hold them: those of the variant under its name."""
    content = plain(config)
    own = {key: content.pop(key) for key in (*_TRAIN_KEYS, *_EVAL_KEYS) if key in content}
    return {"variant": content, **own}


def _train_command(content: Mapping[str, Any]) -> TrainCommand:
    from s2robot.experiments.jobs import TrainCommand

    own = {key: value for key, value in content.items() if key != "seeds"}
    several = {key: content[key] for key in ("seeds",) if key in content}
    return from_config(TrainCommand, {**vars(_train_job(own)), **several})


def _train_job(content: Mapping[str, Any]) -> TrainJob:
    from s2robot.experiments.config import VariantConfig
    from s2robot.experiments.jobs import TrainJob

    own = {key: content[key] for key in _TRAIN_KEYS if key in content}
    rest = {key: value for key, value in content.items() if key not in own}
    return from_config(TrainJob, {"variant": from_config(VariantConfig, rest), **own})


def _run_job(content: Mapping[str, Any]) -> RunJob:
    from s2robot.experiments.jobs import RunJob

    own = {key: content[key] for key in _EVAL_KEYS if key in content}
    rest = {key: value for key, value in content.items() if key not in own}
    return from_config(RunJob, {"train": _train_job(rest), **own})


def _check_environment(content: Mapping[str, Any]) -> None:
    """Build the environment of a collection where it has arguments, which checks them."""
    from s2robot.envs.pick_cube import PickCubeEnv
    from s2robot.envs.tasks.names import stored_task

    kinds = settings_of("collect")
    found = {}
    for name, value in (content.get("env") or {}).items():
        if f"env.{name}" not in kinds:
            raise unknown(
                "setting", f"env.{name}", (key for key in kinds if key.startswith("env."))
            )
        found[name] = converted(kinds[f"env.{name}"], value, f"env.{name}")
    if found:
        own = {name: content[name] for name in ("level", "control") if name in content}
        if content.get("task"):
            own["level"] = stored_task(content["task"])
        try:
            PickCubeEnv(**own, **found).close()
        except ValueError as error:
            raise ValueError(in_users_words(str(error), found, "env")) from None
