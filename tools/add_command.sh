#!/usr/bin/env bash
# Put the command `s2robot` into an environment that sees s2robot without having it installed.
#
#   tools/add_command.sh FOLDER       FOLDER: the environment
set -euo pipefail
bin=$(cd "$1/bin" && pwd)
# As pip writes it: the shell starts the environment's Python, whose path may hold spaces, with this
# very file, which to Python begins with a text.
cat >"$bin/s2robot" <<COMMAND
#!/bin/sh
'''exec' "$bin/python" "\$0" "\$@"
' '''
import sys

from s2robot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
COMMAND
chmod +x "$bin/s2robot"
