"""The environment of the templates of all pages."""

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@lru_cache(maxsize=1)
def template_environment() -> Environment:
    """Return the environment of all templates, with autoescape."""
    return Environment(
        loader=PackageLoader("creche.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_empty_for_none,
    )


def _empty_for_none(value: object) -> object:
    return "" if value is None else value
