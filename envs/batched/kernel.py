"""Many environments in one compiled call: actuators, plant, time limit, clock, sensors, transition observation.

Arrays have one row per environment: state [E, S] and columns [E, P] as `BatchedDynamics` has them; channels [E, 2], the
factor of the actuator and the standard deviation of the sensor noise; counts [E, 12], see the names below; drawn and
normals [E, …], buffers of random numbers; oracle [E, C], what an oracle observes of the context; previous [E, O], the
last observation; returns [E], of the episode so far. `spec` are the settings that all share, `seen` [O] the entries
that sensors leave, `scale` [O] the scale of changes. Outputs: obs [E, W], reward [E], flags [3, E] (terminated,
truncated, first step under a new context) and since [E].
"""

import hashlib
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

import envs.keyed_random
import envs.tasks
from envs.compiling import compiled
from envs.keyed_random import keyed_uniform, word
from envs.keyed_random.first_draws import first_uniform
from envs.plants import BatchedDynamics

# entries of spec
LIMIT, CHOICES, ACTIONS, OBSERVED, READS, TRANSITIONS, NEXT_STEP, WITHIN, SPECS = range(9)
# columns of counts: of the clock, of the episode, positions in what is drawn ahead
(STEP, SINCE, CHANGED, BOUNDARY, HELD, HELD_STEPS, PHASE, CONTEXT, ELAPSED, OVER, READ, NOISE, COUNTS) = (
    range(13)
)
# what `step` returns: nothing, or a sum of these
DUE, EMPTY, INVALID = 1, 2, 4
FACTOR, DEVIATION = 0, 1
# read at run time, so that a square is the library's power, as it is in Python
TWO = np.array([2.0])
# names that `compiled_for` gives the functions of one kind of environment
move: Any = None
start: Any = None
observe: Any = None


_part = njit(error_model="numpy", inline="always")


@_part
def _show(e, spec, starts, channels, counts, normals, oracle, seen, scale, previous, raw, obs):
    """Row e of obs up to the change, from raw [O]: noise, the oracle's context, the entries left, their change."""
    o, observed, noise = len(seen), spec[OBSERVED], channels[e, DEVIATION]
    first = counts[e, NOISE]
    for j in range(
        o
    ):  # one loop, with branches: rows are too short for vectors, whose preparation costs more
        i = seen[j]
        if i >= observed:
            now = oracle[e, i - observed]
        elif noise > 0.0:
            now = np.float32(np.float64(raw[i]) + noise * normals[e, first + i])
        else:
            now = raw[i]
        obs[e, j] = now
        if spec[TRANSITIONS]:
            obs[e, o + j] = np.float32(0.0) if starts else scale[j] * (now - previous[e, j])
            previous[e, j] = now
    if noise > 0.0:
        counts[e, NOISE] = first + observed


def _begin(
    e,
    spec,
    state,
    channels,
    counts,
    drawn,
    normals,
    oracle,
    seen,
    scale,
    previous,
    returns,
    keep,
    raw,
    obs,
):
    """A reset of environment e; with `keep` its state is there already."""
    if not keep:
        for i in range(state.shape[1]):
            state[e, i] = 0.0
        start(state, e, drawn, counts[e, READ])
        counts[e, READ] += spec[READS]
    counts[e, ELAPSED], counts[e, OVER], returns[e] = 0, 0, 0.0
    observe(state, e, raw)
    _show(e, spec, True, channels, counts, normals, oracle, seen, scale, previous, raw, obs)
    if spec[TRANSITIONS]:
        for j in range(2 * len(seen), obs.shape[1]):
            obs[e, j] = 1.0 if j == obs.shape[1] - 1 else 0.0


@_part
def _report(e, counts, flags, since):
    if counts[e, HELD]:
        flags[2, e], since[e] = False, counts[e, HELD_STEPS]
    else:
        flags[2, e], since[e] = counts[e, CHANGED] != 0, counts[e, SINCE]


@_part
def _tick(e, counts):
    counts[e, ELAPSED] += 1
    if counts[e, HELD]:
        counts[e, HELD_STEPS] += 1
    else:
        counts[e, STEP] += 1
        counts[e, SINCE] += 1
        counts[e, CHANGED] = 0


@_part
def _act(e, spec, actions, channels, bounds, x):
    """The action that reaches the plant, as envs.channels has it: x [A]."""
    factor, choices = channels[e, FACTOR], spec[CHOICES]
    for j in range(spec[ACTIONS]):
        a = actions[e, j]
        if choices:
            x[j] = a if factor == 1.0 else choices - 1 - a
        elif factor == 1.0:
            x[j] = np.float32(a)
        else:
            x[j] = min(max(np.float32(factor) * np.float32(a), bounds[0, j]), bounds[1, j])


