"""The Prefect pages as an operator sees them: real runs on a real server, looked at in a real
browser.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from support.projects import new_project, run_cli

from creche.pipeline import STEPS

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
MLFLOW = "http://127.0.0.1:5000"  # linked to, never opened
STATES = {"Promoted", "Unchanged", "Rejected", "Quarantined", "Crashed", "Failed"}
WIDE = 500  # pixels that a plot has at least

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.is_file() and DRIVER.is_file()),
    reason="there is no Debian chromium with its driver here",
)

Server = dict[str, str]


def asked(server: Server, what: str, **wanted: Any) -> Any:
    """What the server's API has of runs or artifacts."""
    url = f"{server['PREFECT_API_URL']}/{what}/filter"
    with urllib.request.urlopen(
        urllib.request.Request(
            url, json.dumps(wanted).encode(), {"Content-Type": "application/json"}
        )
    ) as answer:
        return json.load(answer)


@dataclass
class Ui:
    """The browser, on the pages of the server."""

    driver: webdriver.Chrome
    server: Server
    runs: dict[str, str]  # final state → flow run
    shots: Path  # pictures of all that was looked at, for a person

    def run(self, state: str, *awaited: str) -> str:
        return self.open(f"/runs/flow-run/{self.runs[state]}", state, *awaited)

    def artifact(self, kind: str, state: str, *awaited: str) -> str:
        found = asked(
            self.server, "artifacts", artifacts={"flow_run_id": {"any_": [self.runs[state]]}}
        )
        return self.open(
            f"/artifacts/artifact/{next(a['id'] for a in found if a['key'].startswith(kind))}",
            *awaited,
        )

    def open(self, path: str, *awaited: str) -> str:
        """The visible text of a page, once it holds all that is awaited."""
        self.driver.get(self.server["PREFECT_API_URL"].removesuffix("/api") + path)
        return self.read(*awaited)

    def press(self, tab: str, *awaited: str) -> str:
        self.driver.find_element(By.ID, tab).click()
        return self.read(*awaited)

    def read(self, *awaited: str) -> str:
        body = self.driver.find_element(By.TAG_NAME, "body")
        until = time.monotonic() + 20
        while (missing := [a for a in awaited if a not in body.text]) and time.monotonic() < until:
            time.sleep(0.1)
        self.driver.save_screenshot(str(self.shots / f"{len(list(self.shots.iterdir())):02}.png"))
        assert not missing, body.text
        return str(body.text)

    def link(self, text: str) -> str:
        return str(self.driver.find_element(By.LINK_TEXT, text).get_attribute("href"))

    def pictures(self) -> list[int]:
        """Widths in pixels of the page's plots, as the browser decoded them."""
        script = "return [...document.images].filter(i => i.src.startsWith('data:image/png')).map(i => i.naturalWidth)"
        WebDriverWait(self.driver, 20).until(lambda d: all(d.execute_script(script)))
        return list(self.driver.execute_script(script))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prefect_server: Server) -> dict[str, str]:
    """A run in each final state, of two recipes at the same time; state → flow run."""
    started = time.strftime("%FT%TZ", time.gmtime())
    with ThreadPoolExecutor() as both:
        for done in [
            both.submit(
                raise_, new_project(tmp_path_factory.mktemp("ui") / "project"), prefect_server
            )
            for raise_ in (_adults, _chicks)
        ]:
            done.result()
    recent = {"start_time": {"after_": started}, "tags": {"any_": ["adults", "chicks"]}}
    return {r["state_name"]: r["id"] for r in asked(prefect_server, "flow_runs", flow_runs=recent)}


def _adults(project: Path, server: Server) -> None:
    recipe = (project / "recipes/penguins.yaml").read_text().replace("epochs: 150", "epochs: 40")
    _retrain("PROMOTED", project, "adults", recipe, server)
    _retrain("UNCHANGED", project, "adults", recipe, server)
    crippled = recipe.replace("epochs: 40", "epochs: 1").replace(
        "learning_rate: 0.01", "learning_rate: 1.0e-6"
    )
    _retrain("REJECTED", project, "adults", crippled, server)


def _chicks(project: Path, server: Server) -> None:
    recipe = (project / "recipes/penguins.yaml").read_text()
    _retrain("QUARANTINED", project, "chicks", recipe.replace("min: 2000", "min: 4000"), server)
    _interrupt(project, "chicks", recipe.replace("epochs: 150", "epochs: 10000"), server)
    data = project / "data/penguins.csv"
    data.chmod(0o644)
    data.write_text(
        data.read_text() + "PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,14.3,215,4850,\n"
    )
    _retrain("FAILED", project, "chicks", recipe, server)


def _retrain(said: str, project: Path, name: str, recipe: str, server: Server) -> None:
    (project / f"recipes/{name}.yaml").write_text(recipe)
    done = run_cli(project, "retrain", name, **server, CRECHE_MLFLOW_URL=MLFLOW)
    assert done.stdout.startswith(said), done.stdout + done.stderr


def _interrupt(project: Path, name: str, recipe: str, server: Server) -> None:
    """Ctrl-C, once the server has been told that the training is under way."""
    (project / f"recipes/{name}.yaml").write_text(recipe)
    command = [sys.executable, "-m", "creche.cli", "retrain", name]
    with subprocess.Popen(
        command, cwd=project, env={**os.environ, **server}, stderr=subprocess.DEVNULL
    ) as run:
        while not any(
            a["data"] >= 1
            for a in asked(server, "artifacts", artifacts={"key": {"any_": [f"training-{name}"]}})
        ):
            assert run.poll() is None
            time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130


