"""The columns of the predictions: those of the input, and those that scoring adds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from creche.contract import UNKNOWN
from creche.contract.outputs import OOD_SCORE, PREDICTION_SET
from creche.data.table_reader import TableReader
from creche.errors import ContractError
from creche.model.artifact import Model, Predictions
from creche.scoring.categories import text_array
from creche.scoring.prediction_sets import PredictionSetColumn

PATH_COLUMN = "path"
ROW_COLUMN = "row"  # identifies an image that has no path
MAX_INT8_CODES = 127


@dataclass(frozen=True)
class AddedColumns:
    """The names of the columns that scoring adds to a row, in their order."""

    label: str
    probabilities: tuple[str, ...]  # one a class
    prediction_set: str = PREDICTION_SET
    ood_score: str = OOD_SCORE
    model_version: str = "model_version"

    @classmethod
    def of(cls, model: Model) -> "AddedColumns":
        """Return the names for the label and the classes of a model."""
        probabilities = tuple(f"probability_{class_name}" for class_name in model.classes)
        return cls(f"predicted_{model.label}", probabilities)

    @property
    def names(self) -> list[str]:
        return [
            self.label,
            *self.probabilities,
            self.prediction_set,
            self.ood_score,
            self.model_version,
        ]


def check_no_column_is_added_twice(reader: TableReader, model: Model) -> None:
    """Check that the input has none of the columns that scoring adds.

    Raises:
        ContractError: it has one of them.
    """
    added_names = AddedColumns.of(model).names
    for name in reader.ignored:
        if name in added_names:
            raise ContractError(
                f"{reader.name} already has a column '{name}', which scoring would write: rename it"
            )


class OutputColumns:
    """The columns of the predictions of one table.

    The columns of the input come first, in their order and without images; those of the contract
    have their canonical names. Then follow the added columns.

    Attributes:
        passthrough: names of input columns that are written as they came.
    """

    def __init__(self, model: Model, version: str, reader: TableReader) -> None:
        self.model = model
        self.version = version
        self.added = AddedColumns.of(model)
        self._canonical_names = {header: name for name, header in reader.resolved.items()}
        image_headers = {reader.resolved[name] for name in reader.images}
        self._input_names = [name for name in reader.header if name not in image_headers]
        self.passthrough = [n for n in self._input_names if n not in self._canonical_names]
        # Images are not written, so a row of them needs something by which it can be traced.
        is_identified = bool({PATH_COLUMN, ROW_COLUMN}.intersection(self._input_names))
        self._has_row_numbers = bool(image_headers) and not is_identified
        self._labels = text_array([*model.classes, UNKNOWN])
        self._versions = text_array([version])
        self._prediction_sets = PredictionSetColumn(model.classes)

    @property
    def label_count(self) -> int:
        """How many labels there are, `unknown` included."""
        return len(self._labels)

    def schema(self, cells: pa.Schema) -> pa.Schema:
        """Return the schema of the predictions; its metadata name the model.

        Args:
            cells: the schema of the input's blocks.
        """
        fields = []
        if self._has_row_numbers:
            fields.append(pa.field(ROW_COLUMN, pa.int64()))
        for header_name in self._input_names:
            name = self._canonical_names.get(header_name)
            if name is None:
                fields.append(cells.field(header_name))
                continue
            column = self.model.contract.columns[name]
            fields.append(pa.field(name, column.type.output_type(column)))
        metadata = {
            "creche.recipe": self.model.metadata.recipe,
            "creche.model_version": self.version,
            "creche.model_digest": self.model.digest,
        }
        return pa.schema([*fields, *self._added_fields()], metadata)

    def _added_fields(self) -> list[pa.Field]:
        code_type = pa.int8() if self.label_count <= MAX_INT8_CODES else pa.int32()
        fields = [pa.field(self.added.label, pa.dictionary(code_type, pa.string()))]
        for name in self.added.probabilities:
            fields.append(pa.field(name, pa.float32()))
        fields.append(pa.field(self.added.prediction_set, self._prediction_sets.arrow_type))
        fields.append(pa.field(self.added.ood_score, pa.float32()))
        version_type = pa.dictionary(pa.int8(), pa.string())
        fields.append(pa.field(self.added.model_version, version_type))
        return fields

    def assemble(
        self,
        row_numbers: np.ndarray,
        cells: pa.RecordBatch,
        values: Mapping[str, pa.Array],
        predictions: Predictions,
        labels: np.ndarray,
        schema: pa.Schema,
    ) -> pa.RecordBatch:
        """Return n accepted rows with their predictions.

        Args:
            row_numbers: (n,), from 1.
            cells: the columns of `passthrough`, n rows.
            values: the contract's columns by canonical name, n values each.
            labels: the predicted class (n,), as its index.
            schema: what `schema` returned for the block.
        """
        arrays = []
        if self._has_row_numbers:
            arrays.append(pa.array(row_numbers))
        for header_name in self._input_names:
            name = self._canonical_names.get(header_name)
            arrays.append(cells.column(header_name) if name is None else values[name])
        arrays.append(pa.DictionaryArray.from_arrays(pa.array(labels), self._labels))
        for probabilities in predictions.probabilities.T:  # (n,) of one class
            # Arrow takes a contiguous array without a copy.
            arrays.append(pa.array(np.ascontiguousarray(probabilities)))
        arrays.append(self._prediction_sets.encode(predictions.sets))
        arrays.append(pa.array(predictions.ood_score))
        # A dictionary of one value takes one byte a row.
        zeros = pa.array(np.zeros(len(labels), np.int8))
        arrays.append(pa.DictionaryArray.from_arrays(zeros, self._versions))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
