"""What `creche doctor` finds is provoked for real, cured by the command that it names, and gone."""

import fcntl
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.processes import free_port
from support.projects import ROOT, Cli, new_project, run_cli

from creche import registry
from creche.operations import machine_checks, supervisor
from creche.operations.supervisor import Child, Supervisor
from creche.project import ProjectPaths, RunPaths
from creche.registry import promotion_log

Server = dict[str, str]
Told = dict[str, Any]
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


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def ask(server: Server, method: str, path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        server["PREFECT_API_URL"] + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or "null")


def dead(*command: str) -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen(command or ("true",))
    process.wait()
    return process.pid


def doctor(project: Path, *words: str, **env: str) -> tuple[int, Told]:
    done = run_cli(project, "doctor", "--json", *words, **env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def long_ago(path: Path, days: float = 0.1) -> None:
    os.utime(path, (time.time() - days * 86400,) * 2)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: Server
) -> Iterator[tuple[Path, Server]]:
    """A project with a flow that naps, deployed on a real server into three pools."""
    root = new_project(tmp_path_factory.mktemp("sick") / "project")
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
        ask(env, "POST", "/work_pools/", name=pool, type="process", is_paused=pool == "cold")
    typed(root, env, "prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml")
    typed(root, env, "dvc pull -q data.dvc")
    yield root, env
    run_cli(root, "down", "--now", **env)


def typed(project: Path, env: Server, command: str) -> None:
    """A command as an operator types it at a shell, in the project."""
    clean = {k: v for k, v in os.environ.items() if k not in ("CRECHE_HOME", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(["bash", "-c", command], cwd=project, env={**clean, **env}, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def zombie(project: Path, env: Server) -> str:
    """A run whose worker and process were killed, so that nobody says how it ended."""
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "near",
        "--type",
        "process",
        "--install-policy",
        "never",
    ]
    worker = subprocess.Popen([*command, "--name", f"{NODE}-near"], cwd=project, env={**os.environ, **env}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    run: str = ask(env, "POST", f"/deployments/{deployment(env, 'near')['id']}/create_flow_run")[
        "id"
    ]
    until(lambda: ask(env, "GET", f"/flow_runs/{run}")["state_type"] == "RUNNING")
    worker.kill()
    worker.wait()
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("PREFECT__FLOW_RUN_ID") == run:
            process.kill()
    return run


def deployment(env: Server, name: str) -> Told:
    found: Told = ask(env, "GET", f"/deployments/name/nap/{name}")
    return found


def without_champion_of_record(paths: RunPaths) -> None:
    """An alias moved behind the history's back."""
    for number in ("1", "2"):
        registry.create_version("penguins", f"file:///{number}", {}, paths)
        promotion_log.set_champion(
            "penguins", number, paths, "promotion", "better", f"run-{number}"
        )
    registry.set_champion_alias("penguins", "1", paths)


def without_end(paths: RunPaths, ended: str) -> None:
    """A run in MLflow whose process was killed, and one whose flow run has ended."""
    script = "from creche import registry; from creche.project import ProjectPaths; " \
             "registry.TrackedRun.start('penguins', 'killed', {}, {}, ProjectPaths.find()); import os; os.kill(os.getpid(), 9)"  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=paths.root,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
    )
    registry.TrackedRun.start("penguins", "ended", {}, {"flow_run": ended}, paths)
    registry.TrackedRun.start("penguins", "at work", {}, {}, paths)


def lock_holder(project: Path) -> "subprocess.Popen[bytes]":
    """A process that took DVC's lock hours ago, and hangs."""
    lock = project / ".dvc/tmp/lock"
    hold = f"import zc.lockfile, time; lock = zc.lockfile.LockFile({str(lock)!r}); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", hold])
    until(lambda: str(holder.pid) in lock.read_text())
    long_ago(lock)
    return holder


