"""Scores as a person reads them."""

from __future__ import annotations

import numpy as np

from memagent.evaluation.intervals import Interval


def number(value: float, sign: str = "") -> str:
    """Four figures at most, with a true minus."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 1 else 3
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def with_ends(score: Interval, sign: str = "") -> str:
    """An estimate with the ends of its interval, where it has one."""
    if np.isnan(score.low):
        return number(score.estimate, sign)
    return f"{number(score.estimate, sign)} [{number(score.low, sign)}, {number(score.high, sign)}]"
