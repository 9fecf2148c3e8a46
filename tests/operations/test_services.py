"""What `creche up` keeps running: real servers, workers and runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from support.mlflow_server import MlflowServer
from support.processes import starting_services, wait_until
from support.projects import ROOT, edit, new_project, run_cli

from creche import registry
from creche.operations import service_state
from creche.project import MANIFEST, ProjectPaths, read_json
from creche.records import ServiceAddresses, ServicesState, Status
from creche.registry.client import open_client

Notification = dict[str, str]
Webhook = tuple[str, list[Notification]]


def start_services(project: Path, *arguments: str, **env: str) -> None:
    for name in ("deploy",):
        if not (project / name).exists():
            shutil.copytree(ROOT / name, project / name)
    with starting_services():
        result = run_cli(project, "up", "--detach", *arguments, **env)
    assert result.returncode == 0, result.stderr + (project / "var/up/log").read_text()[-3000:]


def services_state(project: Path) -> ServicesState:
    state = service_state.read_state(ProjectPaths.find(project))
    assert state is not None
    return state


def addresses(project: Path) -> ServiceAddresses:
    known = services_state(project).addresses
    assert known is not None
    return known


def status(project: Path) -> Status:
    return Status.model_validate_json(run_cli(project, "status", "--json").stdout)


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text in a file for the duration of the block."""
    content = edit(path, old, new)
    try:
        yield
    finally:
        path.write_text(content, encoding="utf-8")


