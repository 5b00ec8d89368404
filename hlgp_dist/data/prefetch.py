"""Work done ahead of its consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Work(NamedTuple, Generic[Result]):
    """A result that is whole when all jobs are done, in any order and at the same time."""

    result: Result
    jobs: Sequence[Callable[[], None]]


def prefetch(
    prepare: Callable[[Item], Work[Result]], items: Iterable[Item], *, depth: int, workers: int
) -> Generator[Result, None, None]:
    """The result of each item, in order.

    At most `depth` results beyond the one asked for are in the making, whatever the number of workers. An exception
    of a job arrives in its turn; closing the generator ends the threads.

    Args:
        prepare: called in the consumer's thread.
        items: may be endless.
        depth: how far ahead.
        workers: threads that do the jobs; 0: the consumer's thread does them, when it asks for the result.
    """
    if workers == 0:
        for item in items:
            result, jobs = prepare(item)
            for job in jobs:
                job()
            yield result
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    pending: deque[tuple[Result, list[Future[None]]]] = deque()
    try:
        for item in items:
            result, jobs = prepare(item)
            pending.append((result, [pool.submit(job) for job in jobs]))
            if len(pending) > depth:
                yield _whole(*pending.popleft())
        while pending:
            yield _whole(*pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _whole(result: Result, futures: list[Future[None]]) -> Result:
    for future in futures:
        future.result()
    return result
