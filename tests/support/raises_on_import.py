"""A user's module that fails while it is imported."""

from typing import Any

values: dict[str, Any] = {}
make = values["missing"]
