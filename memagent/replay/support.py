"""Which runs are drawn for a task: different ones, spread over all that its stretch offers, or over a part of it.

A run of `steps` transitions that starts at row t reads the rows t … t + steps, of which the last one gives only its
observation. A stretch with the held rows [first, end) offers the starts first … end - 1 - steps.
"""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.compiling import compiled

Numbers = NDArray[np.int64]


class RunStarts:
    """Draws the rows at which runs start, with a generator of its own."""

    def __init__(self, seed: int | None) -> None:
        self._random = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])

    def draw(
        self, first: Numbers, end: Numbers, size: int, steps: int, span: Numbers | None = None
    ) -> tuple[Numbers, NDArray[np.bool_]]:
        """Up to `size` different starts of runs inside the rows [first, end) [K], each as likely as every other.

        With `span` [K] they are of so many neighbouring starts, at a random place.

        Returns:
            Rows [K, size], and whether they were drawn, [K, size].
        """
        offered = np.maximum(end - steps - first, 0)
        if span is not None:
            part = np.minimum(span, offered)
            first = first + (self._random.random(len(part)) * (offered - part + 1)).astype(np.int64)
            offered = part
        index, drawn = draw_different(offered, self._random.random((len(offered), size + 1)))
        return first[:, None] + index, drawn

    def state_dict(self) -> dict[str, NDArray]:
        """The generator of the draws."""
        return {"support_random": np.array(json.dumps(self._random.bit_generator.state))}

    def load_state_dict(self, saved: Mapping[str, NDArray]) -> None:
        """Take over what `state_dict` gave."""
        self._random.bit_generator.state = json.loads(str(saved["support_random"]))


def checked_tasks(
    num_envs: int, envs: ArrayLike, stretches: ArrayLike, size: int, steps: int
) -> tuple[Numbers, Numbers]:
    """`envs` and `stretches` as vectors [K]; ValueError where they are none, or anything is out of range."""
    given = [np.asarray(x) for x in (envs, stretches)]
    if given[0].ndim != 1 or given[0].shape != given[1].shape:
        raise ValueError(
            f"support got shapes {[x.shape for x in given]} for environments and stretches; give vectors of one "
            "length K."
        )
    if any(x.size and x.dtype.kind not in "iu" for x in given):
        raise ValueError(f"support got the types {[str(x.dtype) for x in given]}; give whole numbers.")
    if size < 1 or steps < 1:
        raise ValueError(f"support got size={size} and steps={steps}; give at least 1 of each.")
    who, numbers = (x.astype(np.int64) for x in given)
    if who.size and (who.min() < 0 or who.max() >= num_envs):
        raise ValueError(f"support got environments {who}; give numbers from 0 to {num_envs - 1}.")
    return who, numbers


@compiled()
def draw_different(offered: Numbers, uniform: NDArray[np.float64]) -> tuple[Numbers, NDArray[np.bool_]]:
    """Different ones of 0 … offered - 1 for each of K tasks: min(S, offered), from `uniform` [K, S + 1] in [0, 1).

    The places lie on a circle that is turned by a random angle and cut into as many parts as are drawn, one place from
    each. Sizes of parts differ by up to one place; the turn makes every place as likely as every other all the same.

    Returns:
        Numbers [K, S], and whether they were drawn, [K, S].
    """
    tasks, size = uniform.shape[0], uniform.shape[1] - 1
    index = np.zeros((tasks, size), np.int64)
    drawn = np.zeros((tasks, size), np.bool_)
    for k in range(tasks):
        places = offered[k]
        parts = min(size, places)
        turn = int(uniform[k, size] * places)
        for i in range(parts):
            low = i * places // parts
            high = (i + 1) * places // parts
            index[k, i] = (turn + low + int(uniform[k, i] * (high - low))) % places
            drawn[k, i] = True
    return index, drawn
