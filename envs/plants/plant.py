"""A plant: the physical parameters of one kind of environment, how they are really set, what its state is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from envs.channels import Parameter


@dataclass(frozen=True)
class PlantParameter(Parameter):
    """A parameter that lives in the environment: how it is read and written."""

    read: Callable[[Any], float]
    write: Callable[[Any, float], None]


def derive_nothing(env: Any) -> None:
    """For plants that keep nothing beside their parameters."""


@dataclass(frozen=True)
class Plant:
    """The physical parameters of one kind of environment.

    Attributes:
        parameters: by name.
        derive: recomputes, from the parameters, whatever the environment keeps beside them.
        state: attributes of the environment that make up its physical state, for saving and restoring.
        save: the physical state where attributes do not hold it, as plain values; None: `state` says it all.
        load: puts the environment into what `save` gave.
    """

    parameters: Mapping[str, PlantParameter]
    derive: Callable[[Any], None] = derive_nothing
    state: tuple[str, ...] = ()
    save: Callable[[Any], Any] | None = None
    load: Callable[[Any, Any], None] | None = None

    def set(self, env: Any, values: Mapping[str, float]) -> None:
        """Sets the parameters of the unwrapped environment `env`, and what is derived from them."""
        for name, value in values.items():
            self.parameters[name].write(env, value)
        self.derive(env)

    def get_state(self, env: Any) -> dict[str, Any]:
        """The physical state and the random numbers of the unwrapped environment, as plain values."""
        state = {
            "random": dict(env.np_random.bit_generator.state),
            "physics": {name: plain(getattr(env, name)) for name in self.state},
        }
        if self.save is not None:
            state["saved"] = self.save(env)
        return state

    def set_state(self, env: Any, state: Mapping[str, Any]) -> None:
        """Puts the unwrapped environment where `get_state` was called."""
        for name, value in state["physics"].items():
            setattr(env, name, restored(value))
        if self.load is not None:
            self.load(env, state["saved"])
        env.np_random.bit_generator.state = state["random"]


def plain(value: Any) -> Any:
    """An array as {"dtype": …, "values": lists}, a NumPy number as a number; anything else as it is."""
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "values": value.tolist()}
    if isinstance(value, tuple):
        return plain(np.array(value))
    return value.item() if isinstance(value, np.generic) else value


def restored(value: Any) -> Any:
    """What `plain` was given, tuples as arrays."""
    return np.array(value["values"], value["dtype"]) if isinstance(value, Mapping) else value


def attribute(path: str, unit: str, meaning: str, *, positive: bool = True) -> PlantParameter:
    """A parameter that is one attribute of the environment."""

    def write(env: Any, value: float) -> None:
        setattr(env, path, value)

    return PlantParameter(unit, meaning, positive=positive, read=attrgetter(path), write=write)
