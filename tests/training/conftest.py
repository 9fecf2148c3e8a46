"""A project whose run is ready for the train step."""

from functools import partial
from pathlib import Path

import pytest
from support.training import PrepareRun
from support.training import prepare_run as prepare_run_in


@pytest.fixture
def prepare_run(project: Path) -> PrepareRun:
    """Change the training section of the penguins recipe, and run the steps before train."""
    return partial(prepare_run_in, project)
