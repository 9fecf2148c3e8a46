"""The split of the accepted rows by group."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import PENGUINS, ROOT, WINE

from creche.data.placement import PLACE_OF, group_hashes, place_rows, places_by_hash, split_rows
from creche.data.split import HOLDOUT
from creche.data.split_report import report_of
from creche.errors import DataError
from creche.pipeline.validate import validate
from creche.project import ACCEPTED, SPLIT, RunPaths
from creche.recipe import Recipe, load
from creche.records import SplitReport

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
    holdout = PLACE_OF[HOLDOUT]
    before = places_by_hash(hashes, RECIPE.split) == holdout
    assert (before == (places_by_hash(hashes, wide) == holdout)).all()


def test_counts_name_every_class_in_every_split(accepted: pa.Table) -> None:
    hashes = group_hashes(accepted, RECIPE)
    report = SplitReport(
        **report_of(accepted, place_rows(accepted, hashes, RECIPE), hashes, RECIPE)
    )
    by_split = report.by_split()
    assert {split: set(of) for split, of in by_split.items()} == {
        split: {"Adelie", "Chinstrap", "Gentoo"} for split in ("train", "validation", "holdout")
    }
    assert sum(sum(of.values()) for of in by_split.values()) == 342
    assert sum(report.groups.values()) == 172
    assert (report.times, report.left_out) == ({}, 0)


def test_part_without_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(
        DataError,
        match=r"none of the 2 accepted rows is in the (holdout|validation|train) split",
    ):
        split_rows(accepted.slice(0, 2), RECIPE)


def test_class_without_training_rows_is_refused(accepted: pa.Table) -> None:
    with pytest.raises(DataError, match="no accepted row has species Gentoo: add such rows, or"):
        split_rows(accepted.filter(pa.compute.field("species") != "Gentoo"), RECIPE)


@pytest.mark.skipif(not WINE.is_file(), reason="the red-wine table is not beside this checkout")
def test_exact_duplicates_do_not_straddle_the_split() -> None:
    recipe = load("wine-course", ROOT)
    frame = split_rows(validate(Path(WINE), "wine", recipe).accepted, recipe).to_pandas()
    columns = [*recipe.features, recipe.label]
    assert frame.duplicated(columns).sum() == 240
    assert (frame.groupby(columns)["split"].nunique() == 1).all()


@pytest.mark.parametrize("carrier", ["float32", "decimal", "dictionary", "jsonl", "kilograms"])
def test_rows_in_another_number_type_are_split_alike(carrier: str, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"group": (), "unique": ()})
    frame = pd.read_csv(PENGUINS, dtype=str, keep_default_na=False)
    frame.to_csv(tmp_path / "x.csv", index=False)
    expected = split_rows(validate(tmp_path / "x.csv", "x", recipe).accepted, recipe)
    path = _write_carrier(pd.read_csv(PENGUINS), carrier, tmp_path)
    table = split_rows(validate(path, "y", recipe).accepted, recipe)
    assert table["row"].to_pylist() == expected["row"].to_pylist()
    assert table["group_hash"].to_pylist() == expected["group_hash"].to_pylist()
    assert table["split"].to_pylist() == expected["split"].to_pylist()


def _write_carrier(frame: pd.DataFrame, carrier: str, folder: Path) -> Path:
    """Write the penguins with their numbers in another type or unit."""
    if carrier == "jsonl":
        frame.to_json(folder / "y.jsonl", orient="records", lines=True)
        return folder / "y.jsonl"
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, column in RECIPE.columns.items():
        if column.kind != "number" or name not in RECIPE.features:
            continue
        position = table.column_names.index(name)
        cells = pa.chunked_array([pa.array(frame[name], pa.float64(), from_pandas=True)])
        if carrier == "float32":
            cells = cells.cast(pa.float32())
        elif carrier == "decimal":
            cells = cells.cast(pa.decimal128(9, 1))
        elif carrier == "dictionary":
            cells = cells.dictionary_encode()
        elif name == "body_mass_g":
            kilograms = pa.array(frame[name] / 1000, pa.float32(), from_pandas=True)
            table = table.set_column(position, "body_mass_kg", kilograms)
            continue
        table = table.set_column(position, name, cells)
    pq.write_table(table, folder / "y.parquet")
    return folder / "y.parquet"
