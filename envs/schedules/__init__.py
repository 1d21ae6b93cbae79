"""When and how a parameter changes: pure, seeded functions of the lifetime step.

A schedule answers two questions about any lifetime step t = 0, 1, 2, …, in any order: the value in force when
step t runs, and the first later step at which that value may change. Randomness is keyed, never drawn from a
running generator: the k-th draw of a parameter is a function of (seed, name, k) alone, so that asking for step
10,000 first gives the same value.

Three parts compose. `Times` cut the lifetime into segments k = 0, 1, 2, …; a `Distribution` gives the k-th value; a
`Schedule` joins them (`Draw`), lists its values (`Steps`), follows a curve (`Ramp`, `Sine`, …) or wanders
(`RandomWalk`, `OrnsteinUhlenbeck`). All are frozen dataclasses with a JSON form.
"""

from envs.schedules.change_times import Between, Geometric, Listed, Periodic, Times
from envs.schedules.curves import Decay, Ramp, Sigmoid, Sine, Square
from envs.schedules.distributions import Choice, Distribution, Uniform
from envs.schedules.json_form import from_json, to_json
from envs.schedules.piecewise import Constant, Draw, Steps
from envs.schedules.random_walks import OrnsteinUhlenbeck, RandomWalk
from envs.schedules.schedule import SamplePath, Schedule

__all__ = [
    "Between",
    "Choice",
    "Constant",
    "Decay",
    "Distribution",
    "Draw",
    "Geometric",
    "Listed",
    "OrnsteinUhlenbeck",
    "Periodic",
    "Ramp",
    "RandomWalk",
    "SamplePath",
    "Schedule",
    "Sigmoid",
    "Sine",
    "Square",
    "Steps",
    "Times",
    "Uniform",
    "from_json",
    "to_json",
]
