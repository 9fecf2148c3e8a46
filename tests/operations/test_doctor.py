"""The issues that `creche doctor` finds are provoked for real, remedied by the command that each
names, and gone.
"""

import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.processes import free_port, starting_services, wait_until
from support.projects import ROOT, Cli, new_project, run_cli

from creche import registry
from creche.operations import service_state
from creche.operations.managed_process import ManagedProcess
from creche.operations.supervisor import Supervisor
from creche.project import ProjectPaths
from creche.records import DoctorReport, IssueReport, ServicesState
from creche.registry import promotion_log

Server = dict[str, str]
NODE = platform.node()
DEPLOY = """
creche: {pools: {far: 1}, keep_days: 30}
pull:
  - prefect.deployments.steps.set_working_directory: {directory: "{{ $CRECHE_ROOT }}"}
deployments:
  - &nap {name: near, entrypoint: "nap.py:nap", work_pool: {name: near}, concurrency_limit: 1}
  - {<<: *nap, name: spare}
  - {<<: *nap, name: far, parameters: {seconds: 0}, work_pool: {name: far}}
"""
NAP = """
import time
from prefect import flow

@flow
def nap(seconds: int = 300):
    time.sleep(seconds)
"""
HOLD_LOCK = """
import sys, time
import zc.lockfile
lock = zc.lockfile.LockFile(sys.argv[1])
time.sleep(600)
"""
START_AND_DIE = """
import os
from creche import registry
from creche.project import ProjectPaths
registry.TrackedRun.start("penguins", "killed", {}, {}, ProjectPaths.find())
os.kill(os.getpid(), 9)
"""
PRINT_CLOCK_ISSUES = """
import sys
from creche.operations.server_checks import clocks
from creche.project import ProjectPaths
print(*clocks(ProjectPaths.find(), sys.argv[1]))
"""


def request(server: Server, method: str, path: str, **body: Any) -> Any:
    """Call the API of a Prefect server."""
    call = urllib.request.Request(
        server["PREFECT_API_URL"] + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(call) as response:
        return json.loads(response.read() or "null")


def pid_of_ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def doctor(project: Path, *arguments: str, **env: str) -> tuple[int, DoctorReport]:
    """Run `creche doctor --json`; its exit code and report."""
    result = run_cli(project, "doctor", "--json", *arguments, **env)
    assert result.stdout, result.stderr
    return result.returncode, DoctorReport.model_validate_json(result.stdout)


def messages(report: DoctorReport) -> list[str]:
    return [issue.message for issue in report.issues]


def set_age(path: Path, days: float) -> None:
    """Have a file last modified so long ago."""
    modified = time.time() - days * 86400
    os.utime(path, (modified, modified))


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: Server
) -> Iterator[tuple[Path, Server]]:
    """A project with a flow that sleeps, deployed on a real server into three pools."""
    root = new_project(tmp_path_factory.mktemp("doctor") / "project")
    (root / "deploy").mkdir()
    (root / "deploy/prefect.yaml").write_text(DEPLOY)
    (root / "nap.py").write_text(NAP)
    env = {
        **prefect_server,
        "CRECHE_ROOT": str(root),
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PYTHONWARNINGS": "",
    }
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for pool in ("near", "far", "cold"):
        request(env, "POST", "/work_pools/", name=pool, type="process", is_paused=pool == "cold")
    run_in_shell(root, env, "prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml")
    run_in_shell(root, env, "dvc pull -q data.dvc")
    yield root, env
    run_cli(root, "down", "--now", **env)


