"""What the learner sees of the replay: windows as tensors, and the rows that heads learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from memagent.replay import SequenceBatch


class Windows(NamedTuple):
    """Windows of L rows from B streams on the learner's device, time first; see `SequenceBatch`."""

    obs: Tensor  # [L, B, O]
    action: Tensor  # [L, B, *A]
    reward: Tensor  # [L, B], scaled
    memory_start: Tensor  # [L, B] bool
    final: Tensor  # [L, B] bool
    terminal: Tensor  # [L, B] bool
    stretch: Tensor  # [L, B], numbers the phases of a stream
    weights: Tensor  # [B], importance weights

    @classmethod
    def of(cls, batch: SequenceBatch, device: torch.device) -> Windows:
        """The batch's arrays as tensors."""
        return cls(*(torch.from_numpy(getattr(batch, name)).to(device) for name in cls._fields))

    def rows(self, start: int, stop: int | None = None) -> Windows:
        """Some of the rows; the importance weights are the windows' own."""
        return self._replace(
            **{name: getattr(self, name)[start:stop] for name in self._fields if name != "weights"}
        )


def as_state(parts: Sequence[ArrayLike], empty: Any, device: torch.device) -> Any:
    """Stored parts of memory states as a state, in the type and precision of `empty`."""
    return type(empty)(*(torch.as_tensor(s).to(device, e.dtype) for s, e in zip(parts, empty, strict=True)))


class HeadRows(NamedTuple):
    """What the heads learn from."""

    features: Tensor  # [T, B, D]
    output: tuple[Tensor, ...]  # [T, B, ...], what the online heads make of them, see `SequenceLearner.head_output`
    action: Tensor  # [T, B, *A]
    target: Tensor  # [T, B]
    mask: Tensor  # [T, B] bool, the rows that count
