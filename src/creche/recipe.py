"""A recipe: what is learned from what, in one YAML file that is also a DVC params file."""

import hashlib
import json
import math
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from creche.contract import MISSING, UNKNOWN, Column, Contract, plain
from creche.errors import RecipeError

Share = Annotated[float, Field(ge=0, le=1)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]
# What steps and graph call things of their own: columns of the split, outputs of the model.
RESERVED = ("row", "side", "group_hash")
OUTPUTS = ("label", "probabilities", "typicality", "prediction_set")


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Part):
    """Where the observations come from.

    A `path` that no digest pins is tracked by DVC; anything else, a file or a URL, is pinned by its `md5`.
    """

    path: str | None = None
    url: str | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    licence: str = "not stated"
    citation: str = "not stated"

    @model_validator(mode="after")
    def one_place(self) -> "Source":
        if (self.path is None) == (self.url is None):
            raise ValueError("state either path or url")
        if self.url and not self.md5:
            raise ValueError("a url needs its md5, so that a changed file is noticed")
        return self


class Divide(Part):
    divide: PositiveFloat


Encoding = Literal["one-hot", "index", "standardise", "as-is"] | Divide


class Quarantine(Part):
    max_share: Share = 0.05  # share of the training rows; more than this refuses the data
    batch_max_share: Share = 0.5  # the same for a batch to be scored


class Split(Part):
    """Shares of the groups; training takes the rest. The seed salts the hash that places a group."""

    validation: Share = 0.2
    holdout: Share = 0.2
    seed: Seed = 0

    @model_validator(mode="after")
    def leaves_something(self) -> "Split":
        if self.holdout == 0 or self.validation + self.holdout >= 1:
            raise ValueError("holdout must be above 0, and validation + holdout below 1")
        return self


class Network(Part):
    kind: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = (10, 10)  # widths of the hidden layers, ReLU after each
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Training(Part):
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    momentum: Share = 0.0  # sgd only
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: PositiveInt = 100
    batch_size: PositiveInt | Literal["full"] = 32  # rows
    shuffle: Literal["never", "once", "each-epoch"] = "each-epoch"
    repeat: PositiveInt = 1  # how often each training row stands in an epoch
    keep: Literal["best", "last"] = "best"  # the epoch with the lowest validation loss, or the last one
    seed: Seed = 0


class Shift(Part):
    """A change of a number: `times` it, then `add` to it."""

    times: float = 1.0
    add: float = 0.0


class Behaviour(Part):
    """What a model must do when holdout rows are changed so: something that a biologist would insist on."""

    name: str
    where: dict[str, str] = {}  # only rows with these values
    change: Annotated[dict[str, str | float | Shift], Field(min_length=1)]  # feature → what it becomes
    expect: str  # `same` label as before, `unknown`, or a class
    share: Share = 1.0  # of the rows, at least


class Gate(Part):
    accuracy: Share = 0.9  # floor on the holdout
    recall: Share = 0.8  # floor for every class
    slices: dict[str, Share] = {}  # column → floor of the accuracy on the rows of each of its values
    calibration_error: Share | None = None  # ceiling of the expected calibration error
    behaviour: tuple[Behaviour, ...] = ()
    parity: PositiveFloat = 1e-4  # largest difference of a probability between torch and the model file
    max_bytes: PositiveInt | None = None  # of the model file
    max_milliseconds: PositiveFloat | None = None  # for one row, median, on the machine that judges
    provider: str = "CPUExecutionProvider"  # of onnxruntime, that the file is judged with
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.03  # accuracy that a challenger may lack and still count as no worse
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # risk of calling a worse model no worse
    inconclusive: Literal["keep", "promote"] = "keep"  # the champion, or the challenger, where the holdout cannot tell


