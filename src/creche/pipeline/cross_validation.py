"""Cross-validation over groups: a model for each fold, trained on the others.

The steps of a fold are those of any run, in a folder of their own: the fold is its holdout, and a
share of the other groups its validation part. What they predict of their folds is what the gate
judges; the file that ships is trained on all rows, for as many epochs as the folds selected on
average.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from creche.contract import Column
from creche.data import pixel_store
from creche.data.out_of_fold import OutOfFold
from creche.data.row_keys import hash_rows
from creche.data.split import FOLD_COLUMN, HASH_COLUMN, HELD_OUT, SPLIT_COLUMN, holdout_rows
from creche.errors import DataError
from creche.model.artifact import Model
from creche.pipeline import export, preprocess, train
from creche.project import ACCEPTED, MODEL, OUT_OF_FOLD, SOURCE, SPLIT, RunPaths, atomic_write
from creche.recipe import Recipe, Split
from creche.records import FoldReport, TrainingReport

YES, NO = "yes", "no"


def cross_validate(
    recipe: Recipe, paths: RunPaths, device: str, processes: int | None
) -> list[FoldReport]:
    """Train a model for each fold, and write the out-of-fold predictions of all rows.

    Raises:
        DataError: a class has too few groups for a fold.
        DeviceError, TrainingError: as the train step does.
    """
    table = pq.read_table(paths / SPLIT)
    assert recipe.split.folds is not None
    predictions = []
    reports = []
    for fold in range(recipe.split.folds):
        with tempfile.TemporaryDirectory() as name:
            folder = paths.at(Path(name))
            _prepare_fold(table, fold, paths, folder)
            report = _train_fold(recipe, fold, folder, device, processes)
            part = _predict_fold(recipe, fold, folder)
        predictions.append(part)
        reports.append(report)
    with atomic_write(paths / OUT_OF_FOLD) as temporary:
        pq.write_table(pa.concat_tables(predictions), temporary)
    return reports


def recipe_of_all_rows(recipe: Recipe, folds: list[FoldReport]) -> Recipe:
    """Return the recipe of the training on all rows: for the folds' mean of selected epochs."""
    epochs = max(1, round(float(np.mean([fold.selected_epoch for fold in folds]))))
    changes = {"epochs": epochs, "checkpoint_selection": "last", "patience": None}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def _prepare_fold(table: pa.Table, fold: int, paths: RunPaths, folder: RunPaths) -> None:
    """Write the files that the steps of a fold read."""
    (folder / SOURCE).write_bytes((paths / SOURCE).read_bytes())
    is_held_out = np.asarray(table[FOLD_COLUMN]) == fold
    accepted = table.drop_columns([SPLIT_COLUMN, HASH_COLUMN, FOLD_COLUMN])
    accepted = accepted.append_column(HELD_OUT, pa.array(np.where(is_held_out, YES, NO)))
    pq.write_table(accepted, folder / ACCEPTED)


def fold_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of a fold: its rows are the holdout.

    A class may lack rows in one fold: the gate judges all of them together.
    """
    held_out = Column("category", values=(YES, NO))
    split = Split(
        holdout={HELD_OUT: YES}, validation=recipe.split.validation, seed=recipe.split.seed
    )
    changes: dict[str, Any] = {
        "columns": {**recipe.columns, HELD_OUT: held_out},
        "split": split,
        "unique": (),
        "gate": recipe.gate.model_copy(update={"recall": 0.0, "slices": {}, "behavior": ()}),
    }
    return recipe.model_copy(update=changes)


def _train_fold(
    recipe: Recipe, fold: int, folder: RunPaths, device: str, processes: int | None
) -> FoldReport:
    of_fold = fold_recipe(recipe)
    try:
        split = preprocess.run(of_fold, folder)
    except DataError as error:
        raise DataError(
            f"fold {fold + 1} of {recipe.split.folds}: {error}; or use fewer split.folds"
        ) from None
    training = train.run(of_fold, folder, device, processes)
    assert isinstance(training, TrainingReport)
    export.run(of_fold, folder)
    return FoldReport(
        fold=fold + 1,
        train=sum(split.train.values()),
        validation=sum(split.validation.values()),
        held_out=sum(split.holdout.values()),
        selected_epoch=training.selected_epoch,
    )


def _predict_fold(recipe: Recipe, fold: int, folder: RunPaths) -> pa.Table:
    """Return the predictions of the held-out rows by the file that the fold exported."""
    model = Model(folder / MODEL)
    rows = holdout_rows(pixel_store.read_table(folder / SPLIT, folder))
    predictions = model.predict(pixel_store.model_arrays(rows, model.contract))
    names = dict.fromkeys([*recipe.group, *recipe.features])
    out_of_fold = OutOfFold(
        group_hashes=rows[HASH_COLUMN].to_numpy(),
        row_hashes=hash_rows([rows[name] for name in names], recipe.split.seed),
        folds=np.full(rows.num_rows, fold, np.int8),
        predicted=predictions.labels,
        probabilities=predictions.probabilities,
        sets=predictions.sets,
    )
    return out_of_fold.to_table(rows["row"])
