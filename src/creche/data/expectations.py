"""The contract as a suite of Great Expectations: the only module that imports the library."""

import hashlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from creche.contract import Contract, RowRule, Rule
from creche.contract.images import color_range
from creche.contract.rules import (
    AllowedValuesRule,
    EarliestRule,
    LatestRule,
    MaximumRule,
    MinimumRule,
    RequiredRule,
    SingleColorRule,
)
from creche.data.batch import NO_COLUMN, Batch, Violation
from creche.errors import DataError

if TYPE_CHECKING:
    import great_expectations as gx

COLOR_RANGE_SUFFIX = ": range of its colors"
ROW_RULE_PREFIX = "keeps the rule: "


def import_great_expectations() -> Any:
    """Import the library without its log lines, and without Spark Connect.

    It imports Spark Connect where pyspark is installed. pyspark then warns of pandas 3, and where
    grpc is absent it takes a `python -c` for its own doctests and ends it with exit code 0.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    is_hidden = "pyspark.sql.connect" not in sys.modules
    if is_hidden:
        sys.modules["pyspark.sql.connect"] = None  # type: ignore[assignment]
    try:
        import great_expectations as gx
    finally:
        if is_hidden:
            del sys.modules["pyspark.sql.connect"]
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return gx


def as_frame(batch: Batch, contract: Contract) -> pd.DataFrame:
    """Return the values of a batch as the data frame that is validated.

    An image is represented by the SHA-256 of its pixels, and the range of its colors; a rule across
    columns by 1 in the rows that keep it, and 0 in the others.
    """
    series: dict[str, Any] = {}
    for name, values in batch.values.items():
        column = contract.columns[name]
        if not column.type.is_image:
            series[name] = values.to_pandas()
            continue
        digests = []
        for pixels in values.to_pylist():
            digests.append(hashlib.sha256(pixels).hexdigest() if pixels else None)
        series[name] = pd.Series(digests, dtype="str")
        series[name + COLOR_RANGE_SUFFIX] = color_range(values, column.shape[2])
    for rule in contract.row_rules:
        series[ROW_RULE_PREFIX + rule.reason] = np.ones(len(batch.row_numbers), np.int8)
    for violation in batch.check_row_rules(contract):
        series[ROW_RULE_PREFIX + violation.reason][violation.mask] = 0
    return pd.DataFrame(series)


def suite(contract: Contract) -> "gx.ExpectationSuite":
    """Return the contract as a suite.

    The meta of each expectation carries its column, and the reason for a row that fails it.
    """
    gx = import_great_expectations()
    expectations = [_expectation(rule) for rule in contract.rules()]
    expectations += [_row_rule_expectation(rule) for rule in contract.row_rules]
    return gx.ExpectationSuite(name="contract", expectations=expectations)


def _expectation(rule: Rule) -> Any:
    import great_expectations.expectations as e

    column = rule.column
    meta = {"reason": rule.reason, "column": column}
    match rule:
        case RequiredRule():
            return e.ExpectColumnValuesToNotBeNull(column=column, meta=meta)
        case MinimumRule(bound=bound) | EarliestRule(bound=bound):
            return e.ExpectColumnValuesToBeBetween(column=column, min_value=bound, meta=meta)
        case MaximumRule(bound=bound) | LatestRule(bound=bound):
            return e.ExpectColumnValuesToBeBetween(column=column, max_value=bound, meta=meta)
        case SingleColorRule():
            range_column = column + COLOR_RANGE_SUFFIX
            return e.ExpectColumnValuesToBeBetween(column=range_column, min_value=1, meta=meta)
        case AllowedValuesRule(values=values):
            return e.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), meta=meta)
    raise TypeError(f"no expectation for {type(rule).__name__}")


def _row_rule_expectation(rule: RowRule) -> Any:
    import great_expectations.expectations as e

    meta = {"reason": rule.reason, "column": NO_COLUMN}
    return e.ExpectColumnValuesToBeBetween(
        column=ROW_RULE_PREFIX + rule.reason, min_value=1, meta=meta
    )


def validate_frame(frame: pd.DataFrame, contract: Contract) -> list[Violation]:
    """Return every expectation that fails, with the mask of its rows.

    Each call has a context of its own: contexts shared between threads mix up their results.

    Raises:
        DataError: an expectation could not be evaluated.
    """
    gx = import_great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = context.data_sources.pandas_default.read_dataframe(frame.reset_index(drop=True))
    results = batch.validate(suite(contract), result_format={"result_format": "COMPLETE"})
    violations = []
    for result in results.results:
        if result.success:
            continue
        meta = result.expectation_config.meta
        positions = result.result.get("unexpected_index_list")
        if positions is None:
            raise DataError(
                f"Great Expectations could not evaluate '{meta['reason']}': {result.exception_info}"
            )
        mask = np.zeros(len(frame), bool)
        mask[positions] = True
        violations.append(Violation(meta["column"], meta["reason"], mask))
    return violations
