"""What is stored: the rows of every environment in a ring, and the memory state at every stride-th row.

The stream of an environment is a sequence of rows 0, 1, 2, …, each an observation and what followed it.
Row i lies at position i mod `rows` of the ring. Rows whose index is a multiple of `stride` are starts: each
opens a slot that keeps the memory state from before that row. `rows` is a multiple of `stride`, so a slot's
place in the ring is fixed, and the rows behind a start are overwritten only after the start itself is.

A seam (a new `learn`, a loaded model, another environment) ends a stream: the next row is moved on to the
next multiple of `stride`, and `origin` remembers it as the first row that later windows may use.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from envs.compiling import compiled

Shape = tuple[int, ...]

# A DNC's memory matrix [N, W] and link matrix [N, N]: nearly all of the bytes, and the parts that bear half
# precision. Usage does not: 127 distinct values near 1 become 3.
HALF_PRECISION = ("M", "L")


def machine_memory() -> int:
    """Bytes of this machine's memory; 64 GB where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 64 * 10**9


@compiled()
def _copy_runs(
    stored: NDArray,
    envs: NDArray[np.int64],
    first: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    out: NDArray,
) -> None:
    """Copy runs from the rings `stored` [E, rows, D], from the rows `first` [K, S] on, to `out` [T, K, S, D]."""
    rows = stored.shape[1]
    for k in range(first.shape[0]):
        ring = stored[envs[k]]
        for s in range(first.shape[1]):
            if wanted[k, s]:
                place = first[k, s] % rows
                for t in range(out.shape[0]):
                    for d in range(out.shape[3]):
                        out[t, k, s, d] = ring[place, d]
                    place = place + 1 if place + 1 < rows else 0


