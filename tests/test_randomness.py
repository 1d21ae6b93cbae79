"""The process's random generators go on where they were, through JSON."""

import json
import random

import numpy as np
import pytest
import torch

from memagent import randomness


def draws() -> list[float]:
    numpy = [np.random.random(), np.random.normal()]  # noqa: NPY002 what others may draw from
    return [random.random(), random.gauss(), *numpy, torch.rand(()).item()]


def test_all_generators_go_on() -> None:
    draws()
    state = json.loads(json.dumps(randomness.get_state()))
    expected = [draws() for _ in range(3)]
    assert [draws() for _ in range(3)] != expected
    randomness.set_state(state)
    assert [draws() for _ in range(3)] == expected


@pytest.mark.parametrize("name", ["python", "numpy", "torch"])
@pytest.mark.parametrize("wrong", [None, "xyz", [], {}])
def test_other_states_are_refused(name: str, wrong: object) -> None:
    state = randomness.get_state()
    with pytest.raises(ValueError, match="have no such state"):
        randomness.set_state(state | {name: wrong})
    randomness.set_state(state)
