"""Commands of other programs that pages show: what they name of this repository must exist."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import parse_wheel_filename

import s2robot
from support.page_blocks import Command
from support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

ROS1, ROS2 = ROOT / "ros/ros1", ROOT / "ros/ros2"
NODE = "/s2robot_encoder"
OTHERS_TOPICS = {"/image_raw", "/diagnostics", "/joint_states"}
"""Of cameras, robots and ROS itself."""
OTHERS_PARAMETERS = {"use_sim_time"}
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}
FOREIGN_VARIABLES = {
    "CMAKE_POLICY_VERSION_MINIMUM",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "RMW_IMPLEMENTATION",
}
CHECKOUT = "path/to/s2robot"


class PageShell:
    """The shell of one page: what earlier commands made, and a check for each program."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def check(self, command: Command) -> None:
        """Fail where a command names something that is not there, or a program without check."""
        for name in command.environment:
            known = name in FOREIGN_VARIABLES or self._reads(command, name)
            assert known, f"nothing reads the variable {name}"
        program, *words = command.words
        name = program.rpartition("/")[2]
        if "/" in program and not (ROOT / program).is_file():
            self._made(program)
        assert name in CHECKS, f"{name}: no check for this program in tests/support/page_shell.py"
        CHECKS[name](self, words)

    def _reads(self, command: Command, name: str) -> bool:
        scripts = [ROOT / word for word in command.words if word.startswith("benchmarks/")]
        return any(re.search(rf"\${{?{name}\b", path.read_text()) for path in scripts)

    def _made(self, path: str) -> None:
        assert any(path.startswith(f"{folder}/") for folder in self.made), f"nothing makes {path}"

    def git(self, words: Sequence[str]) -> None:
        verb, _, folder = words
        assert verb == "clone"
        self.made.add(folder)

    def cd(self, words: Sequence[str]) -> None:
        assert words[0] in self.made, f"no command makes the folder {words[0]}"

    def make(self, words: Sequence[str]) -> None:
        text = (ROOT / "Makefile").read_text()
        for word in words:
            variable, given, _ = word.partition("=")
            pattern = rf"^{variable} \?=.*" if given else rf"^{word}:.* ##.*(?:\n\t.*)*"
            found = re.search(pattern, text, re.MULTILINE)
            assert found, f"make {word}"
            for name in re.findall(r"\$\((\w+)_READY\)", found[0]):  # an environment of its own
                (folder,) = re.findall(rf"^{name}_VENV := (.+)$", text, re.MULTILINE)
                default = re.search(r",([^,()]+),", folder)  # of $(if chosen,default,other)
                self.made.add(default[1] if default else folder)
        self.made.add(".venv")

    def source(self, words: Sequence[str]) -> None:
        self._made(words[0])

    def export(self, words: Sequence[str]) -> None:
        name, _, value = words[0].partition("=")
        if name.startswith("S2ROBOT_"):
            files = (ROOT / "s2robot").rglob("*.py")
            assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in files), name
            return
        assert name == "ROS_PACKAGE_PATH", f"export {name}"
        folder = value.split(":")[0].removeprefix(f"{CHECKOUT}/")
        assert list((ROOT / folder).glob("*/package.xml")), value

    def pip(self, words: Sequence[str]) -> None:
        assert words[0] == "install"
        for word in words[1:]:
            if not word.startswith("-"):
                check_requirement(word)

    def python(self, words: Sequence[str]) -> None:
        if words[:2] == ["-m", "venv"]:
            self.made.add(words[-1])
        elif words[0] == "-m":
            module = words[1].replace(".", "/")
            assert (ROOT / f"{module}.py").is_file(), f"python -m {words[1]}"
        elif words[0] == "-c":
            for node in ast.walk(ast.parse(words[1])):
                if isinstance(node, ast.Import):
                    check_messages([alias.name for alias in node.names])
        else:
            text = (ROOT / words[0]).read_text(encoding="utf-8")
            for flag in (word for word in words[1:] if word.startswith("--")):
                assert f'"{flag}"' in text, f"{words[0]} {flag}"

    def bash(self, words: Sequence[str]) -> None:
        assert (ROOT / words[0]).is_file(), words[0]

    def findings(self, words: Sequence[str]) -> None:
        for word in words:
            assert (ROOT / f"findings/{word}.sh").is_file(), word

    def loop(self, words: Sequence[str]) -> None:
        assert words[1] == "in"

    def colcon(self, words: Sequence[str]) -> None:
        packages = [word for word in words[1:] if not word.startswith("-")]
        assert packages
        for package in packages:
            assert (ROS2 / package / "package.xml").is_file(), package
        self.made.add("install")

    def roslaunch(self, words: Sequence[str]) -> None:
        package, file, *given = words
        names = launch_arguments(ROS1 / package / "launch" / file)
        for word in given:
            assert word.split(":=")[0] in names, word

    def rostopic(self, words: Sequence[str]) -> None:
        check_topic(words[1], ROS1)

    def ros2(self, words: Sequence[str]) -> None:
        verb, *rest = words
        assert verb in ROS2_CHECKS, f"ros2 {verb}: no check for it"
        ROS2_CHECKS[verb](rest)


