"""The paths of a project and of one run, and atomic writes."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from creche import settings
from creche.errors import CrecheError, DataError

if TYPE_CHECKING:
    from creche.records import Record

AnyRecord = TypeVar("AnyRecord", bound="Record")

# The files of a run, by the step that writes them.
MAX_RECIPE_NAME = 100  # bytes
RECIPE_NAME_FORM = f"letters, digits, spaces and . _ + -, of {MAX_RECIPE_NAME} bytes at most"
SOURCE = "source.json"  # pull: path, version and bytes of the data
ACCEPTED = "accepted.parquet"  # validate: rows that keep the contract, under canonical names
QUARANTINE = "quarantine.parquet"  # validate, score: rows as they were read, with reasons
VALIDATION = "validation.json"  # validate: the counts
VALIDATION_REPORT = "validation.html"  # validate: the counts and quarantined rows as a page
SPLIT = "split.parquet"  # preprocess: accepted rows with their split and group hash
PREPROCESSOR = "preprocessor.json"  # preprocess: the encoders, fitted on the training split
WEIGHTS = "weights.safetensors"  # train
HISTORY = "history.json"  # train: one record an epoch
CURVES = "curves.png"  # train
OUT_OF_FOLD = "out-of-fold.parquet"  # train, by cross-validation: each row's prediction
REMOTE_TRAINING_RESULT = "training.json"  # the train flow: its result
MODEL = "model.onnx"  # export: the model file
REFERENCE = "reference.parquet"  # export: torch's own probabilities on the holdout
EVALUATION = "evaluation.json"  # evaluate: the metrics of the model file
HOLDOUT_PREDICTIONS = "holdout.csv"  # evaluate: every holdout row with its prediction
EVALUATION_PLOT = "evaluation.png"  # evaluate: confusion and calibration
MISTAKES = "mistakes.png"  # evaluate: the wrong predictions of images with the most confidence
VERDICT = "verdict.json"  # gate
PROMOTION = "promotion.json"  # promote
CARD = "card.html"  # the run: the model card
RUN = "run.json"  # the run: the records of all steps in one, with its final state
# The files of a scoring.
PREDICTIONS = "predictions"  # without its suffix, which is the format
PREDICTION_FORMATS = ("parquet", "csv", "jsonl")
SCORING_REPORT = "report.html"  # the manifest as a page
MANIFEST = "manifest.json"  # written last: where it is present, the scoring is complete
# Folders under the home.
CHECKPOINTS = "checkpoints"  # a file for each training that has not ended
TMP = "tmp"  # temporary files

# What pruning leaves, unless other numbers are stated.
KEEP_VERSIONS = 20  # the latest versions of each recipe
STALE_DAYS = 90  # age from which files of runs and checkpoints that nothing refers to are deleted


@dataclass(frozen=True)
class ProjectPaths:
    """The project folder, and the home folder, which holds the results of all runs."""

    root: Path
    home: Path

    @staticmethod
    def find(start: Path | None = None) -> "ProjectPaths":
        """Return the paths of the project around a folder.

        The project is the nearest folder upwards that holds `recipes/`, or `start` itself where
        there is none. Its home is `var/`, unless `CRECHE_HOME` names another.

        Args:
            start: by default the working directory.
        """
        folder = (start or Path.cwd()).resolve()
        root = folder
        for candidate in (folder, *folder.parents):
            if (candidate / "recipes").is_dir():
                root = candidate
                break
        home = settings.home() or _default_home(root)
        return ProjectPaths(root, home)

    def create_home(self) -> None:
        """Create the home folder; a new one, and `var/`, have a `.gitignore` of all that they hold.

        Raises:
            CrecheError: it cannot be created.
        """
        ignored = self.home / ".gitignore"
        is_own = not self.home.exists() or self.home == _default_home(self.root)
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            if is_own and not ignored.exists():
                ignored.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise CrecheError(
                f"{self.home} cannot be created: {error.strerror}; set CRECHE_HOME to another "
                "folder"
            ) from None

    @staticmethod
    def new_run_id(recipe: str) -> str:
        """Return a unique id for a production run; ids sort by time (UTC)."""
        return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe}-{uuid.uuid4().hex[:6]}"

    def at(self, folder: Path) -> "RunPaths":
        """Return the paths of a run whose files are in `folder`."""
        return RunPaths(self.root, self.home, folder)

    def run(self, run_id: str) -> "RunPaths":
        """Return the paths of one production run."""
        return self.at(self.home / "runs" / run_id)

    def experiment(self, name: str) -> "RunPaths":
        """Return the paths of the DVC stages; dvc.yaml fixes them, whatever `CRECHE_HOME` is."""
        return self.at(self.root / "experiments" / name)


@dataclass(frozen=True)
class RunPaths(ProjectPaths):
    """The paths of a project, with the folder of one run."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def _default_home(root: Path) -> Path:
    return (root / "var").absolute()


def recipe_names(root: Path) -> list[str]:
    """Return the names of a project's recipes, sorted."""
    return sorted(path.stem for path in (root / "recipes").glob("*.yaml"))


def is_recipe_name(name: str) -> bool:
    """Whether a name has the form of `RECIPE_NAME_FORM`, and a letter or digit among them."""
    is_short = len(name.encode()) <= MAX_RECIPE_NAME
    return is_short and re.fullmatch(r"[\w .+-]*\w[\w .+-]*", name) is not None


def recipe_name(reference: str) -> str:
    """Return the name of a recipe that is named by a path or by its name."""
    return Path(reference).name.removesuffix(".yaml").removesuffix(".yml")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` at the end of the block.

    Where the block raises, the temporary file is deleted, and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        # The content has to be on the disk before the name is.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a value that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_record(path: Path, record: "Record") -> None:
    """Write a record as JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(path: Path, record_type: "type[AnyRecord]") -> "AnyRecord":
    """Read a record that `write_record` wrote.

    Raises:
        DataError: the file is not such a record, for instance one of another version of creche.
    """
    from pydantic import ValidationError

    try:
        return record_type.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path} is not a {record_type.__name__} record ({key}: {first['msg']}): run the step "
            "again"
        ) from None
