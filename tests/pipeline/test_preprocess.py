"""The split by group, and the preprocessor fitted on its training side."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import ROOT, WINE

from creche.errors import DataError
from creche.model.encoders import StandardizeEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline.preprocess import assign, counts, group_hashes, preprocess
from creche.pipeline.validate import validate
from creche.project import ACCEPTED, SPLIT, RunPaths
from creche.recipe import Recipe, load

RECIPE = load("penguins", ROOT)


def encoder_of(preprocessor: Preprocessor, column: str) -> StandardizeEncoder:
    (encoder,) = (e for e in preprocessor.encoders if e.column == column)
    assert isinstance(encoder, StandardizeEncoder)
    return encoder


@pytest.fixture
def accepted(trained_run: tuple[Recipe, RunPaths, object]) -> pa.Table:
    return pq.read_table(trained_run[1] / ACCEPTED)


def test_rows_of_one_group_are_on_one_side(
    trained_run: tuple[Recipe, RunPaths, object],
) -> None:
    table = pq.read_table(trained_run[1] / SPLIT).to_pandas()
    sides = table.groupby(["study", "species", "nest"])["side"].nunique()
    assert len(sides) == 172
    assert (sides == 1).all()


def test_appended_rows_change_no_other_side(accepted: pa.Table) -> None:
    before = preprocess(accepted, RECIPE)[0]["side"].to_pylist()
    new_row = {**accepted.slice(0, 1).to_pylist()[0], "nest": "N999", "row": 345}
    grown = pa.concat_tables([pa.Table.from_pylist([new_row], accepted.schema), accepted])
    assert preprocess(grown, RECIPE)[0]["side"].to_pylist()[1:] == before


def test_order_of_rows_does_not_change_sides(accepted: pa.Table) -> None:
    order = np.random.default_rng(0).permutation(accepted.num_rows)
    original_sides = preprocess(accepted, RECIPE)[0]["side"].to_numpy()
    assert (
        preprocess(accepted.take(order), RECIPE)[0]["side"].to_numpy() == original_sides[order]
    ).all()


def test_group_hashes_never_change(accepted: pa.Table) -> None:
    assert group_hashes(accepted, RECIPE)[:3].tolist() == [
        5308418945289262644,
        5308418945289262644,
        11131844064563732913,
    ]


def test_larger_validation_part_does_not_change_the_holdout(accepted: pa.Table) -> None:
    hashes = group_hashes(accepted, RECIPE)
    wide = RECIPE.split.model_copy(update={"validation": 0.3})
    assert (
        (assign(hashes, RECIPE.split) == "holdout") == (assign(hashes, wide) == "holdout")
    ).all()


def test_preprocessor_is_fitted_on_the_training_side_alone(accepted: pa.Table) -> None:
    table, preprocessor = preprocess(accepted, RECIPE)
    training = table.filter(pa.compute.equal(table["side"], "train"))
    mass = encoder_of(preprocessor, "body_mass_g")
    assert mass.mean == pytest.approx(np.mean(training["body_mass_g"].to_numpy()))
    altered = accepted.set_column(
        accepted.column_names.index("body_mass_g"),
        "body_mass_g",
        pa.compute.if_else(pa.compute.equal(table["side"], "train"), accepted["body_mass_g"], 1e6),
    )
    assert preprocess(altered, RECIPE)[1] == preprocessor


def test_counts_name_every_class_on_every_side(accepted: pa.Table) -> None:
    by_side = counts(preprocess(accepted, RECIPE)[0], RECIPE)
    assert {side: set(of) for side, of in by_side.items()} == {
        side: {"Adelie", "Chinstrap", "Gentoo"} for side in ("train", "validation", "holdout")
    }
    assert sum(sum(of.values()) for of in by_side.values()) == 342


def test_constant_column_has_scale_one(accepted: pa.Table) -> None:
    constant = accepted.set_column(
        accepted.column_names.index("body_mass_g"), "body_mass_g", pa.array([0.1] * 342)
    )
    mass = encoder_of(preprocess(constant, RECIPE)[1], "body_mass_g")
    assert mass.std == 1.0


def test_part_without_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(
        DataError,
        match=r"none of the 2 accepted rows falls into the (holdout|validation|train) part",
    ):
        preprocess(accepted.slice(0, 2), RECIPE)


def test_class_without_training_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(
        DataError, match="no accepted row of species Gentoo falls on the training side"
    ):
        preprocess(accepted.filter(pa.compute.field("species") != "Gentoo"), RECIPE)


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_exact_duplicates_do_not_straddle_the_split() -> None:
    recipe = load("wine-course", ROOT)
    frame = preprocess(validate(Path(WINE), "wine", recipe).accepted, recipe)[0].to_pandas()
    columns = [*recipe.features, recipe.label]
    assert frame.duplicated(columns).sum() == 240
    assert (frame.groupby(columns)["side"].nunique() == 1).all()
