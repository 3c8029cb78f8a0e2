"""HTML templates of this package: autoescaped, strict about names, reading nothing but the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
import numpy as np

from mricore.report.figures import picture


def render_template(name: str, **values: Any) -> str:
    """The template with these values as text; all values are escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["count"] = _count
    environment.globals["picture"] = picture
    return environment.get_template(name).render(**values)


def _source(name: str) -> str:
    return resources.files("mricore.report").joinpath(name).read_text(encoding="utf-8")


def _count(value: object) -> object:
    return f"{value:,}" if isinstance(value, int | np.integer) else value
