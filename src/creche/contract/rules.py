"""The rules of a contract: each refuses some values of a column, for a reason.

A rule is executed in three ways: on one value (`is_broken_by`), on a column of Arrow values
(`mask`), and as an expectation of Great Expectations (`creche.data.expectations`). Tests hold the
three to the same rows and reasons.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SINGLE_COLOR = "one color all over"


@dataclass(frozen=True)
class Rule:
    """One condition that refuses a value of a column."""

    column: str
    reason: str

    def is_broken_by(self, value: Any) -> bool:
        """Whether one value breaks the rule; None stands for a missing value."""
        raise NotImplementedError

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        """Return the mask (n,) of the values that break the rule.

        None stands for no broken value, where that can be decided without a mask.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class RequiredRule(Rule):
    """Refuses a missing value."""

    def is_broken_by(self, value: Any) -> bool:
        return value is None

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import pyarrow.compute as pc

        if values.null_count == 0:
            return None
        return _as_mask(pc.is_null(values))


@dataclass(frozen=True)
class MinimumRule(Rule):
    """Refuses a number below the bound."""

    bound: float

    def is_broken_by(self, value: Any) -> bool:
        return value is not None and bool(value < self.bound)

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import numpy as np
        import pyarrow.compute as pc

        numbers = values.to_numpy(zero_copy_only=False)  # null becomes NaN
        if not len(numbers) or not np.fmin.reduce(numbers) < self.bound:
            return None
        return _as_mask(pc.less(values, self.bound))


@dataclass(frozen=True)
class MaximumRule(Rule):
    """Refuses a number above the bound."""

    bound: float

    def is_broken_by(self, value: Any) -> bool:
        return value is not None and bool(value > self.bound)

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import numpy as np
        import pyarrow.compute as pc

        numbers = values.to_numpy(zero_copy_only=False)  # null becomes NaN
        if not len(numbers) or not np.fmax.reduce(numbers) > self.bound:
            return None
        return _as_mask(pc.greater(values, self.bound))


@dataclass(frozen=True)
class EarliestRule(Rule):
    """Refuses a date or time before the bound."""

    bound: datetime  # in UTC

    def is_broken_by(self, value: Any) -> bool:
        return value is not None and bool(value < self.bound)

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import pyarrow as pa
        import pyarrow.compute as pc

        return _as_mask(pc.less(values, pa.scalar(self.bound, values.type)))


@dataclass(frozen=True)
class LatestRule(Rule):
    """Refuses a date or time after the bound."""

    bound: datetime  # in UTC

    def is_broken_by(self, value: Any) -> bool:
        return value is not None and bool(value > self.bound)

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import pyarrow as pa
        import pyarrow.compute as pc

        return _as_mask(pc.greater(values, pa.scalar(self.bound, values.type)))


@dataclass(frozen=True)
class AllowedValuesRule(Rule):
    """Refuses a category that is not listed."""

    values: tuple[str, ...]

    def is_broken_by(self, value: Any) -> bool:
        return value is not None and value not in self.values

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        allowed = pa.array(np.array(self.values, dtype=object), pa.string())
        if pa.types.is_dictionary(values.type):
            # Each value of the dictionary is checked once, however many rows have it.
            is_allowed_value = pc.is_in(values.dictionary, allowed)
            if pc.all(is_allowed_value).as_py():
                return None
            is_allowed = is_allowed_value.take(values.indices)
        else:
            is_allowed = pc.is_in(values, allowed)
        return _as_mask(pc.and_(pc.invert(is_allowed), pc.is_valid(values)))


@dataclass(frozen=True)
class SingleColorRule(Rule):
    """Refuses an image all of whose pixels have one color."""

    channels: int

    def is_broken_by(self, value: Any) -> bool:
        # One image is checked where its pixels are decoded.
        return False

    def mask(self, values: "pa.Array") -> "np.ndarray | None":
        from creche.contract.images import single_color_mask

        return single_color_mask(values, self.channels)


def _as_mask(booleans: Any) -> "np.ndarray":
    import numpy as np
    import pyarrow.compute as pc

    mask: np.ndarray = np.asarray(pc.fill_null(booleans, False))
    return mask
