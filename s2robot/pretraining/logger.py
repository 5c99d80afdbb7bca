"""Progress, loss curve and checkpoints of a pre-training run."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from s2robot.pretraining.config import learning_rate
from s2robot.pretraining.export import export
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.io import append_jsonl, atomic_path, read_jsonl
from s2robot.utils.progress import duration
from s2robot.utils.records import check_rows


@dataclass(frozen=True)
class _LossRow:
    """Line of ``loss.jsonl``."""

    step: int
    loss: float


class TrainingLogger:
    """Shows progress; writes the loss curve and checkpoints.

    Args:
        trainer: the run to log.
        console: console for messages.
    """

    def __init__(self, trainer: Trainer, console: Console) -> None:
        self.trainer, self.console = trainer, console
        self.log = trainer.config.out / "loss.jsonl"
        self.rows: list[dict[str, float]] = []
        self.waited, self.first = 0.0, trainer.step
        self.started = time.monotonic()
        self.board = SummaryWriter(str(trainer.config.out / "tb"), purge_step=trainer.step)
        columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
        self.progress = Progress(
            *columns,
            TextColumn("loss {task.fields[loss]:.4f}"),
            console=console,
            disable=not sys.stdout.isatty(),
        )
        self.progress.start()
        self.task = self.progress.add_task(
            "steps", total=trainer.config.steps, completed=trainer.step, loss=math.nan
        )
        _trim_log(self.log, trainer.step)

    def add(self, loss: float, waited: float) -> None:
        """Record one step.

        Args:
            loss: loss of the step.
            waited: time that the step waited for data [s].
        """
        self.rows.append({"step": self.trainer.step - 1, "loss": loss})
        self.waited += waited
        self.progress.update(self.task, advance=1, loss=loss)

    def checkpoint(self) -> None:
        """Write the loss curve, then the state for resuming, then the current encoder."""
        trainer, config = self.trainer, self.trainer.config
        # The log first: rows past a checkpoint are cut off on resuming, missing ones are lost.
        append_jsonl(self.log, self.rows)
        trainer.save(config.out / "checkpoint.pt")
        export(trainer)
        loss = sum(row["loss"] for row in self.rows) / len(self.rows)
        self.rows.clear()
        spent = time.monotonic() - self.started
        left = spent / (trainer.step - self.first) * (config.steps - trainer.step)
        rate = (trainer.step - self.first) * config.batch_size / spent
        for name, value in (("loss", loss), ("crops per second", rate)):
            self.board.add_scalar(name, value, trainer.step)
        self.board.add_scalar("lr", learning_rate(trainer.step - 1, config), trainer.step)
        self.console.print(
            f"step {trainer.step}/{config.steps}  loss {loss:.4f}  {rate:.0f} crops/s  "
            f"waiting for data {self.waited / spent:.1%}, {duration(left)} left",
        )

    def close(self) -> None:
        """Close the progress bar and TensorBoard's writer."""
        self.progress.stop()
        self.board.close()


def _trim_log(log: Path, step: int) -> None:
    """Delete rows after the checkpoint; an interruption between two writes can leave them."""
    found = read_jsonl(log)
    check_rows(_LossRow, found, log, "delete that line, or the file")
    rows = [row for row in found if row["step"] < step]
    with atomic_path(log) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
