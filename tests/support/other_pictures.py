"""Changes after which a state is drawn as another picture."""

from __future__ import annotations

from typing import Any

_MODULE = "s2robot.data.rendered_frames"
OTHER_PICTURES: tuple[tuple[str, Any], ...] = (
    (f"{_MODULE}.RESULTS_VERSION", -1),
    (f"{_MODULE}.select_gl", lambda: "another"),
    (f"{_MODULE}.simulation", lambda: "0"),
)
"""Name and value for ``monkeypatch.setattr``: version of the code, renderer, simulator."""
