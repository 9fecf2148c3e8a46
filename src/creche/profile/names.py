"""Names of columns in a recipe, and the units that headers state."""

import re
from collections.abc import Sequence

from creche.contract import normalize_name
from creche.contract.outputs import OUTPUT_NAMES
from creche.recipe.checks import FOLD_COLUMNS, RESERVED_COLUMNS

MAX_LENGTH = 40  # of a name that is made of a long header, which becomes an alias
# Columns that the steps add, those of cross-validation among them.
RESERVED = (*RESERVED_COLUMNS, *FOLD_COLUMNS)
UNIT_IN_BRACKETS = re.compile(r"[(\[]\s*([^()\[\]]{1,15}?)\s*[)\]]\s*$")
UNIT_AT_END = re.compile(r"[\s_]([A-Za-z]+|%)$|[\s_](mg_dl|km_h|m_s|g_l|mg_l)$")
# Without `min`, which is the smallest value in a name such as temp_min.
UNITS = {
    "mm", "cm", "m", "km", "inch", "inches", "ft", "feet", "mi", "miles", "yd",
    "mg", "g", "kg", "t", "lb", "lbs", "oz", "tons",
    "ms", "s", "sec", "seconds", "mins", "minutes", "h", "hr", "hrs", "hours", "days",
    "weeks", "months", "years", "yrs",
    "ml", "cl", "dl", "l", "liters", "gal",
    "usd", "eur", "gbp", "chf", "pct", "percent",
    "w", "kw", "mw", "wh", "kwh", "v", "ma", "hz", "khz", "mhz", "ghz",
    "mph", "kmh", "kph", "bar", "psi", "hpa", "kpa", "pa", "mmhg", "bpm", "rpm", "ppm", "db",
    "kb", "mb", "gb",
    "mg_dl", "km_h", "m_s", "g_l", "mg_l",
}  # fmt: skip
UNIT_SIGNS = ("%", "$", "€", "°C", "°F")
# Of one letter: units after an underscore alone, as in mass_g.
AMBIGUOUS = {"m", "g", "s", "h", "t", "l", "w", "v"}


def unit_of(header_name: str) -> str | None:
    """Return the unit that a header states at its end, as `mass_g` and `Length (mm)` do."""
    bracketed = UNIT_IN_BRACKETS.search(header_name)
    if bracketed:
        unit = bracketed[1]
        is_short = len(unit.split()) <= 2 and not unit.replace(".", "").isdigit()
        is_word = is_short and unit[0].isalpha()
        return unit if is_word or unit in UNIT_SIGNS else None
    at_end = UNIT_AT_END.search(header_name)
    if at_end is None:
        return None
    unit = at_end[2] or at_end[1]
    if unit.lower() not in UNITS:
        return None
    is_ambiguous = unit in AMBIGUOUS
    return None if is_ambiguous and not header_name.endswith(f"_{unit}") else unit


def recipe_names(header: Sequence[str], label: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the name of each column in the recipe, and the aliases that it needs.

    A header of letters, digits and underscores is the name. Another one is written in lower case
    with underscores; where it is long, it is cut and becomes an alias. A column whose name has
    neither letter nor digit has no name in a recipe, and is not among them.

    Args:
        label: the column that is predicted; any other one must not have the name of an output.
    """
    taken: set[str] = set(map(normalize_name, header))
    names: dict[str, tuple[str, tuple[str, ...]]] = {}
    for header_name in header:
        normalized = normalize_name(header_name)
        if not normalized:
            continue
        name = _readable(header_name)
        is_output_name = name in OUTPUT_NAMES and header_name != label
        if name in RESERVED or is_output_name:
            name = _unused(f"{name}_value", taken)
        if normalize_name(name) == normalized:
            names[header_name] = (name, ())
            continue
        name = _unused(name, taken)
        taken.add(normalize_name(name))
        names[header_name] = (name, (header_name,))
    return names


def _readable(header_name: str) -> str:
    if re.fullmatch(r"[^\W\d_]\w*", header_name) and len(header_name) <= MAX_LENGTH:
        return header_name
    words = re.findall(r"[^\W_]+", header_name.lower())
    name: str = words[0]
    for word in words[1:]:
        if len(f"{name}_{word}") > MAX_LENGTH:
            break
        name = f"{name}_{word}"
    return name[:MAX_LENGTH]


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while normalize_name(candidate) in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def colliding_names(header: Sequence[str]) -> tuple[str, str] | None:
    """Return two names of a header that are one for a recipe; None where there are none."""
    seen: dict[str, str] = {}
    for header_name in header:
        normalized = normalize_name(header_name)
        if not normalized:
            continue
        other = seen.setdefault(normalized, header_name)
        if other is not header_name:
            return other, header_name
    return None
