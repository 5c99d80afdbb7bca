"""The environment is registered whenever Gymnasium and the package are both imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
@pytest.mark.parametrize(
    "imports",
    ["import s2robot.envs, gymnasium", "import gymnasium, s2robot.envs",
     "import s2robot.envs, gymnasium.spaces, gymnasium"],
)  # fmt: skip
def test_the_environment_is_registered_in_whatever_order_both_are_imported(imports: str) -> None:
    program = (
        f"{imports}\n"
        "import importlib.resources, sys\n"
        "assert 's2robot/PickCube-v0' in gymnasium.registry\n"
        "assert importlib.resources.files('gymnasium').joinpath('__init__.py').is_file()\n"
        "assert [f for f in sys.meta_path if 'AfterGymnasium' in type(f).__name__] == []\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
