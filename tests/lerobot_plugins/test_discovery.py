"""How LeRobot finds the plug-ins; skipped where it is not installed (`make test-lerobot`)."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lerobot", reason="LeRobot is not in this environment: make test-lerobot")

import tomllib
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs.configs import EnvConfig
from lerobot.utils.import_utils import register_third_party_plugins
from lerobot_policy_s2robot import rows
from lerobot_policy_s2robot.versions import check_lerobot
from support.paths import ROOT

PLUGINS = ("lerobot_policy_s2robot", "lerobot_env_s2robot")


def test_installed_plugins_register_themselves(caplog):
    with caplog.at_level("INFO"):
        register_third_party_plugins()
    for name in PLUGINS:
        assert f"Imported third-party plugin: {name}" in caplog.text
    assert "s2robot" in PreTrainedConfig.get_known_choices()
    assert "s2robot_pick_cube" in EnvConfig.get_known_choices()


@pytest.mark.parametrize("name", PLUGINS)
def test_a_distribution_is_named_as_its_package(name: str):
    """LeRobot imports the distribution's name as it stands."""
    folder: Path = ROOT / "integrations" / "lerobot" / name
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == name
    assert project["tool"]["setuptools"]["packages"] == [name]
    assert (folder / name / "__init__.py").is_file()


@pytest.mark.parametrize("version", ["0.5.1", "0.7.0", "1.0"])
def test_another_lerobot_is_named(version: str):
    with pytest.raises(ImportError, match=f"lerobot is {version};.*pip install"):
        check_lerobot(version)


def test_a_lerobot_that_reads_batches_itself_is_named(monkeypatch):
    monkeypatch.setattr(rows.LeRobotDataset, "__getitems__", lambda self, rows: [])
    with pytest.raises(ImportError, match="__getitems__"):
        rows.install()
