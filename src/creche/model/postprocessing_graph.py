"""The postprocessing graph: logits in, the outputs of the model file out.

Inside, the rows lie along the last axis, as in the preprocessing graph.
"""

import numpy as np
import onnx
from onnx import helper as h

from creche.contract import UNKNOWN
from creche.contract.outputs import LABEL, OOD_SCORE, OUTPUTS, PREDICTION_SET, PROBABILITIES
from creche.model.graph_builder import ELEMENT_TYPES, ML_DOMAIN, GraphBuilder
from creche.model.uncertainty import OodDetector


def add_postprocessing(
    graph: GraphBuilder,
    logits: str,
    ood_features: str,
    nan_where_unknown: str | None,
    classes: tuple[str, ...],
    ood_detector: OodDetector,
    threshold: float,
    decision_weights: np.ndarray | None = None,
) -> None:
    """Add the four outputs.

    Args:
        graph: the postprocessing part.
        logits: name of a tensor (N, classes).
        ood_features: name of a tensor (width, N).
        nan_where_unknown: name of a tensor (1, N): 0 where the row is known, else NaN; None: every
            row is.
        classes: in the order of the logits.
        ood_detector: fitted on the training rows.
        threshold: probability from which on a class belongs to the prediction set, 0..1.
        decision_weights: factors (classes,) of the probabilities by which the label is decided on;
            None: it is the most likely class.
    """
    by_class = graph.node("Transpose", [logits], "logits_by_class", perm=[1, 0])
    nan_where_unknown = _add_nan_where_not_finite(graph, by_class, nan_where_unknown, len(classes))
    shifted, probabilities = _add_softmax(graph, by_class, nan_where_unknown, len(classes))
    decided_by = by_class
    if decision_weights is not None:
        factors = graph.constant("decision_weights", decision_weights[:, None])
        decided_by = graph.node("Mul", [probabilities, factors], "weighted_probabilities")
    _add_label(graph, decided_by, nan_where_unknown, classes)
    graph.output_node(
        "Transpose", [probabilities], _output(PROBABILITIES, len(classes)), perm=[1, 0]
    )
    _add_ood_score(graph, ood_features, nan_where_unknown, ood_detector)
    in_set = _add_prediction_set(graph, shifted, probabilities, threshold)
    if decision_weights is not None:
        in_set = _add_decided_class(graph, decided_by, in_set, len(classes))
    output = _output(PREDICTION_SET, len(classes))
    graph.output_node("Transpose", [in_set], output, perm=[1, 0])


def _output(name: str, class_count: int) -> onnx.ValueInfoProto:
    output = next(output for output in OUTPUTS if output.name == name)
    shape = [class_count if size == "K" else size for size in output.shape]
    return h.make_tensor_value_info(name, ELEMENT_TYPES[output.element_type], shape)


def _add_nan_where_not_finite(
    graph: GraphBuilder, by_class: str, nan_where_unknown: str | None, class_count: int
) -> str:
    """Add the mark of rows whose logits are no finite numbers: there is no most likely class."""
    # A mean with NaN or infinity is one of them, and less itself it is NaN. A product with 0 would
    # be too, but onnxruntime 1.31 makes it a factor of the MatMul, which gives 0 for a factor of 0.
    weights = graph.constant("mean_weights", np.full((1, class_count), 1 / class_count))
    mean_logit = graph.node("MatMul", [weights, by_class], "mean_logit")
    nan_where_not_finite = graph.node("Sub", [mean_logit, mean_logit], "nan_where_not_finite")
    if nan_where_unknown is None:
        return nan_where_not_finite
    return graph.node("Add", [nan_where_unknown, nan_where_not_finite], "nan_where_unknown")


def _add_softmax(
    graph: GraphBuilder, by_class: str, nan_where_unknown: str, class_count: int
) -> tuple[str, str]:
    """Add the softmax, and return the logits less their maximum, and the probabilities, both
    (classes, N); NaN where the row is unknown.
    """
    first_axis = graph.constant("first_axis", [0])
    # (classes, 1): a product with it broadcasts several times faster than Sub and Div do.
    ones = graph.constant("ones", np.ones((class_count, 1)))
    max_logit = graph.node("ReduceMax", [by_class, first_axis], "max_logit", keepdims=1)
    # NaN where the row is unknown, and so is all that follows.
    max_or_nan = graph.node("Add", [max_logit, nan_where_unknown], "max_logit_or_nan")
    max_per_class = graph.node("MatMul", [ones, max_or_nan], "max_logit_per_class")
    shifted = graph.node("Sub", [by_class, max_per_class], "shifted_logits")
    exponentials = graph.node("Exp", [shifted], "exponentials")
    total = graph.node("ReduceSum", [exponentials, first_axis], "exponential_sum", keepdims=1)
    total_per_class = graph.node("MatMul", [ones, total], "exponential_sum_per_class")
    probabilities = graph.node("Div", [exponentials, total_per_class], "probabilities_by_class")
    return shifted, probabilities


