"""Where everything lies: the project, what its runs leave, and the files of one run."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from creche import settings
from creche.errors import DataError

if TYPE_CHECKING:
    from creche.records import Record

AnyRecord = TypeVar("AnyRecord", bound="Record")

SOURCE = "source.json"  # pull: which file, which bytes
ACCEPTED = "accepted.parquet"  # validate: rows that keep the contract, under canonical names
QUARANTINE = "quarantine.parquet"  # validate, score: rows that do not, as they came, with reasons
VALIDATION = "validation.json"  # validate: the counts
VALIDATION_REPORT = "validation.html"  # validate: the same for a person
SPLIT = "split.parquet"  # preprocess: accepted rows with their side and group hash
PREPROCESSOR = (
    "preprocessor.json"  # preprocess: vocabulary and scaling, fitted on the training side
)
WEIGHTS = "weights.safetensors"  # train
HISTORY = "history.json"  # train: one record an epoch
CURVES = "curves.png"  # train
TRAINING_REPORT = (
    "training.json"  # the train flow: the step's report, handed over with the three above
)
CHECKPOINTS = (
    "checkpoints"  # train: folder under the home, a file for each training that is not at its end
)
TMP = "tmp"  # folder under the home: what is put down for a moment
MODEL = "model.onnx"  # export: what ships
REFERENCE = "reference.parquet"  # export: torch's own probabilities on the holdout
EVALUATION = "evaluation.json"  # evaluate: what the model file is worth
HOLDOUT = "holdout.csv"  # evaluate: every holdout row with its prediction
EVALUATION_PLOT = "evaluation.png"  # evaluate: confusion and calibration
MISTAKES = "mistakes.png"  # evaluate: of images, those that it is most sure and wrong about
VERDICT = "verdict.json"  # judge
PROMOTION = "promotion.json"  # promote
CARD = "card.html"  # the flow: all that is known of the model, for a person
RUN = "run.json"  # the flow: all of the above in one record, with its final state
PREDICTIONS = "predictions"  # score: the stem; the format gives the ending
MANIFEST = "manifest.json"  # score: written last, so its presence means that the rest is whole


@dataclass(frozen=True)
class ProjectPaths:
    """The project folder, and the home of everything that runs leave."""

    root: Path
    home: Path

    @classmethod
    def find(cls, start: Path | None = None) -> "ProjectPaths":
        """Return the project around `start` (default: the working directory); `CRECHE_HOME` moves
        its `var/`.

        A project is the nearest folder upwards that holds `recipes/`; without one it is `start`
        itself.
        """
        folder = (start or Path.cwd()).resolve()
        root = folder
        for candidate in (folder, *folder.parents):
            if (candidate / "recipes").is_dir():
                root = candidate
                break
        home = settings.home() or (root / "var").absolute()
        return cls(root, home)

    @staticmethod
    def new_run_id(recipe: str) -> str:
        """Return a name for a production run that no other run has; it sorts by time (UTC)."""
        return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe}-{uuid.uuid4().hex[:6]}"

    def at(self, folder: Path) -> "RunPaths":
        """Return the paths of a run whose files are in `folder`."""
        return RunPaths(self.root, self.home, folder)

    def run(self, run_id: str) -> "RunPaths":
        """Return the paths of one production run."""
        return self.at(self.home / "runs" / run_id)

    def experiment(self, name: str) -> "RunPaths":
        """Return the paths of the DVC stages, which dvc.yaml names and `CRECHE_HOME` therefore
        cannot move.
        """
        return self.at(self.root / "experiments" / name)


@dataclass(frozen=True)
class RunPaths(ProjectPaths):
    """The same, with the folder of one run."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def recipe_name(reference: str) -> str:
    """What a recipe is called, given by its name or by its file."""
    return Path(reference).name.removesuffix(".yaml").removesuffix(".yml")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write to the name given; it becomes `path` in one rename when the block ends well, and
    vanishes otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as part:
        part.write_text(
            json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_record(path: Path, record: "Record") -> None:
    """Write a record as JSON, in one step."""
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
            f"{path} is not a {record_type.__name__} record ({key}: {first['msg']}): run the step again"
        ) from None
