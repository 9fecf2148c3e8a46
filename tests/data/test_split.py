"""The split of the accepted rows by group."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import ROOT, WINE

from creche.data.split import assign_splits, count_by_split, group_hashes, split_rows
from creche.errors import DataError
from creche.pipeline.validate import validate
from creche.project import ACCEPTED, SPLIT, RunPaths
from creche.recipe import Recipe, load

RECIPE = load("penguins", ROOT)


@pytest.fixture
def accepted(trained_run: tuple[Recipe, RunPaths, object]) -> pa.Table:
    return pq.read_table(trained_run[1] / ACCEPTED)


def test_birds_of_one_nest_are_in_one_split(
    trained_run: tuple[Recipe, RunPaths, object],
) -> None:
    table = pq.read_table(trained_run[1] / SPLIT).to_pandas()
    splits = table.groupby(["study", "species", "nest"])["split"].nunique()
    assert len(splits) == 172
    assert (splits == 1).all()


def test_appending_rows_changes_no_other_split(accepted: pa.Table) -> None:
    before = split_rows(accepted, RECIPE)["split"].to_pylist()
    chick = {**accepted.slice(0, 1).to_pylist()[0], "nest": "N999", "row": 345}
    grown = pa.concat_tables([pa.Table.from_pylist([chick], accepted.schema), accepted])
    assert split_rows(grown, RECIPE)["split"].to_pylist()[1:] == before


def test_order_of_rows_changes_no_split(accepted: pa.Table) -> None:
    order = np.random.default_rng(0).permutation(accepted.num_rows)
    original_splits = split_rows(accepted, RECIPE)["split"].to_numpy()
    assert (
        split_rows(accepted.take(order), RECIPE)["split"].to_numpy() == original_splits[order]
    ).all()


def test_group_hashes_never_change(accepted: pa.Table) -> None:
    assert group_hashes(accepted, RECIPE)[:3].tolist() == [
        5308418945289262644,
        5308418945289262644,
        11131844064563732913,
    ]


def test_a_larger_validation_part_leaves_the_holdout_alone(accepted: pa.Table) -> None:
    hashes = group_hashes(accepted, RECIPE)
    wide = RECIPE.split.model_copy(update={"validation": 0.3})
    assert (
        (assign_splits(hashes, RECIPE.split) == "holdout")
        == (assign_splits(hashes, wide) == "holdout")
    ).all()


def test_counts_name_every_class_in_every_split(accepted: pa.Table) -> None:
    by_split = count_by_split(split_rows(accepted, RECIPE), RECIPE)
    assert {split: set(of) for split, of in by_split.items()} == {
        split: {"Adelie", "Chinstrap", "Gentoo"} for split in ("train", "validation", "holdout")
    }
    assert sum(sum(of.values()) for of in by_split.values()) == 342


def test_part_without_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(
        DataError,
        match=r"none of the 2 accepted rows is in the (holdout|validation|train) split",
    ):
        split_rows(accepted.slice(0, 2), RECIPE)


def test_class_without_training_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(
        DataError, match="no accepted row of species Gentoo is in the training split"
    ):
        split_rows(accepted.filter(pa.compute.field("species") != "Gentoo"), RECIPE)


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_exact_duplicates_do_not_straddle_the_split() -> None:
    recipe = load("wine-course", ROOT)
    frame = split_rows(validate(Path(WINE), "wine", recipe).accepted, recipe).to_pandas()
    columns = [*recipe.features, recipe.label]
    assert frame.duplicated(columns).sum() == 240
    assert (frame.groupby(columns)["split"].nunique() == 1).all()
