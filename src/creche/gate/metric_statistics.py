"""The paired tests of a metric other than accuracy, from what each group contributes to it.

Each test takes the larger of two p-values, so that it holds its level where either does:

- a t-test of the contributions of the groups to the difference of both models, which are the
  difference's derivative by the weight of the group (its influence function). It holds where the
  models differ and have equal metrics, on holdouts that are not too small. Few groups may
  contribute most of the difference; its degrees of freedom are their effective number less one.
- a permutation test that swaps the models' predictions in each group at random. It is exact on any
  holdout where the models are alike.

The test of the margin has no permutation. It is a t-test too, on the holdout and one more group
that speaks against the challenger: of metrics of labels one of each class, which the champion alone
predicts correctly, and of others the one of this holdout that does so most. A few groups of a rare
class, or models that hardly disagree, say too little of the groups that the holdout happens not to
have. benchmarks/metric_level.py shows the level.

References:
    Hampel (1974), The influence curve and its role in robust estimation, Journal of the American
    Statistical Association 69:383-393. Good (2005), Permutation, Parametric and Bootstrap Tests of
    Hypotheses, chapter 3. Agresti and Min (2005), Simple improved confidence intervals for
    comparing matched proportions, Statistics in Medicine 24:729-740: the added rows.
    Satterthwaite (1946), An approximate distribution of estimates of variance components,
    Biometrics Bulletin 2:110-114: the degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from creche.gate.statistics import POWER

DIFFERENCE_TOLERANCE = 1e-12  # differences within it count as equal


@dataclass(frozen=True)
class Contributions:
    """A difference of both models, and what each group contributes to it, to first order."""

    difference: float  # challenger less champion; above 0 where the challenger is better
    of_groups: np.ndarray  # (groups,), whose sum is 0

    @property
    def standard_error(self) -> float:
        """The standard error of the difference; 0 where the models do not differ."""
        count = len(self.of_groups)
        if count < 2:
            return 0.0
        return float(np.sqrt(count / (count - 1) * (self.of_groups**2).sum()))

    @property
    def degrees_of_freedom(self) -> float:
        """The effective number of groups that contribute, less one; 1 at least."""
        squares = self.of_groups**2
        total = float((squares**2).sum())
        if not total:
            return 1.0
        return max(1.0, float(squares.sum()) ** 2 / total - 1)

    def with_most_adverse_again(self) -> "Contributions":
        """Return the same with another group like the one most against the challenger."""
        most_adverse = float(self.of_groups.min())
        return Contributions(
            self.difference + most_adverse, np.append(self.of_groups, most_adverse)
        )

    def p_value(self, supposed: float = 0.0) -> float:
        """Return the one-sided p-value of a difference that is `supposed` or below."""
        error = self.standard_error
        if not error:
            return 1.0
        return float(t.sf((self.difference - supposed) / error, self.degrees_of_freedom))

    def lower_limit(self, alpha: float) -> float | None:
        """Return the lower one-sided confidence limit of the difference; None where the groups do
        not show how it varies.
        """
        error = self.standard_error
        if not error:
            return None
        return self.difference - float(t.isf(alpha, self.degrees_of_freedom)) * error

    def minimum_detectable_difference(self, alpha: float) -> float | None:
        """Return the smallest true difference that the t-test would have shown 80 % of the time;
        None where the groups do not show how the difference varies.
        """
        error = self.standard_error
        if not error:
            return None
        return (float(t.isf(alpha, self.degrees_of_freedom)) + float(norm.ppf(POWER))) * error


@dataclass(frozen=True)
class PairedMetric:
    """The metric of two models on the same rows.

    Attributes:
        rows: of which both have predictions.
        challenger: its value.
        champion: its value.
        contributions: to the difference.
        with_adverse_rows: the same for the test of the margin, with more groups that speak against
            the challenger.
        swapped: the difference (B,) where the predictions of groups are swapped at random.
    """

    rows: int
    challenger: float
    champion: float
    contributions: Contributions
    with_adverse_rows: Contributions
    swapped: np.ndarray

    def p_better(self) -> float:
        """Return the p-value of a challenger that is no better."""
        observed = self.contributions.difference
        reached = int((self.swapped >= observed - DIFFERENCE_TOLERANCE).sum())
        return max(self.contributions.p_value(), self._p_of_permutation(reached))

    def p_worse(self) -> float:
        """Return the p-value of a challenger that is no worse."""
        observed = self.contributions.difference
        reached = int((self.swapped <= observed + DIFFERENCE_TOLERANCE).sum())
        opposite = Contributions(-observed, self.contributions.of_groups)
        return max(opposite.p_value(), self._p_of_permutation(reached))

    def p_inferior(self, margin: float) -> float:
        """Return the p-value of a challenger that is worse by the margin or more."""
        if margin == 0:
            return self.p_better()
        return self.with_adverse_rows.p_value(-margin)

    def _p_of_permutation(self, reached: int) -> float:
        return (1 + reached) / (1 + len(self.swapped))
