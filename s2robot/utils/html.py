"""Pages rendered from the templates of a package."""

from __future__ import annotations

from typing import Any

import jinja2


def render_page(package: str, template: str, **values: Any) -> str:
    """Return a page: a template of a package, filled in.

    Args:
        package: dotted name of the package whose folder ``templates/`` holds the template.
        template: file name of the template.
        values: values by their names in the template; strings are escaped.

    Raises:
        jinja2.UndefinedError: the template uses a name that has no value.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)