def check_requirement(text: str) -> None:
    """Fail for what pip could not read, and for extras and versions that are not ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if text.endswith(".whl"):
        name, version, *_ = parse_wheel_filename(Path(text).name)
        assert (name, str(version)) == ("s2robot", s2robot.__version__), text
        return
    if text.startswith(CHECKOUT):
        text = text.replace(CHECKOUT, "s2robot")
    if text.startswith("."):
        text = f"s2robot{text[1:]}"
    try:
        # An address of nobody's own stands for the user's.
        requirement = Requirement(text.replace("git+REPOSITORY", "git+https://example.org/s2robot"))
    except InvalidRequirement as error:
        raise AssertionError(f"pip cannot read {text}") from error
    if requirement.name == "s2robot":
        assert requirement.extras <= set(project["optional-dependencies"]), text


def check_messages(modules: Sequence[str]) -> None:
    """Fail for modules of messages that have no package here."""
    for name in modules:
        package, _, kind = name.partition(".")
        if package.startswith("s2robot_"):
            assert kind == "msg"
            assert (ROS2 / package / "msg").is_dir(), name


def parameters(version: Path) -> dict[str, object]:
    """Return the parameters of the node and their defaults."""
    content = yaml.safe_load((version / "s2robot_ros/config/encoder.yaml").read_text())
    return content["/**"]["ros__parameters"] if "/**" in content else content


def launch_arguments(path: Path) -> set[str]:
    """Return the names of the arguments of a launch file."""
    assert path.is_file(), path
    if path.suffix == ".launch":
        return {str(arg.get("name")) for arg in ElementTree.parse(path).getroot().findall("arg")}
    names: set[Any] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return names


def check_topic(topic: str, version: Path) -> None:
    """Fail for a topic that neither the node nor a camera publishes."""
    own = {f"/{parameters(version)[name]}" for name in ("embedding_topic", "action_topic")}
    assert topic in own | OTHERS_TOPICS, f"topic {topic}"


def _executable(words: Sequence[str]) -> None:
    package, program, *rest = words
    if package != "s2robot_ros":
        return  # another project's
    assert (ROS2 / package / "scripts" / program).is_file(), program
    known = set(parameters(ROS2)) | OTHERS_PARAMETERS
    for flag, value in itertools.pairwise(rest):
        if flag == "-p":
            assert value.split(":=")[0] in known, value
        elif flag == "-r":
            assert value.split(":=")[0] in ("image", *known), value
        elif flag == "--params-file":
            shared = value.partition("share/s2robot_ros/")[2]
            assert (ROS2 / "s2robot_ros" / shared).is_file(), value


def _launch(words: Sequence[str]) -> None:
    package, file, *given = words
    names = launch_arguments(ROS2 / package / "launch" / file)
    for word in given:
        assert word == "--show-args" or word.split(":=")[0] in names, word


def _parameter(words: Sequence[str]) -> None:
    assert words[0] in ("get", "set")
    assert words[1] == NODE
    assert words[2] in parameters(ROS2), words[2]


def _topic(words: Sequence[str]) -> None:
    check_topic(next(word for word in words if word.startswith("/")), ROS2)


def _interface(words: Sequence[str]) -> None:
    package, _, kind = words[1].split("/")
    assert (ROS2 / package / "msg" / f"{kind}.msg").is_file(), words[1]


def _lifecycle(words: Sequence[str]) -> None:
    assert words[:2] == ["set", NODE]
    assert words[2] in TRANSITIONS or words[2].startswith("$")


def _service(words: Sequence[str]) -> None:
    _, name, kind, request = words
    assert name.startswith(f"{NODE}/")
    service = name.rpartition("/")[2]
    node = "".join(path.read_text() for path in (ROOT / "s2robot/plugins/ros").glob("ros2*.py"))
    assert service == "change_state" or f'"~/{service}"' in node, name
    assert re.fullmatch(r"\w+/srv/\w+", kind)
    assert isinstance(yaml.safe_load(request), dict), request


def _bag(words: Sequence[str]) -> None:
    assert words[0] == "play"


ROS2_CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "run": _executable,
    "launch": _launch,
    "param": _parameter,
    "topic": _topic,
    "interface": _interface,
    "lifecycle": _lifecycle,
    "service": _service,
    "bag": _bag,
}
CHECKS: dict[str, Callable[[PageShell, Sequence[str]], None]] = {
    "git": PageShell.git,
    "cd": PageShell.cd,
    "make": PageShell.make,
    "source": PageShell.source,
    "export": PageShell.export,
    "pip": PageShell.pip,
    "python": PageShell.python,
    "python3": PageShell.python,
    "bash": PageShell.bash,
    "for": PageShell.loop,
    "run_all.sh": PageShell.findings,
    "colcon": PageShell.colcon,
    "roslaunch": PageShell.roslaunch,
    "rostopic": PageShell.rostopic,
    "ros2": PageShell.ros2,
}
