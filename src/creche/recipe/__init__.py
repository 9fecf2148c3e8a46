"""A recipe: what is learned from what, in one YAML file that is also a DVC params file."""

import hashlib
import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from creche.contract import MISSING_VALUES, UNKNOWN, Column, Contract, normalize_name
from creche.contract.outputs import OUTPUT_NAMES
from creche.errors import RecipeError

Share = Annotated[float, Field(ge=0, le=1)]
MD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
# Columns that the pipeline adds to a table.
RESERVED = ("row", "side", "group_hash")


class RecipeSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSpec(RecipeSection):
    """Where the observations come from.

    A `path` that no digest pins is tracked by DVC; anything else, a file or a URL, is pinned by its
    `md5`. A URL of a tar archive names the `files` that are wanted out of it, which may also lie in
    `folder` already.
    """

    path: str | None = None
    url: str | None = None
    md5: MD5 | None = None
    files: dict[str, MD5] = {}  # name in the archive, its folders left out → MD5
    folder: str | None = (
        None  # `$CIFAR10_DIR` and the like are filled in; where one is not set, the folder is none
    )
    license: str = "not stated"
    citation: str = "not stated"

    @model_validator(mode="after")
    def one_place(self) -> "DataSpec":
        if (self.path is None) == (self.url is None):
            raise ValueError("state either path or url")
        if self.url and not self.md5:
            raise ValueError("a url needs its md5, so that a changed file is noticed")
        if (self.files or self.folder) and not (self.url and self.files):
            raise ValueError("files and folder go together with the url of an archive")
        return self


class Divide(RecipeSection):
    divide: PositiveFloat


class Scale(RecipeSection):
    """Channels of an image, 0 to 1, less `mean` and over `std`."""

    mean: float
    std: PositiveFloat


Encoding = Literal["one-hot", "ordinal", "standardize", "passthrough"] | Divide | Scale


class Quarantine(RecipeSection):
    max_share: Share = 0.05  # share of the training rows; more than this refuses the data
    batch_max_share: Share = 0.5  # the same for a batch to be scored


class Split(RecipeSection):
    """Shares of the groups; training takes the rest. The seed salts the hash that paths a group.

    A holdout that somebody has set apart is named by a column and its value; then the rest is
    shared out.
    """

    validation: Share = 0.2
    holdout: Share | Annotated[dict[str, str], Field(min_length=1, max_length=1)] = 0.2
    seed: Seed = 0

    @property
    def designated_holdout(self) -> tuple[str, str] | None:
        """Column and value of a holdout that was set apart."""
        return next(iter(self.holdout.items())) if isinstance(self.holdout, dict) else None

    @property
    def holdout_share(self) -> float:
        """Share of the holdout that is drawn by hash."""
        return 0.0 if isinstance(self.holdout, dict) else self.holdout

    @model_validator(mode="after")
    def leaves_something(self) -> "Split":
        if self.holdout == 0 or self.validation + self.holdout_share >= 1:
            raise ValueError("holdout must be above 0, and validation + holdout below 1")
        return self


class Convolution(RecipeSection):
    """A layer of `channels` filters of `size` × `size` pixels, ReLU after it, and its maximum over
    `pool` × `pool`.
    """

    channels: PositiveInt
    size: PositiveInt = 3
    stride: PositiveInt = 1
    padding: Annotated[int, Field(ge=0)] = 1
    pool: PositiveInt = 1


