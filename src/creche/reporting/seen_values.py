"""The values of categories that the recipe does not list: those that training has seen."""

from collections.abc import Sequence
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
    vocabularies = _vocabularies(folder / PREPROCESSOR)
    inputs = []
    for column in model.inputs:
        vocabulary = vocabularies.get(column.name)
        if vocabulary and not column.values:
            column = column.model_copy(update={"values": describe_vocabulary(vocabulary)})
        inputs.append(column)
    return model.model_copy(update={"inputs": inputs})


def describe_vocabulary(vocabulary: Sequence[str]) -> str:
    """Return the values that training has seen, the first of them where there are many."""
    more = len(vocabulary) - SHOWN_VALUES
    suffix = f" and {more:,} more" if more > 0 else ""
    return f"seen in training: {', '.join(vocabulary[:SHOWN_VALUES])}{suffix}"


def _vocabularies(path: Path) -> dict[str, Sequence[str]]:
    try:
        preprocessor = Preprocessor.from_dict(read_json(path))
    except (DataError, FileNotFoundError):
        # The run has not come so far, or was of an earlier version of creche.
        return {}
    vocabularies: dict[str, Sequence[str]] = {}
    for encoder in preprocessor.encoders:
        if isinstance(encoder, CategoryEncoder):
            vocabularies[encoder.column] = encoder.vocabulary
    return vocabularies
