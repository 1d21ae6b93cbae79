"""Parameters × schedules = a Drift; its contexts over a lifetime; the clock that walks them.

A *context* is the value of every drifting parameter. A seed turns a `Drift` into a `Lifetime`: the list of contexts
the schedules pass through, a pure function of (drift, seed). A context's id is the number of the first place in
that list with the same values, so a context that returns has the id it had before. A `Clock` walks one lifetime: it
counts steps, decides when a due change takes hold and numbers the phases.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from envs.schedules import Constant, Draw, Schedule, Source, Times, from_json, to_json

ChangeAt = Literal["episode_end", "step"]
Context = dict[str, float]

_MOST_BOUNDARIES = 100_000  # searched for a context id before giving up


@dataclass(frozen=True)
class Drift:
    """Which parameters drift, how, and when a due change takes hold.

    Attributes:
        parameters: a schedule for every drifting parameter, by name; a plain number is a constant.
        change_at: "episode_end": a change that is due waits for the next reset, so that the dynamics are the same
            throughout an episode; "step": it takes hold at its lifetime step, within an episode if need be.
    """

    parameters: Mapping[str, Schedule]
    change_at: ChangeAt = "episode_end"

    def __post_init__(self) -> None:
        if self.change_at not in get_args(ChangeAt):
            raise ValueError(f'change_at={self.change_at!r}: expected "episode_end" or "step".')
        schedules = {n: Constant(s) if isinstance(s, int | float) else s for n, s in self.parameters.items()}
        wrong = [name for name, schedule in schedules.items() if not isinstance(schedule, Schedule)]
        if wrong:
            raise ValueError(
                f"Drift parameters {wrong} have no schedule: expected a Schedule or a number for each."
            )
        object.__setattr__(self, "parameters", schedules)

    @classmethod
    def draws(
        cls,
        sources: Mapping[str, Source],
        times: Times,
        *,
        recurring: int | None = None,
        change_at: ChangeAt = "episode_end",
    ) -> Drift:
        """All parameters change together: a new context per piece of `times`, or `recurring` ones in turn."""
        return cls({name: Draw(source, times, recurring) for name, source in sources.items()}, change_at)

    @property
    def moving(self) -> dict[str, tuple[float, float]]:
        """The bounds of every parameter that can take more than one value."""
        bounds = {name: schedule.bounds for name, schedule in self.parameters.items()}
        return {name: (low, high) for name, (low, high) in bounds.items() if low < high}

    def to_json(self) -> dict[str, Any]:
        """A form of plain dicts, lists, strings and numbers; `Drift.from_json` is its inverse."""
        return {
            "parameters": {name: to_json(schedule) for name, schedule in self.parameters.items()},
            "change_at": self.change_at,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Drift:
        if not {"parameters"} <= set(data) <= {"parameters", "change_at"}:
            raise ValueError(
                f"A drift in JSON has the keys parameters and change_at, and not {sorted(data)}."
            )
        parameters = {n: from_json(s) if isinstance(s, Mapping) else s for n, s in data["parameters"].items()}
        return cls(parameters, data.get("change_at", "episode_end"))


class Lifetime:
    """The contexts that a drift passes through in the lifetime with one seed: pure, whatever the order of asking.

    Contexts are found lazily and kept: `starts[i]` is the step at which context i comes into force. Neighbours
    differ: a draw that repeats the present values is no change.
    """

    def __init__(self, drift: Drift, seed: int) -> None:
        self._drift, self._seed = drift, seed
        self._paths = {name: schedule.bind(seed, name) for name, schedule in drift.parameters.items()}
        rhythms = {path.rhythm: path for path in self._paths.values()}
        self._moving = [path for rhythm, path in rhythms.items() if rhythm is not None]
        self._starts: list[int] = []
        self._contexts: list[tuple[float, ...]] = []
        self._ids: list[int] = []
        self._first: dict[tuple[float, ...], int] = {}
        self._scanned = 0  # the last boundary looked at
        self._append(0)

    def __reduce__(self) -> tuple[Callable[[Drift, int, int], Lifetime], tuple[Drift, int, int]]:
        return _found_again, (self._drift, self._seed, self._scanned)

    def index(self, step: int) -> int:
        """The place in the list of the context in force at a lifetime step, by the schedules alone."""
        boundary = self.next_boundary(self._scanned)
        while boundary is not None and boundary <= step:
            self._append(boundary)
            boundary = self.next_boundary(boundary)
        return bisect_right(self._starts, step) - 1

    def next_boundary(self, step: int) -> int | None:
        """The first step after `step` at which the context may change; None when it never will."""
        changes = [path.next_change(step) for path in self._moving]
        return min((change for change in changes if change is not None), default=None)

    def context(self, index: int) -> Context:
        """The context at a place in the list. A context's id is such a place."""
        for _ in range(_MOST_BOUNDARIES):
            if 0 <= index < len(self._contexts):
                return dict(zip(self._paths, self._contexts[index], strict=True))
            boundary = self.next_boundary(self._scanned)
            if index < 0 or boundary is None:
                break
            self._append(boundary)
        raise ValueError(f"There is no context {index}: this lifetime has the ids 0 to {max(self._ids)}.")

    def context_id(self, index: int) -> int:
        """The id of the context at a place in the list: the first place with the same values."""
        self.context(index)
        return self._ids[index]

    def find(self, context: Context) -> int:
        """The id of a context met so far, -1 where its values are new."""
        return self._first.get(tuple(context[name] for name in self._paths), -1)

    def _append(self, boundary: int) -> None:
        self._scanned = boundary
        values = tuple(path.value(boundary) for path in self._paths.values())
        if not self._contexts or values != self._contexts[-1]:
            self._starts.append(boundary)
            self._contexts.append(values)
            self._ids.append(self._first.setdefault(values, len(self._contexts) - 1))


