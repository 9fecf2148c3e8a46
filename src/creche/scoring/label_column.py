"""The true classes of observations whose label is known already, beside the predicted ones."""

import numpy as np
import pyarrow as pa

from creche.contract import normalize_name
from creche.data.table_reader import TableReader
from creche.model.artifact import Model, Predictions
from creche.scoring.categories import CategoryLookup
from creche.scoring.label_sums import LabelSums


class LabelColumn:
    """The column of a table that is named as the model's label, if there is one.

    The predictions do not depend on it.
    """

    def __init__(self, model: Model, reader: TableReader) -> None:
        contract = model.metadata.label_column
        self._column = contract.columns[model.label]
        label_names = {normalize_name(name) for name in self._column.accepted_names(model.label)}
        headers = [name for name in reader.ignored if normalize_name(name) in label_names]
        # Of two such columns neither can be said to be the label.
        self._header = headers[0] if len(headers) == 1 else None
        self._unit_factor = 1.0
        if self._header is not None:
            self._unit_factor = contract.unit_factor(model.label, self._header)
        self._reader = reader
        self._class_count = len(model.classes)
        codes = {name: float(code) for code, name in enumerate(model.classes)}
        self._lookup = CategoryLookup(self._column, codes)

    def sums(
        self,
        cells: pa.RecordBatch,
        is_accepted: np.ndarray | None,
        predictions: Predictions,
        predicted: np.ndarray,
    ) -> LabelSums | None:
        """Return the sums over the rows of a block that state one of the model's classes; None
        where the table has no such column.

        Args:
            cells: the columns as they were read, n rows.
            is_accepted: mask (n,) of the rows that have a prediction; None: all have.
            predictions: of those rows.
            predicted: the predicted classes of those rows, each as its index.
        """
        if self._header is None:
            return None
        labels = cells.column(self._header)
        if is_accepted is not None:
            labels = labels.filter(pa.array(is_accepted))
        cell_format = self._reader.cell_format(self._column, self._unit_factor)
        categories, _ = self._column.type.convert(labels, self._column, cell_format)
        positions = self._lookup.positions(categories)
        is_known = positions < self._class_count
        sums = LabelSums.of_rows(
            positions[is_known], predicted[is_known], predictions.probabilities[is_known]
        )
        # After the positions of the classes comes the one of all other values.
        sums.other_rows = int(np.count_nonzero(positions == self._class_count))
        return sums
