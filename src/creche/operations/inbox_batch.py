"""One batch of the inbox: scored once, whenever a run is killed, and moved out of the inbox."""

from dataclasses import dataclass, replace
from pathlib import Path

from creche.errors import CrecheError, DataError
from creche.operations.inbox import DIGEST_LENGTH
from creche.operations.inbox_folder import DONE, REFUSED, digest, move
from creche.operations.scoring_run import ScoringOutcome, ScoringRun
from creche.project import MANIFEST, ProjectPaths
from creche.records import ScoringManifest
from creche.scoring.manifest import read_manifest
from creche.scoring.scoring_log import append_to_log, impact


@dataclass(frozen=True)
class InboxBatch:
    """A file or folder of the inbox, as it was when its run was submitted.

    Attributes:
        sha256: of its bytes then (`inbox_folder.digest`).
        out: the folder of its predictions, beside those of the recipe's other batches.
    """

    file: Path
    sha256: str
    out: Path

    def score(self, run: ScoringRun) -> ScoringOutcome:
        """Score the batch, unless one with the same bytes was scored before.

        A scored batch is moved to `done/`, and one that cannot be scored to `refused/`, beside the
        reason. One that could be scored later stays in the inbox, which submits it again.
        """
        if not self._is_unchanged():
            message = f"{self.file.name} has changed or gone since it was seen in the inbox"
            return ScoringOutcome("Cancelled", message)
        outcome = self._score_once(run)
        if outcome.state in ("Scored", "Unchanged"):
            move(self.file, DONE)
        elif _is_refusal(outcome.error):
            target = move(self.file, REFUSED, str(outcome.error))
            return replace(outcome, message=f"{outcome.message}; it is {target}")
        return outcome

    def _is_unchanged(self) -> bool:
        try:
            return self.file.exists() and digest(self.file) == self.sha256
        except (OSError, DataError):
            return False

    def _score_once(self, run: ScoringRun) -> ScoringOutcome:
        earlier = self._earlier_output()
        if earlier is None:
            return run.score([str(self.file)], self.out)
        try:
            manifest = read_manifest(earlier / MANIFEST)
        except DataError as error:
            return ScoringOutcome("Failed", str(error), error)
        if not manifest.scored:
            return run.score([str(self.file)], self.out)
        try:
            _log_once(earlier, manifest, run.project.paths)
        except DataError as error:
            # The log is at fault, not the batch: no `error`, so that it stays in the inbox.
            return ScoringOutcome("Failed", str(error))
        return ScoringOutcome("Unchanged", f"{self.file.name} was scored before: {earlier}")

    def _earlier_output(self) -> Path | None:
        """Return the folder of an earlier scoring of the same bytes, under whatever name."""
        manifests = self.out.parent.glob(f"*-{self.sha256[:DIGEST_LENGTH]}/{MANIFEST}")
        manifest = next(manifests, None)
        return None if manifest is None else manifest.parent


def _log_once(out: Path, manifest: ScoringManifest, paths: ProjectPaths) -> None:
    """Log an earlier scoring whose run was killed before it could."""
    logged = {entry.out for entry in impact(paths)}
    if str(out.resolve()) not in logged:
        append_to_log(out, manifest, paths)


def _is_refusal(error: CrecheError | None) -> bool:
    """Whether another attempt would end in the same way."""
    return isinstance(error, DataError)
