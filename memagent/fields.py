"""The fields of saved agents and policies: spaces and numbers as JSON, and what a file says of them, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from memagent.archive import ArchiveError, reason, shortened
from memagent.settings import value_of

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
BOX_TYPES = (
    *("float16", "float32", "float64"),
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
)
WHOLE_TYPES = tuple(name for name in BOX_TYPES if "int" in name)


def entry(data: Mapping[str, Any], name: str, kind: Any) -> Any:
    """The value of a name, of a type of JSON.

    Raises:
        ArchiveError: it is not there or of another type.
    """
    if name not in data:
        raise ArchiveError(f"its data has no {name}; take another copy.")
    try:
        return value_of(name, kind, data[name])
    except ValueError as error:
        raise ArchiveError(str(error)) from error


def plain_numbers(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Some of the values as Python's floats."""
    return {name: float(values[name]) for name in names if name in values}


def numbers_of(values: list[Any], names: Iterable[str]) -> list[dict[str, float]]:
    """A list of objects of numbers, each of which has some of the names."""
    known = set(names)
    for value in values:
        if not isinstance(value, dict) or value.keys() - known:
            raise ArchiveError(
                f"it lists {shortened(value)} as an episode, expected {', '.join(sorted(known))}."
            )
    return [{name: entry(value, name, float) for name in value} for value in values]


def space_as_json(space: spaces.Space) -> dict[str, Any]:
    """A Box or Discrete space as JSON's types; infinite bounds as strings."""
    if isinstance(space, spaces.Discrete):
        return {
            "type": "Discrete",
            "n": int(space.n),
            "start": int(space.start),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.Box) and str(space.dtype) in BOX_TYPES:
        low, high = (
            [+x if np.isfinite(x) else str(x) for x in bound.ravel().tolist()]
            for bound in (space.low, space.high)
        )
        return {
            "type": "Box",
            "dtype": str(space.dtype),
            "shape": list(space.shape),
            "low": low,
            "high": high,
        }
    raise ArchiveError(f"the space is {space}, expected a Discrete one, or a Box of {', '.join(BOX_TYPES)}.")


def space_of(saved: dict[str, Any]) -> spaces.Space:
    """The space that `space_as_json` described."""
    if saved.get("type") == "Discrete":
        n, start = entry(saved, "n", int), entry(saved, "start", int)
        if not 0 < n < 2**31 or not abs(start) < 2**31:
            raise ArchiveError(f"its Discrete space has n={n} and start={start}, expected n above 0.")
        if (dtype := saved.get("dtype", "int64")) not in WHOLE_TYPES:
            raise ArchiveError(f"its Discrete space has the type {shortened(dtype)}, expected whole numbers.")
        return spaces.Discrete(
            n, start=start, **({} if dtype == "int64" else {"dtype": np.dtype(dtype).type})
        )
    if saved.get("type") == "Box" and saved.get("dtype") in BOX_TYPES:
        low, high, shape = (entry(saved, name, list) for name in ("low", "high", "shape"))
        try:
            with np.errstate(over="raise", invalid="raise"):
                bounds = [
                    np.array([_bound(x) for x in bound], saved["dtype"]).reshape(shape)
                    for bound in (low, high)
                ]
                return spaces.Box(bounds[0], bounds[1], dtype=np.dtype(saved["dtype"]).type)
        except (ValueError, TypeError, ArithmeticError, AssertionError) as error:
            raise ArchiveError(f"its Box has no bounds that fit ({reason(error)}).") from error
    raise ArchiveError(f"its space is {shortened(saved)}, expected a Box or Discrete.")


def _bound(value: Any) -> float:
    if type(value) in (int, float) or value in ("inf", "-inf"):
        return float(value) if isinstance(value, str) else value
    raise ValueError(f"{shortened(value)} is no number")


def layout_of(data: Mapping[str, Any], size: int) -> dict[str, tuple[int, int]] | None:
    """Where an observation of `size` numbers holds what TransitionObservation appends."""
    saved = entry(data, "transition_layout", dict | None)
    if saved is None:
        return None
    for name, part in saved.items():
        whole = isinstance(part, list) and len(part) == 2 and all(type(x) is int for x in part)
        if not whole or not 0 <= part[0] <= part[1] <= size:
            raise ArchiveError(
                f"its transition_layout has {shortened(name)} at {shortened(part)}, expected a range in 0 to {size}."
            )
    if missing := {"change", "start"} - saved.keys():
        raise ArchiveError(f"its transition_layout has no {' and no '.join(sorted(missing))}.")
    return {name: tuple(part) for name, part in saved.items()}


def generator_as_json(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a PCG64 generator as JSON's types."""
    if not isinstance(generator.bit_generator, np.random.PCG64):
        raise ArchiveError(f"the generator is {generator.bit_generator}, expected NumPy's PCG64.")
    return dict(generator.bit_generator.state)


def generator_of(saved: dict[str, Any]) -> np.random.Generator:
    """The generator that `generator_as_json` described."""
    bits = np.random.PCG64()
    try:
        bits.state = saved  # type: ignore[assignment]  # what is wrong with it, NumPy says
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ArchiveError(f"its generator is not in a state of PCG64 ({reason(error)}).") from error
    return np.random.Generator(bits)


def check_tensors(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Names, shapes and dtypes are the expected ones.

    Raises:
        ArchiveError: they are not, with the first that differs.
    """
    for name in sorted(given.keys() ^ expected.keys()):
        side = "has no" if name in expected else "has an unknown"
        raise ArchiveError(f"it {side} tensor {shortened(what + name)}; its settings describe another agent.")
    for name, tensor in expected.items():
        found = given[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise ArchiveError(
                f"its tensor {what}{name} is {found.dtype} of shape {tuple(found.shape)}, expected {tensor.dtype} of "
                f"shape {tuple(tensor.shape)}; its settings describe another agent."
            )


def moments_of(given: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Adam's moments and steps by parameter, of those that were updated.

    Raises:
        ArchiveError: names, shapes, dtypes or signs that Adam's cannot have.
    """
    held = {name.rpartition("/")[0] for name in given}
    step = torch.empty((), dtype=torch.float32, device="meta")
    expected = {
        f"{name}/{moment}": step if moment == "step" else parameter
        for name, parameter in parameters.items()
        if name in held
        for moment in MOMENTS
    }
    check_tensors(given, expected, "optimizer/")
    for name in given:
        if not name.endswith("/exp_avg") and (given[name] < 0).any():
            raise ArchiveError(f"its tensor optimizer/{name} has numbers below 0, expected none.")
    return {name: {m: given[f"{name}/{m}"] for m in MOMENTS} for name in sorted(held)}