@pytest.fixture(scope="module")
def ui(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: Server, runs: dict[str, str]
) -> Iterator[Ui]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1400,1600",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})  # type: ignore[no-untyped-call]
    driver = webdriver.Chrome(options, Service(str(DRIVER)))
    try:
        yield Ui(driver, prefect_server, runs, tmp_path_factory.mktemp("shots"))
    finally:
        driver.quit()


def test_list_of_runs_tells_recipe_data_trigger_time_and_state(ui: Ui) -> None:
    listed = ui.open("/runs", *STATES)
    assert set(ui.runs) == STATES
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n"
    for name, state in (
        ("adults · data 416d54ad", "Promoted"), ("adults · data 416d54ad", "Unchanged"), ("adults · data 416d54ad", "Rejected"),
        ("chicks · data 416d54ad", "Quarantined"), ("chicks · data 416d54ad", "Crashed"), ("chicks · data unknown", "Failed"),
    ):  # fmt: skip
        assert re.search(
            rf"{name} · manual · {when}(data \w+\n)?\w+\n(data \w+\n)?{state}\n", listed
        ), (name, state)


def test_promoted_run_shows_its_steps_in_order_and_what_it_made(ui: Ui) -> None:
    ui.run("Promoted", "adults · data 416d54ad · manual", "All checks passed")
    tasks = ui.press("task-runs", *STEPS)
    assert [line for line in tasks.splitlines() if line in STEPS] == list(
        reversed(STEPS)
    )  # the latest on top
    ui.press(
        "artifacts",
        "retrain-adults",
        "gate-adults",
        "accuracy-adults",
        "training-adults",
        "validation-adults",
    )


def test_page_of_a_run_has_verdict_reason_figures_plots_and_links(ui: Ui) -> None:
    page = ui.artifact("retrain", "Promoted", "Promoted", "How to load it")
    for fact in (
        "All checks passed, and there is no champion yet",
        "PROMOTE (",
        "version 416d54adb83e",
        "recall",
        "card.html",
    ):
        assert fact in page, fact
    assert len(ui.pictures()) == 2
    assert min(ui.pictures()) > WIDE
    assert re.fullmatch(
        rf"{MLFLOW}/#/experiments/\d+/runs/[0-9a-f]{{32}}", ui.link("metrics in MLflow")
    )
    gate, newest = ui.link("the gate, check by check"), ui.link("its newest edition")
    ui.driver.get(gate)
    assert "FAILED" not in ui.read(
        "PROMOTE: All checks passed", "recall of Adelie", "golden row mismatches"
    )
    ui.driver.get(newest)
    ui.read("verdicts so far: 2", "Created accuracy-adults")


def test_rejected_run_says_why_in_a_sentence_and_check_by_check(ui: Ui) -> None:
    ui.run("Rejected", "below its threshold")
    assert "FAILED" in ui.artifact("retrain", "Rejected", "Rejected", "How to load it")
    page = ui.artifact(
        "gate", "Rejected", "REJECT: Accuracy", "comparison with the champion: p worse"
    )
    assert page.index("FAILED") < page.index("\npassed\n", page.index("FAILED"))


def test_accuracy_over_time_is_one_page(ui: Ui) -> None:
    page = ui.artifact("accuracy", "Rejected", "Accuracy of adults", "PROMOTE")
    assert len(ui.pictures()) == 1
    assert ui.pictures()[0] > WIDE
    told = re.search(r"REJECT: accuracy (0\.\d{4} \(.*?\))", page)
    assert told
    assert (
        page.count(told[1]) == 2
    )  # in the verdict's own words, and in the row that MLflow has of it


def test_quarantined_run_names_its_reasons(ui: Ui) -> None:
    ui.run("Quarantined", "165 × body_mass_g: below 4000 g")
    ui.artifact(
        "validation",
        "Quarantined",
        "167 of 344 rows quarantined (48.5%)",
        "body_mass_g: below 4000 g",
        "accepted",
    )


def test_failed_and_unchanged_runs_say_why(ui: Ui) -> None:
    ui.run("Failed", "data/ holds changes that DVC does not know")
    ui.artifact("retrain", "Failed", "Failed", "data/ holds changes that DVC does not know")
    ui.artifact("retrain", "Unchanged", "Unchanged", "nothing to train")


def test_crashed_run_shows_how_far_the_training_was(ui: Ui) -> None:
    ui.run("Crashed", "Execution was aborted by an interrupt signal")
    page = ui.artifact("training", "Crashed", "Progress: ")
    assert 1 <= float(page.partition("Progress: ")[2].partition("%")[0]) < 100


def test_pages_ask_nobody_but_the_server(ui: Ui) -> None:
    ui.open("/dashboard", "Flow Runs")
    seen = [json.loads(entry["message"])["message"] for entry in ui.driver.get_log("performance")]  # type: ignore[no-untyped-call]
    urls = [
        event["params"]["request"]["url"]
        for event in seen
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(urls) > 100
    assert {
        u
        for u in urls
        if not u.startswith(("data:", "blob:", ui.server["PREFECT_API_URL"].removesuffix("api")))
    } == set()
