"""The level of the paired tests of a metric other than accuracy, on drawn holdouts."""

import sys

import pytest
from support.projects import ROOT

from creche.recipe import MetricName

sys.path.insert(0, str(ROOT / "benchmarks"))
from metric_level import ALPHA, METRIC_NAMES, SCENARIOS, error_rates

DRAWS = 200


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [SCENARIOS[1], SCENARIOS[4]], ids=lambda case: case.name())
@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_no_error_is_more_frequent_than_its_level(scenario: object, metric: MetricName) -> None:
    allowed = ALPHA + 3 * (ALPHA * (1 - ALPHA) / DRAWS) ** 0.5
    for rate in error_rates(metric, scenario, DRAWS):
        assert rate <= allowed
