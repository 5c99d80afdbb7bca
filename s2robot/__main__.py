"""``python -m s2robot COMMAND ...``."""

import sys

from s2robot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
