"""Scores as a person reads them."""

from __future__ import annotations

import numpy as np

from memagent.evaluation.intervals import Interval


def places(value: float) -> int:
    """Figures after the point, where a number has four at most."""
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 1 else 3


def number(value: float, sign: str = "", digits: int | None = None) -> str:
    """A number with so many figures after the point, as `places` has it unless told, and a true minus."""
    digits = places(value) if digits is None else digits
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def with_ends(score: Interval, sign: str = "") -> str:
    """An estimate with the ends of its interval, where it has one."""
    if np.isnan(score.low):
        return number(score.estimate, sign)
    return f"{number(score.estimate, sign)} [{number(score.low, sign)}, {number(score.high, sign)}]"
