"""The Prefect pages as an operator sees them: real runs on a real server, in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from support.prefect_api import MLFLOW_URL, PromotedRun, Server, artifacts_of_run, query
from support.processes import wait_until
from support.projects import edit, new_project, run_cli

from creche.pipeline import STEPS

CHROMIUM = Path("/usr/bin/chromium")
DRIVER = Path("/usr/bin/chromedriver")
BROWSER_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1400,1600",
)
STATES = {"Promoted", "Unchanged", "Rejected", "Quarantined", "Crashed", "Failed"}
MIN_PLOT_WIDTH = 500  # pixels
PAGE_SECONDS = 20  # in which a page shows its content

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.is_file() and DRIVER.is_file()),
    reason="there is no Debian chromium with its driver",
)


@dataclass
class Browser:
    """A browser on the pages of a Prefect server."""

    driver: webdriver.Chrome
    server: Server
    screenshots: Path  # of every page that was read, for a person

    @property
    def base_url(self) -> str:
        return self.server["PREFECT_API_URL"].removesuffix("/api")

    def open_run(self, flow_run: str, *expected: str) -> str:
        """Open the page of a flow run and return its text."""
        return self.open(f"/runs/flow-run/{flow_run}", *expected)

    def open_artifact(self, flow_run: str, kind: str, *expected: str) -> str:
        """Open the page of a run's artifact whose key begins with `kind`; return its text."""
        artifacts = artifacts_of_run(self.server, flow_run)
        artifact = next(a for a in artifacts if a["key"].startswith(kind))
        return self.open(f"/artifacts/artifact/{artifact['id']}", *expected)

    def open(self, path: str, *expected: str) -> str:
        """Return the visible text of a page, once it holds every expected text."""
        self.driver.get(self.base_url + path)
        return self.read(*expected)

    def open_tab(self, tab: str, *expected: str) -> str:
        """Open a tab of the page and return the page's text."""
        self.driver.find_element(By.ID, tab).click()
        return self.read(*expected)

    def read(self, *expected: str) -> str:
        """Return the page's text, once it holds every expected text; fail where it never does."""
        body = self.driver.find_element(By.TAG_NAME, "body")
        deadline = time.monotonic() + PAGE_SECONDS
        missing = [*expected]
        while missing and time.monotonic() < deadline:
            missing = [text for text in expected if text not in body.text]
            time.sleep(0.1)
        number = len(list(self.screenshots.iterdir()))
        self.driver.save_screenshot(str(self.screenshots / f"{number:02}.png"))
        assert not missing, body.text
        return str(body.text)

    def link(self, text: str) -> str:
        return str(self.driver.find_element(By.LINK_TEXT, text).get_attribute("href"))

    def plot_widths(self) -> list[int]:
        """Return the widths in pixels of the page's plots, as the browser decoded them."""
        script = (
            "return [...document.images].filter(i => i.src.startsWith('data:image/png'))"
            ".map(i => i.naturalWidth)"
        )
        WebDriverWait(self.driver, PAGE_SECONDS).until(lambda d: all(d.execute_script(script)))
        return list(self.driver.execute_script(script))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in BROWSER_OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})  # type: ignore[no-untyped-call]
    driver = webdriver.Chrome(options, Service(str(DRIVER)))
    try:
        yield Browser(driver, prefect_server, tmp_path_factory.mktemp("screenshots"))
    finally:
        driver.quit()


def test_promoted_run_shows_its_steps_in_order_and_its_artifacts(
    browser: Browser, promoted_run: PromotedRun
) -> None:
    title = "penguins · data 416d54ad · manual"
    browser.open_run(promoted_run.flow_run, title, "All checks passed")
    tasks = browser.open_tab("task-runs", *STEPS)
    # The latest is on top.
    assert [line for line in tasks.splitlines() if line in STEPS] == list(reversed(STEPS))
    kinds = ("retrain", "gate", "accuracy", "training", "validation")
    browser.open_tab("artifacts", *(f"{kind}-penguins" for kind in kinds))


