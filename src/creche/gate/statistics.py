"""The gate's statistics: exact tests for paired classifiers, and how much a holdout can show."""

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import betabinom, binom, binomtest, norm

POWER = 0.8  # with which the minimum detectable difference would have been shown
NUISANCE_POINTS = 400  # shares of discordant rows over which the exact test takes its worst case
LIMIT_ITERATIONS = 60  # bisections of the confidence limit: to 1e-18
POWER_ITERATIONS = 30  # bisections of the detectable difference: to 1e-9
SCORE_TOLERANCE = 1e-9  # scores within it count as equal


def mcnemar_p_value(more: int, fewer: int) -> float:
    """Return the one-sided p-value of the exact McNemar test.

    The null hypothesis is that both models are right equally often.

    Args:
        more: rows that one model alone predicts correctly, the one that is shown to be better.
        fewer: rows that the other model alone predicts correctly.

    References:
        McNemar (1947), Note on the sampling error of the difference between correlated proportions,
        Psychometrika 12:153-157.
    """
    discordant = more + fewer
    if not discordant:
        return 1.0
    return float(binomtest(more, discordant, 0.5, "greater").pvalue)


def tango_score(gained: Any, lost: Any, n: int, difference: float) -> Any:
    """Return how far, in standard errors, the observed difference lies above a supposed one.

    It is standard normal where the supposed difference is the true one. The variance comes from the
    constrained maximum likelihood of the discordant cells.

    Args:
        gained: rows that the challenger alone predicts correctly, a number or an array.
        lost: rows that the champion alone predicts correctly, alike.
        n: all rows.
        difference: supposed difference of the accuracies, challenger less champion, -1..1.

    References:
        Tango (1998), Equivalence test and confidence interval for the difference in proportions for
        the paired-sample design, Statistics in Medicine 17:891-908, equations 2 to 5.
    """
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    discriminant = np.maximum(b * b - 4.0 * a * c, 0.0)
    share_lost = (np.sqrt(discriminant) - b) / (2 * a)
    variance = n * (2 * share_lost + difference * (1 - difference))
    excess = gained - lost - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, excess / np.sqrt(variance), np.copysign(np.inf, excess))


def difference_lower_limit(gained: int, lost: int, n: int, alpha: float) -> float:
    """Return the lower one-sided confidence limit of the difference of the accuracies, -1..1.

    Args:
        gained, lost, n: as of `tango_score`.
        alpha: one less the confidence.

    References:
        Tango (1998), as of `tango_score`.
    """
    critical_score = norm.isf(alpha)
    low = -1.0
    high = (gained - lost) / n
    # The score falls as the supposed difference grows; it has steps, so that bisection is safer
    # than a derivative.
    for _ in range(LIMIT_ITERATIONS):
        middle = (low + high) / 2
        if tango_score(gained, lost, n, middle) >= critical_score:
            low = middle
        else:
            high = middle
    return low


@lru_cache(maxsize=65536)
def inferiority_p_value(gained: int, lost: int, n: int, margin: float) -> float:
    """Return the p-value of the exact unconditional test of non-inferiority.

    The null hypothesis is that the challenger's accuracy lies `margin` or more below the
    champion's. Tango's score orders the outcomes, and the share of discordant rows, which nobody
    knows, is the one that makes p largest. The normal approximation would promote a model worse by
    the margin in up to 6 % of the cases where 5 % is stated (n = 300, margin 2 %).

    Args:
        gained, lost, n: as of `tango_score`.
        margin: difference of the accuracies, 0..1.

    References:
        Sidik (2003), Exact unconditional tests for testing non-inferiority in matched-pairs design,
        Statistics in Medicine 22:265-278.
    """
    if margin == 0:
        return mcnemar_p_value(gained, lost)
    discordant = np.arange(n + 1)
    fewest_gained = _fewest_gained_to_reach(gained, lost, n, margin)
    worst = 0.0
    for share in np.geomspace(margin, 1, NUISANCE_POINTS):  # of discordant rows
        probability_gained = (share - margin) / 2 / share
        reaching = binom.sf(fewest_gained - 1, discordant, probability_gained)
        p_value = float((binom.pmf(discordant, n, share) * reaching).sum())
        worst = max(worst, p_value)
    return min(worst, 1.0)


def _fewest_gained_to_reach(gained: int, lost: int, n: int, margin: float) -> np.ndarray:
    """Return, for 0..n discordant rows, how many gained ones reach the observed score (n + 1,).

    One more than there are discordant rows means that none do. Found by bisection for all of them
    at once.
    """
    observed = float(tango_score(gained, lost, n, -margin))
    discordant = np.arange(n + 1)
    low = np.zeros(n + 1, np.int64)
    high = discordant + 1
    while (low < high).any():
        middle = (low + high) // 2
        score = tango_score(middle, discordant - middle, n, -margin)
        is_reached = score >= observed - SCORE_TOLERANCE
        is_settled = low >= high
        next_low = np.where(is_reached | is_settled, low, middle + 1)
        next_high = np.where(is_reached, np.minimum(high, middle), high)
        low = next_low
        high = next_high
    return low


@lru_cache(maxsize=1024)
def minimum_detectable_difference(discordant: int, n: int, alpha: float) -> float:
    """Return the smallest true difference that the exact McNemar test would have shown 80 % of the
    time on such a holdout.

    The models are taken to disagree as often as they were seen to, or by the difference itself
    where that is more.

    Args:
        discordant: rows on which the models disagree.
        n: all rows.
        alpha: level of the test.

    Returns:
        A difference of accuracies, 0..1; 1 where no difference would have been shown.
    """
    rows = np.arange(n + 1)
    critical = binom.isf(alpha, rows, 0.5).astype(np.int64) + 1  # P(X >= critical) <= alpha
    # A difference is shown where p is below alpha, not where it is alpha.
    critical += binom.sf(critical - 1, rows, 0.5) >= alpha

    def power(difference: float) -> float:
        share = max(discordant / n, difference)
        probability_gained = (1 + difference / share) / 2
        rejecting = binom.sf(critical - 1, rows, probability_gained)
        return float((binom.pmf(rows, n, share) * rejecting).sum())

    low = 0.0
    high = 1.0
    if power(high) < POWER:
        return 1.0
    # The power is not monotone step by step, so a root finder has no advantage over bisection.
    for _ in range(POWER_ITERATIONS):
        middle = (low + high) / 2
        if power(middle) >= POWER:
            high = middle
        else:
            low = middle
    return high


def coverage_p_value(covered: int, rows: int, calibration_rows: int, coverage: float) -> float:
    """Return how probable it is that prediction sets which keep their promise cover no more than
    `covered` of `rows` rows.

    Args:
        covered: rows whose set holds the true class.
        rows: fresh rows.
        calibration_rows: rows that the sets were calibrated on; they are few, so the coverage
        itself varies.
        coverage: that is promised, 0..1.

    References:
        Angelopoulos and Bates (2023), Conformal Prediction: A Gentle Introduction, section 3.2: the
        coverage of split conformal sets over fresh rows is beta-binomial.
    """
    rank = int(np.ceil((calibration_rows + 1) * coverage))
    if rank > calibration_rows:
        return 1.0  # too few to promise anything: each set holds every class
    return float(betabinom.cdf(covered, rows, rank, calibration_rows + 1 - rank))
