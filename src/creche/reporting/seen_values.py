"""The values of categories that the recipe does not list: those that training has seen."""

from pathlib import Path

from creche.errors import DataError
from creche.model.encoders.categories import CategoryEncoder
from creche.model.preprocessor import Preprocessor
from creche.project import PREPROCESSOR, read_json
from creche.records import ModelDescription

SHOWN_VALUES = 20  # of one category


def with_seen_values(model: ModelDescription, folder: Path) -> ModelDescription:
    """Return a description that states what was seen in training of each category without a list.

    Args:
        folder: of the run; without its preprocessor the description stays as it is.
    """
    encoders = _category_encoders(folder / PREPROCESSOR)
    inputs = []
    for column in model.inputs:
        encoder = encoders.get(column.name)
        if encoder and not column.values:
            column = column.model_copy(update={"values": describe_vocabulary(encoder)})
        inputs.append(column)
    return model.model_copy(update={"inputs": inputs})


def describe_vocabulary(encoder: CategoryEncoder) -> str:
    """Return the values that training has seen, the first of them where there are many."""
    more = len(encoder.vocabulary) - SHOWN_VALUES
    suffix = f" and {more:,} more" if more > 0 else ""
    if encoder.has_other:
        suffix += "; rarer ones are taken as one value, other"
    if encoder.takes_unseen:
        suffix += "; an unseen one is known"
    return f"seen in training: {', '.join(encoder.vocabulary[:SHOWN_VALUES])}{suffix}"


def _category_encoders(path: Path) -> dict[str, CategoryEncoder]:
    try:
        preprocessor = Preprocessor.from_dict(read_json(path))
    except (DataError, FileNotFoundError):
        # The run has not come so far, or was of an earlier version of creche.
        return {}
    encoders: dict[str, CategoryEncoder] = {}
    for encoder in preprocessor.encoders:
        if isinstance(encoder, CategoryEncoder):
            encoders[encoder.column] = encoder
    return encoders