def run_in_shell(project: Path, env: Server, command: str) -> None:
    """Run a command as an operator types it, in the project."""
    unset = ("CRECHE_HOME", "MLFLOW_TRACKING_URI")
    clean = {key: value for key, value in os.environ.items() if key not in unset}
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env={**clean, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"


def killed_run(project: Path, env: Server) -> str:
    """Start a run, and kill it with its worker, so that no process reports how it ended."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "near"]
    command += ["--type", "process", "--install-policy", "never", "--name", f"{NODE}-near"]
    worker = subprocess.Popen(
        command,
        cwd=project,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deployment_id = deployment(env, "near")["id"]
    run: str = request(env, "POST", f"/deployments/{deployment_id}/create_flow_run")["id"]
    wait_until(
        lambda: request(env, "GET", f"/flow_runs/{run}")["state_type"] == "RUNNING",
        message="the flow run is running",
    )
    worker.kill()
    worker.wait()
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if environment.get("PREFECT__FLOW_RUN_ID") == run:
            process.kill()
    return run


def late_run(env: Server) -> str:
    """Create a run that has been due since January, in a pool without workers."""
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
    deployment_id = deployment(env, "far")["id"]
    run = request(env, "POST", f"/deployments/{deployment_id}/create_flow_run", state=state)
    return str(run["id"])


def old_run(env: Server) -> str:
    """Create a run that ended years ago."""
    flow = deployment(env, "far")["flow_id"]
    completed = {"type": "COMPLETED"}
    run = request(env, "POST", "/flow_runs/", flow_id=flow, name="old", state=completed)["id"]
    with sqlite3.connect(Path(env["PREFECT_HOME"]) / "prefect.db", timeout=30) as tables:
        tables.execute("UPDATE flow_run SET end_time = '2020-01-01 00:00:00' WHERE id = ?", (run,))
        tables.execute(
            "UPDATE flow_run_state SET timestamp = '2020-01-01 00:00:00' WHERE flow_run_id = ?",
            (run,),
        )
    return str(run)


def deployment(env: Server, name: str) -> dict[str, Any]:
    details: dict[str, Any] = request(env, "GET", f"/deployments/name/nap/{name}")
    return details


def move_alias_without_the_log(paths: ProjectPaths) -> None:
    for number in ("1", "2"):
        registry.create_version("penguins", f"file:///{number}", {}, paths)
        promotion_log.set_champion(
            "penguins", number, paths, "promotion", "better", f"run-{number}"
        )
    registry.set_champion_alias("penguins", "1", paths)


def leave_mlflow_runs_unfinished(paths: ProjectPaths, ended_flow_run: str) -> None:
    """A run in MLflow whose process was killed, one whose flow run has ended, and one alive."""
    subprocess.run(
        [sys.executable, "-c", START_AND_DIE],
        cwd=paths.root,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
    )
    registry.TrackedRun.start("penguins", "ended", {}, {"flow_run": ended_flow_run}, paths)
    registry.TrackedRun.start("penguins", "alive", {}, {}, paths)


def lock_holder(project: Path) -> "subprocess.Popen[bytes]":
    """A process that took DVC's lock hours ago, and hangs."""
    lock = project / ".dvc/tmp/lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, str(lock)])
    wait_until(lambda: str(holder.pid) in lock.read_text(), message="the lock is held")
    set_age(lock, days=0.1)
    return holder


def leave_part_of_an_ended_process(paths: ProjectPaths) -> Path:
    part = paths.home / f"runs/.run.json.{pid_of_ended_process()}.part"
    part.parent.mkdir()
    part.touch()
    set_age(part, days=0.1)
    return part


def test_issues_are_remedied_by_the_commands_that_they_name(
    deployed: tuple[Path, Server],
) -> None:
    project, env = deployed
    paths = ProjectPaths.find(project)
    run = killed_run(project, env)
    spare_limit = f"deployment:{deployment(env, 'spare')['id']}"
    request(env, "POST", "/v2/concurrency_limits/increment", names=[spare_limit], slots=1)
    waiting = late_run(env)
    old = old_run(env)
    outlived = subprocess.Popen(
        ["sleep", "600"], env={"PREFECT__FLOW_RUN_ID": old}, start_new_session=True
    )
    move_alias_without_the_log(paths)
    leave_mlflow_runs_unfinished(paths, old)
    (lost,) = (project / "dvc-remote/files/md5/41").iterdir()
    lost.unlink()
    (project / "more.csv").write_text("new data\n")
    run_in_shell(project, env, "dvc add -q more.csv")
    part = leave_part_of_an_ended_process(paths)
    dead_lock = {"write": {str(project / "data"): {"pid": pid_of_ended_process(), "cmd": "pull"}}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(dead_lock))
    holder = lock_holder(project)

    code, first = doctor(project, "--fix", **env)

    def find(check: str, *facts: str) -> IssueReport:
        matching = []
        for issue in first.issues:
            if issue.check == check and all(fact in issue.message for fact in facts):
                matching.append(issue)
        (issue,) = matching
        return issue

    assert code == 1
    for check in ("server", "disk", "clock", "versions", "settings"):
        assert first.checks[check] == "ok"
    for issue in (
        find("runs", "Running: its process is gone"),
        find("runs", "old ended Completed, and its process did not"),
        find("slots", "spare: 1 of 1 slots are taken by no run"),
        find("champions", "by the promotion log version 2 is champion, not 1"),
        find("mlflow", "killed of penguins is RUNNING in MLflow, and its process is gone"),
        find("mlflow", "ended of penguins is RUNNING in MLflow, and ended Completed"),
        find("leftovers", "1 files of processes that are gone", str(part)),
        find("locks", "names processes that are gone"),
        find("data", "1 objects of data.dvc are not in the remote"),
        find("retention", "runs of 2020-01-01 are still there", "creche.keep_days is 30"),
    ):
        assert issue.fixed, issue
        assert issue.auto_fixable
        assert issue.remedy == "creche doctor --fix"
    assert request(env, "GET", f"/flow_runs/{run}")["state_name"] == "Crashed"
    assert deployment(env, "spare")["global_concurrency_limit"]["active_slots"] == 0
    assert outlived.wait(10) == -signal.SIGKILL
    assert lost.is_file()
    assert registry.champion_version("penguins", paths) == "2"
    assert [tracked.name for tracked in registry.unfinished_runs(paths)] == ["alive"]

    for issue in (
        find("locks", f"process {holder.pid} has held"),
        find("data", "1 objects of more.csv.dvc are not in the remote"),
        find("pools", "pool cold is paused; no run is late"),
        find("pools", "pool far has no live worker; 1 runs wait in it"),
    ):
        assert not issue.fixed
        # A remedy may be `creche up`.
        with starting_services():
            run_in_shell(project, env, issue.remedy)
    assert holder.wait(10) == -signal.SIGTERM
    wait_until(
        lambda: request(env, "GET", f"/flow_runs/{waiting}")["state_name"] == "Completed",
        message="the late run is completed",
    )
    _, last = doctor(project, **env)
    before = messages(first)
    for issue in last.issues:
        # What the services that a remedy started do not yet have running.
        assert issue.check in ("pools", "runs"), issue
        assert issue.message not in before


def test_server_that_does_not_respond_is_an_issue(project: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    code, report = doctor(project, PREFECT_API_URL=url)
    assert code == 1
    assert messages(report) == [f"Prefect at {url} does not respond"]
    assert report.checks["runs"] == "not checked: no server is up"


def test_project_without_a_server_is_healthy(cli: Cli) -> None:
    result = cli("doctor")
    assert result.returncode == 0, result.stdout
    assert "ok     disk" in result.stdout
    assert "–      pools      not checked: no server is up" in result.stdout


def test_settings_in_which_processes_differ_are_an_issue(project: Path) -> None:
    paths = ProjectPaths.find()
    environments = {
        "prefect": {"TZ": "UTC", "PREFECT_CLIENT_MAX_RETRIES": "0"},
        "worker-cpu": {"TZ": "UTC", "PREFECT_CLIENT_MAX_RETRIES": "8"},
        "worker-gpu": {"TZ": "Europe/London", "PREFECT_CLIENT_MAX_RETRIES": "8"},
    }
    with service_state.services_lock(paths):
        supervisor = Supervisor(paths, lambda *_: None, ServicesState(pid=os.getpid()))
        for name, environment in environments.items():
            supervisor.start(ManagedProcess(name, ["sleep", "60"], environment))
        assert messages(doctor(project)[1]) == [
            "TZ differs: prefect UTC, worker-cpu UTC, worker-gpu Europe/London"
        ]
        for name, process in list(supervisor.processes.items()):
            supervisor.stop(name)
            assert process.exit_code is not None


def test_server_whose_clock_differs_is_an_issue(project: Path) -> None:
    class LateServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # As a server that asks for a password.
            self.send_response(401)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int((timestamp or time.time()) - 3600))

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), LateServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = subprocess.run(
            [sys.executable, "-c", PRINT_CLOCK_ISSUES, url],
            cwd=project,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )
        server.shutdown()
    seconds = result.stdout.partition(" is ")[2].partition(" s off this machine's clock")[0]
    assert seconds in ("-3600", "-3601"), result.stderr
