"""Consoles for output: text is printed as it is, and nothing is cut or broken where it is piped.

Paths, labels and messages come from users. So brackets are no markup here, and ``:x:`` is no emoji;
what has a style is a ``rich.text.Text``. Lines are broken by the terminal alone, so that a path or
a command can be copied, and a table in a pipe has the width of its content.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, ConsoleDimensions

PIPED_WIDTH = 100_000
"""Columns of a console that is no terminal; more than any table has."""


class _Console(Console):
    """A console whose width is that of its content where the output is no terminal."""

    columns = 0
    """Least number of columns on a terminal."""

    @property
    def size(self) -> ConsoleDimensions:
        size = super().size
        isatty = getattr(self.file, "isatty", None)
        if isatty is not None and isatty():
            return ConsoleDimensions(max(size.width, self.columns), size.height)
        return ConsoleDimensions(PIPED_WIDTH, size.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def __reduce__(self) -> tuple[Callable[..., Console], tuple[bool, bool, int]]:
        """Make the console anew in another process, as launchers of sweeps need it."""
        return _remade, (self.stderr, self.quiet, self.columns)


def make_console(*, stderr: bool = False, quiet: bool = False, columns: int = 0) -> Console:
    """Return a console that prints text as it is.

    Args:
        stderr: print on standard error; else on standard output.
        quiet: print nothing.
        columns: least number of columns that tables have on a terminal.

    Examples:
        >>> make_console().print("runs[1]/[bold]/:x:", "as it is")
        runs[1]/[bold]/:x: as it is
    """
    console = _Console(
        stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False, soft_wrap=True
    )
    console.columns = columns
    return console


def _remade(stderr: bool, quiet: bool, columns: int) -> Console:
    return make_console(stderr=stderr, quiet=quiet, columns=columns)


OUTPUT = make_console()
"""Results, on standard output."""
MESSAGES = make_console(stderr=True)
"""Progress, warnings and errors, on standard error."""
