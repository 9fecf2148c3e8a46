"""`creche status` without services, and the settings and the log of the services."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.projects import Cli

from creche.cli.service_reports import MESSAGE_LENGTH, status_lines
from creche.errors import UsageError
from creche.operations.service_log import ServiceLog
from creche.operations.service_settings import load_settings
from creche.project import ProjectPaths
from creche.records import FlowRunStatus, Status


def test_status_without_services_does_not_import_prefect(project: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "creche.cli", "status"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stdout.startswith(f"DOWN  {project}/var")
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "creche.operations.status" in imported
    assert not imported & {"prefect", "mlflow", "torch", "pandas"}


def test_status_without_services_has_no_pools(cli: Cli) -> None:
    result = cli("status", "--json")
    assert result.returncode == 1
    assert '"up": false' in result.stdout
    assert '"pools": []' in result.stdout


def test_long_message_of_a_run_is_cut_with_an_ellipsis() -> None:
    long = FlowRunStatus(
        id="1", name="bird", state="Failed", time="12:00", message="word " * 40, pool=None
    )
    short = long.model_copy(update={"message": "a\nb"})
    report = Status(
        home="var",
        up=True,
        ready=True,
        healthy=True,
        servers=[],
        finished=[long, short],
        champions=[],
    )
    first, second = [line for line in status_lines(report) if "finished" in line]
    assert first.endswith("word…")
    assert len(first.partition("Failed  ")[2]) <= MESSAGE_LENGTH
    assert second.endswith("Failed  a b")


def write_settings(project: Path, text: str) -> ProjectPaths:
    (project / "deploy").mkdir(exist_ok=True)
    (project / "deploy/prefect.yaml").write_text(text)
    return ProjectPaths.find(project)


def test_settings_have_defaults(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRECHE_WEBHOOK", raising=False)
    settings = load_settings(write_settings(project, "creche: {keep_days: 30}\n"))
    assert settings.pools == {"cpu": 2, "gpu": 1}
    assert settings.keep_days == 30
    assert settings.webhook == ""
    monkeypatch.setenv("CRECHE_WEBHOOK", "http://localhost")
    assert load_settings(ProjectPaths.find(project)).webhook == "http://localhost"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("creche: {keep: 3}", "creche.keep is not one of pools, keep_days, webhook"),
        ("creche: {keep_days: 0}", "creche.keep_days is a number of days, 1 or more"),
        ("creche: {keep_days: many}", "creche.keep_days is a number of days, 1 or more"),
        (
            "creche: {pools: {}}",
            "creche.pools maps each pool to the number of its concurrent runs, 1 or more, "
            "as {cpu: 2}",
        ),
        (
            "creche: {pools: {cpu: 0, gpu: x}, webhook: 3}",
            "creche.pools maps each pool to the number of its concurrent runs, 1 or more, "
            "as {cpu: 2}; creche.webhook is a URL, or empty",
        ),
        ("creche: [cpu]", "creche is a mapping of pools, keep_days, webhook"),
    ],
)
def test_each_wrong_setting_gets_one_sentence(project: Path, text: str, sentences: str) -> None:
    paths = write_settings(project, text)
    with pytest.raises(UsageError) as error:
        load_settings(paths)
    assert str(error.value) == f"{project}/deploy/prefect.yaml: {sentences}"


def test_project_without_settings_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_settings(ProjectPaths.find(project))


def test_log_starts_a_new_file_when_it_is_full(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path / "log", max_bytes=100)
    for number in range(6):
        log("creche", f"line {number}, long enough to fill the file")
    log.close()
    current = (tmp_path / "log").read_text(encoding="utf-8")
    previous = (tmp_path / "log.before").read_text(encoding="utf-8")
    assert "line 5" in current
    assert "line 3" in previous
    assert "line 0" not in current + previous
