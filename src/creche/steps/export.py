"""Turn the trained network into the one file that ships, and keep torch's own answers to hold it against."""

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from creche import graph, networks, profile, provenance
from creche.model_file import FORMAT, Model
from creche.places import MODEL, REFERENCE, SOURCE, SPLIT, TRANSFORM, WEIGHTS, Places, read_json, replacing
from creche.recipe import Recipe
from creche.transform import Transform
from creche.uncertainty import Typicality, conformal_threshold

READS = (SOURCE, SPLIT, TRANSFORM, WEIGHTS)
WRITES = (MODEL, REFERENCE)


def run(recipe: Recipe, places: Places) -> dict[str, Any]:
    """Write the model file, and torch's probabilities of every holdout row."""
    transform = Transform.from_dict(read_json(places / TRANSFORM))
    net = networks.build(recipe.network, transform.width, len(transform.classes))
    net.load_state_dict(load_file(places / WEIGHTS))
    table = pq.read_table(places / SPLIT)
    content = export(net, transform, recipe, table, read_json(places / SOURCE)["version"])
    with replacing(places / MODEL) as part:
        part.write_bytes(content)
    holdout = table.filter(pc.field("side") == "holdout")
    answers = reference(net, transform.apply({n: holdout[n].to_numpy() for n in recipe.features}))
    with replacing(places / REFERENCE) as part:
        pq.write_table(pa.table({"row": holdout["row"], "probabilities": pa.array(list(answers))}), part)
    return {"bytes": len(content)}


def export(net: torch.nn.Module, transform: Transform, recipe: Recipe, table: pa.Table, data_version: str) -> bytes:
    """The model file's bytes: the same weights, rows and recipe give the same bytes.

    Args:
        table: the accepted rows with their side. Training rows give the statistics and the classes' means; validation
            rows calibrate typicality and prediction sets. Without a validation part typicality is calibrated on the
            training rows, and the sets, for which that would be a lie, hold every class.
    """
    net.eval()
    contract = recipe.contract().only(recipe.features)
    training, validation = (table.filter(pc.field("side") == side) for side in ("train", "validation"))
    x, y = _tensors(training, transform, recipe)
    x_calibration, y_calibration = _tensors(validation, transform, recipe) if validation.num_rows else (x, y[:0])
    typicality = Typicality.fit(x, y, x_calibration)
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
            "typicality": "class-conditional Mahalanobis distance (Lee et al., 2018), as a share of calibration rows",
            "prediction_set": "split conformal (Sadinle et al., 2019)",
        },
        "statistics": profile.statistics(training, contract, recipe.label),
        "golden": None,
        "data": {"licence": recipe.data.licence, "citation": recipe.data.citation},
        "provenance": {
            "data_version": data_version,
            "recipe_digest": recipe.digest,
            "code_version": provenance.code_version(),
            "lock_digest": provenance.lock_digest(),
            "fingerprint": provenance.fingerprint(data_version, recipe.digest),
            "seed": recipe.training.seed,
            "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
    }
    core = _core(net, transform.width)
    built = graph.build(core, transform, typicality, threshold, metadata)
    rows = profile.golden_rows(table, contract, recipe.label)
    metadata["golden"] = Model.from_bytes(built).golden(rows)
    return graph.build(core, transform, typicality, threshold, metadata)


def _core(net: torch.nn.Module, width: int) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates its own internals as it goes
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            net,
            (torch.zeros(2, width),),
            dynamo=True,
            opset_version=graph.OPSET,
            input_names=["features"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True always gives one
    return program.model_proto


def _tensors(table: pa.Table, transform: Transform, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    features = transform.apply({n: table[n].to_numpy() for n in recipe.features})
    return features, transform.encode(table[recipe.label].to_numpy())


def reference(net: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """Torch's probabilities (n, classes) of features (n, width), both float32."""
    net.eval()
    with torch.inference_mode():
        return net(torch.from_numpy(features)).softmax(1).numpy()  # type: ignore[no-any-return]
