"""Threads for the fused kernels: as many as torch.get_num_threads() says, asleep between calls.

The kernels hold no Python lock, so plain Python threads run them side by side. Numba's own thread layers are left
alone: a second OpenMP runtime beside torch's spins against it on the same cores, its work queue aborts when two
threads use it, and neither survives a fork.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


class Crew:
    """Runs one function on every block of a batch."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # Threads do not survive a fork: a child hires its own.
        self._size, self._helpers = 0, ThreadPoolExecutor(1)

    def _hire(self, size: int) -> ThreadPoolExecutor:
        if self._size < size:
            self._helpers.shutdown(wait=False)
            self._size, self._helpers = size, ThreadPoolExecutor(size, "memagent-kernel")
        return self._helpers

    def run(self, function: Callable[..., Any], blocks: int, *arguments: Any) -> None:
        """Call function(block, *arguments) for every block below blocks; the calling thread works too."""
        waiting = itertools.count()

        def work() -> None:
            while (block := next(waiting)) < blocks:
                function(block, *arguments)

        helpers = min(torch.get_num_threads(), blocks) - 1
        futures = [self._hire(helpers).submit(work) for _ in range(helpers)]
        work()
        for future in futures:
            future.result()
