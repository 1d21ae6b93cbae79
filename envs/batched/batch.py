"""A batch: E environments of one kind that step in one compiled call, each with a seed and a lifetime of its own.

It holds the arrays of `kernel` and does in Python what happens rarely: seeds, options, changes of the context, random
numbers in buffers. How ends of episodes are handled and how results look is the business of the two vector
environments around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils.seeding import np_random

from envs.batched import kernel
from envs.batched.random_buffer import RandomBuffer, normal
from envs.batched.wrapper_stack import WrapperStack
from envs.drift import Context
from envs.keyed_random import keyed
from envs.lifetime import Clock
from envs.plants.dynamics import COLUMNS, STATE

_NEVER = np.iinfo(np.int64).max


class Batch:
    """E environments like the one in `stack`.

    Attributes:
        num_envs: E.
        stack: the environment they are like. It never steps: contexts are set in it, and attributes read from it.
        clocks: the clock of each, None before its first reset; empty without a drift. Counts that move at every step
            are in `counts` and go into a clock by `load`.
        contexts: [E] contexts in force, empty without a drift; `values` [E, P] are their values.
        counts, returns: see `kernel`.
        changed: whether a context has changed since the last step began.
    """

    def __init__(self, stack: WrapperStack, num_envs: int, *, next_step: bool) -> None:
        """Sets up E environments that were never reset.

        Args:
            stack: the parts of an environment.
            num_envs: E.
            next_step: whether an environment that is over resets by itself, in the step after.
        """
        E, C, o = num_envs, stack.oracle, len(stack.seen)
        self.num_envs, self.stack = E, stack
        drifting, action_space = stack.drifting, stack.base.action_space
        discrete = isinstance(action_space, spaces.Discrete)
        self.clocks: list[Clock | None] = [] if drifting is None else [None] * E
        self.contexts: list[Context] = [{} for _ in range(E)]
        self.values = np.zeros((E, 0 if drifting is None else len(drifting.drift.parameters)))
        A = 1 if discrete else spaces.flatdim(action_space)
        self._shapes = ((E,), (E, 1)) if discrete else ((E, A),)
        self._kernel_step, self._kernel_begin = kernel.compiled_for(stack.dynamics)
        self._spec = np.zeros(kernel.SPECS, np.int64)
        self._spec[kernel.LIMIT] = stack.limit
        self._spec[kernel.CHOICES] = action_space.n if isinstance(action_space, spaces.Discrete) else 0
        self._spec[kernel.ACTIONS], self._spec[kernel.OBSERVED] = A, stack.observed
        self._spec[kernel.READS] = stack.dynamics.reads
        self._spec[kernel.TRANSITIONS] = stack.transition is not None
        self._spec[kernel.NEXT_STEP] = next_step
        self._spec[kernel.WITHIN] = drifting is not None and drifting.drift.change_at == "step"
        self._bounds = np.zeros((2, A), np.float32)
        if isinstance(action_space, spaces.Box):
            self._bounds[:] = action_space.low, action_space.high
        self._state, self._columns = np.zeros((E, STATE)), np.zeros((E, COLUMNS))
        self._channels = np.tile([1.0, 0.0], (E, 1))
        self.counts = np.zeros((E, kernel.COUNTS), np.int64)
        self.counts[:, kernel.BOUNDARY] = _NEVER
        self._drawn = RandomBuffer(stack.dynamics.draw, E, stack.dynamics.reads)
        self._noise = RandomBuffer(normal, E, stack.observed)
        self._oracle, self._seen = np.zeros((E, C), np.float32), np.asarray(stack.seen, np.int64)
        scale = 1.0 if stack.transition is None else stack.transition.change_scale
        self._scale = np.full(o, scale, np.float32)
        self._previous, self.returns = np.zeros((E, o), np.float32), np.zeros(E)
        self._width = spaces.flatdim(stack.env.observation_space)
        self._keep, self._attention = np.zeros(E, np.bool_), 0
        self.changed = False
        self._ready = False
        for env in range(E):
            self._apply(env)

    # ------------------------------------------------------------------------------------------- running

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One step of all: obs [E, W], reward [E], flags [3, E], since [E], see `kernel`."""
        E, given = self.num_envs, np.asarray(actions, np.float64)
        if given.shape not in self._shapes:
            raise ValueError(
                f"Actions of shape {given.shape}: expected {self._shapes[0]} for {E} environments."
            )
        if not self._ready:
            raise gym.error.ResetNeeded("The environments were never reset: call reset() first.")
        self.changed = False
        if self._attention:
            self.attend()
        obs, reward = np.empty((E, self._width), np.float32), np.empty(E)
        flags, since = np.empty((3, E), np.bool_), np.empty(E, np.int64)
        self._attention = self._kernel_step(
            self._spec, kernel.TWO, given.reshape(E, -1), self._bounds, self._state, self._columns,
            self._channels, self.counts, self._drawn.numbers, self._noise.numbers, self._oracle, self._seen,
            self._scale, self._previous, self.returns, obs, reward, flags, since,
        )  # fmt: skip
        if self._attention == kernel.INVALID:
            self._attention = 0
            space = self.stack.base.action_space
            raise ValueError(f"Actions {np.asarray(actions).tolist()}: expected members of {space}.")
        return obs, reward, flags, since

    def attend(self, *, over: bool = False) -> None:
        """What is due before the next step: changes of contexts, new random numbers.

        Args:
            over: attend to changes in environments that are over, before their resets, and leave others for later.
        """
        attention, self._attention = self._attention, 0
        if attention & kernel.EMPTY:
            self._refill()
        if not attention & kernel.DUE:
            return
        counts, within = self.counts, self._spec[kernel.WITHIN]
        due = (counts[:, kernel.STEP] >= counts[:, kernel.BOUNDARY]) & (counts[:, kernel.HELD] == 0)
        if over and within:
            self._attention = kernel.DUE
        if over or not within:
            due &= counts[:, kernel.OVER] != 0
        for env in np.flatnonzero(due).tolist():
            if self.load(env).advance():
                self._apply(env)
                self.changed = True
            self._store(env)

    def _refill(self) -> None:
        for rows, column in ((self._drawn, kernel.READ), (self._noise, kernel.NOISE)):
            for env in np.flatnonzero(self.counts[:, column] == rows.numbers.shape[1]).tolist():
                rows.refill(env)
                self.counts[env, column] = 0

    def begin(self, which: np.ndarray, obs: np.ndarray) -> None:
        """Resets the environments `which` [n], whose contexts are in force, into their rows of obs [E, W]."""
        self._attention |= self._kernel_begin(
            self._spec, which, self._keep, self._state, self._channels, self.counts,
            self._drawn.numbers, self._noise.numbers, self._oracle, self._seen, self._scale,
            self._previous, self.returns, obs,
        )  # fmt: skip

    def reset(
        self,
        which: np.ndarray,
        seeds: Sequence[int | None],
        options: Sequence[Mapping[str, Any] | None],
        obs: np.ndarray,
    ) -> None:
        """Resets the environments `which` [n] as a caller asks, with their seeds [E] and options [E]."""
        self._refill()
        for env in which.tolist():
            self._reset(env, seeds[env], options[env])
        self.begin(which, obs)
        self._keep[:] = False
        self._ready = True

    def _reset(self, env: int, seed: int | None, options: Mapping[str, Any] | None) -> None:
        left = dict(options or {})
        seed = None if seed is None else index(seed)  # Gymnasium asks for Python's int, not NumPy's
        drifting = self.stack.drifting
        if drifting is not None:
            clock = None if self.clocks[env] is None else self.load(env)
            self.clocks[env], seed, left = drifting.begin(clock, seed, left)
            self._store(env)
            self._apply(env)
        if seed is not None or not self._drawn.started(env):
            self._read_from(env, np_random(seed)[0])
        if drifting is not None and seed is not None:
            self._noise.begin(env, keyed(seed, "sensor_noise"))
            self.counts[env, kernel.NOISE] = 0
        if left:
            self._start_elsewhere(env, left)

    def _read_from(self, env: int, generator: np.random.Generator) -> None:
        self._drawn.begin(env, generator)
        self.counts[env, kernel.READ] = 0

    def _start_elsewhere(self, env: int, options: dict[str, Any]) -> None:
        """A reset with options that the base environment knows."""
        base, generator = self.stack.base, self._drawn.generator(env, self.counts[env, kernel.READ])
        base.np_random = generator
        base.reset(options=options)
        self._state[env] = 0.0
        state = self.stack.dynamics.read(base)
        self._state[env, : len(state)] = state
        self._read_from(env, generator)
        self._keep[env] = True

    # ------------------------------------------------------------------------------------------- contexts

    def load(self, env: int) -> Clock:
        """The clock of an environment, as of now."""
        clock, c = self.clocks[env], self.counts[env]
        if clock is None:
            raise gym.error.ResetNeeded("The lifetime has not begun: call reset() first.")
        clock.step, clock.since = int(c[kernel.STEP]), int(c[kernel.SINCE])
        clock.changed = bool(c[kernel.CHANGED])
        clock.held_steps = int(c[kernel.HELD_STEPS])
        return clock

    def _store(self, env: int) -> None:
        clock, c = self.clocks[env], self.counts[env]
        assert clock is not None
        c[kernel.STEP], c[kernel.SINCE], c[kernel.CHANGED] = clock.step, clock.since, clock.changed
        c[kernel.BOUNDARY] = _NEVER if clock.boundary is None else clock.boundary
        c[kernel.HELD], c[kernel.HELD_STEPS] = clock.held is not None, clock.held_steps
        c[kernel.PHASE], c[kernel.CONTEXT] = clock.phase, clock.context_id

    def _apply(self, env: int) -> None:
        """Puts the context of an environment into its rows."""
        drifting = self.stack.drifting
        clock = None if drifting is None else self.clocks[env]
        if drifting is not None and clock is not None:
            context = clock.context
            drifting.apply(context)
            self.contexts[env], self.values[env] = context, list(context.values())
            self._oracle[env] = drifting.oracle
            factor = context.get("action_sign", 1.0) * context.get("action_gain", 1.0)
            self._channels[env] = factor, context.get("sensor_noise", 0.0)
        columns = self.stack.dynamics.columns(self.stack.base)
        self._columns[env, : len(columns)] = columns

    def report(self, env: int) -> dict[str, Any]:
        """The truth about the context, as `info` has it."""
        return self.load(env).report({}) if self.clocks else {}

    def last_report(self, env: int, changed: np.ndarray, since: np.ndarray) -> dict[str, Any]:
        """The same of the step that has just run, with its `changed` [E] and `since` [E]."""
        if not self.clocks:
            return {}
        return {
            **self.report(env),
            "phase_changed": bool(changed[env]),
            "steps_since_change": int(since[env]),
        }

    def report_starts(self, which: np.ndarray, changed: np.ndarray, since: np.ndarray) -> None:
        """Writes what the resets of environments `which` report into `changed` [E] and `since` [E]."""
        c = self.counts[which]
        held = c[:, kernel.HELD] != 0
        changed[which] = (c[:, kernel.CHANGED] != 0) & ~held
        since[which] = np.where(held, c[:, kernel.HELD_STEPS], c[:, kernel.SINCE])

    def get_attr(self, env: int, name: str) -> Any:
        """An attribute of environment `env`, as `get_wrapper_attr` would find it in the single one."""
        if self.clocks and name in ("clock", "lifetime_seed"):
            clock = self.load(env)
            return clock.seed if name == "lifetime_seed" else clock
        return self._become(env).get_wrapper_attr(name)

    def render(self, env: int) -> Any:
        """A picture of environment `env`."""
        return self._become(env).unwrapped.render()

    def _become(self, env: int) -> gym.Env:
        """Puts environment `env` into the stack, to be looked at."""
        clock = self.clocks[env] if self.clocks else None
        if self.stack.drifting is not None and clock is not None:
            self.stack.drifting.apply(clock.context)
        self.stack.dynamics.write(self.stack.base, self._state[env])
        return self.stack.env

    # ------------------------------------------------------------------------------------------- state

    def get_state(self) -> dict[str, Any]:
        """Everything that distinguishes this batch from a new one, as plain values that JSON can hold."""
        envs = range(self.num_envs)
        readers = ((self._drawn, kernel.READ), (self._noise, kernel.NOISE))
        draws = [
            [
                rows.generator(env, self.counts[env, column]).bit_generator.state
                if rows.started(env)
                else None
                for env in envs
            ]
            for rows, column in readers
        ]
        counts = self.counts.copy()
        counts[:, [kernel.READ, kernel.NOISE]] = 0  # the generators stand where the rows were read to
        return {
            "clocks": [self.load(env).get_state() for env in envs] if self.clocks else [],
            "draws": draws,
            "state": self._state.tolist(),
            "counts": counts.tolist(),
            "previous": self._previous.tolist(),
            "returns": self.returns.tolist(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        clocks = state.get("clocks", ())
        if len(state["state"]) != self.num_envs or len(clocks) != len(self.clocks):
            raise ValueError(
                f"The state is of {len(state['state'])} environments, {len(clocks)} of them drifting, and "
                f"these are {self.num_envs} and {len(self.clocks)}: they were made differently."
            )
        self._state[:], self.returns[:] = state["state"], state["returns"]
        self.counts[:], self._previous[:] = state["counts"], state["previous"]
        for env in range(self.num_envs):
            if self.stack.drifting is not None:
                self.clocks[env] = Clock.from_state(self.stack.drifting.drift, state["clocks"][env])
                self._store(env)
            self._apply(env)
        for rows, column, saved in (
            (self._drawn, kernel.READ, state["draws"][0]),
            (self._noise, kernel.NOISE, state["draws"][1]),
        ):
            for env, numbers in enumerate(saved):
                if numbers is not None:
                    generator = np.random.Generator(np.random.PCG64())
                    generator.bit_generator.state = numbers
                    rows.begin(env, generator)
                    self.counts[env, column] = 0
        self._attention, self._ready = kernel.DUE, True
