"""Pydantic's errors of the encodings of features, of which a recipe's author needs one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from creche.recipe.encodings import DateParts, Divide, Embedding, OneHot, Scale

LITERAL = "literal["  # how the place of an error begins that is about the names of encodings
SECTIONS = (Divide, Scale, OneHot, Embedding, DateParts)
ENCODING_SECTIONS = (
    "{divide: NUMBER}, {mean: NUMBER, std: NUMBER}, {one_hot: {min_rows: 10, max_values: 100}}, "
    "{embedding: {width: 8}} or {date_parts: [year, month]}"
)


def only_of_stated_encodings(errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those of encodings that a feature does not state.

    Pydantic has an error of each alternative: of every name, and of every section. Where a feature
    states a section, the errors inside it are left, without the name of its class in their places;
    else the one of the names.
    """
    errors = list(errors)
    section_by_feature = dict(_stated_sections(errors))
    left = []
    for details in errors:
        place = details["loc"]
        if len(place) < 3 or place[0] != "features":
            left.append(details)
            continue
        section = section_by_feature.get(str(place[1]))
        if section is None and is_of_names(details):
            left.append(details)
        elif place[2] == section:
            inside: ErrorDetails = {**details, "loc": (*place[:2], *place[3:])}
            left.append(inside)
    return left


def is_of_names(details: ErrorDetails) -> bool:
    """Whether an error is about the name of an encoding."""
    place = details["loc"]
    return len(place) == 3 and place[0] == "features" and str(place[2]).startswith(LITERAL)


def _stated_sections(errors: Iterable[ErrorDetails]) -> Iterator[tuple[str, str]]:
    """Yield feature and class of the section that it states, of the features that state one."""
    for details in errors:
        if is_of_names(details):
            section = _section_of(details["input"])
            if section is not None:
                yield str(details["loc"][1]), section


def _section_of(stated: Any) -> str | None:
    if not isinstance(stated, Mapping):
        return None
    for section in SECTIONS:
        if section.model_fields.keys() & stated.keys():
            return section.__name__
    return None
