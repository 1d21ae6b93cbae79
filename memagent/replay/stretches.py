"""Where each phase lies in the streams: a stretch is an unbroken run of rows of one phase in one stream.

A phase that comes back begins another stretch, and so does a seam. The stretches of a stream are numbered 0, 1, 2, ….
Tables keep the first row and the end of each, so that neither finding a stretch nor adding a row depends on how much is
held. A ring of `rows` rows holds rows of at most `rows` stretches; the tables are rings of one place more.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class StretchTables:
    """First row and end of the newest `rows` + 1 stretches of `num_envs` streams; none at first."""

    def __init__(self, num_envs: int, rows: int) -> None:
        self._number = np.full(num_envs, -1, dtype=np.int64)  # of each stream's newest stretch, [E]
        self._phase = np.zeros(num_envs, dtype=np.int64)  # of that stretch, [E]
        self._goes_on = np.zeros(num_envs, dtype=np.bool_)  # no seam since that stretch's last row, [E]
        self._first = np.zeros((num_envs, rows + 1), dtype=np.int64)
        self._end = np.zeros(
            (num_envs, rows + 1), dtype=np.int64
        )  # index of the row behind the stretch's last

    @property
    def newest(self) -> Numbers:
        """Number of each stream's newest stretch, [E]; -1 where there is none yet."""
        return self._number.copy()

    def extend(self, envs: Numbers, row: Numbers, phase: Numbers) -> Numbers:
        """Numbers [K] of the stretches that the next rows belong to: `row` [K], of `phase` [K], of the streams `envs`.

        The streams [K] must be different ones.
        """
        begins = ~self._goes_on[envs] | (phase != self._phase[envs])
        number = self._number[envs] + begins
        place = number % self._first.shape[1]
        self._first[envs[begins], place[begins]] = row[begins]
        self._end[envs, place] = row + 1
        self._number[envs] = number
        self._phase[envs] = phase
        self._goes_on[envs] = True
        return number

    def seam(self, envs: Numbers) -> None:
        """Let the next row of the streams `envs` [K] begin a stretch."""
        self._goes_on[envs] = False

    def find(self, envs: Numbers, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """First row [K] and end [K] of the stretches `numbers` [K] of `envs` [K]; 0 and 0 where the tables have none.

        Rows of a stretch that the tables know may be overwritten: that is for the streams to say.
        """
        newest, places = self._number[envs], self._first.shape[1]
        known = (numbers >= 0) & (numbers <= newest) & (numbers > newest - places)
        place = numbers % places
        return self._first[envs, place] * known, self._end[envs, place] * known

    def state_dict(self) -> dict[str, NDArray]:
        """All arrays, the tables only as far as they were ever filled."""
        used = self._used(self._number)
        return {
            name: (array[:, :used] if array.ndim == 2 else array).copy()
            for name, array in self._arrays().items()
        }

    def load_state_dict(self, saved: Mapping[str, NDArray]) -> None:
        """Take over what `state_dict` of tables of the same size gave; ValueError for another size."""
        arrays = self._arrays()
        used = self._used(saved["stretch_number"]) if "stretch_number" in saved else 0
        for name, array in arrays.items():
            expected = (len(array), used)[: array.ndim]
            given = np.shape(saved[name]) if name in saved else None
            if given != expected:
                raise ValueError(
                    f"The saved replay has {name} of shape {given}; this buffer needs {expected}."
                )
        for name, array in arrays.items():
            if array.ndim == 2:
                array[:, :used] = saved[name]
            else:
                array[:] = saved[name]

    def _used(self, number: Numbers) -> int:
        return min(int(np.max(number, initial=-1)) + 1, self._first.shape[1])

    def _arrays(self) -> dict[str, NDArray]:
        return {
            "stretch_number": self._number,
            "stretch_phase": self._phase,
            "stretch_goes_on": self._goes_on,
            "stretch_first": self._first,
            "stretch_end": self._end,
        }
