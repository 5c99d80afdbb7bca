"""Old names of options that still work for one release, with a warning."""

from __future__ import annotations

import functools
import importlib
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

REMOVED_IN = "0.2"
"""Release that no longer has the old names."""


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a name has changed.

    Args:
        old: the name that was given.
        new: the name to use instead.
        stacklevel: frames above this function whose line the warning names.
    """
    warnings.warn(
        f"{old} is now called {new}; release {REMOVED_IN} drops the old name",
        FutureWarning,
        stacklevel=stacklevel,
    )


def moved_names(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that finds names which moved elsewhere, with a warning.

    Args:
        module: the module's ``__name__``.
        homes: new places by name: ``module:name``, or ``module`` where the name stays the same.

    Examples:
        >>> find = moved_names("shapes", {"circle": "math:tau"})
        >>> find("square")
        Traceback (most recent call last):
        AttributeError: module 'shapes' has no attribute 'square'
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, attribute = homes[name].partition(":")
        warn_renamed(f"{module}.{name}", f"{home}.{attribute or name}")
        return getattr(importlib.import_module(home), attribute or name)

    return find


def make_callable(module: str, function: str) -> None:
    """Let a module be called like its function of the same name, with a warning.

    ``from s2robot.cli import main`` gave a function; now it gives the module of that name.

    Args:
        module: the module's ``__name__``.
        function: name of the function in it.
    """

    class CallableModule(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            warn_renamed(module, f"{module}.{function}")
            return getattr(self, function)(*args, **kwargs)

    sys.modules[module].__class__ = CallableModule


def with_new_names(content: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return options under their new names, with a warning for each old one.

    Args:
        content: options by name.
        renamed: new names by old name.

    Raises:
        TypeError: an option is given under both names.

    Examples:
        >>> with_new_names({"size": 3}, {"length": "size"})
        {'size': 3}
    """
    found: dict[str, Any] = {}
    for name, value in content.items():
        new = renamed.get(name, name)
        if new in found or (new != name and new in content):
            raise TypeError(f"{new} is given twice: leave its old name {name} out")
        if new != name:
            warn_renamed(name, new, stacklevel=4)
        found[new] = value
    return found


def renamed_keywords(
    renamed: Mapping[str, str],
) -> Callable[[Callable[_Args, _Result]], Callable[_Args, _Result]]:
    """Return a decorator that lets a function take keywords by their old names, with a warning.

    Args:
        renamed: new names by old name.

    Examples:
        >>> @renamed_keywords({"length": "size"})
        ... def double(size):
        ...     return 2 * size
        >>> double(size=3)
        6
    """

    def decorate(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
        untyped: Any = function

        @functools.wraps(function)
        def call(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
            return untyped(*args, **with_new_names(kwargs, renamed))

        return call

    return decorate
