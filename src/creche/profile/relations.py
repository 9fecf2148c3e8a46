"""What the columns of a table say of each other: equal ones, ids, and how well one predicts the
label.
"""

import re
from collections.abc import Sequence

import numpy as np

from creche.contract.cells import FLOAT32_MAX
from creche.profile.distinct import MISSING_CODE
from creche.profile.inferred_column import InferredColumn

ID_NAME = re.compile(
    r"(^|[\W_])(id|uid|uuid|guid|key|index|idx|rownames?|row_?number|serial|unnamed.*)$"
    r"|[a-z]I[dD]$|^(id|no|nr)$|^id[\W_]",
)
ID_WORDS = re.compile(r"(^|[\W_])(ID|Id|KEY|Index|INDEX)$|^(ID|Id|X|x)$")
FEWEST_ID_ROWS = 10
LEAST_UNIQUE_SHARE = 0.95  # distinct / rows of a column whose name says that it is an id
MOST_ONE_TO_ONE_SHARE = 0.5  # distinct / rows; where nearly all differ, any two columns match
FEWEST_LABELED_ROWS = 20  # from which on a match with the label is no chance
BINS = 32  # of a number, for the prediction by it alone
FEWEST_LEAF_ROWS = 2  # of such a bin
SEED = 0


def id_reason(column: InferredColumn) -> str | None:
    """Return why a column is an identifier of its rows; None where it is none."""
    rows = column.rows - column.missing_rows
    distinct = column.distinct_count
    if rows < FEWEST_ID_ROWS or column.missing_rows > column.rows // 2:
        return None
    is_unique = distinct == rows
    has_name = has_id_name(column.header_name)
    if column.kind in ("text", "category") and is_unique and not column.has_words:
        return "an id: every value is another one"
    if column.kind == "number" and column.numbers is not None:
        numbers = column.numbers[~np.isnan(column.numbers)]
        are_whole = bool(np.all(numbers == np.round(numbers)))
        if not are_whole:
            return None
        steps = np.diff(numbers)
        if is_unique and len(np.unique(steps)) == 1:
            return "an id: whole numbers that count up"
        is_dense = np.ptp(numbers) < 2 * rows and np.all(steps > 0)
        if is_unique and is_dense:
            return "an id: whole numbers that count up"
        if has_name and distinct >= LEAST_UNIQUE_SHARE * rows:
            return "an id: by its name, and nearly every value is another one"
    is_code = column.kind == "text" and not column.has_words
    if has_name and is_code and distinct >= LEAST_UNIQUE_SHARE * rows:
        return "an id: by its name, and nearly every value is another one"
    return None


def is_unique_and_whole(column: InferredColumn) -> bool:
    """Whether every value of a column is another whole number."""
    rows = column.rows - column.missing_rows
    return rows >= FEWEST_ID_ROWS and column.distinct_count == rows and column.are_whole


def has_id_name(name: str) -> bool:
    """Whether a name says that a column identifies something."""
    stripped = name.strip()
    if ID_NAME.search(stripped) or ID_WORDS.search(stripped):
        return True
    return ID_NAME.search(stripped.lower()) is not None


def pattern_of(codes: np.ndarray) -> np.ndarray:
    """Return the codes numbered by first occurrence: equal for columns that are one-to-one (n,)."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: np.ndarray = rank[inverse]
    return numbered


def is_one_to_one(column: InferredColumn, label: InferredColumn) -> bool:
    """Whether each value of a column goes with one class, and each class with one value."""
    has_label = label.codes != MISSING_CODE
    if np.count_nonzero(has_label) < FEWEST_LABELED_ROWS:
        return False
    pattern = pattern_of(column.codes[has_label])
    return bool(np.array_equal(pattern, pattern_of(label.codes[has_label])))


def duplicates(columns: Sequence[InferredColumn]) -> dict[str, str]:
    """Return the columns that say the same as an earlier one: name → reason."""
    reasons: dict[str, str] = {}
    earlier: dict[bytes, InferredColumn] = {}
    for column in columns:
        pattern = pattern_of(column.codes)
        original = earlier.setdefault(pattern.tobytes(), column)
        if original is column:
            continue
        if is_equal(column, original):
            reasons[column.header_name] = f"equal to {original.header_name} in every row"
        elif column.distinct_count <= MOST_ONE_TO_ONE_SHARE * column.rows:
            reasons[column.header_name] = f"one-to-one with {original.header_name}"
    return reasons


def is_equal(first: InferredColumn, second: InferredColumn) -> bool:
    """Whether two columns hold the same value in every row."""
    if first.numbers is not None and second.numbers is not None:
        return bool(np.array_equal(first.numbers, second.numbers, equal_nan=True))
    return first.values == second.values and bool(np.array_equal(first.codes, second.codes))


def held_out_half(rows: int) -> np.ndarray:
    """Return which rows a prediction by one column is judged on (n,): about half, always the
    same.
    """
    random = np.random.default_rng(SEED)
    is_held_out: np.ndarray = random.random(rows) < 0.5
    return is_held_out


def coarse_codes(
    column: InferredColumn, label: InferredColumn, is_held_out: np.ndarray
) -> np.ndarray:
    """Return the values of a column as few codes (n,); numbers in bins that tell the classes apart.

    The edges of the bins are those of a decision tree of the fitted rows: a number that the label
    was made of then gives it away, which bins of equal size would blur.
    """
    if column.numbers is None:
        return column.codes
    present = ~np.isnan(column.numbers)
    is_fitted = present & ~is_held_out
    if not is_fitted.any():
        return np.zeros(column.rows, np.int64)
    edges = _tree_edges(column.numbers[is_fitted], label.codes[is_fitted])
    codes = np.searchsorted(edges, column.numbers, "left")
    return np.where(present, codes, MISSING_CODE)


def _tree_edges(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return where a decision tree of one column splits it, in increasing order."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_leaf_nodes=BINS, min_samples_leaf=FEWEST_LEAF_ROWS, random_state=SEED
    )
    # The tree computes in float32, beyond which there is only infinity.
    limited = np.clip(numbers, -FLOAT32_MAX, FLOAT32_MAX)
    structure = tree.fit(limited[:, None], labels).tree_
    edges: np.ndarray = np.unique(structure.threshold[structure.children_left >= 0])
    return edges


def confusion_by_code(codes: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the rows by code and class (codes + 1, classes); the last code is a missing value."""
    count = int(codes.max(initial=0)) + 1
    positions = np.where(codes == MISSING_CODE, count, codes)
    flat = np.bincount(positions * classes + labels, minlength=(count + 1) * classes)
    return flat.reshape(count + 1, classes)
