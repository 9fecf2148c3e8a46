"""Export the trained network as the one file that ships, with torch's own predictions to compare
it with.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from creche import provenance
from creche.data import pixel_store
from creche.data.out_of_fold import OutOfFold, as_lists
from creche.data.split import class_indices, holdout_rows, training_rows, validation_rows
from creche.evaluation.decision import choose_weights
from creche.evaluation.metric_values import MetricOptions
from creche.model import networks
from creche.model.artifact import Model
from creche.model.baseline import baseline_statistics, golden_rows
from creche.model.decision import DecisionWeights
from creche.model.encoded_rows import encode_rows
from creche.model.export import export_core, ood_features, torch_probabilities
from creche.model.graph import assemble, serialize
from creche.model.metadata import (
    DataTerms,
    GoldenRows,
    ModelMetadata,
    Provenance,
    QuarantineLimit,
    Uncertainty,
)
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import OodDetector, conformal_threshold
from creche.project import (
    MODEL,
    OUT_OF_FOLD,
    PREPROCESSOR,
    REFERENCE,
    SOURCE,
    SPLIT,
    WEIGHTS,
    RunPaths,
    atomic_write,
    read_json,
    read_record,
)
from creche.recipe import Recipe
from creche.records import ExportReport, SourceInfo

INPUTS = (SOURCE, SPLIT, PREPROCESSOR, WEIGHTS)
OUTPUTS = (MODEL, REFERENCE)

OOD_SCORE_METHOD = (
    "class-conditional Mahalanobis distance (Lee et al., 2018), as a share of calibration rows"
)
# Of a larger table so many rows, evenly spaced, give the distances and the sets their scale.
CALIBRATION_ROWS = 200_000
PREDICTION_SET_METHOD = "split conformal (Sadinle et al., 2019)"


def run(recipe: Recipe, paths: RunPaths) -> ExportReport:
    """Write the model file, and torch's probabilities of every holdout row."""
    preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    net = networks.build(recipe.network, preprocessor, paths.root)
    net.load_state_dict(load_file(paths / WEIGHTS))
    table = pixel_store.read_table(paths / SPLIT, paths)
    source = read_record(paths / SOURCE, SourceInfo)
    out_of_fold = None
    if recipe.split.folds is not None:
        out_of_fold = OutOfFold.read(paths / OUT_OF_FOLD)
    content = export(
        net, preprocessor, recipe, table, source.data_version, out_of_fold, source.header
    )
    with atomic_write(paths / MODEL) as temporary:
        temporary.write_bytes(content)
    reference = _reference(net, holdout_rows(table), preprocessor, recipe)
    with atomic_write(paths / REFERENCE) as temporary:
        pq.write_table(reference, temporary)
    return ExportReport(bytes=len(content))


def _reference(
    net: torch.nn.Module, holdout: pa.Table, preprocessor: Preprocessor, recipe: Recipe
) -> pa.Table:
    """Return torch's probabilities of every holdout row."""
    probabilities = []
    for start in range(0, holdout.num_rows, CALIBRATION_ROWS):
        block = holdout.slice(start, CALIBRATION_ROWS)
        inputs, _ = encode_rows(block, preprocessor, recipe)
        probabilities.append(torch_probabilities(net, inputs))
    values = np.concatenate(probabilities)  # (n, classes)
    return pa.table({"row": holdout["row"], "probabilities": as_lists(values)})


def export(
    net: torch.nn.Module,
    preprocessor: Preprocessor,
    recipe: Recipe,
    table: pa.Table,
    data_version: str,
    out_of_fold: OutOfFold | None = None,
    header: Sequence[str] = (),
) -> bytes:
    """Return the model file's bytes: the same weights, rows and recipe give the same bytes.

    Args:
        net: the trained network.
        preprocessor: fitted on the training rows.
        recipe: of the model.
        table: the accepted rows with their split. Training rows give the statistics and the class
            means; validation rows calibrate ood_score and prediction sets. Without a validation
            part ood_score is calibrated on the training rows, and the sets, whose coverage those
            would overstate, hold every class.
        data_version: MD5 of the data, and of the reference tables.
        out_of_fold: of a cross-validation; they calibrate the prediction sets and the decision in
            place of validation rows.
        header: of the data, where their columns are called by their position.
    """
    net.eval()
    contract = recipe.contract().subset(recipe.features)
    training = training_rows(table)
    ood_detector, uncertainty = _calibrate(net, preprocessor, recipe, table, out_of_fold)
    decision = _decide(net, preprocessor, recipe, table, out_of_fold)
    weights = decision.as_array(preprocessor.classes) if decision else None
    core = export_core(net, preprocessor)
    threshold = uncertainty.threshold
    model = assemble(core, preprocessor, contract, ood_detector, threshold, weights)
    metadata = ModelMetadata(
        recipe=recipe.name,
        label=recipe.label,
        label_column=recipe.contract().subset([recipe.label]),
        contract=contract,
        quarantine=QuarantineLimit(recipe.quarantine.batch_max_share),
        preprocessor=preprocessor,
        uncertainty=uncertainty,
        statistics=baseline_statistics(training, contract, recipe.label),
        golden=GoldenRows.empty(),
        data=DataTerms(recipe.data.license, recipe.data.citation),
        provenance=_provenance(recipe, data_version),
        reading=recipe.data.reading_to_score(recipe.label, header),
        decision=decision,
    )
    # The golden predictions are the file's own, so it is opened once without them.
    unrecorded = Model.from_bytes(serialize(model, metadata))
    golden = unrecorded.predict_golden(golden_rows(table, contract, recipe.label))
    return serialize(model, replace(metadata, golden=golden))


