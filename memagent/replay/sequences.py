"""Prioritised replay of sequences with stored memory states, for recurrent off-policy learners.

Kapturowski et al. 2019 (R2D2), on Schaul et al. 2016. A window is burn_in + rows + n_step rows of one
environment's stream and opens every `stride` rows:

    | burn-in: memory only | rows that are learned from | n rows for the targets |

Every episode ends with one row more, its `final` row: the last observation, no action. A value is
bootstrapped there, from a memory that has seen that observation, unless the row is `terminal`. A window may
hold several episodes (the memory resets inside, where `memory_start` says so), but never a seam.

A window may be drawn from when its last row is written until its first row is overwritten. Its place in the
tree then goes to the next window, under a new generation stamp.

Beside windows there are tasks: one phase in one environment, a `stretch` of its stream (see `stretches`). A task's
context is fitted to its support, short runs from all of its stretch that is held.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from memagent.replay.batches import SequenceBatch, SupportRows
from memagent.replay.priorities import WindowPriorities
from memagent.replay.streams import RowStreams, Shape
from memagent.replay.stretches import StretchTables
from memagent.replay.support import RunStarts, checked_tasks
from memagent.sb3_names import no_attribute

State = Sequence[ArrayLike]
Advance = Callable[[NDArray[np.int64], Mapping[str, NDArray], State], State]


@dataclass(frozen=True)
class ReplayConfig:
    """What is stored and how it is drawn."""

    capacity: int = 10_000
    """Rows held, over all environments: transitions, and one final row per episode."""
    alpha: float = 0.6
    """Exponent of the priorities, 0 (uniform) to 1 (in proportion). Schaul et al. 2016, eq. 1."""
    beta: float = 0.4
    """Exponent of the importance weights at first, annealed to 1. Schaul et al. 2016, section 3.4."""
    eta: float = 0.9
    """Priority = eta * max + (1 - eta) * mean of a window's |TD errors|. Kapturowski et al. 2019, 2.3."""
    burn_in: int = 8
    """Rows that only bring the memory up to date, without gradient."""
    rows: int = 64
    """Rows that are learned from, after the burn-in."""
    stride: int = 16
    """Rows from one window's start to the next one's."""
    n_step: int = 3
    """Rewards in a target before its bootstrap value."""
    priority_epsilon: float = 1e-4
    """Added to every priority before the exponent, in units of the TD error, so that no window is lost."""

    def __post_init__(self) -> None:
        least = {"capacity": 1, "burn_in": 0, "rows": 1, "stride": 1, "n_step": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"ReplayConfig got {name}={getattr(self, name)}; give at least {low}.")
        for name in ("alpha", "beta", "eta"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"ReplayConfig got {name}={getattr(self, name)}; give a number from 0 to 1.")
        if not 0.0 < self.priority_epsilon < np.inf:
            raise ValueError(
                f"ReplayConfig got priority_epsilon={self.priority_epsilon}; give a number above 0."
            )

    @property
    def window(self) -> int:
        """Rows in a window."""
        return self.burn_in + self.rows + self.n_step


