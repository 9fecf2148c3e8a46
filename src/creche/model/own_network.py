"""Networks of one's own: a class of the user's package, built from the recipe's options."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from creche.errors import RecipeError, shortened
from creche.recipe import Network
from creche.recipe.network_class import NetworkClass, find_network_class

PROBE_ROWS = 2  # of the input on which the shape of the output is checked
MESSAGE_LENGTH = 300  # characters of another library's message

# Package → SHA-256 of the source that was imported.
_imported: dict[str, str] = {}


def build_own(spec: Network, n_inputs: int, n_classes: int, root: Path) -> nn.Module:
    """Return an untrained network of the class that a recipe names.

    It is built as `Class(inputs=n_inputs, classes=n_classes, **options)`.

    Args:
        spec: the recipe's section.
        n_inputs: width of the encoded inputs.
        n_classes: width of the logits.
        root: folder of the project.

    Returns:
        (n, n_inputs) float32 → logits (n, n_classes).

    Raises:
        RecipeError: the class cannot be imported or built, or its output has another shape.
    """
    network_class = _import_class(find_network_class(spec.kind, root), spec.kind)
    try:
        net = network_class(inputs=n_inputs, classes=n_classes, **spec.options)
    except Exception as error:
        raise _refused(
            spec.kind,
            f"cannot be built with inputs={n_inputs}, classes={n_classes} and the options: "
            f"{_describe(error)}",
            "let __init__ take inputs, classes and every option by name",
        ) from error
    _check_output(net, spec.kind, n_inputs, n_classes)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise _refused(spec.kind, "has no parameter to train", "add a layer to it")
    return net


def _import_class(found: NetworkClass, reference: str) -> type[nn.Module]:
    _forget_changed_source(found)
    try:
        with _importable(found.folder):
            module: Any = importlib.import_module(found.module)
    except (Exception, SystemExit) as error:
        raise _refused(
            reference,
            f"cannot be imported: {_describe(error)}",
            f"mend it, so that `python -c 'import {found.module}'` runs in {found.folder}",
        ) from error
    _check_origin(module, found, reference)
    network_class = getattr(module, found.name, None)
    if not (isinstance(network_class, type) and issubclass(network_class, nn.Module)):
        raise _refused(
            reference,
            f"names no class of torch.nn.Module in {module.__file__}",
            "correct the name behind the colon",
        )
    return network_class


def _forget_changed_source(found: NetworkClass) -> None:
    """Let a package be imported anew where its source has changed since it was."""
    digest = found.digest()
    if _imported.get(found.package, digest) != digest:
        for name in list(sys.modules):
            if name == found.package or name.startswith(f"{found.package}."):
                del sys.modules[name]
        importlib.invalidate_caches()
    _imported[found.package] = digest


def _check_origin(module: Any, found: NetworkClass, reference: str) -> None:
    """Check that the module is the one whose digest is on record, and none of the same name."""
    origin = Path(str(module.__file__)).resolve()
    if not origin.is_relative_to(found.folder.resolve()):
        raise _refused(
            reference,
            f"was imported from {origin} and not from {found.folder}",
            f"rename the module {found.package}, whose name is taken",
        )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported, without leaving bytecode beside them.

    Python tells bytecode from a changed source by size and second alone.
    """
    writes_no_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes_no_bytecode


def _check_output(net: nn.Module, reference: str, n_inputs: int, n_classes: int) -> None:
    """Check the output on a few rows; random numbers drawn here do not count."""
    is_training = net.training
    remedy = f"let forward return logits (n, {n_classes}), float32"
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            output = net.eval()(torch.zeros(PROBE_ROWS, n_inputs))
    except Exception as error:
        problem = f"cannot compute {PROBE_ROWS} rows of {n_inputs} inputs: {_describe(error)}"
        raise _refused(reference, problem, remedy) from error
    net.train(is_training)
    if not isinstance(output, torch.Tensor):
        raise _refused(reference, f"returns a {type(output).__name__} and no tensor", remedy)
    if output.shape != (PROBE_ROWS, n_classes) or output.dtype != torch.float32:
        shape = ", ".join(str(size) for size in output.shape)
        raise _refused(
            reference,
            f"returns ({shape}), {output.dtype}, of {PROBE_ROWS} rows with {n_inputs} inputs",
            remedy,
        )


def refuse_export(reference: str, error: Exception) -> RecipeError:
    """Return the error for a network that the ONNX exporter refuses."""
    return _refused(
        reference,
        f"cannot be exported to ONNX: {_describe(error)}",
        "write forward with operations of tensors alone, for any number of rows",
    )


def _refused(reference: str, problem: str, remedy: str) -> RecipeError:
    return RecipeError(f"network.kind: {reference} {problem}: {remedy}")


def _describe(error: BaseException) -> str:
    text = shortened(str(error), MESSAGE_LENGTH)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
