"""Work of ``s2robot export-dataset``: demonstrations as a LeRobot folder or a robomimic file."""

from __future__ import annotations

from s2robot.cli.parsers.export_dataset import parse
from s2robot.data.dataset_files.lerobot import write_lerobot
from s2robot.data.dataset_files.rendered import open_source
from s2robot.data.dataset_files.robomimic import write_robomimic
from s2robot.utils.console import OUTPUT


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    frames = options.data / "frames"
    of_bags = (options.action, options.tolerance_s)
    data = open_source(
        options.source, options.camera, options.low_dim, options.size, frames, *of_bags
    )
    if options.out.suffix:
        write_robomimic(data, options.out)
    else:
        write_lerobot(data, options.out, images=options.images)
    OUTPUT.print(
        f"{options.out}: {len(data.episode_ends)} episodes, {int(data.episode_ends[-1])} frames of "
        f"{', '.join(data.cameras) or 'no camera'}",
        markup=False,
        highlight=False,
    )
    data.close()
    return 0