def test_page_of_a_run_has_verdict_reason_metrics_plots_and_links(
    browser: Browser, promoted_run: PromotedRun
) -> None:
    page = browser.open_artifact(promoted_run.flow_run, "retrain", "Promoted", "How to load it")
    for fact in (
        "All checks passed, and there is no champion yet",
        "PROMOTE (",
        "version 416d54adb83e",
        "recall",
        "card.html",
    ):
        assert fact in page, fact
    widths = browser.plot_widths()
    assert len(widths) == 2
    assert min(widths) > MIN_PLOT_WIDTH
    run_in_mlflow = rf"{MLFLOW_URL}/#/experiments/\d+/runs/[0-9a-f]{{32}}"
    assert re.fullmatch(run_in_mlflow, browser.link("metrics in MLflow"))
    gate = browser.link("the gate, check by check")
    newest_edition = browser.link("its newest edition")
    browser.driver.get(gate)
    checks = browser.read("PROMOTE: All checks passed", "recall of Adelie", "golden row mismatches")
    assert "FAILED" not in checks
    browser.driver.get(newest_edition)
    browser.read("verdicts so far: ", "Created accuracy-penguins")


def test_pages_request_nothing_but_the_server(browser: Browser) -> None:
    browser.open("/dashboard", "Flow Runs")
    browser.open("/flows", "retrain")
    browser.open("/artifacts", "retrain-penguins")
    browser.open("/runs", "Promoted")
    entries = browser.driver.get_log("performance")  # type: ignore[no-untyped-call]
    urls = []
    for entry in entries:
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            urls.append(event["params"]["request"]["url"])
    assert len(urls) > 100
    allowed = ("data:", "blob:", browser.base_url)
    assert [url for url in urls if not url.startswith(allowed)] == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> dict[str, str]:
    """A flow run in each final state, of two recipes at the same time; by state."""
    started = time.strftime("%FT%TZ", time.gmtime())
    with ThreadPoolExecutor() as threads:
        futures = []
        for retrain in (_retrain_adults, _retrain_chicks):
            project = new_project(tmp_path_factory.mktemp("ui") / "project")
            futures.append(threads.submit(retrain, project, prefect_server))
        for future in futures:
            future.result()
    recent = {"start_time": {"after_": started}, "tags": {"any_": ["adults", "chicks"]}}
    flow_runs = query(prefect_server, "flow_runs", flow_runs=recent)
    return {run["state_name"]: run["id"] for run in flow_runs}


def _retrain_adults(project: Path, server: Server) -> None:
    recipe = _copy_recipe(project, "adults")
    edit(recipe, "epochs: 150", "epochs: 40")
    _retrain("PROMOTED", project, "adults", server)
    _retrain("UNCHANGED", project, "adults", server)
    edit(recipe, "epochs: 40", "epochs: 1")
    edit(recipe, "learning_rate: 0.01", "learning_rate: 1.0e-6")
    _retrain("REJECTED", project, "adults", server)


def _retrain_chicks(project: Path, server: Server) -> None:
    recipe = _copy_recipe(project, "chicks")
    original = edit(recipe, "min: 2000", "min: 4000")
    _retrain("QUARANTINED", project, "chicks", server)
    recipe.write_text(original)
    edit(recipe, "epochs: 150", "epochs: 10000")
    _interrupt(project, "chicks", server)
    recipe.write_text(original)
    data = project / "data" / "penguins.csv"
    data.chmod(0o644)
    row = "PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,14.3,215,4850,\n"
    data.write_text(data.read_text() + row)
    _retrain("FAILED", project, "chicks", server)


def _copy_recipe(project: Path, name: str) -> Path:
    path = project / "recipes" / f"{name}.yaml"
    path.write_text((project / "recipes" / "penguins.yaml").read_text())
    return path


def _retrain(state: str, project: Path, recipe: str, server: Server) -> None:
    result = run_cli(project, "retrain", recipe, **server, CRECHE_MLFLOW_URL=MLFLOW_URL)
    assert result.stdout.startswith(state), result.stdout + result.stderr


