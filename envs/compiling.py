"""What Numba compiles, here and in memagent: kept on disk where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import config, njit

ENABLED = not config.DISABLE_JIT  # type: ignore[attr-defined]  # set by Numba from the environment
"""Whether Numba compiles at all; not with NUMBA_DISABLE_JIT=1, which is for debuggers and coverage."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit with these options, and its cache on disk.

    In a read-only installation of a user without a home Numba finds no folder for the cache, which is an error there;
    here the function is compiled anew in every process.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)

    return decorate
