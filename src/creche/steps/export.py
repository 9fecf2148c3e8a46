"""Turn the trained network into the one file that ships, and keep torch's own answers to hold it against."""

import logging
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from creche import model_file, networks, provenance
from creche.places import MODEL, REFERENCE, SOURCE, SPLIT, TRANSFORM, WEIGHTS, Places, read_json, replacing
from creche.recipe import Recipe
from creche.transform import Transform

READS = (SOURCE, SPLIT, TRANSFORM, WEIGHTS)
WRITES = (MODEL, REFERENCE)


def run(recipe: Recipe, places: Places) -> dict[str, Any]:
    """Write the model file, and torch's probabilities of every holdout row."""
    transform = Transform.from_dict({k: v for k, v in read_json(places / TRANSFORM).items() if k != "counts"})
    net = networks.build(recipe.network, transform.width, len(transform.classes))
    net.load_state_dict(load_file(places / WEIGHTS))
    content = export(net, transform, recipe, read_json(places / SOURCE)["version"])
    with replacing(places / MODEL) as part:
        part.write_bytes(content)
    holdout = pq.read_table(places / SPLIT).filter(pc.field("side") == "holdout")
    answers = reference(net, transform.apply({n: holdout[n].to_numpy() for n in recipe.features}))
    with replacing(places / REFERENCE) as part:
        pq.write_table(pa.table({"row": holdout["row"], "probabilities": pa.array(list(answers))}), part)
    return {"bytes": len(content)}


def export(net: torch.nn.Module, transform: Transform, recipe: Recipe, data_version: str) -> bytes:
    """The model file's bytes: the same weights and recipe give the same bytes."""
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates its own internals as it goes
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            net,
            (torch.zeros(2, transform.width),),
            dynamo=True,
            opset_version=model_file.OPSET,
            input_names=["features"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    metadata = {
        "recipe": recipe.name,
        "label": recipe.label,
        "contract": recipe.contract().only(recipe.features).to_dict(),
        "quarantine": {"batch_max_share": recipe.quarantine.batch_max_share},
        "transform": transform.to_dict(),
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
    return model_file.build(program.model_proto, transform, metadata)


def reference(net: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """Torch's probabilities (n, classes) of features (n, width), both float32."""
    net.eval()
    with torch.inference_mode():
        return net(torch.from_numpy(features)).softmax(1).numpy()  # type: ignore[no-any-return]
