"""The scoring engine: one block of rows through contract and model.

It has no side effects, and several threads may call it at once.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from creche.data.batch import Batch, Violation
from creche.data.quarantine import quarantine_table, reasons_by_row
from creche.data.readers import Block
from creche.data.table_reader import TableReader
from creche.model.artifact import Model
from creche.scoring.categories import CategoryLookup
from creche.scoring.label_column import LabelColumn
from creche.scoring.label_sums import LabelSums
from creche.scoring.ood_counts import count_ood_scores
from creche.scoring.output_columns import OutputColumns


@dataclass(frozen=True)
class ScoredBlock:
    """The outcome of n consecutive rows."""

    row_numbers: np.ndarray  # (n,), from 1
    is_accepted: np.ndarray | None  # mask (n,); None: all are
    predictions: pa.RecordBatch  # the accepted rows
    quarantine: pa.Table | None  # the refused rows with their reasons; None: there are none
    reasons: Counter[str]  # reason → rows
    label_counts: np.ndarray  # (classes + 1,) accepted rows by predicted class, `unknown` last
    ood_counts: np.ndarray  # accepted rows by range of their OOD score, as `OOD_RANGES`
    # Over the accepted rows whose label is known; None: the table has no column of the label.
    label_sums: LabelSums | None

    @property
    def rows(self) -> int:
        return len(self.row_numbers)

    @property
    def accepted_row_numbers(self) -> np.ndarray:
        """The row numbers of the predictions."""
        if self.is_accepted is None:
            return self.row_numbers
        row_numbers: np.ndarray = self.row_numbers[self.is_accepted]
        return row_numbers


@dataclass(frozen=True)
class _Refusals:
    """The refused rows of a block."""

    is_accepted: np.ndarray | None = None  # mask (n,); None: no row is refused
    quarantine: pa.Table | None = None


class Engine:
    """A model, with what is the same for every block of one table.

    Attributes:
        columns: the columns of the predictions.
    """

    def __init__(self, model: Model, version: str, reader: TableReader) -> None:
        self.model = model
        self.reader = reader
        self.columns = OutputColumns(model, version, reader)
        self._label_column = LabelColumn(model, reader)
        self._lookups: dict[str, CategoryLookup] = {}
        for name, encoder in model.category_encoders.items():
            column = model.contract.columns[name]
            self._lookups[name] = CategoryLookup(column, encoder.code_by_value, encoder.unseen_code)

    def score(self, block: Block) -> ScoredBlock:
        """Return the predictions of a block's accepted rows, and its refused rows."""
        batch = self.reader.convert(block.row_numbers, block.cells)
        violations = batch.check(self.reader.contract)
        refusals = self._refuse(batch, violations)
        is_accepted = refusals.is_accepted
        # Images are columns of the block too, and too large to be copied for nothing.
        passthrough = batch.cells.select(self.columns.passthrough)
        row_numbers = batch.row_numbers
        if is_accepted is not None:
            passthrough = passthrough.filter(pa.array(is_accepted))
            row_numbers = row_numbers[is_accepted]
        values, features = self._values_and_features(batch, is_accepted)
        predictions = self.model.predict_encoded(features)
        labels = predictions.codes
        schema = self.columns.schema(block.cells.schema)
        return ScoredBlock(
            batch.row_numbers,
            is_accepted,
            self.columns.assemble(row_numbers, passthrough, values, predictions, labels, schema),
            refusals.quarantine,
            _count_reasons(violations),
            np.bincount(labels, minlength=self.columns.label_count),
            count_ood_scores(predictions.ood_score),
            self._label_column.sums(block.cells, is_accepted, predictions, labels),
        )

    def _refuse(self, batch: Batch, violations: list[Violation]) -> _Refusals:
        if not violations:
            return _Refusals()
        is_refused = np.logical_or.reduce([violation.mask for violation in violations])
        reasons = reasons_by_row(violations, len(batch.row_numbers))
        return _Refusals(~is_refused, quarantine_table(batch, reasons, self.reader.name))

    def _values_and_features(
        self, batch: Batch, is_accepted: np.ndarray | None
    ) -> tuple[dict[str, pa.Array], dict[str, np.ndarray]]:
        """Return the accepted rows' values for the output, and as the model takes them."""
        selection = None if is_accepted is None else pa.array(is_accepted)
        values: dict[str, pa.Array] = {}
        features: dict[str, np.ndarray] = {}
        for name, column in self.model.contract.columns.items():
            cells = batch.values[name]
            if selection is not None:
                cells = cells.filter(selection)
            lookup = self._lookups.get(name)
            if lookup is None:
                values[name] = cells
                array = column.type.model_array(cells, column)
                features[name] = column.type.model_input(array, column)
                continue
            # One look-up serves the output and the model.
            positions = lookup.positions(cells)
            values[name] = lookup.output(cells, positions)
            features[name] = lookup.codes(positions)
        return values, features

    def empty_schema(self) -> pa.Schema:
        """Return the schema of the predictions of a table that has no rows."""
        # Without a block, only the file itself states types; text files state none.
        own_fields = {field.name: field for field in self.reader.schema}
        fields = []
        for name in self.reader.header:
            fields.append(own_fields.get(name, pa.field(name, pa.string())))
        return self.columns.schema(pa.schema(fields))


def _count_reasons(violations: list[Violation]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for violation in violations:
        counts[violation.reason] += int(np.count_nonzero(violation.mask))
    return counts