def test_findings_are_cured_by_what_they_name(served: tuple[Path, Server]) -> None:
    project, env = served
    paths = ProjectPaths.find(project)
    run = zombie(project, env)
    ask(
        env,
        "POST",
        "/v2/concurrency_limits/increment",
        names=[f"deployment:{deployment(env, 'spare')['id']}"],
        slots=1,
    )
    late = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
    waiting = ask(
        env, "POST", f"/deployments/{deployment(env, 'far')['id']}/create_flow_run", state=late
    )["id"]
    old = ask(
        env,
        "POST",
        "/flow_runs/",
        flow_id=deployment(env, "far")["flow_id"],
        name="old",
        state={"type": "COMPLETED"},
    )["id"]
    with sqlite3.connect(Path(env["PREFECT_HOME"]) / "prefect.db", timeout=30) as tables:
        tables.execute("UPDATE flow_run SET end_time = '2020-01-01 00:00:00' WHERE id = ?", (old,))
        tables.execute(
            "UPDATE flow_run_state SET timestamp = '2020-01-01 00:00:00' WHERE flow_run_id = ?",
            (old,),
        )
    outlived = subprocess.Popen(
        ["sleep", "600"], env={"PREFECT__FLOW_RUN_ID": old}, start_new_session=True
    )
    without_champion_of_record(paths)
    without_end(paths, old)
    (lost,) = (project / "dvc-remote/files/md5/41").iterdir()
    lost.unlink()
    (project / "more.csv").write_text("new data\n")
    typed(project, env, "dvc add -q more.csv")
    part = paths.home / f"runs/.run.json.{dead()}.part"
    part.parent.mkdir()
    part.touch()
    long_ago(part)
    rwlock = project / ".dvc/tmp/rwlock"
    rwlock.write_text(
        json.dumps({"write": {str(project / "data"): {"pid": dead(), "cmd": "dvc pull"}}})
    )
    holder = lock_holder(project)

    code, first = doctor(project, "--fix", **env)
    found = {f["message"]: f for f in first["issues"]}

    def one(check: str, *facts: str) -> Told:
        (finding,) = (
            f
            for f in found.values()
            if f["check"] == check and all(fact in f["message"] for fact in facts)
        )
        assert isinstance(finding, dict)
        return finding

    assert code == 1
    assert [first["checks"][c] for c in ("server", "disk", "clock", "versions", "settings")] == [
        "ok"
    ] * 5
    for fixed in (
        one("runs", "Running: its process is gone"),
        one("runs", "old ended Completed, and its process did not"),
        one("slots", "spare: 1 of 1 slots are taken by no run"),
        one("champions", "by the promotion log version 2 is champion, not 1"),
        one("mlflow", "killed of penguins is RUNNING in MLflow, and its process is gone"),
        one("mlflow", "ended of penguins is RUNNING in MLflow, and ended Completed"),
        one("leftovers", "1 files of processes that are gone", str(part)),
        one("locks", "names processes that are gone"),
        one("data", "1 objects of data.dvc are not in the remote"),
        one("retention", "runs of 2020-01-01 are still there", "creche.keep_days is 30"),
    ):
        assert fixed["fixed"], fixed
        assert fixed["remedy"] == "creche doctor --fix"
    assert ask(env, "GET", f"/flow_runs/{run}")["state_name"] == "Crashed"
    assert deployment(env, "spare")["global_concurrency_limit"]["active_slots"] == 0
    assert outlived.wait(10) == -signal.SIGKILL
    assert lost.is_file()
    assert registry.champion_version("penguins", paths) == "2"
    assert [r.name for r in registry.unfinished_runs(paths)] == ["at work"]

    left = [
        one("locks", f"process {holder.pid} has held"),
        one("data", "1 objects of more.csv.dvc are not in the remote"),
        one("pools", "pool cold is paused; no run is late"),
        one("pools", "pool far has no live worker; 1 runs wait in it"),
    ]
    for finding in left:
        assert not finding["fixed"]
        typed(project, env, finding["remedy"])
    assert holder.wait(10) == -signal.SIGTERM
    until(lambda: ask(env, "GET", f"/flow_runs/{waiting}")["state_name"] == "Completed")
    _, last = doctor(project, **env)
    assert [
        f for f in last["issues"] if f["message"] in found or f["check"] not in ("pools", "runs")
    ] == []


