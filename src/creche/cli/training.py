"""Commands that train: check, retrain, submit and step."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creche import settings
from creche.cli.arguments import (
    DEVICES,
    EXIT_CODES_BY_STATE,
    Commands,
    add_command,
    print_json,
)
from creche.errors import CrecheError, UsageError
from creche.pipeline.steps import STEPS
from creche.project import (
    CARD,
    CURVES,
    EVALUATION_PLOT,
    RUN,
    VALIDATION_REPORT,
    ProjectPaths,
    read_record,
    recipe_name,
)

if TYPE_CHECKING:
    from creche.records import RunRecord

SHUTDOWN_SECONDS = 15  # after an interrupt
INTERRUPTED = "creche: interrupted; incomplete files are ignored: run the command again"
INTERRUPTED_EXIT_CODE = 130
STEPS_OF_EXPERIMENTS = STEPS[:-1]  # an experiment never moves the champion


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_check(commands)
    _add_retrain(commands)
    _add_submit(commands)
    _add_step(commands)


def _add_check(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        _check,
        "Check a recipe and its data without training: rows, quarantine, split, what is trained.",
        "creche check penguins",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name in recipes/, or a path")
    parser.add_argument("--data", metavar="FILE", help="as in retrain")


def _add_retrain(commands: Commands) -> None:
    parser = add_command(
        commands,
        "retrain",
        _retrain,
        "Train a challenger, evaluate it, and promote it if it is better.",
        "creche retrain penguins",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name in recipes/, or a path")
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="read this file in place of the recipe's source; its md5 must be the same",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="train although nothing has changed since the last verdict",
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to train (default: auto)"
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=int,
        help="processes that share each batch (default: the recipe's)",
    )


def _add_submit(commands: Commands) -> None:
    parser = add_command(
        commands,
        "submit",
        _submit,
        "Send a retraining to a work pool, follow its log, and end with its verdict.",
        "creche submit penguins --pool gpu",
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help="with a deployment retrain/RECIPE in deploy/prefect.yaml"
    )
    parser.add_argument(
        "--pool", metavar="POOL", help="where to train, in place of the recipe's pool"
    )
    parser.add_argument("--force", action="store_true", help="as in retrain")


def _add_step(commands: Commands) -> None:
    parser = add_command(
        commands,
        "step",
        _step,
        "Run one step on the files in experiments/RECIPE: what the stages in dvc.yaml call.",
        "creche step validate penguins",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        choices=STEPS_OF_EXPERIMENTS,
        help=", ".join(STEPS_OF_EXPERIMENTS),
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name in recipes/, or a path")
    parser.add_argument("--data", metavar="FILE", help="for pull: as in retrain")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="for train: as in retrain"
    )
    parser.add_argument(
        "--processes", metavar="N", type=int, help="for train: as in retrain, on this host"
    )
    parser.add_argument(
        "--hosts",
        metavar="N",
        type=int,
        default=1,
        help="for train: how many hosts run this same step as one process group",
    )
    parser.add_argument(
        "--rendezvous",
        metavar="HOST:PORT",
        help="for train: one of the hosts, and a free port of it",
    )


def _check(options: argparse.Namespace) -> int:
    from creche.pipeline.check import check
    from creche.recipe import load
    from creche.reporting.check_summary import check_lines

    paths = ProjectPaths.find()
    recipe = load(options.recipe, paths.root)
    data = Path(options.data).resolve() if options.data else None
    result = check(recipe, paths, data)
    if options.json:
        print_json(result)
    else:
        print("\n".join(check_lines(result)))
    return 0 if result.passed else 1


def _retrain(options: argparse.Namespace) -> int:
    from creche.api.project import Project
    from creche.cli.run_progress import PrintedProgress
    from creche.reporting.run_summary import summary_lines

    project = Project()
    # A wrong recipe is reported before Prefect is imported.
    recipe = project.recipe(options.recipe)
    run_id = ProjectPaths.new_run_id(recipe.name)
    with _ends_after_interrupt():
        if _has_prefect_server(project.paths):
            record = _retrain_on_prefect(project.paths, run_id, options)
        else:
            record = project.retrain(
                recipe,
                data=options.data,
                force=options.force,
                device=options.device,
                processes=options.processes,
                run_id=run_id,
                observer=PrintedProgress(),
            )
    if options.json:
        print_json(record)
    else:
        print("\n".join(summary_lines(record)))
        print("\n" + "\n".join(_next_steps(project.paths, record)))
    return EXIT_CODES_BY_STATE.get(record.state, 1)


def _has_prefect_server(paths: ProjectPaths) -> bool:
    from creche.operations.service_state import read_state

    return read_state(paths) is not None or settings.prefect_api_url() is not None


def _retrain_on_prefect(
    paths: ProjectPaths, run_id: str, options: argparse.Namespace
) -> "RunRecord":
    """Run the retrain flow in this process, so that the run appears in the Prefect UI."""
    # The summary takes the place of Prefect's log.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from creche.operations import prefect_environment

    prefect_environment.configure(paths)
    from creche.flows.retrain import retrain
    from creche.records import RunRecord

    data = str(Path(options.data).resolve()) if options.data else None
    state: Any = retrain(
        options.recipe,
        data=data,
        force=options.force,
        device=options.device,
        processes=options.processes,
        run_id=run_id,
        return_state=True,
    )
    record_path = paths.run(run_id) / RUN
    if not record_path.is_file():
        raise CrecheError(
            f"the run ended {state.name} before it could leave a record: {state.message}"
        )
    return read_record(record_path, RunRecord)


@contextmanager
def _ends_after_interrupt() -> Iterator[None]:
    """End the process some seconds after Ctrl-C, even where a thread still waits.

    The embedded Prefect server gets the signal too, and Prefect then waits for it in vain. The
    run's own record is complete by then.
    """

    def end() -> None:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED_EXIT_CODE)

    def on_interrupt(*_: object) -> None:
        timer = threading.Timer(SHUTDOWN_SECONDS, end)
        timer.daemon = True
        timer.start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGINT, on_interrupt)
    yield
    # Not after an interrupt: a second signal (seen in CI) would end it without a message.
    signal.signal(signal.SIGINT, previous_handler)


def _next_steps(paths: ProjectPaths, record: "RunRecord") -> list[str]:
    """Return commands to run next, and the files of the run, relative to the working directory."""
    lines = ["Next steps:"]
    if record.state in EXIT_CODES_BY_STATE:
        recipe = record.recipe
        lines.append(f"  creche show {recipe}    creche show weights {recipe}")
    folder = paths.run(record.run_id_of_files).folder
    files = (CARD, VALIDATION_REPORT, CURVES, EVALUATION_PLOT, RUN)
    present = [name for name in files if (folder / name).is_file()]
    if present:
        lines.append(f"  {os.path.relpath(folder)}/: {', '.join(present)}")
    lines.append("  creche up --detach    (the pages of Prefect and MLflow)")
    return lines


def _submit(options: argparse.Namespace) -> int:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    from creche.operations import prefect_environment, service_state

    paths = ProjectPaths.find()
    if service_state.read_state(paths) is None and settings.prefect_api_url() is None:
        raise UsageError(
            f"no services run in {paths.home}: run `creche up --detach`, or set PREFECT_API_URL"
        )
    prefect_environment.configure(paths)
    from creche.operations.pools import server_errors
    from creche.operations.submit import submit

    with server_errors():
        run = submit(recipe_name(options.recipe), options.pool, options.force, _log)
    state: Any = run.state
    if options.json:
        outcome = {"id": str(run.id), "name": run.name}
        print_json({**outcome, "state": state.name, "message": state.message})
    else:
        print(f"{state.name.upper()}  {state.message or ''}\n  run       {run.name}")
    return EXIT_CODES_BY_STATE.get(state.name, 1)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _step(options: argparse.Namespace) -> int:
    from creche.pipeline import run_step
    from creche.recipe import load

    paths = ProjectPaths.find()
    recipe = load(options.recipe, paths.root)
    arguments: dict[str, Any] = {}
    if options.name == "pull" and options.data:
        arguments["data"] = Path(options.data)
    if options.name == "train":
        arguments = _train_arguments(options)
    result: Any = run_step(options.name, recipe, paths.experiment(recipe.name), **arguments)
    print(result.model_dump_json(indent=None if options.json else 2))
    return 0


def _train_arguments(options: argparse.Namespace) -> dict[str, Any]:
    from creche.training.distributed import Rendezvous

    is_distributed = options.hosts > 1
    if is_distributed != bool(options.rendezvous):
        raise UsageError("--hosts and --rendezvous go together: state the same two on each host")
    rendezvous = None
    if is_distributed:
        rendezvous = Rendezvous(options.hosts, options.rendezvous)
    return {"device": options.device, "processes": options.processes, "rendezvous": rendezvous}
