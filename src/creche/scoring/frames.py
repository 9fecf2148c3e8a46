"""Predictions for a table in memory, through the same engine as batch scoring."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from creche.data.quarantine import ORIGIN
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource
from creche.model.artifact import UNREGISTERED, Model
from creche.scoring.blocks import score_blocks
from creche.scoring.engine import Engine
from creche.scoring.output_columns import AddedColumns, check_no_column_is_added_twice
from creche.scoring.writer import conform

TABLE_NAME = "the table"  # in messages and in the column `source` of refused rows


@dataclass(frozen=True)
class PredictedTable:
    """The predictions for a table, in the order of its rows.

    Every row is either in `predictions` or in `refused`.

    Attributes:
        predictions: the accepted rows, as batch scoring writes them: the columns of the table, with
            those of the contract under their canonical names and without images, and the added
            columns.
        row_numbers: the row numbers of the predictions in the table, from 1 (accepted,).
        refused: the refused rows as they came, with `row`, their row number from 1, and `reasons`,
            a list of texts.
        columns: the names of the added columns.
    """

    predictions: pa.Table
    row_numbers: np.ndarray
    refused: pa.Table
    columns: AddedColumns

    @property
    def labels(self) -> pa.ChunkedArray:
        """The predicted classes (accepted,), `unknown` included."""
        return self.predictions[self.columns.label]

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities (accepted, classes), float32, 0..1; NaN where a row is unknown."""
        of_classes = []
        for name in self.columns.probabilities:
            of_classes.append(self.predictions[name].to_numpy())
        return np.stack(of_classes, axis=1)

    @property
    def prediction_sets(self) -> pa.ChunkedArray:
        """The classes that cannot be excluded (accepted,), joined by `|`."""
        return self.predictions[self.columns.prediction_set]

    @property
    def ood_score(self) -> np.ndarray:
        """The shares of calibration rows at least as far from training (accepted,), 0..1."""
        scores: np.ndarray = self.predictions[self.columns.ood_score].to_numpy()
        return scores

    @property
    def refused_row_numbers(self) -> np.ndarray:
        """The row numbers of the refused rows in the table, from 1 (refused,)."""
        row_numbers: np.ndarray = self.refused["row"].to_numpy()
        return row_numbers

    @property
    def reasons(self) -> list[list[str]]:
        """The reasons of each refused row."""
        texts: list[list[str]] = self.refused["reasons"].to_pylist()
        return texts


def predict_table(model: Model, table: pa.Table, version: str = UNREGISTERED) -> PredictedTable:
    """Predict the rows of a table under the model's contract.

    Contract, reasons and predictions are those of batch scoring, but a table is never refused as a
    whole: the caller sees how many rows are.

    Args:
        table: the observations, its columns under any names that the contract knows.
        version: the model's version, for the column `model_version`.

    Returns:
        The predictions, and the refused rows.

    Raises:
        ContractError: a column is missing, is there twice, or is one that scoring adds.
        DataError: the table has no columns.
    """
    reader = TableReader(MemorySource.of(table, TABLE_NAME), model.contract)
    check_no_column_is_added_twice(reader, model)
    engine = Engine(model, version, reader)
    predictions = []
    # An empty part gives the type where the table has no rows.
    row_numbers = [np.zeros(0, np.int64)]
    refused = []
    for block in score_blocks(reader, engine):
        predictions.append(block.predictions)
        row_numbers.append(block.accepted_row_numbers)
        if block.quarantine is not None:
            refused.append(block.quarantine)
    schema = predictions[0].schema if predictions else engine.empty_schema()
    refused_schema = pa.schema([*reader.quarantine_schema, *ORIGIN])
    return PredictedTable(
        predictions=_concatenate(predictions, schema),
        row_numbers=np.concatenate(row_numbers),
        refused=_concatenate(refused, refused_schema),
        columns=AddedColumns.of(model),
    )


def _concatenate(parts: "list[pa.Table] | list[pa.RecordBatch]", schema: pa.Schema) -> pa.Table:
    """Return the rows of all parts; the dictionaries of a block do not change the type."""
    return pa.concat_tables([schema.empty_table(), *(conform(part, schema) for part in parts)])
