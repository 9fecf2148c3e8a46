"""The model as MLflow's pyfunc: a table in, a table out.

MLflow imports this module by its name where it loads a registered model, and calls `_load_pyfunc`.
It needs the package `creche`; the `model.onnx` beside it, in the flavor onnx, does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from creche.api.frames import to_arrow
from creche.api.loaded_model import REASON_SEPARATOR, REASONS_COLUMN
from creche.contract import images
from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.errors import ContractError, UsageError, listed
from creche.model.artifact import Model
from creche.scoring.frames import PredictedTable, predict_table
from creche.scoring.prediction_sets import SEPARATOR

if TYPE_CHECKING:
    import pandas as pd


def _load_pyfunc(path: str) -> "PyfuncModel":
    """Load the model file at a path; MLflow calls it."""
    return PyfuncModel(Model(Path(path)))


class PyfuncModel:
    """What `mlflow.pyfunc.load_model` wraps.

    Example:
        >>> import creche, pandas
        >>> model = PyfuncModel(creche.load_model("penguins@champion").model)
        >>> birds = pandas.DataFrame({
        ...     "island": ["Dream", "Dream"],
        ...     "bill_length_mm": [50.4, 46.0],
        ...     "bill_depth_mm": [15.3, 18.0],
        ...     "flipper_length_mm": [200, 190],
        ...     "body_mass_g": [5000, "heavy"],
        ... })
        >>> predicted = model.predict(birds)
        >>> predicted["label"].tolist(), predicted["reasons"].tolist()
        (['Chinstrap', ''], ['', 'body_mass_g: not a number'])
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, data: "pd.DataFrame | Mapping[str, np.ndarray]") -> "pd.DataFrame":
        """Predict every row of a table under the model's contract.

        Args:
            data: a column for each feature; of images pixels (n, height, width, channels).

        Returns:
            The rows in their order, with `label`, `probabilities` in the order of the classes,
            `prediction_set` as a list of classes, `ood_score` and `reasons`. A refused row has its
            reasons, joined by `; `, and an empty label; its numbers are NaN and its set is empty,
            as for a row that is unknown. An accepted row has empty reasons.

        Raises:
            UsageError: the data are no table.
            ContractError: a column is missing.
            DataError: two columns have one name.
        """
        import pandas as pd

        if isinstance(data, pd.DataFrame):
            predicted = predict_table(self.model, to_arrow(data))
            return _as_frame(predicted, self.model, data.index)
        if isinstance(data, Mapping):
            table = self._image_table(data)
            predicted = predict_table(self.model, table)
            return _as_frame(predicted, self.model, pd.RangeIndex(table.num_rows))
        raise UsageError(f"predict takes a pandas DataFrame, not a {type(data).__name__}")

    def _image_table(self, columns: Mapping[str, np.ndarray]) -> pa.Table:
        """Return pixels (n, height, width, channels) as a table of fixed-size binary.

        Raises:
            ContractError: a column is missing.
        """
        arrays = {}
        for name in self.model.contract.image_columns:
            if name not in columns:
                names = listed(columns) or "none"
                raise ContractError(
                    f"the data have no column {name}: add its pixels; the columns are {names}"
                )
            arrays[name] = images.as_column(columns[name])
        return pa.table(arrays)


def _as_frame(predicted: PredictedTable, model: Model, index: "pd.Index") -> "pd.DataFrame":
    """Return predictions and reasons of all rows, in the order of the input."""
    import pandas as pd

    rows = len(index)
    accepted = predicted.row_numbers - 1
    # Empty, and not missing: MLflow writes a missing text as `nan` where Spark calls it.
    labels = np.full(rows, "", object)
    labels[accepted] = predicted.labels.to_pylist()
    probabilities = np.full((rows, len(model.classes)), np.nan, np.float32)
    probabilities[accepted] = predicted.probabilities
    ood_score = np.full(rows, np.nan, np.float32)
    ood_score[accepted] = predicted.ood_score
    prediction_sets: list[list[str]] = [[] for _ in range(rows)]
    for row, classes in zip(accepted, predicted.prediction_sets.to_pylist(), strict=True):
        prediction_sets[row] = classes.split(SEPARATOR) if classes else []
    reasons = np.full(rows, "", object)
    refused = predicted.refused_row_numbers - 1
    for row, texts in zip(refused, predicted.reasons, strict=True):
        reasons[row] = REASON_SEPARATOR.join(texts)
    columns = {
        LABEL: labels,
        PROBABILITIES: list(probabilities),
        OOD_SCORE: ood_score,
        PREDICTION_SET: prediction_sets,
        REASONS_COLUMN: reasons,
    }
    return pd.DataFrame(columns, index=index)
