"""Rules of size and words that the layout holds itself to (docs: contributing)."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator

import pytest
from support.paths import ROOT
from support.source_files import FOLDERS, library_files

MOST_LINES = 400
MOST_MODULES = 14
LARGER_PACKAGES = {
    "s2robot/backbones": 15,
    "s2robot/cli": 18,
    "s2robot/utils": 17,
}
"""Packages that hold more modules: fifteen named by the layout for backbones, one a command, and
what all others share, each module one idea."""
LONGEST_FUNCTION = 50
OLD_WORDS = (
    "ArmConfig|Cell|CellJob|Conditions|Pilot|Lockstep|LocalEnvs|WorkerEnvs|HeadChoice|KeptTiles"
    "|ReuseStats|Standardiser|Diary|Team|Demand|OncePerKind|Synchroniser|SideBySide|Answer|Oracle"
    "|Localiser|Wardrobe|Coat|Licence|LicenceWarning|FramePool|ViewConfig|ViewSampler|lockstep"
    "|taps|taps_merge|tapped|is_control|wardrobe|diary|speaks|leads|bear_wrong_transitions"
    "|_complain|_refuse_twins|licence|colour|colours|centre|normalise|standardise"
)
ALLOWED = {"_moved.py", "_moved_names.py", "renamed_keys.py"}
"""Files that hold the old names on purpose."""

OF_THE_PROCESS = {
    *("os.umask", "os.chdir", "os.putenv", "locale.setlocale", "signal.signal", "random.seed"),
    *("np.random.seed", "torch.manual_seed", "torch.random.fork_rng", "torch.random.set_rng_state"),
    *("torch.set_num_threads", "torch.set_default_dtype", "torch.set_default_device"),
    *("torch.set_float32_matmul_precision", "torch.use_deterministic_algorithms"),
    *("warnings.catch_warnings", "warnings.simplefilter", "warnings.filterwarnings"),
    *("contextlib.redirect_stdout", "contextlib.redirect_stderr", "logging.basicConfig"),
    *("matplotlib.use", "plt.switch_backend", "plt.subplots", "plt.figure"),
    *("mp.set_start_method", "multiprocessing.set_start_method", "sys.setswitchinterval"),
}
"""Calls that change what all threads share."""
MAY_CHANGE_THE_PROCESS = {
    "s2robot/utils/process_state.py",  # for a moment, one thread at a time
    "s2robot/utils/distributed.py",  # in a process that it started
    "s2robot/evaluation/env_worker.py",  # in a process that it started
    # A node is a process.
    *(f"s2robot/plugins/ros/{node}.py" for node in ("ros1", "ros2", "ros2_support")),
}


def functions() -> Iterator[tuple[str, int]]:
    """Names and lengths [lines] of all functions, without decorators and docstrings."""
    for path in library_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{path.relative_to(ROOT)}:{node.name}"
                yield name, _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in library_files()}
    assert len(lengths) > 150
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MOST_LINES} == {}


def test_no_package_has_too_many_modules() -> None:
    counts: dict[str, int] = {}
    for path in library_files():
        if path.name not in ("__init__.py", "__main__.py"):
            folder = str(path.parent.relative_to(ROOT))
            counts[folder] = counts.get(folder, 0) + 1
    assert {f: n for f, n in counts.items() if n > LARGER_PACKAGES.get(f, MOST_MODULES)} == {}


def test_libraries_leave_the_process_to_the_program() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}"
        for path in library_files()
        if path.relative_to(ROOT).as_posix() not in MAY_CHANGE_THE_PROCESS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in OF_THE_PROCESS
    }
    assert found == set()


def test_functions_are_short() -> None:
    lengths = dict(functions())
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}
    ordered = sorted(lengths.values())
    assert statistics.median(ordered) <= 10
    assert ordered[int(0.9 * len(ordered))] <= 25


@pytest.mark.parametrize("folder", FOLDERS)
def test_old_words_do_not_come_back(folder: str) -> None:
    old = re.compile(OLD_WORDS)
    found = []
    for path in library_files():
        if path.name in ALLOWED or path.relative_to(ROOT).parts[0] != folder:
            continue
        text = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and old.fullmatch(token.string):
                found.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert found == []
