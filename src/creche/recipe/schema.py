"""The schema of a recipe."""

import hashlib
import json
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from creche.contract import Column, Contract, RowRule
from creche.contract.expression_text import ExpressionError
from creche.recipe.base import RecipeSection
from creche.recipe.canonical_values import with_canonical_values
from creche.recipe.checks import check_columns, check_recipe
from creche.recipe.data import DataSpec, Quarantine, Split
from creche.recipe.encodings import Encoding
from creche.recipe.gate import Gate
from creche.recipe.metrics import MOST_LIKELY, CostMatrix, DecisionRule
from creche.recipe.network import Network
from creche.recipe.rules import RowRuleSpec, TableChecks
from creche.recipe.training import OPERATIONAL_KEYS, Training
from creche.records import ModelDescription, ModelInput

# Keys that decide neither the weights nor the verdict.
KEYS_OUTSIDE_DIGEST: dict[str, Any] = {
    "description": True,
    "out_of_scope": True,
    "data": {"license", "citation", "url", "folder"},
    "training": OPERATIONAL_KEYS,
}


class Recipe(RecipeSection):
    name: str
    # What the model is for, in one sentence.
    description: str
    # What it must not be used for, said on the model card.
    out_of_scope: str = "anything that its data do not show."
    # Where the observations come from.
    data: DataSpec
    # Column name → what its values must be. A name with `*`, as `sensor_*`, stands for all columns
    # of the data that match it and are not stated by name.
    columns: dict[str, Column]
    # The column that is predicted.
    label: str
    # Column → encoding, in the order in which the network takes them; `*` as under `columns`.
    features: Annotated[dict[str, Encoding], Field(min_length=1)]
    # Rows that agree in these columns are in one split; without it, rows of equal
    # features are.
    group: tuple[str, ...] = ()
    # No two observations agree in all of these columns.
    unique: tuple[str, ...] = ()
    # What the values of a row must be to each other: each is an expression, or check with when and
    # reason.
    rules: tuple[RowRuleSpec, ...] = ()
    # What the table as a whole must be like.
    table: TableChecks = TableChecks()
    # How many rows may break the contract.
    quarantine: Quarantine = Quarantine()
    # Which rows are for training, validation and holdout.
    split: Split = Split()
    # The network that is trained.
    network: Network = Network()
    # How it is trained.
    training: Training = Training()
    # Fraction of the rows whose prediction set must hold the true class, 0..1.
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    # Actual class → predicted class → cost of one such row, in any unit. A correct prediction
    # costs 0 where it is not stated, and `unknown` as much as the most expensive class.
    cost: CostMatrix | None = None
    # Which class a row is predicted as: the most likely one, or the one of largest probability
    # times class weight, where the weights are chosen on the validation rows.
    decision: DecisionRule = MOST_LIKELY
    # What a model must reach before it is promoted.
    gate: Gate = Gate()
    _kept_digest: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def is_consistent(self) -> "Recipe":
        check_columns(self)
        if self.has_patterns:
            # The rest is checked once the header of the data expands them.
            return self
        for section, content in with_canonical_values(self).items():
            # The model is frozen for all but its own validation.
            object.__setattr__(self, section, content)
        check_recipe(self)
        return self

    @property
    def row_rules(self) -> tuple[RowRule, ...]:
        """The rules across columns, compiled.

        Raises:
            ValueError: one cannot be read; the message begins with its key.
        """
        compiled = []
        for index, rule in enumerate(self.rules):
            try:
                compiled.append(RowRule.compile(rule.check, self.columns, rule.when, rule.reason))
            except ExpressionError as error:
                raise ValueError(f"rules.{index}: {error}") from None
        return tuple(compiled)

    @property
    def has_patterns(self) -> bool:
        """Whether names of columns or features are patterns, which the data still expand."""
        return any("*" in name for name in (*self.columns, *self.features))

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of the label, in the order of the model's probabilities."""
        return self.columns[self.label].allowed_values or ()

    @property
    def image_features(self) -> list[str]:
        """The features that are images."""
        return [name for name in self.features if self.columns[name].type.is_image]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that say which rows belong to one group.

        Of a split forward in time they include the time: what a model was trained on before the
        newest period says nothing of its rows.
        """
        names = self.group or tuple(self.features)
        if self.split.time is None or self.split.time in names:
            return names
        return (*names, self.split.time)

    def contract(self) -> Contract:
        """Return all columns, with `required` settled: those that the recipe uses may not be
        missing.
        """
        used = {self.label, *self.features, *self.group, *self.unique}
        designated_holdout = self.split.designated_holdout
        if designated_holdout is not None:
            used.add(designated_holdout[0])
        if self.split.time is not None:
            used.add(self.split.time)
        columns = {}
        for name, column in self.columns.items():
            if column.required is None:
                columns[name] = replace(column, required=name in used)
            else:
                columns[name] = column
        return Contract(columns, self.row_rules)

    def describe(self) -> ModelDescription:
        """Return what a card says of the model before anything is measured."""
        inputs = []
        contract = self.contract().subset(self.features)
        for name, column in contract.columns.items():
            inputs.append(
                ModelInput(
                    name=name,
                    kind=column.kind,
                    unit=column.unit,
                    min=column.min,
                    max=column.max,
                    values=column.type.describe_values(column),
                    missing=column.missing == "allow",
                )
            )
        return ModelDescription(
            description=self.description.rstrip("."),
            out_of_scope=self.out_of_scope,
            inputs=inputs,
            rules=[str(rule) for rule in contract.row_rules],
            license=self.data.license,
            citation=self.data.citation,
        )

    @property
    def split_digest(self) -> str:
        """SHA-256 of what assigns a row to a split.

        Models that were trained under another split cannot be compared on this one's holdout.
        """
        rule: list[Any] = [self.split.seed]
        key_columns = [(name, self.columns[name]) for name in self.key_columns]
        for name, column in key_columns:
            rule.append((name, column.kind, column.unit))
        for name, column in key_columns:
            options = column.type.row_key_options(column)
            if options:
                rule.append([name, *options])
        if self.split.designated_holdout:
            rule.append(self.split.designated_holdout)
        if self.split.time is not None:
            rule.append({"time": self.split.time})
        if self.split.folds is not None:
            rule.append({"folds": self.split.folds})
        return hashlib.sha256(json.dumps(rule).encode()).hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of the keys that a run depends on.

        These are the keys that decide the weights, and gate, quarantine and coverage, which decide
        whether there is a model, what its prediction sets hold and what its verdict is.
        """
        if self._kept_digest is not None:
            return self._kept_digest
        content = self.model_dump(mode="json", exclude=KEYS_OUTSIDE_DIGEST)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def keep_digest(self, digest: str) -> None:
        """Keep the digest of the recipe as it is written, where its patterns are expanded here."""
        self._kept_digest = digest
