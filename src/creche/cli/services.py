"""Commands about the services of this machine: up, status, doctor and down."""

import argparse
import os
import sys

from creche.cli.arguments import Commands, add_command, print_json
from creche.project import ProjectPaths


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands,
        "up",
        _up,
        "Start the servers and workers of this machine, deploy deploy/prefect.yaml, and keep "
        "them running.",
        "creche up --detach",
    )
    parser.add_argument(
        "--gpu", action="store_true", help="a worker for pool gpu too, though no CUDA is seen"
    )
    parser.add_argument(
        "--pool",
        metavar="POOL",
        action="append",
        help="work for this pool alone; may be given several times",
    )
    parser.add_argument(
        "--detach", action="store_true", help="in the background; the log is CRECHE_HOME/up/log"
    )

    add_command(
        commands,
        "status",
        _status,
        "Show servers, pools, runs and champions in one look.",
        "creche status --json",
    )

    parser = add_command(
        commands,
        "doctor",
        _doctor,
        "Find issues with data, registry, runs, pools and this machine, and name the remedy of "
        "each.",
        "creche doctor --fix",
    )
    parser.add_argument("--fix", action="store_true", help="apply the remedies that can do no harm")

    parser = add_command(
        commands,
        "down",
        _down,
        "Let runs finish, then stop the servers and workers.",
        "creche down --now",
    )
    parser.add_argument("--now", action="store_true", help="kill what runs; its state will say so")


def _up(options: argparse.Namespace) -> int:
    from creche.operations import supervisor

    paths = ProjectPaths.find()
    is_ready = (supervisor.record(paths) or {}).get("ready")
    if not is_ready:
        if not options.detach:
            return _run_services(paths, options.gpu, options.pool)
        arguments = ["up"]
        if options.gpu:
            arguments.append("--gpu")
        for pool in options.pool or ():
            arguments.append(f"--pool={pool}")
        supervisor.detach(paths, arguments)
    record = supervisor.record(paths) or {}
    wanted = options.pool or (["gpu"] if options.gpu else [])
    missing = [pool for pool in wanted if pool not in record["pools"]]
    if missing:
        print(
            f"creche: up without a worker for {', '.join(missing)}: creche down first",
            file=sys.stderr,
        )
    if options.json:
        print_json(record)
        return 0
    print(f"UP  {paths.home}\n  Prefect  {record['ui']}\n  MLflow   {record['mlflow']}")
    scheduled = _scheduled(paths) or ["nothing is scheduled"]
    print("  next     " + "\n           ".join(scheduled))
    return 0


def _run_services(paths: ProjectPaths, gpu: bool, pools: list[str] | None) -> int:
    from creche.operations import prefect_environment, supervisor

    addresses = supervisor.addresses(paths)
    os.environ |= {
        "CRECHE_ROOT": str(paths.root),
        "CRECHE_HOME": str(paths.home),
        "PREFECT_API_URL": addresses["prefect"],
        "CRECHE_MLFLOW_URL": addresses["mlflow"],
        # What looks after the servers must not wait for one of them.
        "PREFECT_CLIENT_MAX_RETRIES": "0",
    }
    prefect_environment.configure(paths)
    from creche.operations.services import up

    up(paths, addresses, gpu, pools)
    return 0


def _scheduled(paths: ProjectPaths) -> list[str]:
    from creche.operations import prefect_environment

    prefect_environment.configure(paths)
    from creche.operations.status import status

    return [f"{run['time']} UTC  {run['name']}" for run in status(paths)["next"]]


def _status(options: argparse.Namespace) -> int:
    from creche.operations import prefect_environment

    paths = ProjectPaths.find()
    prefect_environment.configure(paths)
    from creche.operations.pools import server_errors
    from creche.operations.status import lines, status

    with server_errors():
        report = status(paths)
    if options.json:
        print_json(report)
    else:
        print("\n".join(lines(report)))
    return 0 if report["healthy"] else 1


def _doctor(options: argparse.Namespace) -> int:
    # A server that does not respond is what it looks for, not what it waits for.
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    from creche.operations import prefect_environment

    paths = ProjectPaths.find()
    prefect_environment.configure(paths)
    from creche.operations.doctor import as_report, find_issues, lines

    issues = find_issues(paths)
    fixed = set()
    if options.fix:
        for of_check in issues.values():
            for issue in of_check or ():
                if issue.fix is None:
                    continue
                try:
                    issue.fix()
                    fixed.add(issue)
                except Exception as error:
                    reason = " ".join(str(error).split())
                    print(f"creche: {issue.message}: cannot be fixed: {reason}", file=sys.stderr)
    report = as_report(issues, fixed)
    if options.json:
        print_json(report)
    else:
        print("\n".join(lines(report)))
    return 0 if report["healthy"] else 1


def _down(options: argparse.Namespace) -> int:
    from creche.operations import supervisor

    paths = ProjectPaths.find()
    if supervisor.record(paths) is None:
        print("{}" if options.json else f"DOWN  no services run in {paths.home}")
        return 0
    supervisor.end(paths, options.now, _log)
    print("{}" if options.json else f"DOWN  {paths.home}")
    return 0


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
