"""From a trained torch network to its ONNX graph, and torch's own outputs to compare it with."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from creche.model import networks
from creche.model.graph import EMBEDDED, OPSET
from creche.model.own_network import refuse_export
from creche.model.preprocessor import Preprocessor
from creche.recipe import Network

IMAGE_BATCH = 500  # rows of one forward pass
EMBEDDING_NETWORKS = (networks.Cnn, networks.MlpWithEmbeddings)
EXAMPLE_ROWS = 2  # with one row, the exporter would take the number of rows for a constant


def export_core(net: torch.nn.Module, preprocessor: Preprocessor) -> onnx.ModelProto:
    """Return the model core: `features` (N, width) → `logits`, of an image `pixels` → `logits`;
    a network that embeds its inputs has a further output, `embedded_inputs`.
    """
    image_encoder = preprocessor.image_encoder
    input_name = "features"
    example = torch.zeros(EXAMPLE_ROWS, preprocessor.width)
    if image_encoder is not None:
        input_name = "pixels"
        example = torch.zeros((EXAMPLE_ROWS, *image_encoder.shape), dtype=torch.uint8)
    if not isinstance(net, EMBEDDING_NETWORKS):
        return _to_onnx(net, example, input_name, ["logits"])
    with_embedding = networks.LogitsAndEmbedding(net)
    return _to_onnx(with_embedding, example, input_name, ["logits", EMBEDDED])


def _to_onnx(
    net: torch.nn.Module, example: torch.Tensor, input_name: str, output_names: list[str]
) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # The exporter warns of what it itself calls.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=output_names,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True always gives one
    return program.model_proto


def torch_probabilities(net: torch.nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Return torch's probabilities (n, classes), float32, of features (n, width) or pixels (n,
    height, width, channels).
    """
    return _in_batches(lambda x: net(x).softmax(1), inputs)


def ood_features(net: torch.nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Return what ood_score is measured on: features (n, width) as they are, but the embedding of
    pixels, and of features some of which are codes.
    """
    if isinstance(net, EMBEDDING_NETWORKS):
        return _in_batches(net.embed, inputs)
    return inputs


def _in_batches(function: Callable[[torch.Tensor], torch.Tensor], inputs: np.ndarray) -> np.ndarray:
    batch_rows = IMAGE_BATCH if inputs.ndim == 4 else max(len(inputs), 1)
    outputs = []
    with torch.inference_mode():
        # One batch at least, so that no rows give an output of no rows.
        for start in range(0, max(len(inputs), 1), batch_rows):
            outputs.append(function(torch.from_numpy(inputs[start : start + batch_rows])))
    return torch.cat(outputs).numpy()


def check_exportable(spec: Network, preprocessor: Preprocessor, root: Path) -> None:
    """Check that a class of one's own can be built and exported, before it is trained.

    Args:
        spec: the recipe's section.
        preprocessor: fitted on the training rows.
        root: folder of the project.

    Raises:
        RecipeError: it cannot.
    """
    net = networks.build(spec, preprocessor, root).eval()
    try:
        export_core(net, preprocessor)
    except Exception as error:
        raise refuse_export(spec.kind, error) from error
