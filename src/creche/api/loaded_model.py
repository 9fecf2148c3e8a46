"""A model file that predicts tables in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from creche.api.frames import Frame, library_of, to_arrow, with_columns
from creche.errors import ContractError
from creche.project import ProjectPaths

if TYPE_CHECKING:
    from creche.model.artifact import Model
    from creche.model.metadata import ModelMetadata
    from creche.scoring.frames import PredictedTable
    from creche.scoring.single_row import Prediction

REASONS_COLUMN = "reasons"
REASON_SEPARATOR = "; "


def load_model(reference: str | Path) -> "LoadedModel":
    """Load a model of the project in the working directory, or a model file.

    Args:
        reference: `penguins` or `penguins@champion`, a version as `penguins@7`, or a path to an
            `.onnx` file.

    Raises:
        ModelError: the recipe has no champion or no such version, or the file is not a model of
            creche.

    Example:
        >>> import creche
        >>> model = creche.load_model("penguins@champion")
        >>> model.classes
        ('Adelie', 'Chinstrap', 'Gentoo')
    """
    return load_project_model(str(reference), ProjectPaths.find())


def load_project_model(reference: str, paths: ProjectPaths) -> "LoadedModel":
    """Load a model of a project; see `load_model`."""
    from creche import registry

    model, version = registry.open_model(reference, paths)
    return LoadedModel(model, version)


class LoadedModel:
    """A model that is ready to predict.

    Example:
        >>> import creche, pandas
        >>> model = creche.load_model("penguins@champion")
        >>> birds = pandas.DataFrame({
        ...     "island": ["Dream", "Signy"],
        ...     "bill_length_mm": [50.4, 46.0],
        ...     "bill_depth_mm": [15.3, 18.0],
        ...     "flipper_length_mm": [200, 190],
        ...     "body_mass_g": [5000, 3900],
        ... })
        >>> predicted = model.predict(birds)
        >>> predicted["predicted_species"].tolist()[0]
        'Chinstrap'
        >>> predicted["reasons"].tolist()[1]
        'island: not one of Biscoe, Dream, Torgersen'
    """

    def __init__(self, model: "Model", version: str) -> None:
        self.model = model
        self.version = version

    def __repr__(self) -> str:
        return f"LoadedModel({self.recipe!r}, version {self.version}, {self.digest[:12]})"

    @property
    def recipe(self) -> str:
        """The name of the recipe that trained it."""
        return self.model.metadata.recipe

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return self.model.digest

    @property
    def label(self) -> str:
        """The column that it predicts."""
        return self.model.label

    @property
    def classes(self) -> tuple[str, ...]:
        """The values that it predicts, besides `unknown`."""
        return self.model.classes

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that it takes."""
        return tuple(self.model.contract.columns)

    @property
    def metadata(self) -> "ModelMetadata":
        """What the file states about itself: contract, baseline statistics, provenance."""
        return self.model.metadata

    def predict(self, frame: Frame) -> Frame:
        """Predict every row of a table.

        Contract, reasons and predictions are those of `creche score`.

        Args:
            frame: a pandas or polars DataFrame or a pyarrow Table, its columns under any names and
                units that the model's contract knows.

        Returns:
            The same rows in the same order, as a table of the same library, with columns added:
            the predicted label, a probability for each class, the prediction set (classes joined
            by `|`), the OOD score, and `reasons`. A refused row has its reasons there, joined by
            `; `, and no prediction; an accepted one has none.

        Raises:
            ContractError: a column is missing, or there already is one that would be added.
            DataError: the table has no columns.
            UsageError: it is no table of these libraries.
        """
        from creche.scoring.frames import predict_table

        library_of(frame)
        table = to_arrow(frame)
        if REASONS_COLUMN in table.column_names:
            raise ContractError(
                f"the table already has a column '{REASONS_COLUMN}', which predict adds: rename it"
            )
        predicted = predict_table(self.model, table, self.version)
        return with_columns(frame, _added_columns(predicted, table.num_rows))

    def predict_row(self, row: Mapping[str, object]) -> "Prediction":
        """Predict one observation.

        Args:
            row: column → value; None where it is missing.

        Raises:
            DataError: the observation breaks the contract; the message has the reasons.
        """
        from creche.scoring.single_row import predict

        cells = {name: _as_cell(value) for name, value in row.items()}
        return predict(self.model, cells)

    def verify(self) -> list[str]:
        """Return how the predictions of the golden rows differ from those on record; empty where
        they do not.
        """
        return self.model.verify()


def _as_cell(value: object) -> str | float:
    """Return a value as a cell; a number stays one, for only text may have a decimal comma."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        # The decimal that is written: a float32 has the shortest one.
        return float(str(value))
    return str(value)


def _added_columns(predicted: "PredictedTable", rows: int) -> dict[str, pa.ChunkedArray]:
    """Return the columns for all rows of the input, null where there is no prediction."""
    positions = np.zeros(rows, np.int64)
    is_accepted = np.zeros(rows, bool)
    accepted = predicted.row_numbers - 1
    positions[accepted] = np.arange(len(accepted))
    is_accepted[accepted] = True
    indices = pa.array(positions, mask=~is_accepted)
    columns = {}
    for name in predicted.columns.names:
        columns[name] = _plain_text(predicted.predictions[name]).take(indices)
    reasons: list[str | None] = [None] * rows
    for row_number, texts in zip(predicted.refused_row_numbers, predicted.reasons, strict=True):
        reasons[row_number - 1] = REASON_SEPARATOR.join(texts)
    columns[REASONS_COLUMN] = pa.chunked_array([pa.array(reasons, pa.string())])
    return columns


def _plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary column as its values: a frame's user expects strings."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column
