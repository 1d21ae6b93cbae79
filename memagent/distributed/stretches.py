"""What an actor sends: the rows of some steps as its replay buffer would have stored them, with what belongs to them.

After Horgan et al. 2018 (Distributed Prioritized Experience Replay) rows come with the priorities that acting has
measured, after Kapturowski et al. 2019 (R2D2) with the memory's states from before the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from memagent.agents import MemoryAlgorithm
from memagent.agents.acting import select
from memagent.agents.rows import Windows
from memagent.replay.streams import HALF_PRECISION


class Stretch(NamedTuple):
    """Rows of an actor's environments, in the order in which they are added to the replay."""

    env: NDArray[np.int64]  # [R], of the actor's own, from 0
    rows: dict[str, NDArray]  # [R, ...] by name, as `PrioritizedSequenceBuffer.add` takes them
    ends: list[int]  # rows that were added together, [C + 1]: those from one number to the next
    opens: NDArray[np.bool_]  # [R], the row opens a window
    state: tuple[NDArray, ...]  # parts [S, ...] from before the rows that do; M and L in float16
    peaks: NDArray[np.float32]  # [P], of the evidence of a change, in the steps whose evidence counts
    stage: NDArray[np.int64]  # [P], of the phase in each of these steps
    told: list[dict[int, dict[str, Any]]]  # [T], of each step and environment what `info` tells that is new
    figures: dict[str, float]  # see `Acting.figures`, and of the memory


class Outbox:
    """Stands in an actor's agent for the replay buffer: keeps rows until they are sent.

    Args:
        agent: whose rows these are.
        next_row: [e], the place in the learner's streams of each environment's next row, from any multiple of the
            stride.
    """

    def __init__(self, agent: MemoryAlgorithm, next_row: NDArray[np.int64]) -> None:
        self._agent, self._next_row = agent, next_row.copy()
        self._tail = Tail(agent)
        self._forget()

    def _forget(self) -> None:
        self._added: list[dict[str, NDArray]] = []
        self._states: list[Sequence[NDArray]] = []
        self._evidence: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def seam(self) -> None:
        """The learner's replay has its own."""

    def add(
        self,
        envs: NDArray[np.int64],
        *,
        state: Callable[[NDArray[np.int64]], Sequence[NDArray]],
        **values: ArrayLike,
    ) -> None:
        """Keep rows; see `PrioritizedSequenceBuffer.add`."""
        agent = self._agent
        opens = self._next_row[envs] % agent.replay_config.stride == 0
        if opens.any():
            self._states.append(state(envs[opens]))
        self._next_row[envs] += 1
        rows = {"env": envs, "opens": opens}
        rows |= {name: _of_each(value, len(envs)) for name, value in values.items()}
        rows["priority"] = self._tail.add(envs, self._next_row[envs], rows)
        self._added.append(rows)
        if not values["final"]:
            self._evidence.append((agent.acting.observed.peaks, agent.acting.observed.stage))

    def take(self, told: list[dict[int, dict[str, Any]]], figures: dict[str, float]) -> Stretch:
        """What has been added since the last call, with what else is sent."""
        names = self._agent.policy.initial_state(1)._fields if self._states else ()
        halves = [np.float16 if name in HALF_PRECISION else np.float32 for name in names]
        parts = zip(*self._states, strict=True)
        rows = {name: np.concatenate([one[name] for one in self._added]) for name in self._added[0]}
        peaks, stage = (np.concatenate(part) for part in zip(*self._evidence, strict=True))
        stretch = Stretch(
            env=rows.pop("env"),
            opens=rows.pop("opens"),
            rows=rows,
            ends=np.cumsum([0, *(len(one["env"]) for one in self._added)]).tolist(),
            state=tuple(np.concatenate(part).astype(half) for part, half in zip(parts, halves, strict=True)),
            peaks=peaks[stage >= 0],
            stage=stage[stage >= 0],
            told=told,
            figures=figures,
        )
        self._forget()
        return stretch


