"""A network of the user's own: built, trained, exported and judged, or answered in one sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.documents import block_of
from support.graded_table import graded_project
from support.projects import ROOT, call_cli

from creche.errors import RecipeError
from creche.model import networks
from creche.model.artifact import Model
from creche.model.encoders import PassthroughEncoder
from creche.model.export import check_exportable
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.project import MODEL, WEIGHTS
from creche.recipe import Network, load
from creche.recipe.network_class import find_network_class
from creche.training.job import training_identity

GUIDE = ROOT / "docs/guides/own-network.md"
TWO_FEATURES = Preprocessor((PassthroughEncoder("a"), PassthroughEncoder("b")), ("x", "y", "z"))
HEADER = "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
INIT = """    def __init__(self, inputs, classes, **options):
        super().__init__()
        self.layer = nn.Linear(inputs, classes)

"""
FORWARD = "    def forward(self, x):\n        "


@pytest.fixture(autouse=True)
def _no_modules_stay() -> Iterator[None]:
    """Forget what a test has imported, since each has another `nets`."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "nets"]:
        del sys.modules[name]


def build(root: Path, source: str, **options: Any) -> torch.nn.Module:
    (root / "nets.py").write_text(source)
    return networks.build(Network(kind="nets:Net", options=options), TWO_FEATURES, root)


@pytest.mark.slow
def test_network_of_the_guide_is_trained_exported_and_trained_anew_when_it_changes(
    tmp_path: Path,
) -> None:
    source = block_of(GUIDE, "python")
    (tmp_path / "nets.py").write_text(source)
    recipe, paths = graded_project(tmp_path, yaml.safe_load(block_of(GUIDE, "yaml")))
    for step in ("pull", "validate", "preprocess", "train", "export", "evaluate"):
        run_step(step, recipe, paths)
    weights = load_file(paths / WEIGHTS)
    assert weights["blocks.1.weight"].shape == (32, 32)
    rows = {"weight": np.array([0.0, 250.0]), "height": np.array([1.0, np.nan])}
    predictions = Model(paths / MODEL).predict(rows)
    assert predictions.probabilities.shape == (2, 2)
    assert predictions.labels[1] == "unknown"
    checked = call_cli(tmp_path, "check", "small")
    assert "network   nets:Wide, 2 inputs → 2 classes, 2,274 parameters" in checked.stdout
    identity = training_identity(recipe, paths)
    (tmp_path / "nets.py").write_text(source.replace("range(2)", "range(3)"))
    changed = load("small", tmp_path)
    assert changed.digest != recipe.digest
    assert training_identity(changed, paths) != identity


def test_changed_class_is_another_recipe_and_is_imported_anew(tmp_path: Path) -> None:
    source = block_of(GUIDE, "python")
    (tmp_path / "nets.py").write_text(source)
    recipe, _ = graded_project(tmp_path, yaml.safe_load(block_of(GUIDE, "yaml")))
    check_exportable(recipe.network, TWO_FEATURES, tmp_path)
    (tmp_path / "nets.py").write_text(source.replace("range(2)", "range(3)"))
    changed = load("small", tmp_path)
    assert changed.digest != recipe.digest
    net = networks.build(changed.network, TWO_FEATURES, tmp_path)
    assert isinstance(net.blocks, torch.nn.ModuleList)
    assert len(net.blocks) == 3


def test_network_of_a_package_has_the_digest_of_all_its_files(tmp_path: Path) -> None:
    package = tmp_path / "nets/deep"
    package.mkdir(parents=True)
    (tmp_path / "nets/__init__.py").touch()
    (package / "__init__.py").write_text("from nets.deep.layers import Net\n")
    (package / "layers.py").write_text(HEADER + INIT + FORWARD + "return self.layer(x)\n")
    kind = "nets.deep:Net"
    net = networks.build(Network(kind=kind), TWO_FEATURES, tmp_path)
    assert net(torch.zeros(4, 2)).shape == (4, 3)
    digest = find_network_class(kind, tmp_path).digest()
    (package / "layers.py").write_text("# another one\n")
    assert find_network_class(kind, tmp_path).digest() != digest


def test_check_of_the_output_draws_no_random_number(tmp_path: Path) -> None:
    source = HEADER + INIT + FORWARD + "return self.layer(x) + torch.rand(1)\n"
    torch.manual_seed(1)
    build(tmp_path, source)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    torch.nn.Linear(2, 3)
    assert torch.rand(1) == drawn


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name\n", "nets:Net cannot be imported: ModuleNotFoundError: No module"),
        ("class Net\n", "nets:Net cannot be imported: SyntaxError"),
        ("Net = 3\n", "nets:Net names no class of torch.nn.Module in"),
        (HEADER + "    def __init__(self, n):\n        super().__init__()\n", "nets:Net cannot be built with inputs=2, classes=3 and the options: TypeError"),
        (HEADER + INIT + FORWARD + "return self.layer(x)[:, :2]\n", "returns (2, 2), torch.float32, of 2 rows with 2 inputs: let forward return logits (n, 3)"),
        (HEADER + INIT + FORWARD + "return [x]\n", "nets:Net returns a list and no tensor"),
        (HEADER + INIT + FORWARD + "return self.layer(x.T)[:0] / y\n", "nets:Net cannot compute 2 rows of 2 inputs: NameError"),
        (HEADER + "    def __init__(self, inputs, classes):\n        super().__init__()\n\n" + FORWARD + "return torch.zeros(len(x), 3)\n", "nets:Net has no parameter to train"),
    ],
)  # fmt: skip
def test_class_that_cannot_be_used_is_answered_in_one_sentence(
    tmp_path: Path, source: str, message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        build(tmp_path, source)
    assert str(error.value).startswith("network.kind: nets:Net ")
    assert message in str(error.value)


def test_network_that_cannot_be_exported_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    branch = "if x.sum() > 1:\n            return self.layer(x)\n        return -self.layer(x)\n"
    (tmp_path / "nets.py").write_text(HEADER + INIT + FORWARD + branch)
    with pytest.raises(
        RecipeError, match=r"nets:Net cannot be exported to ONNX: .*: write forward"
    ):
        check_exportable(Network(kind="nets:Net"), TWO_FEATURES, tmp_path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "rnn"}, "network.kind: is 'rnn': it must be 'mlp', 'cnn', or a class as in"),
        ({"kind": "nets:Net", "hidden": [3]}, "network: hidden is for mlp and cnn, and kind is nets:Net"),
        ({"options": {"width": 3}}, "network: options are for a class of your own, and kind is mlp"),
        ({"kind": "absent_module:Net"}, "network.kind: there is no module absent_module in"),
        ({"kind": "nets.deeper:Net"}, "has no module nets.deeper: create"),
        ({"kind": "mlp", "code_digest": "1"}, "network.code_digest: unknown key: remove it"),
    ],
)  # fmt: skip
def test_mistake_in_the_recipe_is_answered(
    tmp_path: Path, network: dict[str, Any], message: str
) -> None:
    (tmp_path / "nets.py").touch()
    with pytest.raises(RecipeError) as error:
        graded_project(tmp_path, {"network": network})
    assert message in str(error.value)
