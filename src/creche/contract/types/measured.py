"""What numbers and dates have in common: values on a line, which a model takes as numbers."""

from typing import TYPE_CHECKING, Any

from creche.contract.column import Column
from creche.contract.statistics import ColumnStatistics, Histogram
from creche.contract.types.base import ColumnType

if TYPE_CHECKING:
    import numpy as np

HISTOGRAM_BINS = 20


class MeasuredType(ColumnType):
    """Base of the types whose values lie on a line between limits."""

    def noise(
        self,
        column: Column,
        statistics: ColumnStatistics,
        rows: int,
        random: "np.random.Generator",
    ) -> "np.ndarray":
        """Return values between the limits, from a range three times that of the training rows."""
        import numpy as np

        limits = self.model_limits(column)
        assert limits is not None  # every such type has them
        smallest, largest = statistics["min"], statistics["max"]  # type: ignore[typeddict-item]
        width = largest - smallest
        values = random.uniform(smallest - width, largest + width, rows)
        return np.clip(values, *limits)

    def golden_array(self, cells: list[Any], column: Column) -> "np.ndarray":
        import numpy as np

        return np.array(cells, dtype=np.float64)  # None becomes NaN


def histogram_of(array: "np.ndarray") -> Histogram:
    """Return a histogram of numbers (n,) in 20 equal bins."""
    import numpy as np

    bins_range = _histogram_range(float(array.min()), float(array.max()))
    counts, edges = np.histogram(array, HISTOGRAM_BINS, bins_range)
    return Histogram(counts=counts.tolist(), edges=edges.tolist())


def _histogram_range(smallest: float, largest: float) -> tuple[float, float]:
    """Return the ends of a histogram of numbers in this range, which is widened where it is too
    narrow for bins that float64 tells apart.
    """
    import numpy as np

    resolution = float(np.spacing(max(abs(smallest), abs(largest))))
    least_width = 2 * HISTOGRAM_BINS * resolution
    if largest - smallest > least_width:
        return smallest, largest
    margin = max(0.5, least_width)
    return smallest - margin, largest + margin
