"""Checks of the keys of a column that belong to other kinds than its own."""

from collections.abc import Mapping

from creche.contract.column import Column

# Key of a column → the kinds that have it, for the keys of few kinds.
KINDS_OF_KEY: Mapping[str, tuple[str, ...]] = {
    "thousands": ("number", "bins"),
    "symbols": ("number", "bins"),
    "normalize": ("category",),
    "true_values": ("boolean",),
    "false_values": ("boolean",),
    "edges": ("bins",),
    "formats": ("date",),
    "time_zone": ("date",),
    "earliest": ("date",),
    "latest": ("date",),
}


def refuse_keys_of_other_kinds(name: str, column: Column) -> None:
    """Check that a column states no key that another kind has alone.

    Raises:
        ValueError: it states one.
    """
    for key, kinds in KINDS_OF_KEY.items():
        value = getattr(column, key)
        is_stated = value is not None and value != ()
        if is_stated and column.kind not in kinds:
            raise ValueError(
                f"columns.{name}: {key} is for the kind {' or '.join(kinds)}, and the kind is "
                f"{column.kind}: remove {key}, or change the kind"
            )


def refuse_number_keys(name: str, column: Column) -> None:
    """Check that a column states none of the keys of a number: units, min and max.

    Raises:
        ValueError: it states one.
    """
    if column.units:
        raise ValueError(
            f"columns.{name}: units are for a number, and the kind is {column.kind}: remove units"
        )
    refuse_limits(name, column)


def refuse_limits(name: str, column: Column) -> None:
    """Check that a column states neither min nor max.

    Raises:
        ValueError: it states one.
    """
    if column.min is not None or column.max is not None:
        raise ValueError(
            f"columns.{name}: min and max are for a number, and the kind is {column.kind}: remove "
            "them"
        )


def refuse_values(name: str, column: Column) -> None:
    """Check that a column states none of the keys of a category: values, unseen and ordered.

    Raises:
        ValueError: it states one.
    """
    if column.values is not None:
        raise ValueError(
            f"columns.{name}: values are for a category, and the kind is {column.kind}: remove "
            "values, or use kind category"
        )
    if column.unseen != "unknown" or column.ordered:
        raise ValueError(
            f"columns.{name}: unseen and ordered are for a category, and the kind is "
            f"{column.kind}: remove them"
        )
