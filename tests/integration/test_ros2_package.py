"""The ROS 2 package around the node: manifest, what an install yields, launch file, parameters."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.helpers import imports
from support.paths import ROOT

from s2robot.data.ros_messages.definitions import MESSAGES
from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.plugins.ros.core import NodeConfig
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS, OWN_PARAMETERS
from s2robot.plugins.ros.simulated_robot import RobotConfig

PACKAGE = ROOT / "ros" / "ros2" / "s2robot_ros"
NODE = ROOT / "s2robot" / "plugins" / "ros"
LAUNCH = PACKAGE / "launch" / "encoder.launch.py"
SIMULATION = PACKAGE / "launch" / "simulation.launch.py"
PARAMETERS = PACKAGE / "config" / "encoder.yaml"
SCRIPTS = ("encoder", "simulator")


# ------------------------------------------------------------------------- manifest, messages
def test_the_manifest_names_what_is_imported() -> None:
    root = ET.parse(PACKAGE / "package.xml").getroot()
    assert root.attrib["format"] == "3"
    assert root.findtext("name") == "s2robot_ros"
    needed = {each.text for each in root.findall("exec_depend")}
    files = [*NODE.glob("ros2*.py"), LAUNCH, SIMULATION, *PACKAGE.glob("s2robot_ros/*.py")]
    ours = {"s2robot", "s2robot_ros", "numpy"}
    assert set.union(*(imports(file) for file in files)) - ours == needed
    assert root.findtext("export/build_type") == "ament_python"


def test_both_packages_are_of_one_version_and_maintainer() -> None:
    ours = ET.parse(PACKAGE / "package.xml").getroot()
    messages = ET.parse(PACKAGE.parent / "s2robot_msgs" / "package.xml").getroot()
    for name in ("version", "maintainer", "license"):
        assert ours.findtext(name) == messages.findtext(name)
    assert f'version="{ours.findtext("version")}"' in (PACKAGE / "setup.py").read_text()


@pytest.mark.parametrize("version", ["ros1", "ros2"])
def test_message_files_are_the_definitions(version: str) -> None:
    folder = ROOT / "ros" / version / "s2robot_msgs" / "msg"
    found = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.msg")}
    assert found == MESSAGES


def test_only_the_node_needs_ros() -> None:
    ours = {*NODE.glob("ros2*.py"), *NODE.glob("ros2*/*.py")}
    theirs = {"rclpy", "rcl_interfaces", "lifecycle_msgs", "launch", "launch_ros"}
    for path in (ROOT / "s2robot").rglob("*.py"):
        if path not in ours:
            assert not imports(path) & theirs, path
            text = path.read_text(encoding="utf-8").replace("``", "")
            of_commands = path.parent == ROOT / "s2robot/cli/ros"  # they import it when they start
            assert of_commands or "ros.ros2" not in text, path


# -------------------------------------------------------------------------------- the install
def set_up(folder: Path, *words: str) -> Path:
    """Run setup.py of a copy as colcon does; returns the prefix."""
    shutil.copytree(PACKAGE, folder / "source")
    prefix = folder / "install"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = prefix / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", *words, "--prefix", str(prefix)],
        cwd=folder / "source",
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return prefix


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("install")
    words = ("egg_info", "build", "install", "--single-version-externally-managed")
    return set_up(folder, *words, "--record", str(folder / "files.txt"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_installed_script_takes_the_python_on_path(prefix: Path, name: str) -> None:
    script = prefix / "lib" / "s2robot_ros" / name
    assert script.read_text().splitlines()[0] == "#!/usr/bin/env python3"
    assert os.access(script, os.X_OK)
    share = prefix / "share"
    assert (share / "ament_index/resource_index/packages/s2robot_ros").is_file()
    files = ("package.xml", "config/encoder.yaml", f"launch/{LAUNCH.name}")
    for path in (*files, f"launch/{SIMULATION.name}"):
        original = PACKAGE / path
        assert (share / "s2robot_ros" / path).read_bytes() == original.read_bytes()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_says_what_is_missing(prefix: Path, name: str) -> None:
    """Here that is rclpy."""
    (packages,) = (prefix / "lib").glob("python*/site-packages")
    done = subprocess.run(
        [sys.executable, str(prefix / "lib" / "s2robot_ros" / name)],
        env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{name}: No module named 'rclpy'" in done.stderr
    assert f"ros2 run s2robot_ros {name}" in done.stderr
    assert f"This is {sys.executable}" in done.stderr
    assert "pip install" in done.stderr


# ------------------------------------------------------------------------ file of parameters
def parameters() -> dict[str, Any]:
    return yaml.safe_load(PARAMETERS.read_text(encoding="utf-8"))["/**"]["ros__parameters"]


def test_the_file_of_parameters_has_all_with_their_defaults() -> None:
    found = parameters()
    own = [name for name in found if name not in ENCODER_OPTIONS]
    assert own == [n for n in (*OWN_PARAMETERS, *CONFIG_PARAMETERS) if n not in ENCODER_OPTIONS]
    assert found.keys() >= {"scales", "readout", "geometry", "dtype"}
    assert {name: found.pop(name) for name in OWN_PARAMETERS} == {
        name: default for name, (default, _) in OWN_PARAMETERS.items()
    }
    assert NodeConfig.from_parameters(found) == NodeConfig()


def test_values_are_what_the_parser_of_ros_takes() -> None:
    """No nulls, no aliases, lists of one type; comments do not matter."""
    text = PARAMETERS.read_text(encoding="utf-8")
    assert not any(mark in text.partition("\n")[2].replace("/**", "") for mark in ("&", "*", "!"))
    for name, value in parameters().items():
        assert value is not None, name
        assert not isinstance(value, dict), name
        if isinstance(value, list):
            assert len({type(each) for each in value}) <= 1, name


# ------------------------------------------------------------------------------- launch file
class Recorded:
    """An action of a launch file: what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        """As of ``LaunchConfiguration``."""
        return context[self.args[0]]


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    return loaded(LAUNCH, monkeypatch)


def loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of a launch file whose actions are recorded."""
    actions = ["DeclareLaunchArgument", "EmitEvent", "OpaqueFunction", "RegisterEventHandler"]
    members = {
        "launch": ["LaunchDescription"],
        "launch.actions": actions,
        "launch.event_handlers": ["OnProcessExit"],
        "launch.events": ["Shutdown"],
        "launch.substitutions": ["LaunchConfiguration"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
    }
    for name, classes in members.items():
        module = types.ModuleType(name)
        vars(module).update({each: type(each, (Recorded,), {}) for each in classes})
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launched(module: Any, **given: str) -> dict[str, Any]:
    """What the node is started with, for launch arguments."""
    (node,) = actions_of(module, **given)
    return node.kwargs


def actions_of(module: Any, **given: str) -> list[Any]:
    """What a launch file does, for launch arguments."""
    (entities,) = module.generate_launch_description().args
    *arguments, function = entities
    context = {each.args[0]: each.kwargs["default_value"] for each in arguments}
    assert all(each.kwargs["description"] for each in arguments)
    assert given.keys() <= context.keys()
    return function.kwargs["function"]({**context, **given})


def test_launching_without_arguments(launch_file: Any) -> None:
    found = launched(launch_file)
    assert (found["package"], found["executable"]) == ("s2robot_ros", "encoder")
    assert found["parameters"] == [str(PARAMETERS), {}]
    assert found["remappings"] == []


def test_launching_with_arguments(launch_file: Any) -> None:
    found = launched(
        launch_file,
        image="/camera/image_raw",
        policy="/data/policy.safetensors",
        autostart="false",
        use_sim_time="True",
        max_rate_hz="10",
        params_file="mine.yaml",
        namespace="left",
    )
    assert found["remappings"] == [("image", "/camera/image_raw")]
    assert found["namespace"] == "left"
    file, given = found["parameters"]
    assert file == "mine.yaml"
    assert given == {
        "policy": "/data/policy.safetensors",
        "autostart": False,
        "use_sim_time": True,
        "max_rate_hz": 10.0,
    }
    assert {*launch_file.OVERRIDES} <= {*CONFIG_PARAMETERS, *OWN_PARAMETERS}


def test_launching_a_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(SIMULATION, monkeypatch)
    words = {"policy": "/data/policy.safetensors", "episodes": "10", "synchronous": "true"}
    node, robot, handler = actions_of(module, **words)
    assert (node.kwargs["executable"], robot.kwargs["executable"]) == ("encoder", "simulator")
    (ours,), (theirs,) = robot.kwargs["parameters"], node.kwargs["parameters"]
    assert ours.pop("use_sim_time") is theirs.pop("use_sim_time") is True
    monkeypatch.setattr(NodeConfig, "_check_policy", lambda self: None)
    found = NodeConfig.from_parameters(theirs)
    assert found.stale_s == 10.0
    config = RobotConfig.from_parameters(ours)
    assert config == RobotConfig(policy=words["policy"], episodes=10, synchronous=True)
    assert handler.args[0].kwargs["target_action"] is robot
    (_, _, _), (in_time, *_) = actions_of(module), actions_of(module, synchronous="false")
    assert in_time.kwargs["parameters"][0]["stale_s"] == NodeConfig().stale_s


# ------------------------------------------------------------------- wheels to try the node with
def test_the_extra_has_the_versions_that_the_tests_run_on() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wheels = re.findall(r"\"ros-jazzy-([\w\[\]-]+==[\d.]+); (.*)\"", text)
    assert len(wheels) == 5
    script = (ROOT / "tools/setup_ros2_venv.sh").read_text(encoding="utf-8")
    jazzy = script.partition("  jazzy)")[2].partition("  kilted)")[0]
    assert [wheel for wheel, _ in wheels if wheel not in jazzy] == []
    where = {"sys_platform == 'linux' and platform_machine == 'x86_64'"}
    assert {marker for _, marker in wheels} == where
