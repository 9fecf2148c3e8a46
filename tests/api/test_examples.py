"""The examples in docstrings and the notebook, run as a user runs them."""

import doctest
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support.projects import ROOT

DOCUMENTED = ("creche", "creche.api.project", "creche.api.loaded_model", "creche.api.pyfunc")
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.mark.parametrize("module", DOCUMENTED)
def test_examples_in_docstrings_are_true(champion_project: Path, module: str) -> None:
    with chdir(champion_project):
        result = doctest.testmod(import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_notebook_runs_to_its_end(champion_project: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": champion_project}}
    )
    client.execute()
    outputs = notebook.cells[-1].outputs
    assert "(37," in outputs[-1]["data"]["text/plain"]


def test_committed_notebook_has_no_output() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
