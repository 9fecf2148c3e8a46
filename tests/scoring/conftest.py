"""A trained model, and a folder of partitions with its scoring."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.observations import observations, score_paths

from creche.model.artifact import Model
from creche.project import MODEL, RunPaths
from creche.recipe import Recipe

PARTITION_ROWS = 30_000  # of each of 8 partitions


@pytest.fixture(scope="session")
def model(trained_run: tuple[Recipe, RunPaths, object]) -> Model:
    """The penguins model."""
    return Model(trained_run[1] / MODEL)


@pytest.fixture(scope="session")
def partitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 8 partitions with Hive keys."""
    root = tmp_path_factory.mktemp("in") / "birds"
    for i in range(8):
        folder = root / f"year={2020 + i // 4}" / f"site={i % 4}"
        folder.mkdir(parents=True)
        pq.write_table(observations(PARTITION_ROWS, i), folder / "part.parquet")
    return root


@pytest.fixture(scope="session")
def uninterrupted(model: Model, partitions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a scoring of the partitions from its beginning to its end."""
    out = tmp_path_factory.mktemp("out") / "uninterrupted"
    score_paths([partitions], model, out)
    return out