def _calibrate(
    net: torch.nn.Module,
    preprocessor: Preprocessor,
    recipe: Recipe,
    table: pa.Table,
    out_of_fold: OutOfFold | None,
) -> tuple[OodDetector, Uncertainty]:
    """Return the detector of ood_score, and how it and the prediction sets were made."""
    training = evenly_spaced(training_rows(table), recipe)
    validation = evenly_spaced(validation_rows(table), recipe)
    x, y = encode_rows(training, preprocessor, recipe)
    x_calibration, y_calibration = x, y[:0]
    probabilities = np.zeros((0, len(preprocessor.classes)), np.float32)
    if validation.num_rows:
        x_calibration, y_calibration = encode_rows(validation, preprocessor, recipe)
        probabilities = torch_probabilities(net, x_calibration)
    if out_of_fold is not None:
        probabilities, y_calibration = known_out_of_fold(out_of_fold, table, preprocessor, recipe)
    detector = OodDetector.fit(ood_features(net, x), y, ood_features(net, x_calibration))
    method = OOD_SCORE_METHOD
    if preprocessor.image_encoder is not None:
        method += ", of the penultimate features"
    if preprocessor.embedded_features:
        method += ", with learned vectors in place of codes"
    return detector, Uncertainty(
        coverage=recipe.coverage,
        threshold=conformal_threshold(probabilities, y_calibration, recipe.coverage),
        calibration_rows=len(y_calibration),
        ood_score=method,
        prediction_set=PREDICTION_SET_METHOD,
    )


def _decide(
    net: torch.nn.Module,
    preprocessor: Preprocessor,
    recipe: Recipe,
    table: pa.Table,
    out_of_fold: OutOfFold | None,
) -> DecisionWeights | None:
    """Return the class weights of the decision; None where it is for the most likely class."""
    if isinstance(recipe.decision, str):
        return None
    if out_of_fold is not None:
        probabilities, y = known_out_of_fold(out_of_fold, table, preprocessor, recipe)
    else:
        validation = evenly_spaced(validation_rows(table), recipe)
        x, y = encode_rows(validation, preprocessor, recipe)
        probabilities = torch_probabilities(net, x)
    return choose_weights(
        probabilities,
        y,
        preprocessor.classes,
        recipe.decision.metric,
        MetricOptions.of_recipe(recipe),
    )


def _provenance(recipe: Recipe, data_version: str) -> Provenance:
    return Provenance(
        data_version=data_version,
        recipe_digest=recipe.digest,
        code_version=provenance.code_version(),
        libraries_digest=provenance.libraries_digest(),
        fingerprint=provenance.fingerprint(data_version, recipe.digest),
        seed=recipe.training.seed,
        torch=torch.__version__,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        # The weights of a CNN depend on the number of threads, those of an MLP do not.
        threads=torch.get_num_threads() if recipe.network.kind == "cnn" else None,
    )


def known_out_of_fold(
    out_of_fold: OutOfFold, table: pa.Table, preprocessor: Preprocessor, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold probabilities and class indices of the rows that have a prediction."""
    is_known = ~np.isnan(out_of_fold.probabilities).any(axis=1)
    labels = preprocessor.encode_labels(table[recipe.label].to_numpy())
    return out_of_fold.probabilities[is_known], labels[is_known]


def evenly_spaced(rows: pa.Table, recipe: Recipe, count: int = CALIBRATION_ROWS) -> pa.Table:
    """Return about `count` rows of a large table, evenly spaced among those of each class."""
    step = -(-rows.num_rows // count)
    if step <= 1:
        return rows
    classes = class_indices(rows[recipe.label], recipe.classes)
    positions = [np.flatnonzero(classes == index)[::step] for index in range(len(recipe.classes))]
    return rows.take(pa.array(np.sort(np.concatenate(positions))))
