"""Parameters × schedules = a Drift. A *context* is the value of every drifting parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from envs.schedules import Constant, Distribution, Draw, Schedule, Times, from_json, to_json

ChangeAt = Literal["episode_end", "step"]
Context = dict[str, float]


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
        schedules = {n: Constant(float(s)) if isinstance(s, Real) else s for n, s in self.parameters.items()}
        wrong = [name for name, schedule in schedules.items() if not isinstance(schedule, Schedule)]
        if wrong:
            raise ValueError(
                f"Drift parameters {wrong} have no schedule: expected a Schedule or a number for each."
            )
        object.__setattr__(self, "parameters", schedules)

    @classmethod
    def draws(
        cls,
        sources: Mapping[str, Distribution],
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