class Recipe(Part):
    name: str
    description: str
    not_for: str = "anything that its data do not show."  # said on the model card
    data: Source
    columns: dict[str, Column]
    label: str
    features: Annotated[dict[str, Encoding], Field(min_length=1)]  # in the order in which the network sees them
    group: tuple[str, ...] = ()  # rows that agree in these stay on one side; without it, rows of equal features
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
        used = {"label": (self.label,), "features": self.features, "group": self.group, "unique": self.unique}
        for key, names in used.items():
            for name in names:
                if name not in self.columns:
                    close = get_close_matches(name, self.columns, 1)
                    raise ValueError(f"{key}: '{name}' is not under columns" + (f": {close[0]}?" if close else ""))
        if self.label in self.features:
            raise ValueError(f"features: '{self.label}' is the label")
        if self.columns[self.label].kind != "category" or not self.columns[self.label].values:
            raise ValueError(f"columns.{self.label}: a label is a category that lists its values")
        strange = [c for c in self.classes if c != c.strip() or c.lower() in MISSING]
        if strange or len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            named = f": '{strange[0]}' is read as a missing value" if strange else ""
            raise ValueError(f"columns.{self.label}.values: two classes at least, each named once{named}")
        if UNKNOWN in self.classes:
            raise ValueError(f"columns.{self.label}.values: '{UNKNOWN}' is what a model answers outside its classes")
        for name, encoding in self.features.items():
            kind, needs = self.columns[name].kind, "category" if encoding in ("one-hot", "index") else "number"
            if kind != needs:
                raise ValueError(f"features.{name}: a {kind} column cannot be encoded '{encoding}'")
        self._check_gate()
        if self.training.keep == "best" and not self.split.validation:
            raise ValueError("training.keep: 'best' needs split.validation above 0; state keep: last")
        return self

    def _check_columns(self) -> None:
        owner: dict[str, str] = {}
        for name, column in self.columns.items():
            if name in RESERVED or (name in self.features and name in OUTPUTS):
                raise ValueError(f"columns.{name}: this name is taken; give the column another, and '{name}' as an alias")
            if column.units and (column.kind != "number" or column.unit is None):
                raise ValueError(f"columns.{name}: units are for a number that states its unit")
            if not all(0 < f < math.inf for f in column.units.values()):
                raise ValueError(f"columns.{name}.units: how many {column.unit} one of each is, above 0")
            for said in column.names(name):
                if not plain(said) or owner.setdefault(plain(said), name) != name:
                    other = owner.get(plain(said))
                    raise ValueError(f"columns.{name}: '{said}' names {f'{other} too' if plain(said) else 'nothing'}")
            if column.kind != "number" and (column.min is not None or column.max is not None):
                raise ValueError(f"columns.{name}: min and max are for numbers")
            if column.kind != "category" and column.values is not None:
                raise ValueError(f"columns.{name}: values are for a category")
            limits = [v for v in (column.min, column.max) if v is not None]
            if not all(math.isfinite(v) for v in limits) or limits != sorted(limits):
                raise ValueError(f"columns.{name}: min must not lie above max, and both are finite")

    def _check_gate(self) -> None:
        for name in self.gate.slices:
            if name not in self.columns or self.columns[name].kind == "number":
                raise ValueError(f"gate.slices: '{name}' is not a category or text under columns")
        for i, test in enumerate(self.gate.behaviour):
            where = f"gate.behaviour.{i}"
            if strange := [n for n in test.where if n not in self.columns or self.columns[n].kind == "number"]:
                raise ValueError(f"{where}.where: '{strange[0]}' is not a category or text under columns")
            for name, value in test.change.items():
                if name not in self.features:
                    raise ValueError(f"{where}.change: '{name}' is not under features")
                if isinstance(value, str) == (self.columns[name].kind == "number"):
                    raise ValueError(f"{where}.change.{name}: not a value of a {self.columns[name].kind}")
            if test.expect not in ("same", UNKNOWN, *self.classes):
                raise ValueError(f"{where}.expect: same, {UNKNOWN}, or one of {', '.join(self.classes)}")

    def contract(self) -> Contract:
        """All columns, with `required` settled: the ones that the recipe uses may not be missing."""
        used = {self.label, *self.features, *self.group, *self.unique}
        return Contract(
            {
                name: column if column.required is not None else _required(column, name in used)
                for name, column in self.columns.items()
            }
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return self.columns[self.label].values or ()

    def about(self) -> dict[str, Any]:
        """What a card says of the model before anything is measured."""
        said = {"description": self.description.rstrip("."), "not_for": self.not_for}
        takes = self.contract().only(self.features).to_dict()
        return {**said, "takes": takes, "licence": self.data.licence, "citation": self.data.citation}

    @property
    def split_digest(self) -> str:
        """SHA-256 of what places a row: models trained under another split cannot be compared on this one's holdout."""
        columns = ((n, self.columns[n]) for n in self.group or self.features)
        rule = [self.split.seed, *((n, c.kind, c.unit) for n, c in columns)]
        return hashlib.sha256(json.dumps(rule).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what is learned: not the prose."""
        fixed = self.model_dump(
            mode="json", exclude={"description": True, "not_for": True, "data": {"licence", "citation", "url"}}
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
        raise RecipeError(f"no recipe '{reference}': {path} is not a file; recipes here: {', '.join(names) or 'none'}")
    return path


def load(reference: str, root: Path) -> Recipe:
    """Read and check a recipe; it is called as its file is.

    Raises:
        RecipeError: the file is no YAML, or a key is unknown, missing or wrong; names the file and the key's path.
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
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' stands twice", node.start_mark)
        return dict(super().construct_mapping(node, deep))


def _say(error: Any) -> str:
    where = [str(p) for p in error["loc"] if not str(p).startswith(("literal[", "function-", "constrained-"))]
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
