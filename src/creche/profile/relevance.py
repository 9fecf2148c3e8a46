"""How well each column alone predicts the label, and what a simple model reaches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from creche.profile.distinct import MISSING_CODE
from creche.profile.inferred_column import InferredColumn
from creche.profile.label import Label
from creche.profile.relations import coarse_codes, confusion_by_code, held_out_half

# A column leaks the label where it predicts so many held-out rows rightly, with so few of the
# errors that always predicting the most frequent class makes.
FEWEST_HELD_OUT = 100
FEWEST_MAJORITY_ERRORS = 10
LARGEST_ERROR_SHARE = 0.005  # of the held-out rows, 0..1
LARGEST_SHARE_OF_ERRORS = 0.05  # of the errors of the most frequent class, 0..1

FEWEST_SUSPICIOUS_ROWS = 50  # held out
SUSPICIOUS_GAIN = 0.95  # of the errors of the most frequent class, 0..1

MAX_ROWS = 6000  # of the simple model
MAX_CELLS = 600_000  # of its inputs
MAX_VALUES = 30  # of a category, that have an input each
FOLDS = 3
MAX_ITERATIONS = 60
INVERSE_REGULARIZATION = 1.0


@dataclass(frozen=True)
class Relevance:
    """The prediction of the label by one column alone, judged on rows held out.

    Attributes:
        accuracy: 0..1.
        gain: fraction of the errors of the most frequent class that the column removes, 0..1.
        rows: held out.
        is_leak: whether it predicts almost perfectly, with enough rows to say so.
    """

    accuracy: float
    gain: float
    is_leak: bool
    rows: int

    @property
    def is_suspicious(self) -> bool:
        """Whether it predicts so well that it may be known only when the label is."""
        is_sure = self.rows >= FEWEST_SUSPICIOUS_ROWS
        return self.is_leak or (is_sure and self.gain > SUSPICIOUS_GAIN)


@dataclass(frozen=True)
class SimpleModel:
    """What logistic regression reaches, and what always predicting one class does.

    Attributes:
        rows: on which it was judged, by cross-validation.
        accuracy: 0..1.
        macro_f1: 0..1.
        constant_accuracy: of the most frequent class, 0..1.
        constant_macro_f1: of the most frequent class, 0..1.
    """

    rows: int
    accuracy: float
    macro_f1: float
    constant_accuracy: float
    constant_macro_f1: float


def relevance(column: InferredColumn, label: Label) -> Relevance:
    """Return how well a column alone predicts the label."""
    has_label = label.column.codes != MISSING_CODE
    is_held_out = held_out_half(column.rows)
    codes = coarse_codes(column, label.column, is_held_out | ~has_label)
    classes = len(label.classes)
    is_fitted = has_label & ~is_held_out
    is_judged = has_label & is_held_out
    fitted = confusion_by_code(codes[is_fitted], label.column.codes[is_fitted], classes)
    majority = int(fitted.sum(axis=0).argmax())
    # A value that the other half does not show is predicted as the most frequent class.
    by_code = np.where(fitted.sum(axis=1) > 0, fitted.argmax(axis=1), majority)
    judged = codes[is_judged]
    positions = np.where((judged == MISSING_CODE) | (judged >= len(by_code)), -1, judged)
    labels = label.column.codes[is_judged]
    errors = int(np.count_nonzero(by_code[positions] != labels))
    majority_errors = int(np.count_nonzero(labels != majority))
    rows = max(len(labels), 1)
    gain = 1 - errors / majority_errors if majority_errors else 0.0
    is_leak = (
        rows >= FEWEST_HELD_OUT
        and majority_errors >= FEWEST_MAJORITY_ERRORS
        and errors <= LARGEST_ERROR_SHARE * rows
        and errors <= LARGEST_SHARE_OF_ERRORS * majority_errors
    )
    return Relevance(1 - errors / rows, max(gain, 0.0), is_leak, rows)


def simple_model(
    features: Sequence[InferredColumn], label: Label, groups: np.ndarray | None
) -> SimpleModel | None:
    """Return what logistic regression reaches in cross-validation; None where it cannot be fitted.

    Args:
        features: the columns that a model would take, the best ones first.
        groups: of each row (n,); rows of one group are on one side.
    """
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict

    rows = np.flatnonzero(label.column.codes != MISSING_CODE)
    rows = rows[:: max(1, -(-len(rows) // MAX_ROWS))]
    inputs = _inputs(features, rows)
    labels = label.column.codes[rows]
    if inputs.shape[1] == 0 or np.bincount(labels).max() == len(labels):
        return None
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    row_groups = None
    if groups is not None and len(np.unique(groups[rows])) >= FOLDS:
        folds, row_groups = GroupKFold(FOLDS), groups[rows]
    model = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=MAX_ITERATIONS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = cross_val_predict(model, inputs, labels, groups=row_groups, cv=folds)
    except ValueError:
        # A fold of few rows may hold one class alone.
        return None
    constant = np.full(len(labels), np.bincount(labels).argmax())
    return SimpleModel(
        rows=len(labels),
        accuracy=float(accuracy_score(labels, predicted)),
        macro_f1=float(f1_score(labels, predicted, average="macro")),
        constant_accuracy=float(accuracy_score(labels, constant)),
        constant_macro_f1=float(f1_score(labels, constant, average="macro")),
    )


def _inputs(features: Sequence[InferredColumn], rows: np.ndarray) -> np.ndarray:
    """Return numbers standardized and categories one-hot (rows, inputs)."""
    blocks: list[np.ndarray] = []
    width = 0
    for column in features:
        block = _input_block(column, rows)
        if (width + block.shape[1]) * len(rows) > MAX_CELLS and blocks:
            break
        blocks.append(block)
        width += block.shape[1]
    return np.hstack(blocks) if blocks else np.zeros((len(rows), 0))


def _input_block(column: InferredColumn, rows: np.ndarray) -> np.ndarray:
    if column.numbers is None:
        codes = column.codes[rows]
        present = codes[codes != MISSING_CODE]
        by_count = np.argsort(-np.bincount(present, minlength=1), kind="stable")
        one_hot = codes[:, None] == by_count[None, :MAX_VALUES]
        return np.asarray(one_hot, np.float32)
    numbers = column.numbers[rows]
    is_missing = np.isnan(numbers)
    if is_missing.all():
        return np.zeros((len(rows), 0))
    filled = np.where(is_missing, np.nanmedian(numbers), numbers)
    deviation = filled.std() or 1.0
    standardized = np.clip((filled - filled.mean()) / deviation, -10, 10)
    if not is_missing.any():
        return np.asarray(standardized[:, None], np.float32)
    return np.asarray(np.stack([standardized, is_missing], axis=1), np.float32)


def correlations(columns: Sequence[InferredColumn]) -> np.ndarray:
    """Return the correlation of each two columns of numbers, NaN where one is constant (k, k).

    Missing values are taken as the mean.
    """
    matrix = []
    for column in columns:
        assert column.numbers is not None
        is_missing = np.isnan(column.numbers)
        mean = column.numbers[~is_missing].mean() if not is_missing.all() else 0.0
        matrix.append(np.where(is_missing, mean, column.numbers))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = np.atleast_2d(np.corrcoef(np.array(matrix)))
    return result
