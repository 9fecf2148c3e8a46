"""The inbox: each item is submitted or refused by itself, and what is wrong with one is shown."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.prefect_api import Server, query, send
from support.projects import Cli
from support.registry import TrainedRun, register_version, set_champion

from creche.operations.inbox_folder import (
    DONE,
    NAME_BYTES,
    REFUSED,
    ItemError,
    digest,
    items,
    move,
    output_name,
    problem,
    reason_path,
    refused_items,
    stamp,
)
from creche.operations.issues import Issue, fix_and_log
from creche.project import ProjectPaths
from creche.records import DoctorReport, Status

SCAN = """
import sys
from creche.operations import inbox
from creche.project import ProjectPaths
inbox.UNREADABLE_SECONDS = inbox.FOLDER_SECONDS = 0
box = inbox.Inbox(ProjectPaths.find(), lambda source, line: print(line, file=sys.stderr))
for _ in range(4):
    box.scan()
"""
CANNOT_BE_READ = "/proc/self/mem"  # reading it from its beginning is an I/O error, for root too


def post(server: Server, path: str, **body: object) -> dict[str, str]:
    call = urllib.request.Request(
        server["PREFECT_API_URL"] + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    answer: dict[str, str] = json.loads(send(call))
    return answer


@pytest.fixture
def score_deployments(prefect_server: Server) -> Iterator[list[str]]:
    """Two score deployments, of recipes `barred` and `penguins`."""
    flow = post(prefect_server, "/flows/", name="score")["id"]
    deployments = []
    for recipe in ("barred", "penguins"):
        deployment = post(
            prefect_server,
            "/deployments/",
            name=f"inbox-{recipe}",
            flow_id=flow,
            parameters={"recipe": recipe},
        )
        deployments.append(deployment["id"])
    yield deployments
    for deployment in deployments:
        call = urllib.request.Request(
            f"{prefect_server['PREFECT_API_URL']}/deployments/{deployment}", method="DELETE"
        )
        send(call)


def scan(project: Path, server: Server) -> str:
    """Scan the inboxes a few times; the log."""
    result = subprocess.run(
        [sys.executable, "-c", SCAN],
        cwd=project,
        env={**os.environ, **server},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def not_utf8(folder: Path) -> Path:
    path = folder / "a\udce9.csv"
    try:
        path.write_text("a\n1\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    return path


@pytest.fixture
def champion(project: Path, trained_run: TrainedRun) -> str:
    """The version of penguins that is champion in the project."""
    paths = ProjectPaths.find(project)
    version = register_version(trained_run, paths, "first")
    set_champion(paths, version, by="first")
    return version


def test_batch_without_champion_waits_in_the_inbox(
    project: Path, prefect_server: Server, score_deployments: list[str]
) -> None:
    inbox = project / "var/inbox/penguins"
    inbox.mkdir(parents=True)
    (inbox / "a.csv").write_text("a\n1\n")
    log = scan(project, prefect_server)
    assert log.count("a.csv: stays in the inbox: penguins has no champion yet") == 1
    runs = query(prefect_server, "flow_runs")
    assert not any(run["deployment_id"] in score_deployments for run in runs)
    assert [path.name for path in items(inbox)] == ["a.csv"]
    assert not list((inbox / REFUSED).iterdir())


@pytest.mark.usefixtures("champion")
def test_item_that_cannot_be_scored_does_not_keep_the_others(
    project: Path, prefect_server: Server, score_deployments: list[str], cli: Cli
) -> None:
    inbox = project / "var/inbox/penguins"
    inbox.mkdir(parents=True)
    # The inbox of another recipe cannot be a folder.
    (project / "var/inbox/barred").write_text("in the way")
    bad_name = not_utf8(inbox)
    (inbox / "b.csv").symlink_to(CANNOT_BE_READ)
    (inbox / "c.csv").symlink_to(inbox / "nowhere")
    os.mkfifo(inbox / "d.csv")
    (inbox / ("e" * 240 + ".csv")).write_text("a\n1\n")
    (inbox / "folder").mkdir()
    (inbox / "folder/part-0.csv").write_text("a\n1\n")
    (inbox / "empty").mkdir()
    (inbox / "z.csv").write_text("a\n1\n")
    log = scan(project, prefect_server)
    runs = query(prefect_server, "flow_runs")
    submitted = set()
    for run in runs:
        if run["deployment_id"] in score_deployments:
            submitted.add(Path(run["parameters"]["files"][0]).name)
    assert submitted == {"e" * 240 + ".csv", "folder", "z.csv"}
    reasons = {item.path.name: item.reason for item in refused_items(inbox)}
    assert reasons.keys() == {bad_name.name, "b.csv", "c.csv", "d.csv"}
    assert "is not UTF-8: rename it" in reasons[bad_name.name]
    assert "it cannot be read: Input/output error" in reasons["b.csv"]
    assert "it is neither a file nor a folder" in reasons["d.csv"]
    assert log.count("the inbox of barred cannot be read") == 1
    assert [path.name for path in items(inbox)] == ["e" * 240 + ".csv", "empty", "folder", "z.csv"]

    status = Status.model_validate_json(cli("status", "--json").stdout)
    [shown] = [entry for entry in status.inboxes if entry.recipe == "penguins"]
    assert (shown.waiting, shown.refused) == (4, 4)
    assert shown.problem
    assert "4 refused" in cli("status").stdout
    report = DoctorReport.model_validate_json(cli("doctor", "--json").stdout)
    messages = [issue.message for issue in report.issues if issue.check == "inbox"]
    assert len(messages) == 4
    assert any("\\udce9.csv was refused: its name" in message for message in messages)


@pytest.fixture
def inbox_and_log(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[], None], list[str]]:
    """The scan of an inbox of penguins, and the lines that it logs."""
    from creche.operations import inbox

    # Two scans submit an item, and the deployment is none of a server.
    monkeypatch.setattr(
        inbox.Inbox, "_read_deployments", lambda self: self._deployments.update(penguins=uuid4())
    )
    lines: list[str] = []
    box = inbox.Inbox(ProjectPaths.find(project), lambda source, line: lines.append(line))
    (project / "var/inbox/penguins").mkdir(parents=True)
    return box.scan, lines


def test_item_that_its_run_moves_during_a_scan_is_no_problem(
    project: Path,
    inbox_and_log: tuple[Callable[[], None], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from creche.operations import inbox

    scan_once, lines = inbox_and_log
    item = project / "var/inbox/penguins/a.csv"

    def digest_and_move(path: Path) -> str:
        sha256 = digest(path)
        move(path, DONE)
        return sha256

    monkeypatch.setattr(inbox, "digest", digest_and_move)
    item.write_text("a\n1\n")
    for _ in range(3):
        scan_once()
    assert not item.exists()
    assert lines == []


def test_problem_of_an_item_that_comes_back_is_logged_again(
    project: Path, inbox_and_log: tuple[Callable[[], None], list[str]]
) -> None:
    scan_once, lines = inbox_and_log
    item = project / "var/inbox/penguins/a.csv"
    for expected in (1, 2):
        item.write_text("a\n1\n")
        for _ in range(3):
            scan_once()
        assert len(lines) == expected
        item.unlink()
        scan_once()


def test_doctor_names_items_that_wait_for_ever(project: Path, cli: Cli) -> None:
    """Whether the services run or not."""
    inbox = project / "var/inbox/penguins"
    inbox.mkdir(parents=True)
    (inbox / "b.csv").symlink_to(CANNOT_BE_READ)
    (project / "var/inbox/pengiuns").mkdir()
    (project / "var/inbox/pengiuns/a.csv").write_text("a\n1\n")
    output = cli("doctor").stdout
    assert "b.csv: it cannot be read: Input/output error" in output
    assert "there is no recipe pengiuns" in output
    assert "1 waiting, 0 refused  b.csv: it cannot be read" in cli("status").stdout


def test_item_refused_long_ago_is_no_issue(project: Path, cli: Cli) -> None:
    inbox = project / "var/inbox/penguins"
    (inbox / REFUSED).mkdir(parents=True)
    (inbox / "b.csv").write_text("a\n1\n")
    refused = move(inbox / "b.csv", REFUSED, "it broke the contract")
    result = cli("doctor")
    assert "was refused: it broke the contract" in result.stdout
    assert f"mv {refused} {inbox}" in result.stdout
    os.utime(reason_path(refused), (0, 0))
    assert cli("doctor").returncode == 0


def test_digest_and_stamp_of_a_folder_follow_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    assert stamp(folder) is None
    (folder / "a.csv").write_text("a\n1\n")
    states = [(stamp(folder), digest(folder))]
    (folder / "a.csv").write_text("a\n22\n")
    states.append((stamp(folder), digest(folder)))
    (folder / "a.csv").rename(folder / "b.csv")
    states.append((stamp(folder), digest(folder)))
    assert len(set(states)) == len({sha256 for _, sha256 in states}) == 3
    # A file that is being copied has a hidden name.
    (folder / ".c.csv.part").write_text("")
    assert stamp(folder) != states[-1][0]
    assert digest(folder) == states[-1][1]


def test_item_is_moved_under_a_name_that_is_free_and_not_too_long(tmp_path: Path) -> None:
    (tmp_path / REFUSED).mkdir()
    for name in ("a.csv", "b" * 250 + ".c"):
        for number in range(3):
            (tmp_path / name).write_text(str(number))
            target = move(tmp_path / name, REFUSED, f"reason {number}")
            assert target.read_text() == str(number)
            assert reason_path(target).read_text() == f"reason {number}\n"
    assert len(refused_items(tmp_path)) == 6
    assert len(output_name(tmp_path / ("ü" * 120 + ".csv"), "0" * 12).encode()) <= NAME_BYTES + 13


def test_problem_of_an_item_is_stated(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert problem(tmp_path / "a.csv") is None
    assert problem(tmp_path / "gone.csv") is None
    assert problem(not_utf8(tmp_path)) is not None
    folder = tmp_path / "folder"
    folder.mkdir()
    not_utf8(folder)
    with pytest.raises(ItemError, match="is not UTF-8"):
        digest(folder)


def test_fix_that_fails_does_not_keep_the_others() -> None:
    fixed = []

    def fail() -> None:
        raise RuntimeError("cannot")

    issues = [Issue("runs", "a", "", fail), Issue("runs", "b", "", lambda: fixed.append("b"))]
    log = []
    with pytest.raises(RuntimeError, match="cannot"):
        fix_and_log(issues, lambda source, line: log.append(line))
    assert (fixed, log) == (["b"], ["b"])