def test_server_that_does_not_answer_is_said(project: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    code, told = doctor(project, PREFECT_API_URL=url)
    assert code == 1
    assert [f["message"] for f in told["issues"]] == [f"Prefect at {url} does not answer"]
    assert told["checks"]["runs"] == "not looked at: no server is up"


def test_well_project_without_a_server_is_said_to_be_well(cli: Cli) -> None:
    done = cli("doctor")
    assert done.returncode == 0, done.stdout
    assert "ok     disk" in done.stdout
    assert "–      pools      not looked at: no server is up" in done.stdout


def test_settings_of_processes_that_differ_are_named(project: Path) -> None:
    paths = ProjectPaths.find()
    with supervisor.keeping(paths):
        keeper = Supervisor(paths, {"pid": os.getpid()})
        for name, zone in (
            ("prefect", "UTC"),
            ("worker-cpu", "UTC"),
            ("worker-gpu", "Europe/London"),
        ):
            keeper.start(
                Child(
                    name,
                    ["sleep", "60"],
                    {"TZ": zone, "PREFECT_CLIENT_MAX_RETRIES": "0" if name == "prefect" else "8"},
                )
            )
        assert [f["message"] for f in doctor(project)[1]["issues"]] == [
            "TZ differs: prefect UTC, worker-cpu UTC, worker-gpu Europe/London"
        ]
        for child in list(keeper.children.values()):
            keeper.stop(child.name)
            assert child.process
            assert child.process.stdout
            child.process.stdout.close()


def test_clock_of_the_server_is_held_against_this_one(project: Path) -> None:
    class Behind(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)  # as one that asks for a password
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int((timestamp or time.time()) - 3600))

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        look = f"from creche.operations.doctor import _clock; from creche.project import ProjectPaths; " \
               f"print(*_clock('http://127.0.0.1:{server.server_port}', ProjectPaths.find()))"  # fmt: skip
        said = subprocess.run(
            [sys.executable, "-c", look],
            cwd=project,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )
        server.shutdown()
    assert " is -3600 s off this machine's clock" in said.stdout or " is -3601 s off" in said.stdout


def test_full_disk_is_said_with_what_fills_it(project: Path, tmp_path: Path) -> None:
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mount, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode
    ):
        pytest.skip("no right to mount a small disk")
    look = f"mount -t tmpfs -o size=64m tmpfs {tmp_path} && mkdir {tmp_path}/runs && head -c 9000000 /dev/zero > {tmp_path}/runs/big && " \
           f"CRECHE_HOME={tmp_path} {sys.executable} -m creche.cli doctor"  # fmt: skip
    done = subprocess.run(
        [*mount, look],
        cwd=project,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "are free; the largest in" in done.stdout
    assert "runs 9.0 MB" in done.stdout
    assert "remedy: python -c 'from flows.prune import prune; prune(keep=5, days=7)'" in done.stdout


def test_library_other_than_the_one_pinned_is_named(project: Path) -> None:
    (project / "requirements.lock").write_text("dvc==1.0 \\\n    --hash=sha256:0\npsutil==1.0\n")
    assert [f.message.split(", ")[1] for f in machine_checks.versions(ProjectPaths.find())] == [
        "and 1.0 in requirements.lock"
    ]


def test_data_that_lie_nowhere_are_said_to_be_lost(project: Path) -> None:
    shutil.rmtree(project / "dvc-remote/files/md5/41")
    (finding,) = machine_checks.data(ProjectPaths.find())
    assert finding.message.startswith(
        "1 objects of data.dvc are not in the remote, 1 not in DVC's cache here either"
    )
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    (finding,) = machine_checks.data(ProjectPaths.find())
    assert finding.message.startswith("what the remote holds of data.dvc cannot be determined")


def test_lock_in_use_is_left_alone(project: Path) -> None:
    folder = project / ".dvc/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rwlock").write_text(
        json.dumps({"read": {"data": [{"pid": os.getpid(), "cmd": "dvc push"}]}})
    )
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert list(machine_checks.locks(ProjectPaths.find())) == []
    (folder / "rwlock").write_text('{"write": {')
    (finding,) = machine_checks.locks(ProjectPaths.find())
    assert finding.fix is not None
    finding.fix()
    assert list(machine_checks.locks(ProjectPaths.find())) == []
