"""A course is one environment's way through its lifetime: on the clock, or held in one context.

It reads the options of `reset`, decides which context is in force and reports it; how a context is put into effect is
its owner's business (`DriftingEnv` for one environment, `envs.batched` for many).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from envs.drift import Clock, Context, Drift


class Course:
    """One environment's lifetime, and the context it is held in, if any.

    Attributes:
        held: the values of the held context, None on the clock.
        held_id: its id, −1 where its values are new.
        held_steps: steps it has run.
    """

    def __init__(
        self,
        drift: Drift,
        seed: int | None,
        lifetime: int | None,
        check: Callable[[Context], None],
    ) -> None:
        """Sets up a course that begins with the first reset.

        Args:
            drift: what drifts.
            seed: of the first reset; None draws one.
            lifetime: the lifetime's own seed, where it shall not be that of the resets: courses with one `lifetime`
                pass through the same contexts in different episodes.
            check: raises ValueError for a context that the environment cannot have.
        """
        self.drift = drift
        self._seed = seed
        self._lifetime = lifetime
        self._check = check
        self._clock: Clock | None = None
        self.held: Context | None = None
        self.held_id = -1
        self.held_steps = 0

    @property
    def begun(self) -> bool:
        """Whether there was a first reset."""
        return self._clock is not None

    @property
    def clock(self) -> Clock:
        """The clock of the present lifetime."""
        if self._clock is None:
            raise gym.error.ResetNeeded("The lifetime has not begun: call reset() first.")
        return self._clock

    @property
    def context(self) -> Context:
        """The context in force."""
        return self.clock.context if self.held is None else self.held

    def begin(self, seed: int | None, options: Mapping[str, Any] | None) -> tuple[int | None, dict[str, Any]]:
        """A reset: starts a lifetime, holds or lifts a context, makes the change that is due, as the options say.

        Returns:
            The seed for the environment's own reset and what draws noise, and the options that are left for it.
        """
        left = dict(options or {})
        context, frozen = left.pop("context", None), left.pop("frozen", None)
        if context is not None and frozen is False:
            raise ValueError(
                'reset(options=…) got a context and "frozen": False: a given context is held, or left out.'
            )
        stays_held = context is not None or bool(frozen) or (self.held is not None and frozen is None)
        if self._clock is None:
            fresh = self._seed if seed is None else seed
            seed = int(np.random.SeedSequence().generate_state(1)[0]) if fresh is None else fresh
        if seed is not None and (self._clock is None or not stays_held):
            self._clock = Clock(self.drift, int(seed) if self._lifetime is None else self._lifetime)
        if context is not None or (frozen and self.held is None):
            self._hold(context)
        elif frozen is False:
            self.held = None
        if self.held is None and self.clock.due:
            self.clock.advance()
        return seed, left

    def _hold(self, context: Mapping[str, float] | int | None) -> None:
        """Holds a context: the given values, the values of an id, or (None) the present ones."""
        lifetime, present = self.clock.lifetime, self.clock.context
        if context is None:
            held = dict(present)
        elif isinstance(context, Mapping):
            unknown = sorted(set(context) - set(present))
            if unknown:
                raise ValueError(f"The context names {unknown}, and only {sorted(present)} drift here.")
            held = {**present, **{name: float(value) for name, value in context.items()}}
        else:
            held = lifetime.context(int(context))
        self._check(held)
        self.held, self.held_id, self.held_steps = held, lifetime.find(held), 0

    def tick(self) -> None:
        """One step of the environment has run and been reported."""
        if self.held is None:
            self.clock.tick()
        else:
            self.held_steps += 1

    def report(self, info: dict[str, Any]) -> dict[str, Any]:
        """Adds the truth about the context to `info`, under the keys that DriftingEnv lists."""
        clock = self.clock
        info["phase"] = clock.phase
        if self.held is None:
            info["context_id"] = clock.context_id
            info["phase_changed"] = clock.changed
            info["context"] = Report(clock.context)
            info["steps_since_change"] = clock.since
        else:
            info["context_id"] = self.held_id
            info["phase_changed"] = False
            info["context"] = Report(self.held)
            info["steps_since_change"] = self.held_steps
        return info

    def get_state(self) -> dict[str, Any]:
        """The clock and the held context, as plain values."""
        return {
            "clock": self.clock.get_state(),
            "held": self.held and dict(self.held),
            "held_steps": self.held_steps,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self._clock = Clock.from_state(self.drift, state["clock"])
        self.held = None
        if state["held"] is not None:
            self._hold(state["held"])
            self.held_steps = state["held_steps"]


class Report(dict):
    """A context in `info`: a dict of floats, so that its shallow copy is a deep one (vector environments copy)."""

    def __deepcopy__(self, memo: dict) -> Report:
        return Report(self)