@contextmanager
def submission(project: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `creche submit penguins` in the background."""
    command = [sys.executable, "-m", "creche.cli", "submit", "penguins", *arguments]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """A server that collects notifications; its URL, and what it has received."""
    received: list[Notification] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()


def wait_for_notification(webhook: Webhook, event: str) -> Notification:
    def received() -> list[Notification]:
        return [notification for notification in webhook[1] if notification["event"] == event]

    return wait_until(received, 30, f"{event} reached the webhook")[0]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Path]:
    """A project whose services run, with a worker for pool gpu on a machine that has no CUDA."""
    root = new_project(tmp_path_factory.mktemp("services") / "project")
    start_services(root, "--gpu", CRECHE_WEBHOOK=webhook[0])
    yield root
    run_cli(root, "down", "--now")


def test_starting_twice_changes_nothing_and_prints_the_addresses(services: Path) -> None:
    before = services_state(services)
    result = run_cli(services, "up", "--detach")
    assert result.returncode == 0
    assert addresses(services).ui_url in result.stdout
    # What is scheduled next.
    assert "retrain/penguins" in result.stdout
    assert services_state(services) == before


def test_status_lists_servers_pools_and_schedules(services: Path) -> None:
    report = status(services)
    assert report.healthy
    assert [(server.name, server.responds) for server in report.servers] == [
        ("prefect", True),
        ("mlflow", True),
    ]
    assert report.pools
    assert all(pool.live for pool in report.pools)
    assert {run.name for run in report.scheduled} == {"retrain/penguins", "prune/weekly"}
    lines = run_cli(services, "status").stdout
    assert lines.startswith("UP  ")
    assert "pool      gpu" in lines


def test_worker_without_the_device_refuses_and_the_recipe_decides_the_fallback(
    services: Path, webhook: Webhook
) -> None:
    recipe = services / "recipes/penguins.yaml"
    with edited(recipe, "fallback: cpu", "fallback: fail"):
        result = run_cli(services, "submit", "penguins", "--pool", "gpu")
    assert result.returncode == 1
    assert result.stdout.startswith("FAILED")
    assert "pool gpu: device cuda is not available" in result.stdout
    assert "/runs/flow-run/" in result.stderr
    wait_for_notification(webhook, "prefect.flow-run.Failed")
    result = run_cli(services, "submit", "penguins", "--pool", "gpu", "--json")
    assert (result.returncode, json.loads(result.stdout)["state"]) == (0, "Promoted")
    run = max(services.glob("var/runs/*/run.json"))
    assert read_json(run)["training"]["fallback_reason"].startswith("instead of in pool gpu: ")
    assert run_cli(services, "submit", "penguins").stdout.startswith("UNCHANGED")
    assert run_cli(services, "retrain", "penguins").stdout.startswith("UNCHANGED")
    # A manual run is on the same server.
    assert any(" · manual · " in run.name for run in status(services).finished)


def test_run_does_not_wait_in_a_pool_without_workers(services: Path) -> None:
    """A pool without a worker, as on a machine that is switched off."""
    deploy = services / "deploy/prefect.yaml"
    deploy.write_text(deploy.read_text() + "  - {<<: *train, name: far, work_pool: {name: far}}\n")
    env = {
        **os.environ,
        "PREFECT_API_URL": addresses(services).prefect_url,
        "CRECHE_ROOT": str(services),
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PYTHONWARNINGS": "",
    }
    for arguments in (
        ["work-pool", "create", "far", "--type", "process"],
        ["deploy", "--name", "far", "--prefect-file", "deploy/prefect.yaml"],
    ):
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        subprocess.run(
            command,
            cwd=services,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    recipe = services / "recipes/penguins.yaml"
    fail_soon = "fallback: fail\n  start_timeout_seconds: 5"
    with edited(recipe, "fallback: cpu", fail_soon):
        result = run_cli(services, "submit", "penguins", "--pool", "far", "--force")
    assert result.returncode == 1
    assert "no worker of pool far started the run within 5 s" in result.stdout
    assert status(services).queued == []


def test_batch_in_the_inbox_is_scored_once(services: Path) -> None:
    inbox = services / "var/inbox/penguins"
    batch = (ROOT / "examples/observations.csv").read_text()
    unknown_islands = batch.replace("Dream", "Signy").replace("Biscoe", "Signy")
    (inbox / "monday.csv").write_text(batch)
    (inbox / "broken.csv").write_text(unknown_islands)
    wait_until((inbox / "done/monday.csv").exists, 120, "the batch is done")
    wait_until((inbox / "refused/broken.csv").exists, 120, "the broken batch is refused")
    assert "island: not one of" in (inbox / "refused/broken.csv.reason.txt").read_text()
    (inbox / "again.csv").write_text(batch)
    wait_until((inbox / "done/again.csv").exists, 120, "the same batch is done again")
    (predictions,) = inbox.glob("scored/monday-*")
    assert read_json(predictions / MANIFEST)["scored"] == 37
    assert not list(inbox.glob("scored/again-*"))


def test_high_share_of_quarantined_rows_reaches_the_webhook(
    services: Path, webhook: Webhook
) -> None:
    recipe = services / "recipes/penguins.yaml"
    with edited(recipe, "min: 2000, max: 8000", "min: 5000, max: 8000"):
        result = run_cli(services, "submit", "penguins")
    assert (result.returncode, result.stdout.split()[0]) == (1, "QUARANTINED")
    notification = wait_for_notification(webhook, "creche.much-quarantined")
    assert notification["subject"] == "penguins"


def test_two_rejections_in_a_row_reach_the_webhook(services: Path, webhook: Webhook) -> None:
    recipe = services / "recipes/penguins.yaml"
    with (
        edited(recipe, "learning_rate: 0.01", "learning_rate: 0.000001"),
        edited(recipe, "epochs: 150", "epochs: 1"),
    ):
        first = run_cli(services, "submit", "penguins", "--force")
        second = run_cli(services, "submit", "penguins", "--force")
    assert (first.returncode, second.returncode) == (3, 3)
    wait_for_notification(webhook, "creche.rejected-again")


def test_killed_worker_is_restarted(services: Path) -> None:
    def worker_pid() -> int | None:
        return services_state(services).processes["worker-cpu"].pid

    before = worker_pid()
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: worker_pid() not in (before, None), 120, "the worker is restarted")
    wait_until(lambda: status(services).healthy, 120, "the services are healthy")


@pytest.mark.slow
def test_mlflow_run_of_a_killed_run_is_marked_without_doctor(services: Path) -> None:
    paths = ProjectPaths.find(services)
    alive = registry.TrackedRun.start("penguins", "alive", {}, {}, paths)

    def submitted_run() -> registry.StoredRun | None:
        others = [
            run
            for run in registry.unfinished_runs(paths)
            if run.mlflow_run_id != alive.mlflow_run_id
        ]
        return others[0] if others else None

    def mlflow_status(run_id: str) -> str:
        return str(open_client(paths).get_run(run_id).info.status)

    recipe = services / "recipes/penguins.yaml"
    with edited(recipe, "epochs: 150", "epochs: 1000000"), submission(services) as submitted:
        run = wait_until(submitted_run, 120, "the submitted run is in MLflow")
        assert run is not None
        pid = int(run.tags["process"].rpartition(":")[2])
        os.kill(pid, signal.SIGKILL)
        output, _ = submitted.communicate(timeout=120)
    assert output.startswith("CRASHED")
    # The services promise three minutes.
    wait_until(
        lambda: mlflow_status(run.mlflow_run_id) == "KILLED", 180, "its MLflow run is KILLED"
    )
    assert mlflow_status(alive.mlflow_run_id) == "RUNNING"
    logged = f"{run.name} of penguins was RUNNING in MLflow, and its process is gone"
    log = services / "var/up/log"
    wait_until(lambda: logged in log.read_text(encoding="utf-8"), 60, "the services have logged it")
    alive.finish("FINISHED")


def test_down_now_kills_runs_and_records_it(services: Path) -> None:
    edit(services / "recipes/penguins.yaml", "epochs: 150", "epochs: 1000000")
    before = set(services.glob("var/runs/*/preprocessor.json"))

    def is_about_to_train() -> bool:
        return bool(set(services.glob("var/runs/*/preprocessor.json")) - before)

    with submission(services) as submitted:
        wait_until(is_about_to_train, 120, "the run has preprocessed its rows")
        assert run_cli(services, "down", "--now").returncode == 0
        output, _ = submitted.communicate(timeout=120)
    assert processes_of_runs(services) == []
    assert not registry.unfinished_runs(ProjectPaths.find(services))
    # The server may be gone before the command asks how the run ended.
    assert output == "" or output.startswith("CANCELLED")


def processes_of_runs(project: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        is_of_project = environment.get("CRECHE_HOME") == f"{project}/var"
        if is_of_project and "PREFECT__FLOW_RUN_ID" in environment:
            processes.append(process)
    return processes


@pytest.mark.slow
def test_training_runs_on_a_machine_that_shares_no_disk(tmp_path: Path) -> None:
    """Two projects with homes of their own, one Prefect server and one MLflow server."""
    server_machine = new_project(tmp_path / "server" / "project")
    gpu_machine = new_project(tmp_path / "gpu" / "project")
    for project in (server_machine, gpu_machine):
        for name in ("deploy",):
            shutil.copytree(ROOT / name, project / name)
        edit(
            project / "deploy/prefect.yaml",
            "parameters: {device: cuda}",
            "parameters: {device: cpu}",
        )
    mlflow = MlflowServer(f"sqlite:///{tmp_path}/store.db", tmp_path)
    mlflow.start()
    store = {"MLFLOW_TRACKING_URI": mlflow.url}
    try:
        start_services(server_machine, "--pool", "cpu", **store)
        prefect_url = addresses(server_machine).prefect_url
        start_services(gpu_machine, "--pool", "gpu", PREFECT_API_URL=prefect_url, **store)
        result = run_cli(server_machine, "submit", "penguins", "--pool", "gpu", **store)
        assert result.stdout.startswith("PROMOTED"), result.stdout + result.stderr
        (run,) = server_machine.glob("var/runs/*/run.json")
        assert read_json(run)["training"]["pool"] == "gpu"
        assert list(gpu_machine.glob("var/runs/*/weights.safetensors"))
    finally:
        for project in (gpu_machine, server_machine):
            run_cli(project, "down", "--now")
        mlflow.stop()


def test_down_lets_runs_finish(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    start_services(project)
    with submission(project):
        wait_until(lambda: list(project.glob("var/runs/*/source.json")), 120, "the run has begun")
        another = run_cli(project, "submit", "penguins")
        assert (another.returncode, another.stdout.split()[0]) == (1, "CANCELLED")
        result = run_cli(project, "down")
    assert result.returncode == 0
    assert "Promoted" in result.stderr
    states = [read_json(record)["state"] for record in project.glob("var/runs/*/run.json")]
    assert states == ["Promoted"]
    assert run_cli(project, "down").stdout.startswith("DOWN  no services run")
    assert run_cli(project, "status").returncode == 1
