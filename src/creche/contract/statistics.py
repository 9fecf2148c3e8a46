"""The statistics of a column's training rows, as the model file carries them in JSON."""

from typing import TypedDict


class ColumnStatistics(TypedDict):
    """What the statistics of every column type have."""

    rows: int


class Histogram(TypedDict):
    """Rows in bins of equal width."""

    counts: list[int]
    edges: list[float]  # one more than counts


class NumberStatistics(ColumnStatistics):
    """Statistics of numbers, in the unit of the column."""

    min: float
    max: float
    mean: float
    std: float
    histogram: Histogram


class DateStatistics(ColumnStatistics):
    """Statistics of dates and times, in seconds since 1970 in UTC."""

    min: float
    max: float
    median: float
    histogram: Histogram


class ValueStatistics(ColumnStatistics):
    """Statistics of categories and texts."""

    counts: dict[str, int]  # value → rows, of the 1,000 most frequent values


class ImageStatistics(ColumnStatistics):
    """Statistics of the mean brightness of each image, 0..255."""

    mean: float
    std: float
    brightness: list[int]  # images in bins of equal width over 0..255