class Network(RecipeSection):
    kind: Literal["mlp", "cnn"] = "mlp"  # a cnn is for images
    convolutions: tuple[Convolution, ...] = ()
    batch_norm: bool = False  # after each convolution, which then has no bias
    whiten: bool = False  # the first convolution starts from the principal components of patches of training images
    pooling: Literal["flatten", "max"] = "flatten"  # what becomes of the last convolution's paths
    mirror_average: bool = (
        False  # a picture and its mirror image are answered together: scoring takes twice as long
    )
    hidden: tuple[PositiveInt, ...] = (10, 10)  # widths of the hidden layers, ReLU after each
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def has_convolutions(self) -> "Network":
        if (self.kind == "cnn") != bool(self.convolutions):
            raise ValueError("a cnn has convolutions, and nothing else has")
        if self.kind == "mlp" and (
            self.batch_norm or self.whiten or self.mirror_average or self.pooling != "flatten"
        ):
            raise ValueError("batch_norm, whiten, mirror_average and pooling are for a cnn")
        if self.dropout and not self.hidden:
            raise ValueError("dropout follows hidden layers, and there are none")
        return self

    def feature_map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the convolutions make of an image, in pixels.

        Raises:
            ValueError: one of them is larger than what is left.
        """
        for i, c in enumerate(self.convolutions):
            height, width = (
                ((side + 2 * c.padding - c.size) // c.stride + 1) // c.pool
                for side in (height, width)
            )
            if min(height, width) < 1:
                raise ValueError(f"network.convolutions.{i}: nothing is left of the image there")
        return height, width


class Augment(RecipeSection):
    """What is changed about training images, each time anew: they are mirrored, and moved by up to
    `shift` pixels.
    """

    mirror: bool = False
    shift: Annotated[int, Field(ge=0)] = (
        0  # what comes into view is the mirror image of what was there
    )


class Training(RecipeSection):
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-3  # the highest, where a schedule moves it
    schedule: Literal["constant", "one-cycle"] = (
        "constant"  # up from nothing, then down to nothing, both in a line
    )
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.2  # share of the batches on the way up
    momentum: Share = 0.0  # sgd only
    nesterov: bool = False  # sgd only
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    bias_lr_multiplier: PositiveFloat | None = (
        None  # of biases and batch norm, times the learning rate; they then do not decay
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Augment = Augment()
    precision: Literal["float32", "bfloat16"] = (
        "float32"  # of the forward pass; weights are always float32
    )
    epochs: PositiveInt = 100
    patience: PositiveInt | None = (
        None  # epochs without a lower validation loss after which it stops
    )
    batch_size: PositiveInt | Literal["full"] = 32  # rows, of all workers together
    shuffle: Literal["never", "once", "each-epoch"] = "each-epoch"
    repeat: PositiveInt = 1  # how often each training row stands in an epoch
    checkpoint_selection: Literal["best", "last"] = (
        "best"  # the epoch with the lowest validation loss, or the last one
    )
    deterministic: bool = True  # same seed, same bits; else CUDA may pick faster kernels
    seed: Seed = 0
    # What follows does not change what is learned.
    log_every: PositiveInt | None = None  # batches whose mean loss the history tells
    checkpoint_epochs: PositiveInt | None = None  # a checkpoint after so many
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 5.0  # or so long after the last one
    workers: PositiveInt = 1  # processes that share each batch
    restarts: Annotated[int, Field(ge=0)] = (
        0  # how often all workers are started again, from the checkpoint, when one dies
    )
    timeout_seconds: PositiveInt = 300  # that a worker waits for another one
    pool: str = "cpu"  # the Prefect work pool where a scheduled or submitted run trains
    start_timeout_seconds: PositiveInt = (
        60  # that such a run waits until a worker of that pool has started the training
    )
    fallback: Literal["fail", "cpu"] = (
        "fail"  # what it does when none has, or that machine has no such device
    )

    @model_validator(mode="after")
    def nesterov_has_momentum(self) -> "Training":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


OPERATIONAL_KEYS = {
    "log_every",
    "checkpoint_epochs",
    "checkpoint_minutes",
    "workers",
    "restarts",
    "timeout_seconds",
}
OPERATIONAL_KEYS |= {"pool", "start_timeout_seconds", "fallback"}


class Shift(RecipeSection):
    """A change of a number: `times` it, then `add` to it."""

    times: float = 1.0
    add: float = 0.0


class BehaviorTest(RecipeSection):
    """What a model must do when holdout rows are changed so: something that a biologist would
    insist on.
    """

    name: str
    where: dict[str, str] = {}  # only rows with these values
    change: Annotated[
        dict[str, str | float | Shift], Field(min_length=1)
    ]  # feature → what it becomes; an image: `mirror`
    expect: str  # `same` label as before, `unknown`, or a class
    share: Share = 1.0  # of the rows, at least


class Gate(RecipeSection):
    accuracy: Share = 0.9  # floor on the holdout
    recall: Share = 0.8  # floor for every class
    slices: dict[
        str, Share
    ] = {}  # column → floor of the accuracy on the rows of each of its values
    calibration_error: Share | None = None  # ceiling of the expected calibration error
    behavior: tuple[BehaviorTest, ...] = ()
    parity_tolerance: PositiveFloat = (
        1e-4  # largest difference of a probability between torch and the model file
    )
    max_bytes: PositiveInt | None = None  # of the model file
    max_milliseconds: PositiveFloat | None = None  # for one row, median, on the machine that judges
    provider: str = "CPUExecutionProvider"  # of onnxruntime, that the file is judged with
    margin: Annotated[float, Field(ge=0, lt=1)] = (
        0.03  # accuracy that a challenger may lack and still count as no worse
    )
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # risk of calling a worse model no worse
    inconclusive: Literal["keep", "promote"] = (
        "keep"  # the champion, or the challenger, where the holdout cannot tell
    )


class Recipe(RecipeSection):
    name: str
    description: str
    out_of_scope: str = "anything that its data do not show."  # said on the model card
    data: DataSpec
    columns: dict[str, Column]
    label: str
    features: Annotated[
        dict[str, Encoding], Field(min_length=1)
    ]  # in the order in which the network sees them
    group: tuple[
        str, ...
    ] = ()  # rows that agree in these stay on one side; without it, rows of equal features
    unique: tuple[str, ...] = ()  # no two observations agree in all of these
    quarantine: Quarantine = Quarantine()
    split: Split = Split()
    network: Network = Network()
    training: Training = Training()
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9  # of the prediction sets
    gate: Gate = Gate()

    @model_validator(mode="after")
    def names_agree(self) -> "Recipe":
        self._check_columns()
        used = {
            "label": (self.label,),
            "features": self.features,
            "group": self.group,
            "unique": self.unique,
        }
        for key, names in used.items():
            for name in names:
                if name not in self.columns:
                    close = get_close_matches(name, self.columns, 1)
                    raise ValueError(
                        f"{key}: '{name}' is not under columns"
                        + (f": {close[0]}?" if close else "")
                    )
        if self.label in self.features:
            raise ValueError(f"features: '{self.label}' is the label")
        if self.columns[self.label].kind != "category" or not self.columns[self.label].values:
            raise ValueError(f"columns.{self.label}: a label is a category that lists its values")
        strange = [c for c in self.classes if c != c.strip() or c.lower() in MISSING_VALUES]
        if strange or len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            named = f": '{strange[0]}' is read as a missing value" if strange else ""
            raise ValueError(
                f"columns.{self.label}.values: two classes at least, each named once{named}"
            )
        if UNKNOWN in self.classes:
            raise ValueError(
                f"columns.{self.label}.values: '{UNKNOWN}' is what a model answers outside its classes"
            )
        for name, encoding in self.features.items():
            kind, needs = (
                self.columns[name].kind,
                "category" if encoding in ("one-hot", "ordinal") else "number",
            )
            if isinstance(encoding, Scale) or (kind == "image" and encoding == "standardize"):
                needs = "image"
            if kind != needs:
                raise ValueError(f"features.{name}: a {kind} column cannot be encoded '{encoding}'")
        self._check_images()
        self._check_gate()
        for key, wants in (
            ("checkpoint_selection: best", self.training.checkpoint_selection == "best"),
            ("patience", self.training.patience),
        ):
            if wants and not self.split.validation:
                raise ValueError(
                    f"training: {key} needs split.validation above 0, since the holdout may choose nothing"
                )
        return self

    def _check_columns(self) -> None:
        owner: dict[str, str] = {}
        for name, column in self.columns.items():
            if name in RESERVED or (name in self.features and name in OUTPUT_NAMES):
                raise ValueError(
                    f"columns.{name}: this name is taken; give the column another, and '{name}' as an alias"
                )
            column.type.check(name, column)
            for said in column.accepted_names(name):
                if not normalize_name(said) or owner.setdefault(normalize_name(said), name) != name:
                    other = owner.get(normalize_name(said))
                    raise ValueError(
                        f"columns.{name}: '{said}' names {f'{other} too' if normalize_name(said) else 'nothing'}"
                    )

    def _check_images(self) -> None:
        pictures = [n for n in self.features if self.columns[n].kind == "image"]
        if pictures and len(self.features) > 1:
            raise ValueError(
                f"features: the image '{pictures[0]}' stands alone; a network takes an image or a table's columns"
            )
        if (self.network.kind == "cnn") != bool(pictures):
            raise ValueError("network.kind: cnn for an image, mlp for a table's columns")
        if self.training.augment != Augment() and not pictures:
            raise ValueError("training.augment: only images are augmented")
        for name in pictures:
            self.network.feature_map_size(*self.columns[name].shape[:2])
            if self.network.whiten and self.network.convolutions[0].size > min(
                self.columns[name].shape[:2]
            ):
                raise ValueError("network.whiten: the first convolution is larger than the image")
            if self.training.augment.shift >= min(self.columns[name].shape[:2]):
                raise ValueError(
                    f"training.augment.shift: columns.{name} has no more pixels than that"
                )
        if apart := self.split.designated_holdout:
            column = self.columns.get(apart[0])
            if (
                column is None
                or column.kind not in ("category", "text")
                or apart[1] not in (column.values or apart[1:])
            ):
                raise ValueError(
                    f"split.holdout: '{apart[0]}: {apart[1]}' is no category under columns with that value"
                )

    def _check_gate(self) -> None:
        for name in self.gate.slices:
            if name not in self.columns or self.columns[name].kind in ("number", "image"):
                raise ValueError(f"gate.slices: '{name}' is not a category or text under columns")
        for i, test in enumerate(self.gate.behavior):
            where = f"gate.behavior.{i}"
            if strange := [
                n
                for n in test.where
                if n not in self.columns or self.columns[n].kind in ("number", "image")
            ]:
                raise ValueError(
                    f"{where}.where: '{strange[0]}' is not a category or text under columns"
                )
            for name, value in test.change.items():
                if name not in self.features:
                    raise ValueError(f"{where}.change: '{name}' is not under features")
                kind = self.columns[name].kind
                words = isinstance(value, str) == (kind != "number")
                if not (
                    value == "mirror" or isinstance(value, Shift) if kind == "image" else words
                ):
                    raise ValueError(
                        f"{where}.change.{name}: not a value of a {self.columns[name].kind}"
                    )
            if test.expect not in ("same", UNKNOWN, *self.classes):
                raise ValueError(
                    f"{where}.expect: same, {UNKNOWN}, or one of {', '.join(self.classes)}"
                )

    def contract(self) -> Contract:
        """All columns, with `required` settled: the ones that the recipe uses may not be
        missing.
        """
        apart = self.split.designated_holdout
        used = {
            self.label,
            *self.features,
            *self.group,
            *self.unique,
            *(apart[:1] if apart else ()),
        }
        return Contract(
            {
                name: column if column.required is not None else _required(column, name in used)
                for name, column in self.columns.items()
            }
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return self.columns[self.label].values or ()

    def model_summary(self) -> dict[str, Any]:
        """What a card says of the model before anything is measured."""
        said = {"description": self.description.rstrip("."), "out_of_scope": self.out_of_scope}
        takes = self.contract().subset(self.features).to_dict()
        return {
            **said,
            "takes": takes,
            "license": self.data.license,
            "citation": self.data.citation,
        }

    @property
    def image_features(self) -> list[str]:
        """The features that are pictures."""
        return [name for name in self.features if self.columns[name].type.is_image]

    @property
    def split_digest(self) -> str:
        """SHA-256 of what paths a row: models trained under another split cannot be compared on
        this one's holdout.
        """
        columns = [(n, self.columns[n]) for n in self.group or self.features]
        rule: list[Any] = [self.split.seed, *((n, c.kind, c.unit) for n, c in columns)]
        rule += [[n, *c.shape] for n, c in columns if c.kind == "image"]
        if self.split.designated_holdout:
            rule.append(self.split.designated_holdout)
        return hashlib.sha256(json.dumps(rule).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is learned: not the prose."""
        fixed = self.model_dump(
            mode="json",
            exclude={
                "description": True,
                "out_of_scope": True,
                "data": {"license", "citation", "url", "folder"},
                "training": OPERATIONAL_KEYS,
            },
        )
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def _required(column: Column, required: bool) -> Column:
    return Column(**{**vars(column), "required": required})


