"""Network, training, split and gate that suit the size of a table."""

import math
from dataclasses import dataclass

import numpy as np

from creche.profile.label import Label
from creche.profile.relevance import SimpleModel

# On six tables of 200 to 4,200 rows these were as good as, or better than, smaller networks and
# higher learning rates.
HIDDEN = (128, 64)  # widths of the hidden layers
DROPOUT = 0.2
LEARNING_RATE = 0.002
WEIGHT_DECAY = 0.1
VALIDATION = 0.2  # of the groups, 0..1
HOLDOUT = 0.2
FOLDS = 5
FEWEST_CLASS_GROUPS = 40  # from which on a fifth of the groups surely holds some of a class
MAX_FOLD_ROWS = 20_000  # above which five trainings take too long
FEWEST_SPLIT_ROWS = 500  # below which a holdout of a fifth says too little
STEPS = 12_000  # that a training takes at most, about
ROW_VISITS = 60_000_000  # rows times epochs, at most: about a minute on two cores
MAX_EPOCHS = 150
FEWEST_EPOCHS = 5
SHARE_OF_LEAST = 0.5  # of the way from a constant prediction to logistic regression
STANDARD_ERRORS = 2.0  # of the holdout's accuracy, that a model may lack by chance
RARE_CLASS_SHARE = 0.3  # of an equal share of the rows, below which a class is rare
LARGE_MAJORITY = 0.85  # share of the most frequent class, above which accuracy says little


@dataclass(frozen=True)
class TrainingSettings:
    """What the recipe says of network and training.

    Attributes:
        epochs: passes over the training rows.
        patience: epochs without a lower validation loss after which training stops.
        batch_size: rows of a step.
        folds: of a cross-validation; None: a holdout of its own.
    """

    epochs: int
    patience: int
    batch_size: int
    folds: int | None


@dataclass(frozen=True)
class GateSettings:
    """What a model must reach, and why so much.

    Attributes:
        accuracy: least one, 0..1.
        macro_f1: least one where classes are rare, else None.
        reasons: of the thresholds, a sentence each.
        warning: that the threshold does not separate an honest model from a useless one.
    """

    accuracy: float
    macro_f1: float | None
    reasons: tuple[str, ...]
    warning: str | None = None

    @property
    def is_imbalanced(self) -> bool:
        return self.macro_f1 is not None


def choose_training(rows: int, label: Label, groups: np.ndarray) -> TrainingSettings:
    """Return network and training for a table.

    Args:
        rows: of the table.
        groups: of each row of the sample, which a split keeps together (n,).
    """
    folds = choose_folds(rows, label, groups)
    share = 1 - VALIDATION - (1 / folds if folds else HOLDOUT)
    training_rows = max(1, int(rows * share))
    batch_size = 2 ** round(math.log2(min(max(training_rows / 60, 32), 8192)))
    steps = max(1, training_rows // batch_size)
    most = min(MAX_EPOCHS, STEPS // steps, ROW_VISITS // training_rows)
    epochs = max(FEWEST_EPOCHS, most)
    return TrainingSettings(
        epochs=epochs, patience=max(3, epochs // 6), batch_size=batch_size, folds=folds
    )


def choose_folds(rows: int, label: Label, groups: np.ndarray) -> int | None:
    """Return the folds of a cross-validation, where a holdout would be too small.

    Args:
        rows: of the table.
        groups: of each row of the sample (n,).
    """
    if rows > MAX_FOLD_ROWS or len(np.unique(groups)) < 2 * FOLDS:
        return None
    smallest = min(
        len(np.unique(groups[label.column.codes == code])) for code in range(len(label.classes))
    )
    return FOLDS if smallest < FEWEST_CLASS_GROUPS or rows < FEWEST_SPLIT_ROWS else None


def choose_gate(
    label: Label, simple: SimpleModel | None, rows: int, is_split: bool
) -> GateSettings:
    """Return thresholds that an honest model passes, and one that says nothing does not.

    Args:
        simple: what logistic regression reaches; None where that is not known.
        rows: of the table.
        is_split: whether a holdout of its own is judged, and not every row.
    """
    constant = label.majority_share
    judged_rows = max(rows * (HOLDOUT if is_split else 1.0), 1)
    if simple is None:
        return GateSettings(
            _floor(constant / 2),
            None,
            ("no simple model could be fitted: set it at what the use of the model needs",),
        )
    error = math.sqrt(max(simple.accuracy * (1 - simple.accuracy), 0.01) / judged_rows)
    halfway = constant + SHARE_OF_LEAST * (simple.accuracy - constant)
    is_telling = simple.accuracy - constant > 2 * STANDARD_ERRORS * error
    accuracy = halfway if is_telling else simple.accuracy - STANDARD_ERRORS * error
    is_imbalanced = has_rare_class(label) or constant > LARGE_MAJORITY
    reasons = [
        f"logistic regression reaches {simple.accuracy:.3f}, always predicting "
        f"{label.classes[int(label.counts().argmax())]} {constant:.3f}"
    ]
    if not is_imbalanced:
        warning = None if is_telling else _warning(simple, constant)
        return GateSettings(_floor(accuracy), None, tuple(reasons), warning)
    # Accuracy hardly tells models apart here: it only keeps one out that is wrong far too often.
    accuracy = min(accuracy, simple.accuracy) - max(0.05, STANDARD_ERRORS * error)
    f1 = simple.constant_macro_f1 + SHARE_OF_LEAST * (simple.macro_f1 - simple.constant_macro_f1)
    reasons.append(
        f"of macro F1 logistic regression reaches {simple.macro_f1:.3f}, always predicting one "
        f"class {simple.constant_macro_f1:.3f}"
    )
    f1_error = STANDARD_ERRORS * _f1_error(label, judged_rows / rows)
    is_f1_telling = simple.macro_f1 - simple.constant_macro_f1 > 0.05
    least_f1 = max(f1 - f1_error / 3, simple.constant_macro_f1 if is_f1_telling else 0.0)
    warning = None if is_f1_telling else _warning(simple, constant)
    return GateSettings(_floor(accuracy), _floor(least_f1), tuple(reasons), warning)


def _f1_error(label: Label, share: float) -> float:
    """Return about how much macro F1 varies by chance, by the rows of the rarest class."""
    judged = max(float(label.counts().min()) * share, 1.0)
    return float(0.5 / math.sqrt(judged) / len(label.classes))


def has_rare_class(label: Label) -> bool:
    """Whether a class has far fewer rows than an equal share."""
    counts = label.counts()
    return bool(counts.min() < RARE_CLASS_SHARE * counts.sum() / len(counts))


def _warning(simple: SimpleModel, constant: float) -> str:
    return (
        f"the columns hardly predict the label: logistic regression reaches {simple.accuracy:.3f}, "
        f"and always predicting the most frequent class {constant:.3f}"
    )


def _floor(value: float) -> float:
    """Return a threshold rounded down to hundredths, 0..1."""
    return float(np.clip(math.floor(value * 100 + 1e-9) / 100, 0.0, 1.0))
