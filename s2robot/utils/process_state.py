"""What belongs to the whole process, changed for a moment and restored.

PyTorch's default generator, Python's filters of warnings and ``sys.stdout`` are shared by all
threads. Threads that save, change and restore them at the same time take each other's change for
what was there before, and leave it behind; so one thread at a time does so. Threads of other code
cannot be kept apart: meanwhile they draw from the seeded generator, and their lines are lost.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

_moment = threading.RLock()
_training = threading.RLock()  # held for long, and taken before the other
_joined = threading.local()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one thread in; for settings of libraries that are imported elsewhere."""
    with _moment:
        yield


@contextlib.contextmanager
def seeded_generators(seed: int, processor_only: bool = False) -> Iterator[None]:
    """Seed PyTorch's default generators inside the block only.

    Args:
        seed: of the generators.
        processor_only: leave the generators of GPUs alone.
    """
    import torch

    with _moment, torch.random.fork_rng(devices=[] if processor_only else None):
        if processor_only:  # torch.manual_seed would reseed the GPUs too
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings inside the block."""
    with _moment, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_output(errors_too: bool = True) -> Iterator[None]:
    """Print nothing inside the block to standard output and standard error.

    Args:
        errors_too: False leaves standard error, and with it warnings.
    """
    errors = contextlib.redirect_stderr(io.StringIO()) if errors_too else contextlib.nullcontext()
    with _moment, contextlib.redirect_stdout(io.StringIO()), errors:
        yield


@contextlib.contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Let PyTorch's operations use one thread, and check no distributions, inside the block.

    In a thread that joined such a block (``join_one_thread_an_operation``), all is set already.
    """
    if getattr(_joined, "yes", False):
        yield
        return
    import torch
    from torch.distributions import Distribution

    with _training:
        threads, checks = torch.get_num_threads(), Distribution._validate_args
        torch.set_num_threads(1)
        Distribution.set_default_validate_args(False)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            Distribution.set_default_validate_args(checks)


@contextlib.contextmanager
def restored_torch_settings() -> Iterator[None]:
    """Let foreign code seed PyTorch's generators and set its threads, inside the block only."""
    import torch

    with _training:
        threads = torch.get_num_threads()
        try:
            with torch.random.fork_rng():
                yield
        finally:
            torch.set_num_threads(threads)


def join_one_thread_an_operation() -> None:
    """Make the calling thread a part of the block that waits for it, to its end.

    The block's own thread holds the lock, so a further block in this thread would wait for ever.
    """
    _joined.yes = True
