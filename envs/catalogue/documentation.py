"""What the catalogue says of itself: a listing for the terminal, a page for readers."""

from __future__ import annotations

from collections.abc import Iterable

import gymnasium as gym

from envs.catalogue import BASES, CATALOGUE, PROBES, Entry, default_drift
from envs.channels import Parameter
from envs.schedules import Choice, Draw, Uniform
from envs.tasks import TASKS, find_plant

_HEAD = """# The drifting environments

Made by `python -m envs --write`; do not edit.

`import envs` registers these ids. Each is a base environment whose parameters drift, hidden from the agent: by default
a new context is drawn every 1,000 steps of an environment and takes hold when the episode ends. `schedule="random"`
draws at memoryless times, `"cycle"` lets `num_contexts` contexts come round, `change_at="step"` changes within
episodes, `drift=` takes one of your own. `python -m envs ID --plot` draws the drift of an id and some frames.

Observations show the last transition too (`transition_observation`), of what `sensors` leave. Default drifts reverse
the best action or move the goal, and have noise, or hide velocities, where one clean transition would give the context
away.

For each of these a short training shows that hiding the context costs return
([benchmarks/results/controls.md](../benchmarks/results/controls.md)).
"""
_UNSHOWN = "For these a short training does not show it, or has not been run (PointGoals):"


_SOLVED = "A probe that only memory solves; nothing drifts."


_PROBES = """\
In probes nothing drifts. Without memory no agent gets beyond chance; the module of each says why, and how much memory
it asks for. Arguments make them harder, as `envs.make_vec("Memory/Pairs-v0", num_pairs=16)`; Pairs and Repeat become so
while an agent learns, from the next episode on, by `env.env_method("set_difficulty", 16)`:"""


def listing() -> str:
    """Every id that is registered, as `python -m envs` prints them."""
    shown, unshown = (
        [described(name, entry) for name, entry in CATALOGUE.items() if entry.shown is which]
        for which in (True, False)
    )
    head = "Drifting parameters: unit, training range | held-out range"
    still = [f"{name}\n  {entry.summary} {_SOLVED}" for name, entry in PROBES.items()]
    bases = ["Our base environments, which do not drift:", *(f"  {name}" for name in BASES)]
    return "\n\n".join([head, *shown, _UNSHOWN, *unshown, *still, "\n".join(bases)]) + "\n"


def described(name: str, entry: Entry) -> str:
    """A few lines about one id."""
    lines = [f"{name}  (from {entry.base})", f"  {entry.summary}"]
    try:
        known = parameters(name)
    except gym.error.DependencyNotInstalled as missing:
        return "\n".join([*lines, f"  {missing}"])
    for parameter, source in entry.train.items():
        ranges = f"{_values(source):16} | {_values(entry.held_out[parameter])}"
        lines.append(f"  {parameter:14} {known[parameter].unit:6} {ranges}")
    return "\n".join(lines)


def parameters(name: str) -> dict[str, Parameter]:
    """Every parameter that can drift in an id, with its unit and meaning."""
    env = gym.make(name, disable_env_checker=True)
    known = env.get_wrapper_attr("parameters")
    env.close()
    return known


def page() -> str:
    """The page of documentation, Markdown."""
    shown, unshown = (
        _table(
            ("id", "what drifts"),
            [
                (f"[`{name}`](#{_anchor(name)})", entry.summary)
                for name, entry in CATALOGUE.items()
                if entry.shown is which
            ],
        )
        for which in (True, False)
    )
    probes = _table(("id", "what is asked"), [(f"`{n}`", entry.summary) for n, entry in PROBES.items()])
    sections = [_section(name, entry) for name, entry in CATALOGUE.items()]
    bodies = [_body(task.documented) for task in TASKS if task.documented]
    every = "\n\n".join(["## Every physical parameter", _EVERY, *bodies])
    return (
        "\n\n".join(
            [_HEAD.strip(), shown, _UNSHOWN, unshown, _PROBES, probes, *sections, every, _FOREIGN.strip()]
        )
        + "\n"
    )


def picture(name: str) -> str:
    """Where the page expects the picture of an id, relative to it."""
    return f"pictures/{name.removeprefix('Drift/')}.png"


def _section(name: str, entry: Entry) -> str:
    known, limit = parameters(name), gym.spec(name).max_episode_steps
    base = f"`{entry.base}`" + (f" (extra `{entry.extra}`)" if entry.extra else "")
    seen = "" if entry.sensors is None else f" Sensors: entries {_runs(entry.sensors)} of its observation."
    rows = [
        (f"`{p}`", known[p].unit, known[p].meaning, _values(source), _values(entry.held_out[p]))
        for p, source in entry.train.items()
    ]
    periods = {s.times.every for s in default_drift(name).parameters.values() if isinstance(s, Draw)}  # type: ignore[attr-defined]
    harder = "".join(f" Argument: `{name}`, {value} here." for name, value in entry.arguments.items())
    changes = f"Schedule: all drawn anew every {periods.pop():,} steps, at an episode's end."
    facts = f"From {base}; at most {limit} steps an episode.{seen}{harder} {changes} Ranges: {entry.source}."
    table = _table(("parameter", "unit", "meaning", "training", "held out"), rows)
    return (
        f"## {name}\n\n{entry.summary}\n\n{facts}\n\n{table}\n\n![The drift of one lifetime]({picture(name)})"
    )


def _body(base: str) -> str:
    env = gym.make(base, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    rows = [
        (f"`{name}`", parameter.unit, parameter.meaning, f"{parameter.read(env) + 0.0:g}")
        for name, parameter in find_plant(env).parameters.items()
    ]
    env.close()
    return f"### {base}\n\n" + _table(("parameter", "unit", "meaning", "native value"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _anchor(name: str) -> str:
    """The anchor that Markdown gives a heading."""
    return name.lower().replace("/", "")


def _values(source: Choice | Uniform) -> str:
    if isinstance(source, Choice):
        return "{" + ", ".join(f"{value:g}" for value in source.values) + "}"
    return ", ".join(f"{low:g}–{high:g}" for low, high in source.intervals)


def _runs(numbers: tuple[int, ...]) -> str:
    """0, 1, 2, 5 as "0–2, 5"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


_EVERY = """`DriftingEnv` makes these drift in any of these environments, with any schedule, beside the parameters of
sensors, actuators and rewards that `envs.channels` has for every environment. MuJoCo's factors (×) are of the body's
own values. Gravity is no parameter of Acrobot and of the continuous MountainCar: Gymnasium has it as a number in their
code."""

_FOREIGN = """
## Environments of other libraries

`ForeignStream` reports the drift of NS-Gym (`info["Ground Truth Env Change"]`) and of CARL (`info["context_id"]`) under
the `info` keys of `DriftingEnv`. Its observations are those of the base environment:

```python
import gymnasium as gym
from envs import ForeignStream, TransitionObservation
from ns_gym.schedulers import PeriodicScheduler
from ns_gym.update_functions import RandomWalk
from ns_gym.wrappers import NSClassicControlWrapper

walk = RandomWalk(PeriodicScheduler(period=200))
env = ForeignStream(NSClassicControlWrapper(gym.make("CartPole-v1"), {"masscart": walk}))
env = TransitionObservation(env)
```

NS-Gym asks for an older MuJoCo than Gymnasium needs; `pip install --no-deps ns-gym` installs it beside a newer one.
"""
