"""What an environment tells of its drift in `info`: the number of its phase, its context. What else is there by these
names is the environment's own business.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def told_number(info: Mapping[str, Any], name: str) -> int | None:
    """A whole number, 0 or more, that an environment tells; None where it tells none."""
    value = info.get(name)
    return int(value) if isinstance(value, int | np.integer) and 0 <= value < 2**63 else None


def told_phases(infos: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """The phase [E] of the step just done, as the environments tell it; 0 where they tell none."""
    return np.array([told_number(info, "phase") or 0 for info in infos], np.int64)


def told_context(info: Mapping[str, Any]) -> dict[str, float]:
    """The values of what drifts, by name; none where an environment tells something else by that name."""
    values = info.get("context")
    if not isinstance(values, Mapping) or not all(isinstance(value, Real) for value in values.values()):
        return {}
    return {str(name): float(value) for name, value in values.items()}
