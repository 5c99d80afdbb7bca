"""``s2robot robomimic-train``: robomimic's own training, with the encoder core S2Core.

Configuration, networks, loop and files are robomimic's (0.3.0); see its documentation for the
entries. It is checked first: unknown entries, cores and core_kwargs, observations and masks that
the data lack. Paths are relative to the present folder. A run of the same name is kept, and the
new one is put beside it. robomimic 0.3 cannot continue a training: its checkpoints hold the weights
of the networks alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import count
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.utils.console import OUTPUT
from s2robot.utils.process_state import without_output

_EXAMPLES = """examples:
  s2robot robomimic-train --config bc.json
  s2robot robomimic-train --config bc.json --dataset embeddings.hdf5 --name cached --epochs 20
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("robomimic-train", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE",
        help="robomimic's configuration, NAME.json")  # fmt: skip
    add("--dataset", type=Path, metavar="FILE", help="data, in place of train.data")
    add("--name", help="of the experiment, in place of experiment.name")
    add("--out", type=Path, metavar="DIR",
        help="folder of the experiments, in place of train.output_dir")  # fmt: skip
    add("--epochs", type=count, metavar="N", help="in place of train.num_epochs")
    return parser.parse(argv)


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    with without_output():  # robomimic prints advice about macros
        from s2robot.plugins.robomimic import training
    found = training.train(
        options.config, options.dataset, options.name, options.out, options.epochs
    )
    saved = len(found.checkpoints)
    OUTPUT.print(f"{found.folder}: {saved} checkpoint{'s' * (saved != 1)}")
    for path in found.checkpoints[-1:]:
        OUTPUT.print(f"the last one: {path}")
    return 0