@_part
def _append(e, spec, actions, reward, seen, obs):
    """The rest of TransitionObservation: action, reward, no start."""
    first, last, choices = 2 * len(seen), obs.shape[1] - 1, spec[CHOICES]
    for j in range(first, last - 1):
        if choices:
            obs[e, j] = 1.0 if actions[e, 0] == j - first else 0.0
        else:
            obs[e, j] = actions[e, j - first]
    obs[e, last - 1], obs[e, last] = reward, 0.0


@_part
def _valid(spec, actions):
    for e in range(len(actions)):
        a = actions[e, 0]
        if not (0 <= a < spec[CHOICES]) or a != np.floor(a):
            return False
    return True


def _with_names(function, names):
    """A copy of a function that finds these names first."""
    return FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, None, function.__closure__
    )


@overload(keyed_uniform, prefer_literal=True)
def _compiled_keyed_uniform(seed, name, kind, number, low, high):
    """What Numba makes of `keyed_uniform` in a task's functions: seeds below 2**63, names that stand in the code."""
    a, b = word(name.literal_value), word(kind.literal_value)

    def draw(seed, name, kind, number, low, high):
        return low + (high - low) * first_uniform(seed, a, b, number)

    return draw


@cache
def _inlined(function):
    """A plain function of a task, compiled to be inlined, together with those of tasks that it calls."""
    found = function.__globals__
    called = [name for name in function.__code__.co_names if _is_of_tasks(found.get(name))]
    return _part(_with_names(function, {name: _inlined(found[name]) for name in called}))


def _is_of_tasks(value: object) -> bool:
    return isinstance(value, FunctionType) and value.__module__.startswith("envs.tasks.")


@cache
def compiled_for(dynamics: BatchedDynamics):  # noqa: C901 two compiled functions
    """`step` and `begin` for environments of one kind, compiled when first called and kept on disk."""
    key = f"{dynamics.move.__module__} {_digest()}"
    names = {name: _inlined(getattr(dynamics, name)) for name in ("move", "start", "observe")}
    names["_begin"] = _part(_with_names(_begin, names))

    def step(spec, two, actions, bounds, state, columns, channels, counts, drawn, normals, oracle, seen, scale,
             previous, returns, obs, reward, flags, since):  # fmt: skip
        """One step of every environment; returns what has to be attended to before the next."""
        key  # noqa: B018 - closed over, so that the cache on disk tells tasks apart and sees an edit of them
        if spec[CHOICES] and not _valid(spec, actions):
            return INVALID
        attention = 0
        raw, x = np.empty(spec[OBSERVED], np.float32), np.empty(spec[ACTIONS])
        for e in range(len(state)):
            _report(e, counts, flags, since)
            if counts[e, OVER] and spec[NEXT_STEP]:
                _begin(e, spec, state, channels, counts, drawn, normals, oracle, seen, scale, previous, returns,
                       False, raw, obs)  # fmt: skip
                reward[e], flags[0, e], flags[1, e] = 0.0, False, False
            else:
                _act(e, spec, actions, channels, bounds, x)
                gained, terminated = move(state, e, x, columns, two[0])
                _tick(e, counts)
                truncated = 0 < spec[LIMIT] <= counts[e, ELAPSED]
                observe(state, e, raw)
                _show(e, spec, False, channels, counts, normals, oracle, seen, scale, previous, raw, obs)
                if spec[TRANSITIONS]:
                    _append(e, spec, actions, gained, seen, obs)
                reward[e], flags[0, e], flags[1, e] = gained, terminated, truncated
                returns[e] += gained
                counts[e, OVER] = terminated or truncated
            if (
                counts[e, STEP] >= counts[e, BOUNDARY]
                and (counts[e, OVER] or spec[WITHIN])
                and not counts[e, HELD]
            ):
                attention |= DUE
            if counts[e, READ] == drawn.shape[1] or counts[e, NOISE] == normals.shape[1]:
                attention |= EMPTY
        return attention

    def begin(spec, which, keep, state, channels, counts, drawn, normals, oracle, seen, scale, previous,
              returns, obs):  # fmt: skip
        """Resets the environments `which` [n]; those in `keep` [E] have their state already. Returns as `step`."""
        key  # noqa: B018 - as above
        raw = np.empty(spec[OBSERVED], np.float32)
        attention = 0
        for e in which:
            _begin(e, spec, state, channels, counts, drawn, normals, oracle, seen, scale, previous, returns,
                   keep[e], raw, obs)  # fmt: skip
            if counts[e, READ] == drawn.shape[1] or counts[e, NOISE] == normals.shape[1]:
                attention |= EMPTY
        return attention

    return tuple(
        compiled(nogil=True, error_model="numpy")(_with_names(function, names)) for function in (step, begin)
    )


@cache
def _digest() -> str:
    """Of the files of all tasks, and of what they draw random numbers by."""
    folders = [Path(str(package.__file__)).parent for package in (envs.tasks, envs.keyed_random)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
