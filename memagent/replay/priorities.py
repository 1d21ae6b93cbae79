"""Who is drawn: the priorities of windows at fixed places, by proportional prioritisation.

Schaul et al. 2016. A place holds one window after the other; a generation stamp tells them apart, so that a
priority computed for a window that was overwritten meanwhile does not fall on its successor.
"""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memagent.replay.sum_tree import SumTree

Places = NDArray[np.int64]


class WindowPriorities:
    """Priorities of the windows at `places` places, none of which can be drawn at first.

    A window's probability is P(i) = p_i / sum_k p_k, with p = (priority + epsilon)^alpha. A window that was
    never drawn has the largest p that was measured on the windows still held. The entry priority itself does
    not count as measured: every new window would hand it on to the next, and one early outlier would stay the
    maximum for ever.
    """

    def __init__(self, places: int, alpha: float, epsilon: float, seed: int | None) -> None:
        self._alpha, self._epsilon = alpha, epsilon
        self._tree = SumTree(places)
        self._generation = np.zeros(places, dtype=np.int64)
        self._measured = np.zeros(places, dtype=np.bool_)  # p comes from a TD error, it is no entry priority
        self._entry = 1.0  # p of a window never drawn: alpha is in it already
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Windows that can be drawn: alpha = 0 or not, their p is above 0."""
        return int(np.count_nonzero(self._tree.leaves))

    def vacate(self, places: Places) -> None:
        """Forget the windows at `places` [K]: they are about to be overwritten."""
        self._tree.set(places, np.zeros(places.size))
        self._measured[places] = False
        self._generation[places] += 1

    def admit(self, places: Places, priorities: NDArray[np.float64] | None = None) -> None:
        """Let the windows at `places` [K] be drawn from now on, with the entry priority.

        `priorities` [K], without alpha, were measured before; NaN where none was.
        """
        self._tree.set(places, np.full(places.size, self._entry))
        if priorities is not None:
            (known,) = np.nonzero(~np.isnan(priorities))
            self.update(places[known], self._generation[places[known]], priorities[known])

    def draw(self, count: int, beta: float) -> tuple[Places, NDArray[np.int64], NDArray[np.float32]]:
        """Places, generations and importance weights [count] of windows, one per equal part of the total.

        w = (n P)^-beta of n windows, divided by the largest w of the *batch* (not of all windows): n cancels,
        and weights only ever scale an update down. Schaul et al. 2016, section 3.4 and algorithm 1.
        """
        places = self._tree.sample(self._random.random(count))
        weights = (self._tree.leaves[places] / self._tree.total) ** -beta
        return places, self._generation[places], (weights / weights.max()).astype(np.float32)

    def update(self, places: Places, generations: NDArray[np.int64], priorities: ArrayLike) -> None:
        """Set the windows' priorities [K], without alpha. Of a place that comes twice, the larger one counts.

        Windows of an older generation are passed over. Raises ValueError, before anything is written, for a
        priority that is negative, infinite or NaN.
        """
        given = np.asarray(priorities, dtype=np.float64)
        if given.shape != places.shape:
            raise ValueError(
                f"Got priorities of shape {given.shape} for {places.size} windows; give one each."
            )
        if not (np.isfinite(given).all() and (given >= 0.0).all()):
            raise ValueError(
                f"Got priorities {given}; give finite ones of 0 or more: is there NaN in the loss?"
            )
        order = np.argsort(given)  # the tree keeps the last of equal places, so that is the largest
        order = order[self._generation[places[order]] == generations[order]]
        self._tree.set(places[order], (given[order] + self._epsilon) ** self._alpha)
        self._measured[places[order]] = True
        if self._measured.any():
            self._entry = float(self._tree.leaves[self._measured].max())

    def state_dict(self) -> dict[str, NDArray]:
        """Everything as plain arrays, the generator of the draws included."""
        return {
            "priority": self._tree.leaves.copy(),
            "generation": self._generation.copy(),
            "measured": self._measured.copy(),
            "entry": np.array(self._entry),
            "random": np.array(json.dumps(self._random.bit_generator.state)),
        }

    def load_state_dict(self, saved: Mapping[str, NDArray]) -> None:
        """Take over what `state_dict` of as many places gave."""
        self._tree.set(np.arange(self._tree.capacity), saved["priority"])
        self._generation[:] = saved["generation"]
        self._measured[:] = saved["measured"]
        self._entry = float(saved["entry"])
        self._random.bit_generator.state = json.loads(str(saved["random"]))