def _interrupt(project: Path, recipe: str, server: Server) -> None:
    """Send SIGINT, once the server has the training's progress."""
    command = [sys.executable, "-m", "creche.cli", "retrain", recipe]
    by_key = {"key": {"any_": [f"training-{recipe}"]}}
    with subprocess.Popen(
        command, cwd=project, env={**os.environ, **server}, stderr=subprocess.DEVNULL
    ) as run:
        try:
            wait_until(
                lambda: any(a["data"] >= 1 for a in query(server, "artifacts", artifacts=by_key)),
                120,
                "the training reports progress",
            )
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 130
        finally:
            run.kill()


@pytest.mark.slow
def test_list_of_runs_shows_recipe_data_trigger_time_and_state(
    browser: Browser, runs: dict[str, str]
) -> None:
    page = browser.open("/runs", *STATES)
    assert set(runs) == STATES
    time_pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n"
    for name, state in (
        ("adults · data 416d54ad", "Promoted"),
        ("adults · data 416d54ad", "Unchanged"),
        ("adults · data 416d54ad", "Rejected"),
        ("chicks · data 416d54ad", "Quarantined"),
        ("chicks · data 416d54ad", "Crashed"),
        ("chicks · data unknown", "Failed"),
    ):
        row = rf"{name} · manual · {time_pattern}(data \w+\n)?\w+\n(data \w+\n)?{state}\n"
        assert re.search(row, page), (name, state)


@pytest.mark.slow
def test_rejected_run_states_its_reason_and_every_check(
    browser: Browser, runs: dict[str, str]
) -> None:
    run = runs["Rejected"]
    browser.open_run(run, "Rejected", "below its threshold")
    page = browser.open_artifact(run, "retrain", "Rejected", "How to load it")
    assert "FAILED" in page
    page = browser.open_artifact(
        run, "gate", "REJECT: Accuracy", "comparison with the champion: p worse"
    )
    assert page.index("FAILED") < page.index("\npassed\n", page.index("FAILED"))


@pytest.mark.slow
def test_accuracy_over_time_is_one_page(browser: Browser, runs: dict[str, str]) -> None:
    run = runs["Rejected"]
    page = browser.open_artifact(
        run, "accuracy", "Accuracy of adults", "PROMOTE", "verdicts so far: 2"
    )
    (width,) = browser.plot_widths()
    assert width > MIN_PLOT_WIDTH
    accuracy = re.search(r"REJECT: accuracy (0\.\d{4} \(.*?\))", page)
    assert accuracy
    # In the verdict itself, and in the row that MLflow has of it.
    assert page.count(accuracy[1]) == 2


@pytest.mark.slow
def test_quarantined_run_states_its_reasons(browser: Browser, runs: dict[str, str]) -> None:
    run = runs["Quarantined"]
    browser.open_run(run, "Quarantined", "165 × body_mass_g: below 4000 g")
    browser.open_artifact(
        run,
        "validation",
        "167 of 344 rows quarantined (48.5%)",
        "body_mass_g: below 4000 g",
        "accepted",
    )


@pytest.mark.slow
def test_failed_and_unchanged_runs_state_their_reasons(
    browser: Browser, runs: dict[str, str]
) -> None:
    message = "data/ holds changes that DVC does not know"
    browser.open_run(runs["Failed"], "Failed", message)
    browser.open_artifact(runs["Failed"], "retrain", "Failed", message)
    browser.open_artifact(runs["Unchanged"], "retrain", "Unchanged", "nothing to train")


@pytest.mark.slow
def test_crashed_run_shows_how_far_the_training_was(browser: Browser, runs: dict[str, str]) -> None:
    run = runs["Crashed"]
    browser.open_run(run, "Crashed", "Execution was aborted by an interrupt signal")
    page = browser.open_artifact(run, "training", "Progress: ")
    percent = float(page.partition("Progress: ")[2].partition("%")[0])
    assert 1 <= percent < 100