class PrioritizedSequenceBuffer:
    """Replay of windows, drawn by p = (eta * max|td| + (1 - eta) * mean|td| + epsilon)^alpha.

    Args:
        obs_shape, action_shape, action_dtype: of one row of one environment.
        state_spec: the parts of one environment's memory state in their order, a mapping name → shape or pairs
            of both; parts named M and L are kept in float16. Empty for a learner without memory.
        seed: of the draws: windows and support each have a generator of their own.

    Raises ValueError where the capacity does not hold one window per environment, or more than this machine can.
    """

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        obs_shape: Shape,
        action_shape: Shape,
        action_dtype: DTypeLike,
        state_spec: Mapping[str, Shape] | Iterable[tuple[str, Shape]] = (),
        seed: int | None = None,
    ) -> None:
        self.config, self.num_envs = config, num_envs
        rows = config.capacity // num_envs // config.stride * config.stride
        # One is always whole: the ring takes the oldest stride away before the newest window is complete.
        least = -(-(config.window + config.stride - 1) // config.stride) * config.stride
        if rows < least:
            raise ValueError(
                f"A replay of capacity {config.capacity} does not always hold a window of {config.window} rows of each "
                f"of {num_envs} environments; give a capacity of at least {least * num_envs}."
            )
        fields: dict[str, tuple[Shape, DTypeLike]] = {
            "obs": (tuple(obs_shape), np.float32),
            "action": (tuple(action_shape), action_dtype),
            "reward": ((), np.float32),
            **dict.fromkeys(("start", "memory_start", "final", "terminal"), ((), np.bool_)),
            **dict.fromkeys(("stretch", "episode"), ((), np.int64)),
        }
        self._make_streams = partial(RowStreams, num_envs, rows, config.stride, fields, dict(state_spec))
        self._seed = seed
        self.reset()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    def reset(self) -> None:
        """Forget everything, as a new buffer of the same seed."""
        self._streams = self._make_streams()
        places = self.num_envs * self._streams.slots
        self._priorities = WindowPriorities(
            places, self.config.alpha, self.config.priority_epsilon, self._seed
        )
        self._stretches = StretchTables(self.num_envs, self._streams.rows)
        self._run_starts = RunStarts(self._seed)

    def __len__(self) -> int:
        """Windows that can be drawn."""
        return len(self._priorities)

    def size(self) -> int:
        """Transitions held, over all environments."""
        return self._streams.num_transitions

    @property
    def pos(self) -> NDArray[np.int64]:
        """Where in its ring the next row of every environment goes, [E]."""
        return self._streams.next_row % self._streams.rows

    @property
    def full(self) -> bool:
        """Whether the rings of all environments are full, so that every new row takes an old one's place."""
        return bool((self._streams.next_row >= self._streams.rows).all())

    def needs_state(self, envs: ArrayLike) -> NDArray[np.bool_]:
        """Whether the next row of the environments `envs` [K] opens a window: then `add` keeps a state, [K]."""
        return self._streams.next_row[np.asarray(envs, dtype=np.int64)] % self.config.stride == 0

    def add(
        self,
        envs: ArrayLike,
        *,
        obs: ArrayLike,
        action: ArrayLike,
        reward: ArrayLike,
        start: ArrayLike,
        memory_start: ArrayLike,
        final: ArrayLike,
        terminal: ArrayLike,
        phase: ArrayLike,
        episode: ArrayLike,
        state: State | Callable[[NDArray[np.int64]], State] = (),
        priority: ArrayLike | None = None,
    ) -> None:
        """Append one row to the streams of the environments `envs` [K].

        Values are [K, *shape], or one number for all. `state` is the memory's from before this observation:
        parts [K, …], or a function from the numbers [k] of the environments that open a window (`needs_state`)
        to their parts [k, …]. `phase` is a whole number that tells an environment's phase from the one before: where it
        changes, a stretch begins. `priority` [K] is that of the windows that these rows complete, without alpha, where
        acting has measured one; NaN or None: they have the largest that was measured.
        Raises ValueError, before anything is written, where environments or shapes do not fit.
        """
        values = {
            "obs": obs, "action": action, "reward": reward, "start": start, "memory_start": memory_start,
            "final": final, "terminal": terminal, "episode": episode,
        }  # fmt: skip
        who = np.atleast_1d(np.asarray(envs, dtype=np.int64))
        self._streams.check(who, values | {"phase": phase})
        row = self._streams.next_row[who]
        opens = row % self.config.stride == 0
        if opens.any():
            parts = self._opening_state(who, opens, state)
            places = self._streams.slot(who[opens], row[opens])
            self._priorities.vacate(places)  # the window here loses its first row now
            self._streams.write_state(places, parts)
        phases = np.broadcast_to(np.asarray(phase, dtype=np.int64), who.shape)
        values["stretch"] = self._stretches.extend(who, row, phases)
        self._streams.write(who, values, np.logical_not(final))
        first = row - self.config.window + 1  # of the windows that this row completes
        completes = (first >= self._streams.origin[who]) & (first % self.config.stride == 0)
        if completes.any():
            measured = None if priority is None else np.asarray(priority, np.float64)[completes]
            self._priorities.admit(self._streams.slot(who[completes], first[completes]), measured)

    def _opening_state(self, envs: NDArray[np.int64], opens: NDArray[np.bool_], state: Any) -> State:
        """The parts [k, …] of the k environments among `envs` that open a window."""
        if callable(state):
            parts = state(envs[opens])
            self._streams.check_state(int(opens.sum()), parts)
            return parts
        self._streams.check_state(envs.size, state)
        return [np.asarray(part)[opens] for part in state]

    def seam(self, envs: ArrayLike | None = None) -> None:
        """Let no window or run reach from the rows so far into those to come; call it where streams do not go on.

        Args:
            envs: whose streams, [K]; None: all.
        """
        who = np.arange(self.num_envs) if envs is None else np.asarray(envs, dtype=np.int64)
        self._streams.seam(who)
        self._stretches.seam(who)

    def sample(self, batch_size: int, beta: float | None = None) -> SequenceBatch:
        """Draw windows, one from each of `batch_size` equal parts of the total priority.

        The importance weights (n P)^-beta of n windows are divided by the largest of the batch; beta is None for the
        configured one, from which a learner anneals it.
        Raises ValueError while no window is complete.
        """
        if batch_size < 1:
            raise ValueError(f"sample got batch_size={batch_size}; give at least 1.")
        if len(self) == 0:
            raise ValueError(
                f"The replay holds no complete window yet; store at least {self.config.window} rows "
                "of an environment before sampling."
            )
        places, generations, weights = self._priorities.draw(
            batch_size, self.config.beta if beta is None else beta
        )
        return SequenceBatch(
            **self._streams.read(places, self.config.window),
            state=self._streams.read_state(places),
            weights=weights,
            env=places // self._streams.slots,
            window=places,
            generation=generations,
        )

    def update_priorities(self, batch: SequenceBatch, priorities: ArrayLike) -> None:
        """Give the windows of `batch` new priorities [B], eta * max + (1 - eta) * mean of |td|, without alpha.

        Windows overwritten since are passed over; of a window drawn twice the larger priority counts. Raises
        ValueError, before anything is written, for a priority that is negative, infinite or NaN.
        """
        self._priorities.update(batch.window, batch.generation, priorities)

    def stretches(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Environments [P] and numbers [P] of all stretches of which a row since the stream's last seam is held.

        All rows that `refresh` goes over are of these.
        """
        streams, every = self._streams, np.arange(self.num_envs)
        oldest = streams.oldest_row()
        lowest = streams.read_field("stretch", every, oldest)
        held = np.where(oldest < streams.next_row, self._stretches.newest - lowest + 1, 0)  # stretches, [E]
        before = np.cumsum(held) - held
        return np.repeat(every, held), np.arange(held.sum()) + np.repeat(lowest - before, held)

    def support(
        self, envs: ArrayLike, stretches: ArrayLike, *, size: int, steps: int, span: ArrayLike | None = None
    ) -> SupportRows:
        """Draw up to `size` runs of `steps` transitions for each of K tasks: O(K * size * steps).

        A task is the stretch number `stretches` [K] of the environment `envs` [K]. Its runs are different ones from all
        of the stretch that is held, whatever the episode, each as likely as every other; they may overlap. A run reads
        steps + 1 rows, all of that stretch. A run over an episode's end is drawn, but does not count. A stretch that is
        held no longer or has too few rows gives fewer runs, or none. With `span` [K] they are drawn from so many
        neighbouring ones at a random place, as a phase shows them that has just begun there.
        Raises ValueError, before anything is drawn, for arguments that are no vectors of one length or out of range.
        """
        who, numbers = checked_tasks(self.num_envs, envs, stretches, size, steps)
        first, end = self._stretches.find(who, numbers)
        held = np.maximum(first, self._streams.next_row[who] - self._streams.rows)
        part = None if span is None else np.asarray(span, np.int64)
        start, drawn = self._run_starts.draw(held, end, size, steps, part)
        mask = drawn & ~self._streams.read_runs("final", who, start, drawn, steps).any(0)
        lengths = {"obs": steps + 1, "action": steps, "reward": steps}
        runs = {name: self._streams.read_runs(name, who, start, mask, n) for name, n in lengths.items()}
        return SupportRows(**runs, start=start, mask=mask)

    def refresh(self, advance: Advance) -> None:
        """Compute the stored states anew, along every stream since its last seam.

        Args:
            advance: environments [K], their next rows and the states [K, …] from before them -> the states after them.
                The rows are a mapping from a field of `SequenceBatch` (obs, memory_start, stretch, …) to
                [stride, K, …]. The oldest state of a stream stays as it is.
        """
        streams, stride = self._streams, self.config.stride
        start = streams.oldest_start()
        left = (streams.next_row - 1 - start) // stride  # states behind the oldest, [E]
        envs = np.flatnonzero(left > 0)
        state: State = streams.read_state(streams.slot(envs, start[envs]))
        while envs.size:
            rows = streams.read(streams.slot(envs, start[envs]), stride)
            state = advance(envs, rows, state)
            start[envs] += stride
            left[envs] -= 1
            streams.write_state(streams.slot(envs, start[envs]), state)
            goes_on = left[envs] > 0
            envs, state = envs[goes_on], [np.asarray(part)[goes_on] for part in state]

    def state_dict(self) -> dict[str, NDArray]:
        """Everything as plain arrays, for `np.savez`. The draws after loading are the same to the bit.

        Rows and states are those of the buffer, not copies: write or load them before the next `add`.
        """
        return {
            "layout": self._layout(),
            **self._streams.state_dict(),
            **self._stretches.state_dict(),
            **self._priorities.state_dict(),
            **self._run_starts.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, NDArray]) -> None:
        """Take over the arrays of `state_dict`; ValueError where they are of a buffer with other sizes."""
        layout = self._layout()
        if "layout" not in saved or not np.array_equal(saved["layout"], layout):
            raise ValueError(
                f"The saved replay has the sizes {saved.get('layout')}, this one {layout} (environments, rows, "
                "stride, window); make the buffer with the configuration it was saved with."
            )
        self._streams.load_state_dict(saved)
        self._stretches.load_state_dict(saved)
        self._priorities.load_state_dict(saved)
        self._run_starts.load_state_dict(saved)

    def _layout(self) -> NDArray[np.int64]:
        streams = self._streams
        return np.array([self.num_envs, streams.rows, streams.stride, self.config.window])