def find(reference: str, root: Path) -> Path:
    """The file of a recipe given by name (in `recipes/`) or by path.

    Raises:
        RecipeError: there is none; the message lists the names there are.
    """
    by_name = root / "recipes" / f"{reference}.yaml"
    path = Path(reference) if reference.endswith((".yaml", ".yml")) else by_name
    if not path.is_file():
        names = sorted(p.stem for p in (root / "recipes").glob("*.yaml"))
        raise RecipeError(
            f"no recipe '{reference}': {path} is not a file; recipes here: {', '.join(names) or 'none'}"
        )
    return path


def load(reference: str, root: Path) -> Recipe:
    """Read and check a recipe; it is called as its file is.

    Raises:
        RecipeError: the file is no YAML, or a key is unknown, missing or wrong; names the file and
        the key's path.
    """
    path = find(reference, root)
    if not re.fullmatch(r"[\w .+-]+", path.stem):
        raise RecipeError(f"{path}: a recipe's name is made of letters, digits, spaces and . _ + -")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  it is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys; see recipes/penguins.yaml")
    if "name" in content:
        raise RecipeError(f"{path}: name: a recipe is called as its file is; drop this key")
    try:
        return Recipe.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise RecipeError(f"{path}: {'; '.join(_say(e) for e in error.errors())}") from None


class _Loader(yaml.SafeLoader):
    """YAML as it is safe, and as it is meant: a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [k for k in keys if keys.count(k) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{twice[0]}' stands twice", node.start_mark
            )
        return dict(super().construct_mapping(node, deep))


def _say(error: Any) -> str:
    where = [
        str(p)
        for p in error["loc"]
        if not str(p).startswith(("literal[", "function-", "constrained-"))
    ]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        close = get_close_matches(where[-1], _keys(where[:-1]), 1)
        message = "unknown key" + (f": {close[0]}?" if close else "")
    elif error["type"] == "missing":
        message = "this key is missing"
    elif "input" in error and not isinstance(error["input"], dict):
        message += f", not {error['input']!r}"
    return ": ".join(filter(None, [".".join(where), message]))


def _keys(path: list[str]) -> list[str]:
    if path and path[0] == "columns":
        return list(Column.__dataclass_fields__)
    model: Any = Recipe
    for key in path:
        model = model.model_fields[key].annotation if hasattr(model, "model_fields") else None
    return list(getattr(model, "model_fields", {}))
