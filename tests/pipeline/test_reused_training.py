"""The weights of an earlier run are taken, unless its folder is being deleted."""

import shutil
from pathlib import Path

import pytest
from support.registry import TrainedRun

from creche.pipeline.reused_training import FILES, reuse_training
from creche.project import RUN, RunPaths, write_record
from creche.recipe import Recipe
from creche.records import RunRecord
from creche.training.job import training_identity

EARLIER = "20261124-120000-penguins-aaaaaa"


@pytest.fixture
def next_run(trained_run: TrainedRun, tmp_path: Path) -> tuple[Recipe, RunPaths]:
    """A run of the recipe that has no weights, after one that trained in place of pool gpu."""
    recipe, trained_paths, results = trained_run
    home = tmp_path / "home"
    earlier = home / "runs" / EARLIER
    folder = home / "runs" / "next"
    for copy in (earlier, folder):
        shutil.copytree(trained_paths.folder, copy)
    for name in FILES:
        (folder / name).unlink()
    paths = RunPaths(root=trained_paths.root, home=home, folder=folder)
    changes = {
        "identity": training_identity(recipe, paths),
        "pool": "gpu",
        "fallback_reason": "instead of in pool gpu: no worker",
    }
    record = RunRecord(
        run_id=EARLIER,
        recipe=recipe.name,
        trigger="manual",
        started="2026-11-24T12:00:00",
        training=results["train"].model_copy(update=changes),
    )
    write_record(earlier / RUN, record)
    # A run whose record is deleted between the listing and the sort.
    gone = home / "runs/gone"
    gone.mkdir()
    (gone / RUN).symlink_to(gone / "nowhere")
    return recipe, paths


def test_reused_training_states_neither_pool_nor_fallback(
    next_run: tuple[Recipe, RunPaths],
) -> None:
    recipe, paths = next_run
    training = reuse_training(recipe, paths, "auto", None)
    assert training is not None
    assert training.reused_from == EARLIER
    assert training.pool is None
    assert training.fallback_reason is None
    assert all((paths / name).is_file() for name in FILES)


def test_training_that_is_deleted_while_it_is_copied_is_not_reused(
    next_run: tuple[Recipe, RunPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, paths = next_run
    copyfile = shutil.copyfile

    def delete_and_copy(source: Path, target: Path) -> None:
        source.unlink()
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", delete_and_copy)
    assert reuse_training(recipe, paths, "auto", None) is None