def _found_again(drift: Drift, seed: int, scanned: int) -> Lifetime:
    """A lifetime that has found the contexts up to this step: what a copy or a pickle of one becomes."""
    lifetime = Lifetime(drift, seed)
    lifetime.index(scanned)
    return lifetime


class Clock:
    """Walks one lifetime: counts its steps, makes due changes, numbers the phases.

    A phase is a stretch of steps under one context, counted from 0. `changed` is true from a change until the first
    step after it has been reported; `since` counts the steps that the present phase has run.
    """

    def __init__(self, drift: Drift, seed: int) -> None:
        self.seed = seed
        self.lifetime = Lifetime(drift, seed)
        self.step = 0
        self.phase = 0
        self.since = 0
        self.changed = False
        self._enter(0, 0)

    @property
    def due(self) -> bool:
        """Whether the schedules have passed a boundary since the present context was chosen."""
        return self.boundary is not None and self.step >= self.boundary

    def advance(self) -> bool:
        """Takes hold of what the schedules say now; returns whether the context changed."""
        index = self.lifetime.index(self.step)
        changed = self.lifetime.context_id(index) != self.context_id
        self._enter(index, self.step)
        if changed:
            self.phase += 1
            self.since = 0
            self.changed = True
        return changed

    def tick(self) -> None:
        """One step of the environment has run and been reported."""
        self.step += 1
        self.since += 1
        self.changed = False

    def get_state(self) -> dict[str, Any]:
        """All that distinguishes this clock from a new one with its drift, as plain values."""
        return {
            name: getattr(self, name) for name in ("seed", "step", "phase", "since", "changed", "chosen_at")
        }

    @classmethod
    def from_state(cls, drift: Drift, state: Mapping[str, Any]) -> Clock:
        clock = cls(drift, state["seed"])
        clock.step, clock.phase, clock.since = state["step"], state["phase"], state["since"]
        clock.changed = state["changed"]
        clock._enter(clock.lifetime.index(state["chosen_at"]), state["chosen_at"])
        return clock

    def _enter(self, index: int, step: int) -> None:
        self.chosen_at = step
        self.context, self.context_id = self.lifetime.context(index), self.lifetime.context_id(index)
        self.boundary = self.lifetime.next_boundary(
            step
        )  # the first step after it at which the context may change
