"""Step train: train the network on the split, in this process or in a process group."""

from creche.errors import UsageError
from creche.model.export import check_exportable
from creche.model.preprocessor import Preprocessor
from creche.project import (
    CURVES,
    HISTORY,
    PREPROCESSOR,
    SPLIT,
    WEIGHTS,
    RunPaths,
    atomic_write,
    read_json,
)
from creche.provenance import sha256_of
from creche.recipe import Recipe
from creche.records import EpochMetrics, FoldReport, NonZeroRankResult, TrainingReport
from creche.reporting import plots
from creche.training.devices import select_device
from creche.training.distributed import Rendezvous, launch
from creche.training.job import checkpoint_of, monitored_split, run_job, training_identity
from creche.training.metrics import OnProgress, best_epoch
from creche.training.process_group import SINGLE_PROCESS

INPUTS = (SPLIT, PREPROCESSOR)
OUTPUTS = (WEIGHTS, HISTORY, CURVES)


def run(
    recipe: Recipe,
    paths: RunPaths,
    device: str = "auto",
    processes: int | None = None,
    rendezvous: Rendezvous | None = None,
    on_progress: OnProgress | None = None,
) -> TrainingReport | NonZeroRankResult:
    """Write the weights of the selected epoch, the history and its curves.

    Args:
        recipe: what to train.
        paths: the files of the run.
        device: auto, cpu, cuda or mps.
        processes: how many on this host share each batch; None: as the recipe says.
        rendezvous: the hosts of the process group, and where they meet.
        on_progress: called every half second and after each epoch.

    Raises:
        RecipeError: a network of one's own cannot be built or exported.
        DeviceError: the device is not available, or has not enough memory.
        TrainingError: the loss is not finite, or the process group failed.
    """
    selected_device = select_device(device)
    if recipe.network.is_own:
        preprocessor = Preprocessor.from_dict(read_json(paths / PREPROCESSOR))
        check_exportable(recipe.network, preprocessor, paths.root)
    folds: list[FoldReport] = []
    if recipe.split.folds is not None:
        from creche.pipeline.cross_validation import cross_validate, recipe_of_all_rows

        if rendezvous is not None:
            raise UsageError("a cross-validation runs on one host: train without --rendezvous")
        folds = cross_validate(recipe, paths, device, processes)
        recipe = recipe_of_all_rows(recipe, folds)
    n_processes = processes or recipe.training.processes
    if n_processes > 1 or rendezvous:
        # Only the host of rank 0 writes: on another one, older files would pass for the result.
        for name in OUTPUTS:
            (paths / name).unlink(missing_ok=True)
        launch(recipe, paths, selected_device.type, n_processes, rendezvous, on_progress)
    else:
        run_job(recipe, paths, selected_device, SINGLE_PROCESS, on_progress)
    if not (paths / WEIGHTS).is_file():
        return NonZeroRankResult(
            device=selected_device.type, processes=n_processes, weights="on the host of rank 0"
        )
    history = [EpochMetrics.model_validate(metrics) for metrics in read_json(paths / HISTORY)]
    with atomic_write(paths / CURVES) as temporary:
        plots.training_curves(history, monitored_split(recipe), temporary)
    # Everything is written, so a later start of this training would have nothing to resume.
    checkpoint_of(recipe, paths, selected_device, SINGLE_PROCESS).delete()
    report = _report(recipe, history, selected_device.type, n_processes)
    return report.model_copy(
        update={
            "identity": training_identity(recipe, paths),
            "weights_sha256": sha256_of(paths / WEIGHTS),
            "folds": folds,
        }
    )


def _report(
    recipe: Recipe, history: list[EpochMetrics], device: str, n_processes: int
) -> TrainingReport:
    last_epoch = history[-1]
    selected = last_epoch
    if recipe.training.checkpoint_selection == "best":
        selected = best_epoch(history)
    return TrainingReport(
        device=device,
        processes=n_processes,
        monitored=monitored_split(recipe),
        epochs=len(history),
        selected_epoch=selected.epoch,
        last_epoch=last_epoch.model_copy(update={"batch_losses": None}),
    )
