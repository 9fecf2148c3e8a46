"""The blocks of one table, read on one thread and scored on several."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue

from creche.data.table_reader import TableReader
from creche.model.artifact import processors
from creche.scoring.engine import Engine, ScoredBlock

WAITING_BLOCKS = 2  # blocks in memory beyond one a thread
POLL_SECONDS = 0.1

_Pending = Queue["Future[ScoredBlock] | None"]  # None: there are no more


def score_blocks(reader: TableReader, engine: Engine) -> Iterator[ScoredBlock]:
    """Yield the scored blocks of a table in their order.

    One thread reads, as many as there are processors score, and few blocks are in memory at once.

    Raises:
        DataError: the table cannot be read to its end.
    """
    if reader.source.is_small:
        for block in reader.blocks():
            yield engine.score(block)
        return
    threads = processors()
    pending: _Pending = Queue(threads + WAITING_BLOCKS)
    is_stopped = threading.Event()
    with ThreadPoolExecutor(threads) as scorers, ThreadPoolExecutor(1) as reading_thread:

        def read() -> None:
            try:
                for block in reader.blocks():
                    if is_stopped.is_set():
                        return
                    pending.put(scorers.submit(engine.score, block))
            except Exception as error:
                # The caller's thread raises it, after the blocks before it.
                pending.put(_failed(error))
            finally:
                pending.put(None)

        reading = reading_thread.submit(read)
        try:
            yield from _results(pending)
        finally:
            is_stopped.set()
            _drain(pending, reading)


def _failed(error: Exception) -> "Future[ScoredBlock]":
    future: Future[ScoredBlock] = Future()
    future.set_exception(error)
    return future


def _results(pending: _Pending) -> Iterator[ScoredBlock]:
    while True:
        future = pending.get()
        if future is None:
            return
        yield future.result()


def _drain(pending: _Pending, reading: "Future[None]") -> None:
    """Empty the queue until the reading thread has ended, which may be waiting for room in it."""
    while not reading.done():
        with suppress(Empty):
            pending.get(timeout=POLL_SECONDS)
