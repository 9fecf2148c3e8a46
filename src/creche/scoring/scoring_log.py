"""The log of published scorings under `CRECHE_HOME`: which outputs a model or a data version had a
part in.
"""

import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from creche.errors import DataError
from creche.project import ProjectPaths

if TYPE_CHECKING:
    # At run time Pydantic is imported where the log is read or written: it takes 0.1 s.
    from creche.records import ModelReference, ScoringLogEntry, ScoringManifest

SCORING_LOG = "scorings.jsonl"
MIN_DIGEST_LENGTH = 8  # characters from which the start of a digest is taken as one


def append_to_log(out: Path, manifest: "ScoringManifest", paths: ProjectPaths) -> None:
    """Append a published scoring to the log.

    Args:
        out: the folder of the manifest.
    """
    from creche.records import LoggedInput, ScoringLogEntry

    entry = ScoringLogEntry(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        out=str(out.resolve()),
        state=manifest.state,
        model=manifest.model,
        rows=manifest.rows,
        scored=manifest.scored,
        quarantined=manifest.quarantined,
        inputs=[LoggedInput(file=each.file, sha256=each.sha256) for each in manifest.inputs],
    )
    line = entry.model_dump_json() + "\n"
    paths.create_home()
    log = os.open(paths.home / SCORING_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # One line in one write, so that several processes do not mix theirs.
        os.write(log, line.encode())
    finally:
        os.close(log)


def impact(
    paths: ProjectPaths,
    recipe: str | None = None,
    version: str | None = None,
    data: str | None = None,
    digests: Collection[str] = (),
) -> "list[ScoringLogEntry]":
    """Return the logged scorings whose model fits, the oldest first.

    Args:
        version: the model's version, or the start of its digest.
        data: the version of its training data, or the start of it.
        digests: of model files that fit whatever recipe and version are logged: a recipe that was
            renamed scored under its earlier name.

    Raises:
        DataError: the log cannot be read.
    """
    matches = []
    for entry in _read_log(paths.home / SCORING_LOG):
        is_recipe = recipe in (None, entry.model.recipe)
        is_model = is_recipe and _is_version(version, entry.model)
        is_data = data is None or entry.model.data_version.startswith(data)
        if is_data and (is_model or entry.model.digest in digests):
            matches.append(entry)
    return matches


def _is_version(version: str | None, model: "ModelReference") -> bool:
    if version is None or version == model.version:
        return True
    return len(version) >= MIN_DIGEST_LENGTH and model.digest.startswith(version)


def _read_log(path: Path) -> "list[ScoringLogEntry]":
    if not path.is_file():
        return []
    from pydantic import ValidationError

    from creche.records import ScoringLogEntry

    entries = []
    # Names of files may hold characters other than the line feed that end lines for Python.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            entries.append(ScoringLogEntry.model_validate_json(line))
        except ValidationError:
            raise DataError(
                f"{path}: line {number} is not an entry of a scoring log: correct it, or move it "
                "to another file"
            ) from None
    return entries
