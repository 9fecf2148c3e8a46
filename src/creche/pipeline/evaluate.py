"""Step evaluate: measure the model file, which is what ships, and not the network behind it."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from creche.contract import images
from creche.contract.outputs import LABEL, PREDICTION_SET, PROBABILITIES
from creche.data import pixel_store
from creche.data.out_of_fold import OutOfFold, as_matrix
from creche.data.split import HASH_COLUMN, holdout_rows
from creche.evaluation.estimates import metric_estimates
from creche.evaluation.isolated import evaluate_isolated
from creche.evaluation.metric_values import LabeledPredictions, MetricOptions
from creche.evaluation.metrics import classification_metrics, parity
from creche.evaluation.slices import holdout_slices, slice_metrics
from creche.evaluation.unknown import unknown_predictions
from creche.model.artifact import Model
from creche.project import (
    EVALUATION,
    EVALUATION_PLOT,
    HOLDOUT_PREDICTIONS,
    MISTAKES,
    MODEL,
    OUT_OF_FOLD,
    REFERENCE,
    SPLIT,
    RunPaths,
    atomic_write,
    write_record,
)
from creche.recipe import Recipe
from creche.records import DecisionReport, Evaluation, Parity, PredictionSetMetrics
from creche.reporting import plots

INPUTS = (MODEL, SPLIT, REFERENCE)
OUTPUTS = (EVALUATION, HOLDOUT_PREDICTIONS, EVALUATION_PLOT)


class MeasuredModel(NamedTuple):
    """A model file's metrics on the holdout, and what it predicts there."""

    evaluation: Evaluation
    holdout_rows: pd.DataFrame  # row, actual, predicted, and `probability_CLASS` for every class


def run(recipe: Recipe, paths: RunPaths) -> Evaluation:
    """Write the metrics, every holdout row with its prediction, and the plots."""
    reference = as_matrix(pq.read_table(paths / REFERENCE)["probabilities"])
    table = pixel_store.read_table(paths / SPLIT, paths)
    out_of_fold = None
    if recipe.split.folds is not None:
        out_of_fold = OutOfFold.read(paths / OUT_OF_FOLD)
    measured = measure(paths / MODEL, table, recipe, reference, out_of_fold)
    evaluation, predicted_rows = measured
    for name in recipe.image_features:
        evaluation.mistakes = evaluation.rows - evaluation.correct
        holdout = holdout_rows(table)
        pixels = images.pixels(holdout[name], recipe.columns[name])
        with atomic_write(paths / MISTAKES) as temporary:
            plots.mistakes(pixels, predicted_rows, temporary)
    write_record(paths / EVALUATION, evaluation)
    with atomic_write(paths / HOLDOUT_PREDICTIONS) as temporary:
        predicted_rows.to_csv(temporary, index=False)
    with atomic_write(paths / EVALUATION_PLOT) as temporary:
        plots.evaluation(evaluation, temporary)
    return evaluation


def measure(
    path: Path,
    table: pa.Table,
    recipe: Recipe,
    reference: np.ndarray | None = None,
    out_of_fold: OutOfFold | None = None,
) -> MeasuredModel:
    """Return the metrics of a model file on the holdout, and every holdout row with its prediction.

    Args:
        table: all accepted rows with their split.
        reference: torch's probabilities (n, classes) of the holdout rows; without them parity is
            not measured.
        out_of_fold: of a cross-validation: what its rows were predicted as without their fold.

    Raises:
        ModelError: the file cannot be loaded or run in a process without torch.
    """
    holdout = holdout_rows(table)
    predictions, report = evaluate_isolated(path, holdout, recipe.gate)
    model = Model(path)
    actual = holdout[recipe.label].to_numpy()
    predicted = predictions[LABEL].to_numpy()
    probabilities = as_matrix(predictions[PROBABILITIES])
    prediction_sets = as_matrix(predictions[PREDICTION_SET])
    parity_of_file = _parity(model, probabilities, reference)
    if out_of_fold is not None:
        # The file was trained on all rows: what it predicts of them says nothing.
        predicted = out_of_fold.predicted
        probabilities = out_of_fold.probabilities
        prediction_sets = out_of_fold.sets
    metrics = classification_metrics(actual, predicted, probabilities, model.classes)
    labeled = LabeledPredictions.of(actual, predicted, probabilities, model.classes)
    groups = holdout[HASH_COLUMN].to_numpy()
    estimates = metric_estimates(labeled, MetricOptions.of_recipe(recipe), groups, model.classes)
    evaluation = Evaluation(
        **dict(metrics),
        digest=model.digest,
        folds=recipe.split.folds if out_of_fold is not None else None,
        slices=slice_metrics(holdout_slices(table, recipe), actual == predicted),
        unknown=unknown_predictions(model, holdout, predicted),
        parity=parity_of_file,
        prediction_sets=_prediction_set_metrics(model, actual, prediction_sets),
        ood=report.ood,
        file=report.file,
        behavior=report.behavior,
        metrics=estimates,
        decision=_decision(model),
    )
    rows = pd.DataFrame(
        {"row": holdout["row"].to_numpy(), "actual": actual, "predicted": predicted}
    )
    rows[[probability_column(name) for name in model.classes]] = probabilities
    return MeasuredModel(evaluation, rows)


def probability_column(class_name: str) -> str:
    """Return the column of a class's probability among the predicted holdout rows."""
    return f"probability_{class_name}"


def _decision(model: Model) -> DecisionReport | None:
    decision = model.metadata.decision
    return None if decision is None else DecisionReport(**asdict(decision))


def _parity(model: Model, probabilities: np.ndarray, reference: np.ndarray | None) -> Parity | None:
    if reference is None:
        return None
    return parity(probabilities, reference, model.decision_weights)


def _prediction_set_metrics(
    model: Model, actual: np.ndarray, prediction_sets: np.ndarray
) -> PredictionSetMetrics:
    """Return how often the sets (n, classes) hold the true class."""
    class_indices = [model.classes.index(label) for label in actual]
    holds_true_class = prediction_sets[np.arange(len(actual)), class_indices]
    uncertainty = model.metadata.uncertainty
    return PredictionSetMetrics(
        covered=int(holds_true_class.sum()),
        mean_size=float(prediction_sets.sum(axis=1).mean()),
        coverage=uncertainty.coverage,
        calibration_rows=uncertainty.calibration_rows,
    )
