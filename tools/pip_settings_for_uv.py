"""Print pip's settings as shell exports for uv, which does not read pip's configuration files.

    eval "$(python tools/pip_settings_for_uv.py)"

Run it with the interpreter whose pip is configured. Variables that are set already are kept.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys

VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
"""Key of pip: variable of uv, and what separates several values there."""

SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration, the strongest last."""


def pip_settings() -> dict[str, str]:
    """Return the settings that hold for `pip install`, by key."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, str] = {}
    for section in SECTIONS:
        for line in lines:
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name[len(section) + 1 :]] = str(ast.literal_eval(value))
    return found


def uv_variables(settings: dict[str, str]) -> dict[str, str]:
    """Return uv's variables; like pip, uv then takes the best version from all indexes."""
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for key, value in settings.items():
        if key in VARIABLES:
            name, separator = VARIABLES[key]
            variables[name] = separator.join(value.split())
    return variables


if __name__ == "__main__":
    for name, value in uv_variables(pip_settings()).items():
        if name not in os.environ:
            print(f"export {name}={shlex.quote(value)}")
