"""The model file as a folder of an MLflow model, which pyfunc and Spark load.

Its flavor pyfunc is `creche.api.pyfunc`, which holds rows to the contract. Its flavor onnx is the
file alone, for machines without creche.
"""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from creche.contract.outputs import LABEL, OOD_SCORE, PREDICTION_SET, PROBABILITIES
from creche.model.artifact import Model

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER_MODULE = "creche.api.pyfunc"  # by its name: the API lies above the registry
MODEL_FILE = "model.onnx"
REASONS = "reasons"  # of a row that the contract refuses


def save_mlflow_model(model: Path, folder: Path) -> None:
    """Write the MLflow model folder; its `model.onnx` has the bytes of the file `model`."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model as MlflowModel
    from mlflow.pyfunc import FLAVOR_NAME, MAIN

    mlflow.onnx.save_model(
        onnx.load(model),
        str(folder),
        signature=_signature(Model(model)),
        pip_requirements=["mlflow", "pandas", f"creche=={version('creche')}"],
    )
    # MLflow serializes the graph again, into other bytes.
    shutil.copyfile(model, folder / MODEL_FILE)
    description = MlflowModel.load(str(folder))
    description.flavors[FLAVOR_NAME][MAIN] = LOADER_MODULE
    description.save(str(folder / "MLmodel"))


def _signature(model: Model) -> "ModelSignature":
    """Return the columns of input and output.

    The types of cells are the contract's business: MLflow would refuse a whole table for one cell.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array

    inputs: list[ColSpec | TensorSpec] = []
    for name, column in model.contract.columns.items():
        if column.type.is_image:
            inputs.append(TensorSpec(np.dtype(np.uint8), (-1, *column.shape), name))
        else:
            inputs.append(ColSpec(AnyType(), name))
    outputs = [
        ColSpec(DataType.string, LABEL),
        ColSpec(Array(DataType.float), PROBABILITIES),
        ColSpec(DataType.float, OOD_SCORE),
        ColSpec(Array(DataType.string), PREDICTION_SET),
        ColSpec(DataType.string, REASONS),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))
