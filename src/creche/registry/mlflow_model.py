"""The model file as a folder of MLflow's onnx flavor, which pyfunc and Spark load."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from creche.contract.outputs import OUTPUTS
from creche.model.artifact import Model

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


def save_mlflow_model(model: Path, folder: Path) -> None:
    """Write the MLflow model folder; its `model.onnx` has the bytes of the file `model`."""
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(
        onnx.load(model),
        str(folder),
        signature=_signature(Model(model)),
        pip_requirements=list(REQUIREMENTS),
    )
    # MLflow serializes the graph again, into other bytes.
    shutil.copyfile(model, folder / "model.onnx")


def _signature(model: Model) -> "ModelSignature":
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array

    scalar_types = {
        "number": np.dtype(np.float32),
        "category": np.dtype(np.str_),
        "text": np.dtype(np.str_),
    }
    inputs = []
    for name, column in model.contract.columns.items():
        if column.kind == "image":
            tensor = TensorSpec(np.dtype(np.uint8), (-1, *column.shape), name)
        else:
            tensor = TensorSpec(scalar_types[column.kind], (-1, 1), name)
        inputs.append(tensor)
    # Columns, not tensors: spark_udf treats each cell of a tensor as an array.
    data_types = {
        "string": DataType.string,
        "float32": DataType.float,
        "bool": DataType.boolean,
    }
    outputs = []
    for output in OUTPUTS:
        data_type = data_types[output.element_type]
        outputs.append(ColSpec(Array(data_type) if output.is_per_class else data_type, output.name))
    return ModelSignature(Schema(inputs), Schema(outputs))
