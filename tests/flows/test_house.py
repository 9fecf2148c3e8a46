"""The house that `creche up` keeps: real servers, workers and runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from support.processes import free_port
from support.projects import ROOT, new_project, run_cli

from creche import registry
from creche.operations import supervisor
from creche.project import MANIFEST, ProjectPaths, read_json

Webhook = tuple[str, list[dict[str, str]]]


def until(true: Callable[[], object], seconds: float = 120) -> object:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def up(project: Path, *words: str, **env: str) -> None:
    for name in ("flows", "deploy"):
        if not (project / name).exists():
            shutil.copytree(ROOT / name, project / name)
    done = run_cli(project, "up", "--detach", *words, **env)
    assert done.returncode == 0, done.stderr + (project / "var/up/log").read_text()[-3000:]


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    told: list[dict[str, str]] = []

    class Told(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Told) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Path]:
    """A project whose house is up, with a worker for pool gpu on a machine that has no CUDA."""
    root = new_project(tmp_path_factory.mktemp("house") / "project")
    up(root, "--gpu", CRECHE_WEBHOOK=webhook[0])
    yield root
    run_cli(root, "down", "--now")


def status(project: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(run_cli(project, "status", "--json").stdout)
    return found


def test_starting_twice_is_harmless_and_tells_where_it_is(kept: Path) -> None:
    before = supervisor.record(ProjectPaths.find(kept))
    done = run_cli(kept, "up", "--detach")
    assert done.returncode == 0
    assert before is not None
    assert before["ui"] in done.stdout
    assert "retrain/penguins" in done.stdout  # what comes next
    assert supervisor.record(ProjectPaths.find(kept)) == before


def test_status_is_one_look(kept: Path) -> None:
    found = status(kept)
    assert found["healthy"]
    assert [(s["name"], s["alive"]) for s in found["servers"]] == [
        ("prefect", True),
        ("mlflow", True),
    ]
    assert all(p["live"] for p in found["pools"])
    assert {n["name"] for n in found["next"]} == {"retrain/penguins", "prune/weekly"}


def test_worker_without_the_device_refuses_in_words_and_the_recipe_says_what_then(
    kept: Path, webhook: Webhook
) -> None:
    recipe = kept / "recipes/penguins.yaml"
    whole = recipe.read_text()
    recipe.write_text(whole.replace("fallback: cpu", "fallback: fail"))
    done = run_cli(kept, "submit", "penguins", "--pool", "gpu")
    assert done.returncode == 1
    assert done.stdout.startswith("FAILED")
    assert "pool gpu: device cuda is not available" in done.stdout
    assert "/runs/flow-run/" in done.stderr
    until(lambda: [t for t in webhook[1] if t["event"] == "prefect.flow-run.Failed"], 30)
    recipe.write_text(whole)
    done = run_cli(kept, "submit", "penguins", "--pool", "gpu", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "Promoted")
    run = max(kept.glob("var/runs/*/run.json"))
    assert read_json(run)["training"]["instead"].startswith("of pool gpu: ")
    assert run_cli(kept, "submit", "penguins").stdout.startswith("UNCHANGED")
    assert run_cli(kept, "retrain", "penguins").stdout.startswith("UNCHANGED")
    assert any(" · by hand · " in r["name"] for r in status(kept)["last"])  # on the same server


def test_nothing_waits_in_a_pool_where_nobody_came(kept: Path) -> None:
    """A pool without a worker, as on a machine that is switched off."""
    recipe = kept / "recipes/penguins.yaml"
    whole = recipe.read_text()
    recipe.write_text(whole.replace("fallback: cpu", "fallback: fail\n  start_timeout_seconds: 5"))
    deploy = kept / "deploy/prefect.yaml"
    deploy.write_text(deploy.read_text() + "  - {<<: *train, name: far, work_pool: {name: far}}\n")
    state = supervisor.record(ProjectPaths.find(kept)) or {}
    env = {
        **os.environ,
        "PREFECT_API_URL": state["prefect"],
        "CRECHE_ROOT": str(kept),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "",
    }
    for words in (
        ["work-pool", "create", "far", "--type", "process"],
        ["deploy", "--name", "train/far", "--prefect-file", "deploy/prefect.yaml"],
    ):
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        subprocess.run(
            command, cwd=kept, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    done = run_cli(kept, "submit", "penguins", "--pool", "far", "--force")
    recipe.write_text(whole)
    assert done.returncode == 1
    assert "no worker of pool far started the run within 5 s" in done.stdout
    assert status(kept)["queue"] == []


def test_batch_put_into_the_inbox_is_scored_once(kept: Path) -> None:
    inbox = kept / "var/inbox/penguins"
    batch = (ROOT / "examples/observations.csv").read_text()
    (inbox / "monday.csv").write_text(batch)
    (inbox / "broken.csv").write_text(batch.replace("Dream", "Signy").replace("Biscoe", "Signy"))
    until(lambda: (inbox / "done/monday.csv").exists() and (inbox / "refused/broken.csv").exists())
    assert "island: not one of" in (inbox / "refused/broken.csv.reason.txt").read_text()
    (inbox / "again.csv").write_text(batch)
    until((inbox / "done/again.csv").exists)
    (out,) = inbox.glob("scored/monday-*")
    assert read_json(out / MANIFEST)["scored"] == 37
    assert not list(inbox.glob("scored/again-*"))


def test_much_quarantine_reaches_the_webhook(kept: Path, webhook: Webhook) -> None:
    recipe = kept / "recipes/penguins.yaml"
    whole = recipe.read_text()
    recipe.write_text(whole.replace("min: 2000, max: 8000", "min: 5000, max: 8000"))
    done = run_cli(kept, "submit", "penguins")
    recipe.write_text(whole)
    assert (done.returncode, done.stdout.split()[0]) == (1, "QUARANTINED")
    until(
        lambda: [
            t
            for t in webhook[1]
            if t["event"] == "creche.much-quarantined" and t["subject"] == "penguins"
        ],
        30,
    )


def test_two_rejections_in_a_row_reach_the_webhook(kept: Path, webhook: Webhook) -> None:
    recipe = kept / "recipes/penguins.yaml"
    whole = recipe.read_text()
    recipe.write_text(
        whole.replace("learning_rate: 0.01", "learning_rate: 0.000001").replace(
            "epochs: 150", "epochs: 1"
        )
    )
    ends = [run_cli(kept, "submit", "penguins", "--force").returncode for _ in range(2)]
    recipe.write_text(whole)
    assert ends == [3, 3]
    until(lambda: [t for t in webhook[1] if t["event"] == "creche.rejected-again"], 30)


def test_worker_that_is_killed_is_started_again(kept: Path) -> None:
    paths = ProjectPaths.find(kept)

    def worker() -> int:
        pid: int = (supervisor.record(paths) or {})["children"]["worker-cpu"]["pid"]
        return pid

    before = worker()
    os.kill(before, signal.SIGKILL)
    until(lambda: worker() != before and psutil.pid_exists(worker()))
    until(lambda: status(kept)["healthy"])


def test_down_now_kills_what_runs_and_says_so(kept: Path) -> None:
    recipe = kept / "recipes/penguins.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 150", "epochs: 1000000"))
    before = set(kept.glob("var/runs/*/preprocessor.json"))
    command = [sys.executable, "-m", "creche.cli", "submit", "penguins"]
    with subprocess.Popen(
        command, cwd=kept, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as submitted:
        until(lambda: set(kept.glob("var/runs/*/preprocessor.json")) - before)  # training is next
        assert run_cli(kept, "down", "--now").returncode == 0
        said, _ = submitted.communicate(timeout=120)
    assert not [
        p
        for p in psutil.process_iter()
        if "PREFECT__FLOW_RUN_ID" in _environment(p)
        and _environment(p)["CRECHE_HOME"] == f"{kept}/var"
    ]
    assert not registry.unfinished_runs(ProjectPaths.find(kept))
    assert said == "" or said.startswith("CANCELLED")  # the server may be gone before it is asked


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def test_training_goes_to_a_machine_that_shares_no_disk(tmp_path: Path) -> None:
    """Two projects, two homes, one Prefect server and one MLflow server."""
    here, there = (new_project(tmp_path / name / "project") for name in ("here", "there"))
    for project in (here, there):
        for name in ("flows", "deploy"):
            shutil.copytree(ROOT / name, project / name)
        deploy = project / "deploy/prefect.yaml"
        deploy.write_text(
            deploy.read_text().replace("parameters: {device: cuda}", "parameters: {device: cpu}")
        )
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/store.db",
    ]
    command += [
        "--artifacts-destination",
        str(tmp_path / "store"),
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": ""}
    with subprocess.Popen(
        command,
        env=quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as mlflow:
        store = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        try:
            done = run_cli(here, "up", "--detach", "--pool", "cpu", **store)
            assert done.returncode == 0, done.stderr
            server = {
                "PREFECT_API_URL": (supervisor.record(ProjectPaths.find(here)) or {})["prefect"]
            }
            done = run_cli(there, "up", "--detach", "--pool", "gpu", **store, **server)
            assert done.returncode == 0, done.stderr
            done = run_cli(here, "submit", "penguins", "--pool", "gpu", **store)
            assert done.stdout.startswith("PROMOTED"), done.stdout + done.stderr
            (run,) = here.glob("var/runs/*/run.json")
            assert read_json(run)["training"]["pool"] == "gpu"
            assert list(there.glob("var/runs/*/weights.safetensors"))
        finally:
            for project in (there, here):
                run_cli(project, "down", "--now")
            supervisor.end_group(mlflow.pid)  # it is a server and its starter


def test_down_lets_what_runs_end(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    up(project)
    submitted = subprocess.Popen(
        [sys.executable, "-m", "creche.cli", "submit", "penguins"],
        cwd=project,
        stderr=subprocess.PIPE,
    )
    until(lambda: list(project.glob("var/runs/*/source.json")))
    another = run_cli(project, "submit", "penguins")
    assert (another.returncode, another.stdout.split()[0]) == (1, "CANCELLED")
    done = run_cli(project, "down")
    assert done.returncode == 0
    assert "Promoted" in done.stderr
    submitted.kill()
    submitted.communicate()
    assert [read_json(r)["state"] for r in project.glob("var/runs/*/run.json")] == ["Promoted"]
    assert run_cli(project, "down").stdout.startswith("DOWN  no services run")
    assert run_cli(project, "status").returncode == 1
