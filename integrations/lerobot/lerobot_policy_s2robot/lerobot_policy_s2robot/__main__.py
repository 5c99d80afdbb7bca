"""Command ``s2robot-lerobot``: policies between LeRobot's folders and policy files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from s2robot.errors import S2RobotError

_EXAMPLES = """examples:
  s2robot-lerobot to-lerobot policy.safetensors pretrained_model
  s2robot-lerobot to-policy pretrained_model policy.safetensors --level easy \\
      --proprio ee_pos gripper_width
  s2robot-lerobot to-policy pretrained_model policy.safetensors      recorded actions
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "s2robot-lerobot",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    there = commands.add_parser("to-lerobot", help="a policy file to a folder for --policy.path")
    there.add_argument("policy", type=Path, help="policy file of `s2robot train`")
    there.add_argument("folder", type=Path, help="folder to write")
    back = commands.add_parser("to-policy", help="a folder of lerobot-train to a policy file")
    back.add_argument("folder", type=Path, help="LeRobot's pretrained_model")
    back.add_argument("policy", type=Path, help="policy file to write")
    back.add_argument("--level", help="level of pick-cube to act in (default: recorded actions)")
    back.add_argument("--proprio", nargs="+", default=(), metavar="KEY",
        help="with --level: measurements of observation.state, in order")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        argv: words after the command's name; None for those of the process.
    """
    given = _parser().parse_args(argv)
    from lerobot_policy_s2robot.conversion import to_lerobot, to_policy_file  # slow to import

    try:
        if given.command == "to-lerobot":
            to_lerobot(given.policy, given.folder)
            print(f"{given.folder}: lerobot-eval --policy.path={given.folder} ...")
        else:
            to_policy_file(given.folder, given.policy, given.level, given.proprio)
            task = "" if given.level else " task=NAME"
            print(f"{given.policy}: s2robot eval checkpoint={given.policy}{task}")
    except (S2RobotError, ValueError, OSError) as error:
        print(f"s2robot-lerobot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
