"""Threads for the fused kernels: as many as torch.get_num_threads() says, asleep between calls.

The kernels hold no Python lock, so plain Python threads run them side by side. Numba's own thread layers are left
alone: a second OpenMP runtime beside torch's spins against it on the same cores, its work queue aborts when two
threads use it, and neither survives a fork.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


class BatchThreads:
    """Runs one function on all sequences of a batch."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # Threads do not survive a fork: a child starts its own.
        self._size, self._helpers = 0, ThreadPoolExecutor(1)

    def _started(self, size: int) -> ThreadPoolExecutor:
        if self._size < size:
            self._helpers.shutdown(wait=False)
            self._size, self._helpers = size, ThreadPoolExecutor(size, "memagent-kernel")
        return self._helpers

    def run(self, function: Callable[..., Any], size: int, longest: int, *arguments: Any) -> None:
        """Call function(begin, end, *arguments) on spans that cover range(size); the calling thread works too.

        Spans begin at even numbers and are no longer than longest, nor than needed to give every thread one.
        """
        threads = torch.get_num_threads()
        span = max(2, min(longest, -(-size // (2 * threads)) * 2))
        begins = iter(range(0, size, span))

        def work() -> None:
            for begin in begins:  # shared: every span goes to one thread
                function(begin, min(begin + span, size), *arguments)

        helpers = min(threads, -(-size // span)) - 1
        futures = [self._started(helpers).submit(work) for _ in range(helpers)]
        work()
        for future in futures:
            future.result()
