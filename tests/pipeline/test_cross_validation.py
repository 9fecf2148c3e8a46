"""Cross-validation: each row is judged by a model that was trained without its group."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.projects import ROOT, edit, new_project

from creche.data.out_of_fold import OutOfFold
from creche.data.placement import folds_of, group_hashes, split_rows
from creche.errors import DataError, RecipeError
from creche.gate import NotComparable
from creche.model.artifact import Model
from creche.pipeline import gate, promote, run_step
from creche.pipeline.champion_folds import OutOfFoldPair
from creche.pipeline.cross_validation import fold_recipe, recipe_of_all_rows
from creche.project import (
    HOLDOUT_PREDICTIONS,
    MODEL,
    OUT_OF_FOLD,
    SPLIT,
    ProjectPaths,
    RunPaths,
)
from creche.recipe import Recipe, load
from creche.records import FoldReport
from creche.registry import ModelVersion

RECIPE = load("penguins", ROOT)


def with_folds(tmp_path: Path, **split: Any) -> Recipe:
    content = yaml.safe_load((ROOT / "recipes/penguins.yaml").read_text())
    content["split"] = {"folds": 3, **split}
    path = tmp_path / "birds.yaml"
    path.write_text(yaml.safe_dump(content))
    return load(str(path), tmp_path)


@pytest.fixture
def accepted(trained_run: tuple[Recipe, RunPaths, object]) -> pa.Table:
    return pq.read_table(trained_run[1] / SPLIT).drop_columns(["split", "group_hash"])


def test_each_group_is_in_one_fold_and_all_rows_are_for_training(
    tmp_path: Path, accepted: pa.Table
) -> None:
    table = split_rows(accepted, with_folds(tmp_path)).to_pandas()
    assert set(table["split"]) == {"train"}
    assert set(table["fold"]) == {0, 1, 2}
    assert (table.groupby(["study", "species", "nest"])["fold"].nunique() == 1).all()


def test_more_rows_change_no_fold(accepted: pa.Table) -> None:
    hashes = group_hashes(accepted, RECIPE)
    assert (folds_of(hashes, 5)[:100] == folds_of(hashes[:100], 5)).all()


def test_class_of_one_group_is_refused_with_the_way_out(tmp_path: Path, accepted: pa.Table) -> None:
    species = accepted["species"].to_numpy(zero_copy_only=False)
    first_gentoo = int(np.flatnonzero(species == "Gentoo")[0])
    few = accepted.filter(pa.array((species != "Gentoo") | (np.arange(342) == first_gentoo)))
    with pytest.raises(
        DataError, match=r"one fold has all, .* of the 1 rows \(1 groups\) of species Gent"
    ):
        split_rows(few, with_folds(tmp_path))


def test_fewer_groups_than_folds_are_refused(tmp_path: Path, accepted: pa.Table) -> None:
    with pytest.raises(DataError, match=r"are in \d of 3 folds: add data or groups, use fewer"):
        split_rows(accepted.slice(0, 2), with_folds(tmp_path))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"holdout": 0.3}, "split: folds and holdout exclude each other: remove one of them"),
        ({"time": "date_egg"}, "split: folds and time exclude each other"),
        ({"folds": 1}, r"split\.folds: is 1"),
    ],
)
def test_folds_beside_another_split_are_refused(
    tmp_path: Path, split: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        with_folds(tmp_path, **split)


def test_all_rows_are_trained_on_for_the_mean_of_the_selected_epochs(tmp_path: Path) -> None:
    reports = []
    for fold, epoch in enumerate((10, 20, 25), 1):
        reports.append(
            FoldReport(fold=fold, train=1, validation=1, held_out=1, selected_epoch=epoch)
        )
    training = recipe_of_all_rows(with_folds(tmp_path), reports).training
    assert (training.epochs, training.checkpoint_selection, training.patience) == (18, "last", None)


def test_recipe_of_a_fold_is_one_that_can_be_read(tmp_path: Path) -> None:
    of_fold = fold_recipe(with_folds(tmp_path))
    assert Recipe.model_validate_json(of_fold.model_dump_json()) == of_fold
    assert of_fold.split.designated_holdout == ("held_out", "yes")


def out_of_fold(row_hashes: list[int], labels: list[str]) -> OutOfFold:
    hashes = np.array(row_hashes, np.uint64)
    shares = np.full((len(hashes), 3), 1 / 3, np.float32)
    folds = np.zeros(len(hashes), np.int8)
    return OutOfFold(hashes, hashes, folds, np.array(labels, object), shares, shares > 0)


def test_predictions_come_back_in_the_order_of_the_rows(tmp_path: Path) -> None:
    predictions = out_of_fold([7, 9, 8], ["a", "b", "c"])
    pq.write_table(predictions.to_table(pa.chunked_array([[3, 1, 2]])), tmp_path / "x.parquet")
    read = OutOfFold.read(tmp_path / "x.parquet")
    assert read.row_hashes.tolist() == [9, 8, 7]
    assert read.predicted.tolist() == ["b", "c", "a"]
    assert read.positions_of(np.array([7, 1, 10, 9], np.uint64)).tolist() == [2, -1, -1, 0]


@pytest.mark.slow
def test_out_of_fold_predictions_are_judged_and_the_file_has_seen_all_rows(
    tmp_path: Path,
) -> None:
    project = new_project(tmp_path)
    recipe_path = project / "recipes" / "penguins.yaml"
    edit(recipe_path, "split: {validation: 0.15, holdout: 0.3, seed: 0}", "split: {folds: 3}")
    edit(recipe_path, "epochs: 150", "epochs: 12")
    recipe = load("penguins", project)
    paths = ProjectPaths.find(project).at(project / "run")
    reports = {}
    for step in ("pull", "validate", "preprocess", "train", "export", "evaluate", "gate"):
        reports[step] = run_step(step, recipe, paths)
    promote._check_unchanged(recipe, Model(paths / MODEL), reports["gate"], paths)
    predictions = OutOfFold.read(paths / OUT_OF_FOLD)
    table = pq.read_table(paths / SPLIT)
    assert (predictions.group_hashes == table["group_hash"].to_numpy()).all()
    assert (predictions.folds == table["fold"].to_numpy()).all()
    training = reports["train"]
    assert sum(fold.held_out for fold in training.folds) == 342
    mean = np.mean([fold.selected_epoch for fold in training.folds])
    assert (training.epochs, training.monitored) == (round(float(mean)), "train")
    evaluation = reports["evaluate"]
    actual = table["species"].to_numpy(zero_copy_only=False)
    assert (evaluation.rows, evaluation.folds) == (342, 3)
    assert evaluation.correct == (predictions.predicted == actual).sum()
    assert (
        evaluation.prediction_sets.calibration_rows
        == (~np.isnan(predictions.probabilities).any(axis=1)).sum()
    )
    assert (paths / HOLDOUT_PREDICTIONS).read_text().count("\n") == 343
    _check_comparison(recipe, paths, table, predictions, evaluation)


def _check_comparison(
    recipe: Recipe, paths: RunPaths, table: pa.Table, own: OutOfFold, evaluation: Any
) -> None:
    """Check what the champion's out-of-fold predictions are compared on."""
    groups = np.unique(own.group_hashes)
    champion = ModelVersion(
        recipe.name, "1", evaluation.digest, paths / MODEL, {}, recipe.split_digest,
        tuple(groups.tolist()), 2,
    )  # fmt: skip

    def comparison_with(other: Any, version: ModelVersion = champion) -> Any:
        pair = OutOfFoldPair(own, other)
        return gate.judge(own.predicted, groups, version, table, evaluation, recipe, pair)

    same = comparison_with(own).comparison
    assert (same.rows, same.gained, same.lost, same.has_new_training_groups) == (342, 0, 0, False)
    fewer = out_of_fold(own.row_hashes[:100].tolist(), ["Adelie"] * 100)
    assert comparison_with(fewer).comparison.rows >= 100
    others = comparison_with(out_of_fold([1], ["Adelie"]))
    assert "version 1 was judged on none of these rows" in others.reason
    gone = comparison_with(NotComparable("the out-of-fold predictions are not on record"))
    assert "are not on record" in gone.reason
    other_split = ModelVersion(recipe.name, "1", evaluation.digest, paths / MODEL, {}, "x", (), 2)
    assert "trained under another split" in comparison_with(own, other_split).reason