class RowStreams:
    """Rings of rows for `num_envs` environments.

    Args:
        rows: length of one ring, a multiple of `stride`.
        fields: name → (shape, dtype) of what a row holds.
        state: name → shape of the parts of the memory state; those in HALF_PRECISION are kept in float16, the
            rest in float32.

    Arrays are zeros that the operating system hands out page by page, so what is never written costs nothing.

    Raises:
        ValueError: once full they would not fit in this machine.
    """

    def __init__(
        self,
        num_envs: int,
        rows: int,
        stride: int,
        fields: Mapping[str, tuple[Shape, DTypeLike]],
        state: Mapping[str, Shape],
    ) -> None:
        self.num_envs, self.rows, self.stride, self.slots = num_envs, rows, stride, rows // stride
        row = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in fields.values()) + 1
        slot = sum(math.prod(s) * (2 if name in HALF_PRECISION else 4) for name, s in state.items())
        needed, there = num_envs * (rows * row + self.slots * slot), machine_memory()
        if needed > there:
            raise ValueError(
                f"A replay of {num_envs * rows} rows grows to {needed / 1e9:.1f} GB, and this machine has "
                f"{there / 1e9:.1f} GB; give a smaller capacity, or a larger stride."
            )
        self.next_row = np.zeros(num_envs, dtype=np.int64)  # index of the row that comes next, [E]
        self.origin = np.zeros(num_envs, dtype=np.int64)  # first row after the last seam, [E]
        self._rows = {k: np.zeros((num_envs * rows, *shape), dtype) for k, (shape, dtype) in fields.items()}
        self._is_transition = np.zeros(num_envs * rows, dtype=np.bool_)
        self._state = {
            k: np.zeros((num_envs * self.slots, *shape), np.float16 if k in HALF_PRECISION else np.float32)
            for k, shape in state.items()
        }

    @property
    def num_transitions(self) -> int:
        """Transitions held now; final rows and rows lost to a seam are none."""
        return int(np.count_nonzero(self._is_transition))

    def slot(self, envs: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers [K] of the slots that the starts `row` [K] open: env * slots + place in the ring."""
        return envs * self.slots + row % self.rows // self.stride

    def check(self, envs: NDArray[np.int64], values: Mapping[str, ArrayLike]) -> None:
        """Raise ValueError unless `envs` are different numbers and every value is a number or [K, *shape].

        A value that is no field of the rows is one number a row.
        """
        if envs.ndim != 1 or envs.size == 0 or envs.min() < 0 or np.bincount(envs).size > self.num_envs:
            raise ValueError(
                f"Got environments {envs}; give a vector of numbers from 0 to {self.num_envs - 1}."
            )
        if np.bincount(envs).max() > 1:
            raise ValueError(
                f"Got environments {envs}, one of them twice; add one row of each environment at a time."
            )
        for name, value in values.items():
            expected = (envs.size, *(self._rows[name].shape[1:] if name in self._rows else ()))
            if np.shape(value) not in ((), expected):
                raise ValueError(
                    f"Got {name} of shape {np.shape(value)}; give {expected} or one number for all."
                )

    def write(self, envs: NDArray[np.int64], values: Mapping[str, ArrayLike], transition: ArrayLike) -> None:
        """Append one row to each of the streams `envs` [K]; `transition` [K]: not a final row."""
        where = envs * self.rows + self.next_row[envs] % self.rows
        for name, value in values.items():
            self._rows[name][where] = value
        self._is_transition[where] = transition
        self.next_row[envs] += 1

    def check_state(self, count: int, state: Sequence[ArrayLike]) -> None:
        """Raise ValueError unless `state` has the declared parts, each [count, *shape]."""
        expected = [(count, *part.shape[1:]) for part in self._state.values()]
        given = [np.shape(part) for part in state]
        if given != expected:
            raise ValueError(
                f"Got a memory state of shapes {given}; give {expected}, for {list(self._state)}."
            )

    def write_state(self, slots: NDArray[np.int64], state: Sequence[ArrayLike]) -> None:
        """Keep the memory states [K, …] of `slots` [K]."""
        for stored, part in zip(self._state.values(), state, strict=True):
            stored[slots] = part

    def read(self, slots: NDArray[np.int64], length: int) -> dict[str, NDArray]:
        """The rows [length, K, …] that begin at the starts of `slots` [K], time first."""
        envs, place = np.divmod(slots, self.slots)
        row = (place * self.stride + np.arange(length)[:, None]) % self.rows  # [T, K]
        where = envs * self.rows + row
        return {name: stored.take(where, axis=0) for name, stored in self._rows.items()}

    def read_field(self, name: str, envs: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray:
        """What the field `name` holds in the rows `row` [K] of `envs` [K], [K, *shape]."""
        return self._rows[name].take(envs * self.rows + row % self.rows, axis=0)

    def read_runs(
        self,
        name: str,
        envs: NDArray[np.int64],
        first: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        length: int,
    ) -> NDArray:
        """The field `name` in the rows first … first + length - 1 of `envs` [K], [length, K, S, *shape].

        `first` [K, S] are row indices; runs that are not `wanted` [K, S] are zeros.
        """
        stored = self._rows[name]
        shape, width = stored.shape[1:], math.prod(stored.shape[1:])
        out = np.zeros((length, *first.shape, width), stored.dtype)
        _copy_runs(stored.reshape(self.num_envs, self.rows, width), envs, first, wanted, out)
        return out.reshape(length, *first.shape, *shape)

    def read_state(self, slots: NDArray[np.int64]) -> tuple[NDArray, ...]:
        """The memory states [K, …] from before the first row of `slots` [K], in their stored precision."""
        return tuple(part.take(slots, axis=0) for part in self._state.values())

    def oldest_row(self) -> NDArray[np.int64]:
        """The first row of each stream since its last seam that is held, [E]; `next_row` where none is."""
        return np.maximum(self.origin, self.next_row - self.rows)

    def oldest_start(self) -> NDArray[np.int64]:
        """The first start of each stream since its last seam whose rows are all held, [E]."""
        return -(-self.oldest_row() // self.stride) * self.stride

    def seam(self, envs: NDArray[np.int64]) -> None:
        """End the streams `envs` [K]: the next row of each is a start, and the first of a new stretch."""
        starts = -(-self.next_row // self.stride) * self.stride
        for env in envs:
            skipped = np.arange(self.next_row[env], starts[env]) % self.rows
            self._is_transition[env * self.rows + skipped] = False
        self.next_row[envs] = self.origin[envs] = starts[envs]

    def state_dict(self) -> dict[str, NDArray]:
        """All arrays, rows and slots only as far as they were ever filled: [E, rows or slots, …].

        They are the stored ones, not copies, and go on changing with them: a replay is most of the memory.
        """
        saved = {"next_row": self.next_row.copy(), "origin": self.origin.copy()}
        rows = min(int(self.next_row.max()), self.rows)
        for name, stored, size, used in self._arrays(rows):
            saved[name] = stored.reshape(self.num_envs, size, *stored.shape[1:])[:, :used]
        return saved

    def load_state_dict(self, saved: Mapping[str, NDArray]) -> None:
        """Take over what `state_dict` of streams of the same shape gave; ValueError for another shape."""
        rows = min(int(np.max(saved["next_row"], initial=0)), self.rows)
        arrays = list(self._arrays(rows))
        expected = {"next_row": (self.num_envs,), "origin": (self.num_envs,)}
        expected |= {name: (self.num_envs, used, *stored.shape[1:]) for name, stored, _, used in arrays}
        for name, shape in expected.items():
            given = np.shape(saved[name]) if name in saved else None
            if given != shape:
                raise ValueError(f"The saved replay has {name} of shape {given}; this buffer needs {shape}.")
        self.next_row, self.origin = np.array(saved["next_row"]), np.array(saved["origin"])
        self._is_transition[:] = False
        for name, stored, size, used in arrays:
            stored.reshape(self.num_envs, size, *stored.shape[1:])[:, :used] = saved[name]

    def _arrays(self, rows: int) -> list[tuple[str, NDArray, int, int]]:
        """(name, array [E * size, …], size, how much of size `rows` rows use) of everything stored."""
        slots = -(-rows // self.stride)
        listed = [(f"row_{name}", stored, self.rows, rows) for name, stored in self._rows.items()]
        listed += [("is_transition", self._is_transition, self.rows, rows)]
        return listed + [(f"state_{name}", stored, self.slots, slots) for name, stored in self._state.items()]