class Tail:
    """The newest rows of each of an actor's environments as acting saw them, for the first priorities of windows."""

    def __init__(self, agent: MemoryAlgorithm) -> None:
        config, shape = agent.replay_config, (agent.replay_config.window, agent.n_envs)
        self._agent, self._rows = agent, np.zeros(agent.n_envs, np.int64)
        self._features = torch.zeros(*shape, agent.policy.features_dim)
        assert agent.action_space.shape is not None
        whole = np.issubdtype(agent.action_space.dtype, np.integer) and not agent.action_space.shape
        action = np.zeros((*shape, *agent.action_space.shape), np.int64 if whole else np.float32)
        ends = {name: np.zeros(shape, np.bool_) for name in ("final", "terminal")}
        self._kept: dict[str, NDArray] = {"action": action, "reward": np.zeros(shape, np.float32), **ends}
        self._learned = config.window - config.burn_in

    def add(
        self, envs: NDArray[np.int64], count: NDArray[np.int64], rows: dict[str, NDArray]
    ) -> NDArray[np.float32]:
        """Keep a row of each of `envs` [K], the `count`-th of its stream.

        Returns:
            The priorities [K] of the windows that they complete; NaN where they complete none that lies after this
            actor's first row.
        """
        agent, window = self._agent, self._agent.replay_config.window
        place = count % window
        self._features[place, envs] = self._features_of(envs, rows)
        for name, kept in self._kept.items():
            kept[place, envs] = rows[name]
        self._rows[envs] += 1
        first = count - window
        completes = (self._rows[envs] >= window) & (first % agent.replay_config.stride == 0)
        priority = np.full(len(envs), np.nan, np.float32)
        if completes.any():
            who = envs[completes]
            order = (count[completes] - np.arange(self._learned)[::-1, None]) % window  # [L, K']
            seen = {name: torch.from_numpy(kept[order, who]) for name, kept in self._kept.items()}
            none = torch.empty(0)
            x = Windows(obs=none, memory_start=none, stretch=none, weights=none, **seen)
            priority[completes] = agent.first_priorities(self._features[order, who], x)
        return priority

    def _features_of(self, envs: NDArray[np.int64], rows: dict[str, NDArray]) -> torch.Tensor:
        """What the memory made of the rows; of an episode's last observation acting itself makes nothing."""
        acting = self._agent.acting
        if not rows["final"].any():
            return acting.features[envs]
        start = np.zeros(len(envs), np.bool_)
        after = select(acting.state, envs)
        return self._agent.policy.advance(rows["obs"], start, after, acting.context[envs])[0]


def store(agent: MemoryAlgorithm, first: int, stretch: Stretch) -> None:
    """Add what an actor sent to the learner's replay, as the streams from number `first` on.

    Raises:
        ValueError: it does not go on where these streams end.
    """
    envs = stretch.env + first
    number: NDArray[np.int64] = np.cumsum(stretch.opens) - 1  # [R], of a row's state, where it has one
    for begin, end in pairwise(stretch.ends):
        rows = slice(begin, end)
        if not np.array_equal(agent.replay_buffer.needs_state(envs[rows]), stretch.opens[rows]):
            raise ValueError(
                f"Rows of environments {envs[rows]} came that do not follow the last ones; expected each stretch once, "
                "in order: begin the actor anew."
            )
        with_state = number[rows][stretch.opens[rows]]
        agent.replay_buffer.add(
            envs[rows],
            **{name: values[rows] for name, values in stretch.rows.items()},
            state=partial(_states, stretch.state, with_state),
        )
    np.add.at(agent._episodes, envs[stretch.rows["final"]], 1)
    agent.policy.follow_peaks(stretch.peaks, stretch.stage)


def _states(
    parts: Sequence[NDArray], numbers: NDArray[np.int64], envs: NDArray[np.int64]
) -> Sequence[NDArray]:
    """The states of these numbers, which are those of `envs`."""
    return [part[numbers] for part in parts]


def _of_each(value: ArrayLike, count: int) -> NDArray:
    """A copy of one value of each of `count` rows, in the precision of the replay: what it is of goes on changing."""
    array = np.array(value, copy=True)
    exact = array.astype(np.float32) if array.dtype == np.float64 else array
    return exact if exact.ndim else np.full(count, exact)
