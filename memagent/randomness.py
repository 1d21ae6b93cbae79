"""The random generators that a process has one of: Python's, NumPy's global one and PyTorch's, as plain values.

Agents, replay and environments have generators of their own and save them with themselves. The compiled kernels have
none: their draws are functions of what they are given.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def get_state() -> dict[str, Any]:
    """Where all of them stand, as JSON's types; CUDA's where this process uses it."""
    version, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 the generator that others draw from
    assert isinstance(legacy, dict)
    return {
        "python": [version, list(words), gauss],
        "numpy": {**legacy, "state": {"key": legacy["state"]["key"].tolist(), "pos": legacy["state"]["pos"]}},
        "torch": _as_text(torch.get_rng_state()),
        "cuda": [_as_text(state) for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_initialized()
        else [],
    }


def set_state(state: Mapping[str, Any]) -> None:
    """Put all of them where `get_state` was called; those of CUDA as far as this machine has as many devices.

    Raises:
        ValueError: the state is none of theirs.
    """
    try:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        np.random.set_state(dict(state["numpy"]))  # noqa: NPY002
        torch.set_rng_state(_from_text(state["torch"]))
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([_from_text(text) for text in state["cuda"]])
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"The random generators have no such state ({type(error).__name__}: {error})."
        ) from error


def _as_text(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_text(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
