"""A sum tree: draw an index with probability proportional to its priority, in O(log n).

Schaul et al. 2016, Prioritized Experience Replay, appendix B.2.1 (proportional prioritisation, stratified
draws). It knows numbers, not transitions: whatever exponent a priority carries was applied before it came
here.

Layout: a heap of 2 * size float64 nodes, size the power of two not below the capacity. Node 1 is the root,
node k has the children 2k and 2k + 1, leaf i is node size + i; leaves past the capacity stay 0.

Invariant: every inner node is exactly the rounded sum of its two children, so nothing drifts however many writes there
were, a node above 0 has a child above 0, and the tree is a pure function of its leaves.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.compiling import compiled


@compiled()
def _write(nodes: NDArray[np.float64], indices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    size = nodes.size // 2
    for k in range(indices.size):
        node = size + indices[k]
        nodes[node] = values[k]
        while node > 1:
            node //= 2
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]


@compiled()
def _draw(nodes: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    size, count = nodes.size // 2, uniform.size
    leaves = np.empty(count, dtype=np.int64)
    for k in range(count):
        mass = (k + uniform[k]) / count * nodes[1]  # stratum k is [k, k + 1) / count of the total
        node = 1
        while node < size:
            node *= 2
            # Rounding may leave mass at or past the node's sum: an empty right half is never entered. Nor is an
            # empty left half, for 0 <= mass.
            if mass >= nodes[node] and nodes[node + 1] > 0.0:
                mass -= nodes[node]
                node += 1
        leaves[k] = node - size
    return leaves


class SumTree:
    """Priorities of `capacity` items, all 0 (never drawn) at first."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"A sum tree got capacity {capacity}; give it at least 1.")
        self.capacity = capacity
        self._size = 1 << (capacity - 1).bit_length()
        self._nodes = np.zeros(2 * self._size)

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._nodes[1])

    @property
    def leaves(self) -> NDArray[np.float64]:
        """The priorities [capacity], a read-only view."""
        view = self._nodes[self._size : self._size + self.capacity]
        view.flags.writeable = False
        return view

    def set(self, indices: ArrayLike, values: ArrayLike) -> None:
        """Write priorities `values` [K] at `indices` [K]; where an index comes twice, its last value stays.

        Raises ValueError, before anything is written, for a value that is negative, infinite or NaN, and
        IndexError for an index outside the capacity.
        """
        where = np.ascontiguousarray(indices, dtype=np.int64)
        what = np.ascontiguousarray(values, dtype=np.float64)
        if where.shape != what.shape or where.ndim != 1:
            raise ValueError(
                f"Got indices {where.shape} and values {what.shape}; give two vectors of one length."
            )
        if where.size == 0:
            return
        if where.min() < 0 or where.max() >= self.capacity:
            raise IndexError(
                f"Got indices {where.min()} to {where.max()}; this tree holds 0 to {self.capacity - 1}."
            )
        if not (what.min() >= 0.0 and what.max() < np.inf):  # a NaN fails both comparisons
            raise ValueError(
                f"Got priorities {what.min()} to {what.max()}; they must be finite and not negative."
            )
        _write(self._nodes, where, what)

    def sample(self, uniform: ArrayLike) -> NDArray[np.int64]:
        """One index per stratum: `uniform` [K] in [0, 1) → indices [K], none of them of priority 0.

        Stratum k is the k-th of K equal parts of the total, so every draw has the right marginal and a
        batch is spread over the whole range of priorities.
        """
        if not 0.0 < self.total < np.inf:
            raise ValueError(f"The priorities add up to {self.total}; set some above 0 before sampling.")
        return _draw(self._nodes, np.ascontiguousarray(uniform, dtype=np.float64))
