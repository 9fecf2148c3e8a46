"""Executors: where the jobs of a scoring are done. The bytes of the outputs do not depend on it."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from creche.errors import UnreachableError
from creche.scoring.jobs import ScoringJob, score_file
from creche.scoring.staging import CommitRecord

SMALL_FILES_AT_ONCE = 4
DASK_RETRIES = 3  # of a file whose worker died; what it had committed is not scored again
DASK_TIMEOUT = "15s"  # for the scheduler to respond


class Executor(Protocol):
    """Does the jobs of a scoring."""

    def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
        """Yield the commit record of each job, in order."""
        ...


class ThreadExecutor:
    """Scores the files in turn in this process, and the blocks of each on all processors.

    Small files are scored some at once, since most of their time is spent waiting for the disk.
    """

    def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
        pending: deque[Future[CommitRecord]] = deque()
        pool = ThreadPoolExecutor(SMALL_FILES_AT_ONCE)
        try:
            for job in jobs:
                if job.source.is_small:
                    pending.append(pool.submit(score_file, job))
                    if len(pending) > SMALL_FILES_AT_ONCE:
                        yield pending.popleft().result()
                    continue
                while pending:
                    yield pending.popleft().result()
                yield score_file(job)
            while pending:
                yield pending.popleft().result()
        finally:
            # Where one has failed, those that have not begun are not begun.
            pool.shutdown(cancel_futures=True)


class DaskExecutor:
    """Scores the files on a Dask cluster, one task each.

    Scheduler, workers and this process share the file system of the output folder, and of local
    input files.
    """

    def __init__(self, address: str) -> None:
        """Prepare for the cluster whose scheduler listens at `address`, such as
        `tcp://127.0.0.1:8786`.
        """
        self.address = address

    def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
        """Yield the commit record of each job, in order.

        Raises:
            UnreachableError: no scheduler responds at the address.
        """
        # Dask is installed by the extra `cluster`, which only clusters need.
        from distributed import Client

        try:
            client = Client(self.address, timeout=DASK_TIMEOUT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(
                f"no Dask scheduler responds at {self.address}: {error}"
            ) from None
        with client:
            # Not pure: Dask must not reuse the result of an earlier scoring of the same files.
            futures = client.map(score_file, jobs, retries=DASK_RETRIES, pure=False)
            for future in futures:
                yield future.result()
