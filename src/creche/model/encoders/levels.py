"""Encoders of categories by the order of their values.

A missing value is imputed by the median level of the training rows, and has an indicator input
where training has rows of it, as that of a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from creche.contract import Column
from creche.contract.cells import MISSING_TEXT
from creche.model.encoders.base import EncodedColumn
from creche.model.encoders.categories import CategoryEncoder

if TYPE_CHECKING:
    from creche.model.graph_builder import GraphBuilder


@dataclass(frozen=True)
class LevelEncoder(CategoryEncoder):
    """What both encodings by order share: the levels, and the one that is imputed.

    The levels are in the order that the recipe states, else in that of the alphabet.
    """

    # Of the level in place of a missing or unseen value that is known; None: there is none.
    imputed_code: int | None = None

    @classmethod
    def fit(cls, name: str, values: np.ndarray, options: Mapping[str, Any], column: Column) -> Self:
        takes_missing = column.missing == "allow"
        takes_unseen = column.unseen == "other"
        seen = set(values.tolist())
        if takes_missing:
            seen.discard(MISSING_TEXT)
        levels = sorted(seen)
        if column.levels:
            # A level that training does not have is known by its place, where the recipe allows
            # unseen values.
            levels = [level for level in column.levels if takes_unseen or level in seen]
        imputed_code = None
        if takes_missing or takes_unseen:
            imputed_code = _median_code(levels, values)
        return cls(
            name,
            tuple(levels),
            takes_unseen=takes_unseen,
            takes_missing=takes_missing,
            has_missing=takes_missing and MISSING_TEXT in values,
            imputed_code=imputed_code,
        )

    def level_codes(self, codes: np.ndarray) -> np.ndarray:
        """Return codes (n, 1) with that of the imputed level in place of those of no level."""
        if self.imputed_code is None:
            return codes
        return np.where(codes >= len(self.vocabulary), np.float32(self.imputed_code), codes)

    def with_indicator(self, encoded: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return inputs (n, width) with that for a missing value behind them."""
        if not self.has_missing:
            return encoded
        is_missing = codes == self.missing_code
        return np.concatenate([encoded, is_missing.astype(np.float32)], axis=1)

    def add_level_codes(self, graph: "GraphBuilder", code: str) -> str:
        """Add what `level_codes` does to the codes (1, N)."""
        if self.imputed_code is None:
            return code
        n_levels = graph.constant(f"{self.column}/n_levels", float(len(self.vocabulary)))
        is_none = graph.node("GreaterOrEqual", [code, n_levels], f"{self.column}/is_no_level")
        imputed = graph.constant(f"{self.column}/imputed", float(self.imputed_code))
        return graph.node("Where", [is_none, imputed, code], f"{self.column}/level")

    def add_indicator(self, graph: "GraphBuilder", encoded: str, code: str) -> str:
        """Add what `with_indicator` does."""
        if not self.has_missing:
            return encoded
        missing_code = graph.constant(f"{self.column}/missing_code", float(self.missing_code))
        is_missing = graph.node("Equal", [code, missing_code], f"{self.column}/is_missing")
        indicator = graph.as_float(is_missing, f"{self.column}/missing_indicator")
        return graph.node("Concat", [encoded, indicator], f"{self.column}/encoded", axis=0)


def _median_code(levels: list[str], values: np.ndarray) -> int:
    """Return the median of the training values as a level itself, not as the mean of two."""
    code_of = {level: code for code, level in enumerate(levels)}
    codes = sorted(code_of[value] for value in values.tolist() if value in code_of)
    return codes[len(codes) // 2]


class OrdinalEncoder(LevelEncoder):
    """The code itself, as one number."""

    encoding = "ordinal"

    @property
    def width(self) -> int:
        return 1 + self.has_missing

    def transform(self, values: np.ndarray) -> np.ndarray:
        codes = self.codes(values)
        return self.with_indicator(self.level_codes(codes), codes)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        code = self._add_codes(graph)
        level = self.add_level_codes(graph, code)
        return EncodedColumn(code, self.add_indicator(graph, level, code))


class ThermometerEncoder(LevelEncoder):
    """One input for each step of the order: 1 where the value has reached it, else 0."""

    encoding = "thermometer"

    @property
    def n_steps(self) -> int:
        """Levels but the lowest; one level alone has a step that is never reached."""
        return max(len(self.vocabulary) - 1, 1)

    @property
    def width(self) -> int:
        return self.n_steps + self.has_missing

    def transform(self, values: np.ndarray) -> np.ndarray:
        steps = np.arange(1, self.n_steps + 1, dtype=np.float32)
        codes = self.codes(values)
        reached = (self.level_codes(codes) >= steps).astype(np.float32)  # (n, n_steps)
        return self.with_indicator(reached, codes)

    def to_onnx(self, graph: "GraphBuilder") -> EncodedColumn:
        code = self._add_codes(graph)
        level = self.add_level_codes(graph, code)
        column_vector = np.arange(1, self.n_steps + 1, dtype=np.float32)[:, None]  # (n_steps, 1)
        steps = graph.constant(f"{self.column}/steps", column_vector)
        is_reached = graph.node("GreaterOrEqual", [level, steps], f"{self.column}/is_reached")
        reached = graph.as_float(is_reached, f"{self.column}/thermometer")
        return EncodedColumn(code, self.add_indicator(graph, reached, code))
