"""Compare two encoders by a linear probe: where is the cube, read from their features?

The probe is a ridge regression, and the error is measured on episodes that it was not
fitted on. Both encoders see the same frames, so the difference is paired, with a 95 %
interval over episodes. The defaults are small and the interval is wide. A probe is a
first look: it does not measure the success of a policy.

    python examples/compare_encoders.py
    python examples/compare_encoders.py dinov2-vits14 dinov2-vitb14 --size 448 --episodes 60

Expected output:

    s2r-vitt16-128: 41.0 mm [33.1, 48.2] on 35 frames of 12 episodes
    random/vitt16-128: 48.9 mm [39.9, 78.8] on 35 frames of 12 episodes
    random/vitt16-128 minus s2r-vitt16-128: +7.9 mm [+0.3, +38.9]
"""

import argparse
from pathlib import Path

import numpy as np

from s2robot.analysis.probes.intervals import metric_difference
from s2robot.analysis.probes.scenes import SceneConfig
from s2robot.analysis.probes.study import NO_ENCODER, Study, StudyConfig
from s2robot.analysis.probes.tasks import get_task


def main() -> None:
    """Probe two encoders on rendered frames and print errors and their difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", nargs="?", default="s2r-vitt16-128")
    parser.add_argument("second", nargs="?", default="random/vitt16-128")
    parser.add_argument("--size", type=int, default=256, help="edge of a frame [px]")
    parser.add_argument("--episodes", type=int, default=8, help="of the scripted expert")
    parser.add_argument("--resets", type=int, default=40, help="further single frames")
    args = parser.parse_args()

    config = StudyConfig(
        encoders=(args.first, args.second),
        scale_sets=((1,),),
        tasks=("localization",),
        scenes=SceneConfig(
            level="easy",
            size=args.size,
            label_size=args.size // 4,
            episodes=args.episodes,
            resets=args.resets,
        ),
        out=Path("runs/compare_encoders"),
    )
    measure = get_task("localization").measures[0]
    rows = [row for row in Study(config).run() if row["encoder"] != NO_ENCODER]
    for row in rows:
        error = row["measures"][measure.name]
        print(
            f"{row['encoder']}: {error['estimate']:.1f} mm "
            f"[{error['low']:.1f}, {error['high']:.1f}] on {row['test_frames']} frames "
            f"of {row['test_episodes']} episodes"
        )
    first, second = (np.array(row["sums"]) for row in rows)
    found = metric_difference(first, second, measure.metric)
    print(
        f"{args.second} minus {args.first}: {found.estimate:+.1f} mm "
        f"[{found.low:+.1f}, {found.high:+.1f}]"
    )


if __name__ == "__main__":
    main()
