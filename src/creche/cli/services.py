"""Commands about the services of this machine: up, status, doctor and down."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.errors import CrecheError
from creche.project import ProjectPaths

if TYPE_CHECKING:
    from creche.operations.issues import Issue
    from creche.records import ServiceAddresses


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_up(commands)
    _add_status(commands)
    _add_doctor(commands)
    _add_down(commands)


def _add_up(commands: Commands) -> None:
    parser = add_command(
        commands,
        "up",
        _up,
        "Start the servers and workers of this machine, deploy deploy/prefect.yaml, and keep "
        "them running.",
        "creche up --detach",
    )
    parser.add_argument(
        "--gpu", action="store_true", help="a worker for pool gpu even where no CUDA device is seen"
    )
    parser.add_argument(
        "--pool",
        metavar="POOL",
        action="append",
        help="work for this pool alone; may be repeated",
    )
    parser.add_argument(
        "--detach", action="store_true", help="in the background; the log is CRECHE_HOME/up/log"
    )


def _add_status(commands: Commands) -> None:
    add_command(
        commands,
        "status",
        _status,
        "Show servers, pools, runs and champions in one report.",
        "creche status --json",
    )


def _add_doctor(commands: Commands) -> None:
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        "Find issues with data, registry, runs, pools and this machine, and name the remedy of "
        "each.",
        "creche doctor --fix",
    )
    parser.add_argument("--fix", action="store_true", help="apply the automatic remedies")


def _add_down(commands: Commands) -> None:
    parser = add_command(
        commands,
        "down",
        _down,
        "Let runs finish, then stop the servers and workers.",
        "creche down --now",
    )
    parser.add_argument(
        "--now", action="store_true", help="kill the runs in progress; their states record it"
    )


def _up(options: argparse.Namespace) -> int:
    from creche.operations import default_deployments, service_control, service_state
    from creche.operations.service_settings import CONFIG

    paths = ProjectPaths.find()
    if default_deployments.write_default_deployments(paths):
        _log(
            f"creche: {paths.root / CONFIG} is new: deployments that retrain and score each "
            "recipe, none scheduled but the weekly prune; edit it"
        )
    state = service_state.read_state(paths)
    if state is None or not state.ready:
        if not options.detach:
            return _run_services(paths, options.gpu, options.pool or [])
        service_control.start_in_background(paths, _up_arguments(options))
        state = service_state.read_state(paths)
    if state is None or state.addresses is None:
        raise CrecheError(f"the services have ended: read {service_state.log_file(paths)}")
    _warn_of_missing_workers(options, state.pools)
    if options.json:
        print_json(state)
    else:
        print("\n".join(_up_lines(paths, state.addresses)))
    return 0


def _warn_of_missing_workers(options: argparse.Namespace, pools: Sequence[str]) -> None:
    """Warn where services that run already have no worker for a pool that the command names."""
    wanted = list(options.pool or ())
    if options.gpu and not wanted:
        wanted = ["gpu"]
    missing = [pool for pool in wanted if pool not in pools]
    if missing:
        names = ", ".join(missing)
        _log(f"creche: the services run without a worker for {names}: run `creche down` first")


def _up_lines(paths: ProjectPaths, addresses: "ServiceAddresses") -> Iterator[str]:
    """Yield the addresses of the servers, and the next scheduled runs."""
    from creche.operations.status import status

    yield f"UP  {paths.home}"
    yield f"  Prefect  {addresses.ui_url}"
    yield f"  MLflow   {addresses.mlflow_url}"
    scheduled = [f"{run.time} UTC  {run.name}" for run in status(paths).scheduled]
    yield "  next     " + "\n           ".join(scheduled or ["nothing is scheduled"])


def _up_arguments(options: argparse.Namespace) -> list[str]:
    """Return the command line of the process in the background."""
    arguments = ["up"]
    if options.gpu:
        arguments.append("--gpu")
    for pool in options.pool or ():
        arguments.append(f"--pool={pool}")
    return arguments


def _run_services(paths: ProjectPaths, gpu: bool, pools: list[str]) -> int:
    from creche.operations import prefect_environment
    from creche.operations.orphans import stop_orphans
    from creche.operations.service_addresses import find_addresses

    stop_orphans(paths)
    addresses = find_addresses(paths)
    os.environ |= {
        "CRECHE_ROOT": str(paths.root),
        "CRECHE_HOME": str(paths.home),
        "PREFECT_API_URL": addresses.prefect_url,
        "CRECHE_MLFLOW_URL": addresses.mlflow_url,
        # The supervisor must not wait for one of the servers.
        "PREFECT_CLIENT_MAX_RETRIES": "0",
    }
    prefect_environment.configure(paths)
    from creche.operations.services import run_services

    run_services(paths, addresses, gpu, pools)
    return 0


def _status(options: argparse.Namespace) -> int:
    from creche.cli.service_reports import status_lines
    from creche.operations.status import status

    report = status(ProjectPaths.find())
    if options.json:
        print_json(report)
    else:
        print("\n".join(status_lines(report)))
    return 0 if report.healthy else 1


def _doctor(options: argparse.Namespace) -> int:
    # A server that does not respond is an issue, nothing to wait for.
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    from creche.cli.service_reports import doctor_lines
    from creche.operations import prefect_environment

    paths = ProjectPaths.find()
    prefect_environment.configure(paths)
    from creche.operations import doctor

    outcomes = doctor.examine(paths)
    fixed = doctor.fix(outcomes, _log_fix_error) if options.fix else set()
    report = doctor.report(outcomes, fixed)
    if options.json:
        print_json(report)
    else:
        print("\n".join(doctor_lines(report)))
    return 0 if report.healthy else 1


def _log_fix_error(issue: "Issue", error: Exception) -> None:
    reason = " ".join(str(error).split())
    _log(f"creche: {issue.message}: cannot be fixed: {reason}")


def _down(options: argparse.Namespace) -> int:
    from creche.operations import service_control, service_state

    paths = ProjectPaths.find()
    if service_state.read_state(paths) is None:
        print("{}" if options.json else f"DOWN  no services run in {paths.home}")
        return 0
    service_control.stop_services(paths, options.now, _log)
    print("{}" if options.json else f"DOWN  {paths.home}")
    return 0


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
