"""Turn the trained network into the one file that ships, and keep torch's own answers to hold it
against.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from creche import provenance
from creche.data import pixel_store
from creche.model import baseline, graph, networks
from creche.model.artifact import FORMAT, Model
from creche.model.preprocessor import Preprocessor
from creche.model.uncertainty import OodDetector, conformal_threshold
from creche.project import (
    MODEL,
    PREPROCESSOR,
    REFERENCE,
    SOURCE,
    SPLIT,
    WEIGHTS,
    RunPaths,
    atomic_write,
    read_json,
    read_record,
)
from creche.recipe import Recipe
from creche.records import SourceInfo

PART_IMAGES = 500  # of one forward pass
INPUTS = (SOURCE, SPLIT, PREPROCESSOR, WEIGHTS)
OUTPUTS = (MODEL, REFERENCE)


def run(recipe: Recipe, paths: RunPaths) -> dict[str, Any]:
    """Write the model file, and torch's probabilities of every holdout row."""
    transform = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
    net = networks.build(recipe.network, transform)
    net.load_state_dict(load_file(paths / WEIGHTS))
    table = pixel_store.read_table(paths / SPLIT, paths)
    content = export(net, transform, recipe, table, read_record(paths / SOURCE, SourceInfo).version)
    with atomic_write(paths / MODEL) as part:
        part.write_bytes(content)
    holdout = table.filter(pc.field("side") == "holdout")
    predictions = reference(net, _tensors(holdout, transform, recipe)[0])
    with atomic_write(paths / REFERENCE) as part:
        pq.write_table(
            pa.table({"row": holdout["row"], "probabilities": pa.array(list(predictions))}), part
        )
    return {"bytes": len(content)}


def export(
    net: torch.nn.Module,
    transform: Preprocessor,
    recipe: Recipe,
    table: pa.Table,
    data_version: str,
) -> bytes:
    """The model file's bytes: the same weights, rows and recipe give the same bytes.

    Args:
        table: the accepted rows with their side. Training rows give the statistics and the classes'
        means; validation
            rows calibrate ood_score and prediction sets. Without a validation part ood_score is
            calibrated on the training rows, and the sets, for which that would be a lie, hold every
            class.
    """
    net.eval()
    contract = recipe.contract().subset(recipe.features)
    training, validation = (
        table.filter(pc.field("side") == side) for side in ("train", "validation")
    )
    x, y = _tensors(training, transform, recipe)
    x_calibration, y_calibration = (
        _tensors(validation, transform, recipe) if validation.num_rows else (x, y[:0])
    )
    ood_score = OodDetector.fit(*(seen(net, x), y, seen(net, x_calibration)))
    calibrated = reference(net, x_calibration)[: len(y_calibration)]
    threshold = conformal_threshold(calibrated, y_calibration, recipe.coverage)
    metadata = {
        "format": FORMAT,
        "recipe": recipe.name,
        "label": recipe.label,
        "contract": contract.to_dict(),
        "quarantine": {"batch_max_share": recipe.quarantine.batch_max_share},
        "transform": transform.to_dict(),
        "uncertainty": {
            "coverage": recipe.coverage,
            "threshold": threshold,
            "calibration_rows": len(y_calibration),
            "ood_score": "class-conditional Mahalanobis distance (Lee et al., 2018), as a share of calibration rows"
            + (", of the penultimate features" if recipe.network.kind == "cnn" else ""),
            "prediction_set": "split conformal (Sadinle et al., 2019)",
        },
        "statistics": baseline.statistics(training, contract, recipe.label),
        "golden": None,
        "data": {"license": recipe.data.license, "citation": recipe.data.citation},
        "provenance": {
            "data_version": data_version,
            "recipe_digest": recipe.digest,
            "code_version": provenance.code_version(),
            "lock_digest": provenance.lock_digest(),
            "fingerprint": provenance.fingerprint(data_version, recipe.digest),
            "seed": recipe.training.seed,
            "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            **(
                {"threads": torch.get_num_threads()} if recipe.network.kind == "cnn" else {}
            ),  # its bits depend on them
        },
    }
    core = _core(net, transform)
    built = graph.build(core, transform, ood_score, threshold, metadata)
    rows = baseline.golden_rows(table, contract, recipe.label)
    metadata["golden"] = Model.from_bytes(built).golden(rows)
    return graph.build(core, transform, ood_score, threshold, metadata)


def _core(net: torch.nn.Module, transform: Preprocessor) -> onnx.ModelProto:
    """`features` (n, width) → `logits`; of a cnn `pixels` → `logits` and `embedding`."""
    image = transform.features[0]
    outputs = ["logits"]
    example = torch.zeros(2, transform.width)
    if isinstance(net, networks.Cnn):
        net, outputs = networks.LogitsAndEmbedding(net), ["logits", "embedding"]
        example = torch.zeros((2, *image.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates its own internals as it goes
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            opset_version=graph.OPSET,
            input_names=["features" if len(outputs) == 1 else "pixels"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True always gives one
    return program.model_proto


def _tensors(
    table: pa.Table, transform: Preprocessor, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray]:
    features = transform.apply(
        pixel_store.model_arrays(table, recipe.contract().subset(recipe.features))
    )
    return features, transform.encode(table[recipe.label].to_numpy())


def reference(net: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """Torch's probabilities (n, classes), float32, of features (n, width) or pixels (n, height,
    width, channels).
    """
    return _in_parts(lambda x: net(x).softmax(1), features)


def seen(net: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """What ood_score is measured on: features (n, width) as they are, of pixels what the last layer
    makes them from.
    """
    return _in_parts(net.embed, features) if isinstance(net, networks.Cnn) else features


def _in_parts(answer: Callable[[torch.Tensor], torch.Tensor], features: np.ndarray) -> np.ndarray:
    size = PART_IMAGES if features.ndim == 4 else len(features) or 1
    with torch.inference_mode():
        found = [
            answer(torch.from_numpy(features[i : i + size]))
            for i in range(0, max(len(features), 1), size)
        ]
    return torch.cat(found).numpy()
