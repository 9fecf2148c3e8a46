"""Find out whether texts are yes or no, steps of an order, or spellings of the same values."""

import re
from collections.abc import Iterable, Sequence

TRUE_AND_FALSE = (
    ("yes", "no"),
    ("y", "n"),
    ("true", "false"),
    ("t", "f"),
    ("1", "0"),
    ("on", "off"),
)
# Orders that people use, each from its least to its greatest step; alternatives of a step by `|`.
ORDERS = (
    "none|no very_low|vlow|v_low low|l medium|med|mid|moderate|average|normal|m high|h|hi "
    "very_high|vhigh|v_high extreme",
    "none mild moderate severe critical",
    "tiny|xs xsmall small|s medium|med|mid|m large|big|l xlarge|x_large|xl huge|xxl",
    "never rarely|seldom sometimes|occasionally often|frequently|usually always",
    "very_poor|very_bad poor|bad fair|average|ok|okay|acceptable|acc good very_good|vgood "
    "premium excellent|ideal|outstanding",
    "unacc|unacceptable acc|acceptable good vgood|very_good",
    "strongly_disagree disagree neutral|neither agree strongly_agree",
    "very_dissatisfied dissatisfied neutral satisfied very_satisfied",
    "primary secondary tertiary",
    "beginner|novice intermediate advanced expert",
    "cold|cool mild|warm hot",
    "slow medium fast",
    "bronze silver gold platinum",
    "young middle_aged|middle old",
    "first second third fourth fifth",
    "i ii iii iv v vi",
)
GRADES = "abcdefg"
GRADE_WORDS = ("grade", "rating", "score", "class", "level")
RANGE = re.compile(
    r"(?P<less><=?|under |below |up to )?\s*(?P<low>\d+(\.\d+)?)"
    r"(\s*(-|–|to)\s*(?P<high>\d+(\.\d+)?))?\s*(?P<more>\+|more|or more| and over|plus)?"
)
NUMBER_WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
STEPS_OF_AN_ORDER = 3  # fewer values have no order that matters


def boolean_values(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return the spellings of true and false, in lower case, where these are all texts."""
    lower = {text.lower() for text in texts}
    for pair in TRUE_AND_FALSE:
        if lower == set(pair):
            return pair
    return None


def ordered_values(header_name: str, values: Sequence[str]) -> list[str] | None:
    """Return the values from the least to the greatest; None where no order is evident."""
    if len(values) < STEPS_OF_AN_ORDER:
        return None
    return (
        _by_known_order(values)
        or _by_leading_number(values)
        or _by_grade(header_name.lower(), values)
    )


def _by_known_order(values: Sequence[str]) -> list[str] | None:
    for order in ORDERS:
        position_by_spelling = {}
        for position, step in enumerate(order.split()):
            for spelling in step.split("|"):
                position_by_spelling[spelling] = position
        positions = [position_by_spelling.get(_spelled(value)) for value in values]
        if None not in positions and len(set(positions)) == len(values):
            return sorted(values, key=lambda value: position_by_spelling[_spelled(value)])
    return None


def _spelled(value: str) -> str:
    return re.sub(r"[\s_-]+", "_", value.strip().lower())


def _by_leading_number(values: Sequence[str]) -> list[str] | None:
    """Return values such as `<18`, `18-30` and `30+`, or 2, 3, 4 and `5more`, in their order."""
    keys = {}
    is_plain_number = True
    for value in values:
        lower = value.strip().lower()
        if lower in ("more", "many"):
            keys[value] = (float("inf"), 1)
            is_plain_number = False
            continue
        match = RANGE.fullmatch(lower)
        if match is None:
            return None
        has_marks = any(match[name] for name in ("less", "high", "more"))
        is_plain_number = is_plain_number and not has_marks
        keys[value] = (float(match["low"]), -1 if match["less"] else 1)
    if is_plain_number or len(set(keys.values())) < len(values):
        return None
    return sorted(values, key=keys.__getitem__)


def _by_grade(header_name: str, values: Sequence[str]) -> list[str] | None:
    """Return grades from the worst to the best: A is the best one."""
    if not any(word in header_name for word in GRADE_WORDS):
        return None
    lower = {value.strip().lower() for value in values}
    if len(lower) == len(values) and lower <= set(GRADES):
        return sorted(values, key=lambda value: value.strip().lower(), reverse=True)
    return None


def folded(text: str) -> str:
    """Return a text without regard to case and repeated spaces."""
    return " ".join(text.split()).lower()


def spelling_variants(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the spellings of each value that has several, by its folded text."""
    spellings: dict[str, list[str]] = {}
    for text in texts:
        spellings.setdefault(folded(text), []).append(text)
    return {key: each for key, each in spellings.items() if len(each) > 1}


def normalization(variants: Iterable[list[str]]) -> list[str]:
    """Return what has to be ignored so that variants are one value: case, spaces or both."""
    ignored = []
    for spellings in variants:
        if len({" ".join(each.split()) for each in spellings}) > 1:
            ignored.append("case")
        if len({each.lower() for each in spellings}) > 1:
            ignored.append("spaces")
    return [each for each in ("case", "spaces") if each in ignored]
