"""The same files over a Dask cluster: one task a file, the same bytes out.

Scheduler, workers and this process share the file system of the output folder, and of local input
files.
"""

from collections.abc import Iterator, Sequence

from distributed import Client

from creche.errors import UnreachableError
from creche.scoring.batch import CommitRecord, Run, ScoringJob, score_file

RETRIES = 3  # of a file whose worker died; what it had finished is found by its receipt


def on_dask(address: str) -> Run:
    """A `run` for `score` that hands the files to the cluster whose scheduler listens at `address`.

    Raises:
        UnreachableError: nobody answers there.
    """

    def run(jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
        try:
            client = Client(address, timeout="15s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(f"no Dask scheduler answers at {address}: {error}") from None
        with client:
            futures = client.map(score_file, jobs, retries=RETRIES, pure=False)
            for future in futures:
                yield future.result()

    return run
