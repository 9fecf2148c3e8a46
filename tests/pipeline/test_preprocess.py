"""The preprocessor, fitted on the training split of the split."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import ROOT

from creche.errors import UsageError
from creche.model.encoders import StandardizeEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.pipeline.preprocess import preprocess
from creche.project import ACCEPTED, RunPaths
from creche.recipe import Recipe, load

RECIPE = load("penguins", ROOT)


def encoder_of(preprocessor: Preprocessor, column: str) -> StandardizeEncoder:
    (encoder,) = (e for e in preprocessor.encoders if e.column == column)
    assert isinstance(encoder, StandardizeEncoder)
    return encoder


@pytest.fixture
def accepted(trained_run: tuple[Recipe, RunPaths, object]) -> pa.Table:
    return pq.read_table(trained_run[1] / ACCEPTED)


def test_step_without_its_inputs_names_the_steps_before_it(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path, tmp_path / "var", tmp_path / "run")
    with pytest.raises(UsageError, match=r"run the steps before it \(pull, validate\)$"):
        run_step("preprocess", RECIPE, paths)


def test_preprocessor_is_fitted_on_the_training_split_alone(accepted: pa.Table) -> None:
    table, preprocessor = preprocess(accepted, RECIPE)
    training = table.filter(pa.compute.equal(table["split"], "train"))
    mass = encoder_of(preprocessor, "body_mass_g")
    assert mass.mean == pytest.approx(np.mean(training["body_mass_g"].to_numpy()))
    altered = accepted.set_column(
        accepted.column_names.index("body_mass_g"),
        "body_mass_g",
        pa.compute.if_else(pa.compute.equal(table["split"], "train"), accepted["body_mass_g"], 1e6),
    )
    assert preprocess(altered, RECIPE)[1] == preprocessor


def test_constant_column_has_scale_one(accepted: pa.Table) -> None:
    constant = accepted.set_column(
        accepted.column_names.index("body_mass_g"), "body_mass_g", pa.array([0.1] * 342)
    )
    mass = encoder_of(preprocess(constant, RECIPE)[1], "body_mass_g")
    assert mass.std == 1.0