def _add_label(
    graph: GraphBuilder, decided_by: str, nan_where_unknown: str, classes: tuple[str, ...]
) -> None:
    """Add the label: the class whose value (classes, N) is largest, where the row is known."""
    argmax = graph.node("ArgMax", [decided_by], "argmax", axis=0, keepdims=1)
    is_unknown = graph.node("IsNaN", [nan_where_unknown], "is_unknown")
    # No class has this index, so that the look-up gives its default.
    unknown_index = graph.constant("unknown_index", np.array(-1))
    index_row = graph.node("Where", [is_unknown, unknown_index, argmax], "class_index_row")
    first_axis = graph.constant("first_axis", [0])
    class_index = graph.node("Squeeze", [index_row, first_axis], "class_index")
    graph.output_node(
        "LabelEncoder",
        [class_index],
        _output(LABEL, len(classes)),
        ML_DOMAIN,
        keys_int64s=list(range(len(classes))),
        values_strings=list(classes),
        default_string=UNKNOWN,
    )


def _add_prediction_set(
    graph: GraphBuilder, shifted: str, probabilities: str, threshold: float
) -> str:
    """Add whether each class (classes, N) reaches the threshold or is the most likely one."""
    limit = graph.constant("threshold", threshold)
    reaches = graph.node("GreaterOrEqual", [probabilities, limit], "reaches_threshold")
    zero = graph.constant("zero", 0.0)
    is_likeliest = graph.node("GreaterOrEqual", [shifted, zero], "is_likeliest")
    return graph.node("Or", [reaches, is_likeliest], "prediction_set_by_class")


def _add_decided_class(graph: GraphBuilder, decided_by: str, in_set: str, class_count: int) -> str:
    """Add the class that is decided on to the set, whatever its probability."""
    first_axis = graph.constant("first_axis", [0])
    ones = graph.constant("ones", np.ones((class_count, 1)))
    largest = graph.node("ReduceMax", [decided_by, first_axis], "max_weighted", keepdims=1)
    per_class = graph.node("MatMul", [ones, largest], "max_weighted_per_class")
    is_decided = graph.node("GreaterOrEqual", [decided_by, per_class], "is_decided_on")
    return graph.node("Or", [in_set, is_decided], "prediction_set_with_decided")


def _add_ood_score(
    graph: GraphBuilder, ood_features: str, nan_where_unknown: str, detector: OodDetector
) -> None:
    first_axis = graph.constant("first_axis", [0])
    center = graph.constant("ood_center", detector.center[:, None])
    whitening = graph.constant("ood_whitening", detector.whitening.T)
    centered = graph.node("Sub", [ood_features, center], "ood_centered")
    whitened = graph.node("MatMul", [whitening, centered], "ood_whitened")  # (width, N)

    # |z - m|² = |z|² - 2 z·m + |m|², so that one matrix product serves all classes.
    means = detector.means  # (classes, width)
    minus_twice_means = graph.constant("ood_minus_twice_means", -2 * means)
    mean_norms = graph.constant("ood_mean_norms", (means**2).sum(axis=1, keepdims=True))
    squares = graph.node("Mul", [whitened, whitened], "ood_squares")
    norm = graph.node("ReduceSum", [squares, first_axis], "ood_norm", keepdims=1)
    products = graph.node("MatMul", [minus_twice_means, whitened], "ood_products")  # (classes, N)
    offsets = graph.node("Add", [products, mean_norms], "ood_offsets")
    nearest = graph.node("ReduceMin", [offsets, first_axis], "ood_nearest_offset", keepdims=1)
    distance = graph.node("Add", [nearest, norm], "ood_squared_distance")

    # The share of calibration rows at least as far: each knot that is adds its step.
    knots = graph.constant("ood_knots", detector.knots[:, None])
    steps = graph.constant("ood_steps", detector.steps[None, :])
    within = graph.node("LessOrEqual", [distance, knots], "ood_within_knots")  # (m, N)
    within_float = graph.as_float(within, "ood_within_knots_float")
    share = graph.node("MatMul", [steps, within_float], "ood_share")
    share_or_nan = graph.node("Add", [share, nan_where_unknown], "ood_share_or_nan")
    output = _output(OOD_SCORE, len(means))
    graph.output_node("Squeeze", [share_or_nan, first_axis], output)
