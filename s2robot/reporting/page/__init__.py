"""Parts of the report page: rows, charts, episodes, videos, terms."""
