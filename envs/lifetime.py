"""The contexts of a drift over one lifetime, and the clock that walks through them.

A seed turns a `Drift` into a `Lifetime`: the list of contexts that the schedules pass through, a pure function of
(drift, seed). The id of a context is the number of the first place in that list with the same values, so a context
that returns has the id it had before. A `Clock` walks through one lifetime: it counts steps, decides when a due change
takes hold and numbers the phases. It can also hold one context, and the lifetime then stands still.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from copy import copy
from numbers import Real
from typing import Any

from envs.drift import Context, Drift

_MOST_BOUNDARIES = 100_000  # searched for a context id before giving up


class Lifetime:
    """The contexts that a drift passes through in the lifetime with one seed: pure, whatever the order of asking.

    Contexts are found lazily and kept: `starts[i]` is the step at which context i comes into force. Neighbours
    differ: a draw that repeats the present values is no change.
    """

    def __init__(self, drift: Drift, seed: int) -> None:
        self._drift = drift
        self._seed = seed
        self._paths = {name: schedule.bind(seed, name) for name, schedule in drift.parameters.items()}
        distinct = {path.change_key: path for path in self._paths.values()}
        self._moving = [path for key, path in distinct.items() if key is not None]
        self._starts: list[int] = []
        self._contexts: list[tuple[float, ...]] = []
        self._ids: list[int] = []
        self._first: dict[tuple[float, ...], int] = {}
        self._scanned = 0  # the last boundary looked at
        self._append(0)

    def __reduce__(self) -> tuple[Callable[[Drift, int, int], Lifetime], tuple[Drift, int, int]]:
        return _rebuilt, (self._drift, self._seed, self._scanned)

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


def _finite(name: str, value: Any) -> float:
    """A value that somebody gave a parameter."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"The context has {name}={value}: expected a finite number.")
    return float(value)


def _rebuilt(drift: Drift, seed: int, scanned: int) -> Lifetime:
    """A lifetime that has found the contexts up to this step: what a copy or a pickle of one becomes."""
    lifetime = Lifetime(drift, seed)
    lifetime.index(scanned)
    return lifetime


class Clock:
    """Where one environment stands in its lifetime, or in a context that is held.

    A phase is a stretch of steps under one context, counted from 0. While a context is held, the lifetime stands still:
    `step`, `phase`, `since` and `changed` keep their values.

    Attributes:
        seed: of the lifetime.
        step: steps of the lifetime that were run.
        phase: the number of the present phase.
        since: steps that the present phase has run.
        changed: true from a change until the first step after it has been reported.
        boundary: the first step at which the context may change next; None when it never will.
        held: the values of the held context, None where the lifetime goes on.
        held_id: its id, −1 where its values are new.
        held_steps: steps that it has run.
    """

    _SAVED = ("seed", "step", "phase", "since", "changed", "chosen_at", "held", "held_id", "held_steps")

    def __init__(self, drift: Drift, seed: int) -> None:
        self.seed = seed
        self.lifetime = Lifetime(drift, seed)
        self.step = 0
        self.phase = 0
        self.since = 0
        self.changed = False
        self.held: Context | None = None
        self.held_id = -1
        self.held_steps = 0
        self._enter(0, 0)

    @property
    def context(self) -> Context:
        """The context in force."""
        return self._scheduled if self.held is None else self.held

    @property
    def context_id(self) -> int:
        """The id of the context in force."""
        return self._scheduled_id if self.held is None else self.held_id

    @property
    def due(self) -> bool:
        """Whether the schedules have passed a boundary since the present context was chosen."""
        return self.held is None and self.boundary is not None and self.step >= self.boundary

    def advance(self) -> bool:
        """Lets what the schedules say now take hold; returns whether the context changed."""
        index = self.lifetime.index(self.step)
        changed = self.lifetime.context_id(index) != self._scheduled_id
        self._enter(index, self.step)
        if changed:
            self.phase += 1
            self.since = 0
            self.changed = True
        return changed

    def tick(self) -> None:
        """One step of the environment has run and been reported."""
        if self.held is not None:
            self.held_steps += 1
            return
        self.step += 1
        self.since += 1
        self.changed = False

    def find(self, context: Mapping[str, float] | int | None) -> Context:
        """All values of a context: those given and the scheduled ones, those of an id, or (None) the scheduled ones.

        Raises:
            ValueError: the lifetime has no such id, or no parameter of such a name.
        """
        scheduled = self._scheduled
        if context is None:
            return dict(scheduled)
        if not isinstance(context, Mapping):
            return self.lifetime.context(int(context))
        unknown = sorted(set(context) - set(scheduled))
        if unknown:
            raise ValueError(f"The context names {unknown}, and only {sorted(scheduled)} drift here.")
        return {**scheduled, **{name: _finite(name, value) for name, value in context.items()}}

    def hold(self, context: Context) -> None:
        """Holds a context until `release`; the lifetime stands still."""
        self.held = context
        self.held_id = self.lifetime.find(context)
        self.held_steps = 0

    def release(self) -> None:
        """Lets the lifetime go on where it stood."""
        self.held = None

    def report(self, info: dict[str, Any]) -> dict[str, Any]:
        """Adds the truth about the context to `info`, under the keys that DriftingEnv lists."""
        held = self.held is not None
        info["phase"] = self.phase
        info["context_id"] = self.context_id
        info["phase_changed"] = self.changed and not held
        info["context"] = ContextInfo(self.context)
        info["steps_since_change"] = self.held_steps if held else self.since
        return info

    def get_state(self) -> dict[str, Any]:
        """All that distinguishes this clock from a new one with its drift, as plain values."""
        return {name: copy(getattr(self, name)) for name in self._SAVED}

    @classmethod
    def from_state(cls, drift: Drift, state: Mapping[str, Any]) -> Clock:
        """A clock that goes on exactly where `get_state` was called.

        Raises:
            ValueError: another version of envs saved the state.
        """
        if missing := [name for name in cls._SAVED if name not in state]:
            raise ValueError(
                f"The state of a clock has no {missing[0]}, expected {', '.join(cls._SAVED)}: another version of envs "
                "saved it; begin anew."
            )
        clock = cls(drift, state["seed"])
        clock._enter(clock.lifetime.index(state["chosen_at"]), state["chosen_at"])
        for name in cls._SAVED:
            setattr(clock, name, copy(state[name]))
        return clock

    def _enter(self, index: int, step: int) -> None:
        """Takes a context from its place in the lifetime, as chosen at this step."""
        self.chosen_at = step
        self._scheduled = self.lifetime.context(index)
        self._scheduled_id = self.lifetime.context_id(index)
        self.boundary = self.lifetime.next_boundary(step)


class ContextInfo(dict):
    """A context in `info`: a dict of floats, so that its shallow copy is a deep one (vector environments copy)."""

    def __deepcopy__(self, memo: dict) -> ContextInfo:
        return ContextInfo(self)
