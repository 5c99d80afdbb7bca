"""``python -m s2robot.cli VERB ...``."""

import sys

from s2robot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
