"""Write docs/encoders.md: what `s2robot encoders` prints on a fresh machine.

python tools/write_docs.py
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "encoders.md"

TEXT = """\
# Encoders

What `s2robot encoders` prints where no weights have been fetched yet; `python tools/write_docs.py`
writes this page.

```
{table}
```

And one in full, `s2robot encoders {name}`:

```
{card}
```
"""


def shown(*words: str) -> str:
    """What a command prints, without blanks at the ends of lines."""
    from s2robot.cli.encoders import main

    with contextlib.redirect_stdout(io.StringIO()) as out:
        main(list(words))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")


def page(name: str = "mvp-vits-hoi") -> str:
    """The page's text."""
    return TEXT.format(table=shown(), name=name, card=shown(name))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(S2ROBOT_HOME=folder, HF_HOME=folder, COLUMNS="104")
        DOCUMENT.write_text(page())
    print(f"wrote {DOCUMENT}")
