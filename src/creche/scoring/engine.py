"""One block of rows through contract and model: pure, and safe to run on several threads at
once.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import UNKNOWN, Rule, images
from creche.contract.outputs import OOD_SCORE, PREDICTION_SET
from creche.data.batch import Batch
from creche.data.quarantine import quarantine_table, reasons_by_row
from creche.data.table_reader import TableReader
from creche.model.artifact import Model, Predictions

VERSION_COLUMN = "model_version"
ROW = "row"  # stands for a picture that has no path
SET_CLASSES = (
    7  # up to this many classes every possible prediction set is listed once, and rows point to it
)


@dataclass(frozen=True)
class Scored:
    """What became of a block of rows."""

    rows: int
    predictions: pa.RecordBatch
    quarantine: pa.Table | None
    reasons: Counter[str]
    labels: np.ndarray  # rows by class, and `unknown` last


class Engine:
    """A model with all that is the same for every block of one table."""

    def __init__(self, model: Model, version: str, table: TableReader) -> None:
        self.model, self.version, self.table = model, version, table
        self.rules: list[Rule] = table.contract.rules()
        self.added = added_columns(model)
        columns, seen = model.contract.columns, model.vocabularies
        # category → the values that its column in the output points to: the contract's, else those
        # of training
        domains = {n: list(columns[n].values or vocabulary) for n, vocabulary in seen.items()}
        self.domains = {
            n: pa.array(np.array(v, dtype=object), pa.string()) for n, v in domains.items()
        }
        self.codes = {n: _codes(v, seen[n]) for n, v in domains.items()}
        self.predictions = pa.array(np.array([*model.classes, UNKNOWN], dtype=object), pa.string())
        self.listed = _listed(model.classes) if len(model.classes) <= SET_CLASSES else None
        self.canonical = {given: name for name, given in table.resolved.items()}
        shown = [table.resolved[name] for name in table.images]
        self.passed = [given for given in table.header if given not in shown]  # without pictures
        self.numbered = bool(shown) and not {"path", ROW}.intersection(self.passed)

    def score(self, rows: np.ndarray, raw: pa.RecordBatch) -> Scored:
        """Part a block into predictions and quarantine."""
        batch = self.table.convert(rows, raw)
        failures = batch.check(self.rules)
        quarantine, reasons, keep = None, Counter[str](), None
        if failures:
            listed = reasons_by_row(failures, len(rows))
            quarantine = quarantine_table(batch, listed, self.table.name)
            reasons.update(r for row in listed for r in row)
            keep = pa.array(~np.logical_or.reduce([violation.mask for violation in failures]))
        values, features = self._features(batch, keep)
        predictions = self.model.predict_encoded(features)
        labels = predictions.codes
        columns = (
            [pa.array(rows if keep is None else rows[keep.to_numpy(zero_copy_only=False)])]
            if self.numbered
            else []
        )
        columns += self._passed(batch.cells if keep is None else batch.cells.filter(keep), values)
        columns += self._answered(predictions, labels)
        predictions = pa.RecordBatch.from_arrays(columns, schema=self.schema(raw.schema))
        return Scored(
            len(rows),
            predictions,
            quarantine,
            reasons,
            np.bincount(labels, minlength=len(self.predictions)),
        )

    def _features(
        self, batch: Batch, keep: pa.Array | None
    ) -> tuple[dict[str, pa.Array], dict[str, np.ndarray]]:
        """The sound rows' values for the output, and as float32 for the model."""
        values: dict[str, pa.Array] = {}
        features: dict[str, np.ndarray] = {}
        for name, column in self.model.contract.columns.items():
            cells = batch.values[name] if keep is None else batch.values[name].filter(keep)
            values[name] = cells
            if column.kind == "image":
                features[name] = images.pixels(cells, column)
                continue
            if column.kind == "number":
                features[name] = cells.to_numpy(zero_copy_only=False).astype(np.float32)
                continue
            domain = self.domains[name]
            if pa.types.is_dictionary(cells.type):
                index = pc.index_in(cells.dictionary, domain).take(cells.indices)
            else:
                index = pc.index_in(cells, domain)
            dense = index.fill_null(len(domain)).to_numpy(zero_copy_only=False)
            features[name] = self.codes[name][dense]
            if column.values:
                values[name] = pa.DictionaryArray.from_arrays(
                    pa.array(dense.astype(np.int16)), domain
                )
            elif pa.types.is_dictionary(cells.type):
                values[name] = (
                    cells.dictionary_decode()
                )  # whatever the block's own dictionary holds
        return values, features

    def _passed(self, raw: pa.RecordBatch, values: dict[str, pa.Array]) -> list[pa.Array]:
        return [
            values[self.canonical[g]] if g in self.canonical else raw.column(g) for g in self.passed
        ]

    def _answered(self, predictions: Predictions, labels: np.ndarray) -> list[pa.Array]:
        columns = [pa.DictionaryArray.from_arrays(pa.array(labels), self.predictions)]
        columns += [pa.array(np.ascontiguousarray(p)) for p in predictions.probabilities.T]
        columns += [self._sets(predictions.sets), pa.array(predictions.ood_score)]
        zeros = pa.array(np.zeros(len(labels), np.int8))
        return [
            *columns,
            pa.DictionaryArray.from_arrays(
                zeros, pa.array(np.array([self.version], dtype=object), pa.string())
            ),
        ]

    def _sets(self, sets: np.ndarray) -> pa.Array:
        if self.listed is not None:
            bits = np.zeros(len(sets), np.int8)
            for k, inside in enumerate(sets.T):
                bits |= inside.view(np.int8) << k
            return pa.DictionaryArray.from_arrays(pa.array(bits), self.listed)
        classes = self.model.classes
        joined = [
            "|".join(c for c, inside in zip(classes, row, strict=True) if inside) for row in sets
        ]
        return pa.array(np.array(joined, dtype=object), pa.string())

    def schema(self, raw: pa.Schema) -> pa.Schema:
        """Of the predictions, for a file whose blocks have the schema `raw`; tells which model they
        are of.
        """
        fields = [pa.field(ROW, pa.int64())] if self.numbered else []
        for given in self.passed:
            name = self.canonical.get(given)
            if name is None:
                fields.append(raw.field(given))
            elif self.model.contract.columns[name].kind == "number":
                fields.append(pa.field(name, pa.float64()))
            else:
                listed = pa.dictionary(pa.int16(), pa.string())
                fields.append(
                    pa.field(
                        name, listed if self.model.contract.columns[name].values else pa.string()
                    )
                )
        code = pa.int8() if len(self.predictions) < 128 else pa.int32()
        label, *probabilities, sets, ood_score, version = self.added
        fields.append(pa.field(label, pa.dictionary(code, pa.string())))
        fields += [pa.field(p, pa.float32()) for p in probabilities]
        fields.append(
            pa.field(
                sets,
                pa.dictionary(pa.int8(), pa.string()) if self.listed is not None else pa.string(),
            )
        )
        fields += [
            pa.field(ood_score, pa.float32()),
            pa.field(version, pa.dictionary(pa.int8(), pa.string())),
        ]
        model = self.model
        return pa.schema(
            fields,
            {
                "creche.recipe": model.metadata.recipe,
                "creche.model_version": self.version,
                "creche.model_digest": model.digest,
            },
        )


def added_columns(model: Model) -> list[str]:
    """What scoring adds to a row."""
    probabilities = (f"probability_{c}" for c in model.classes)
    return [
        f"predicted_{model.label}",
        *probabilities,
        PREDICTION_SET,
        OOD_SCORE,
        VERSION_COLUMN,
    ]


def _codes(domain: list[str], vocabulary: list[str]) -> np.ndarray:
    """Place in the domain → code in the vocabulary, NaN for a stranger; one more NaN for what is
    outside the domain.
    """
    positions = {v: float(i) for i, v in enumerate(vocabulary)}
    return np.array([*(positions.get(v, np.nan) for v in domain), np.nan], np.float32)


def _listed(classes: tuple[str, ...]) -> pa.Array:
    """Every set of classes as text, at the place of its bits."""
    sets = [
        "|".join(c for i, c in enumerate(classes) if bits >> i & 1)
        for bits in range(1 << len(classes))
    ]
    return pa.array(np.array(sets, dtype=object), pa.string())
