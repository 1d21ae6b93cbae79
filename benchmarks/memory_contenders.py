"""What benchmarks.memory compares: how each contender is built, what a run of it computes, which cases it can run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from memagent.memory import DNC, MemoryConfig

INPUTS, HIDDEN, WIDTH, HEADS = 16, 128, 64, 4
CONTENDERS = ("fused", "reference", "dnc", "lstm", "compiled")


class Case(NamedTuple):
    """What is run: T steps of B sequences, N slots, with or without links, with or without a backward pass."""

    T: int
    B: int
    N: int
    links: bool
    backward: bool


DEFAULT = Case(T=40, B=32, N=128, links=True, backward=True)
ACTING = Case(T=1, B=16, N=128, links=True, backward=False)


def run_dnc(case: Case, backend: str) -> Callable[[], object]:
    """Our DNC: "fused", "reference", or "compiled", the reference with its step under torch.compile."""
    name: Any = "fused" if backend == "fused" else "reference"
    memory = DNC(MemoryConfig(memory_size=case.N, temporal_links=case.links, backend=name), INPUTS)
    if backend == "compiled":
        memory._step = torch.compile(memory._step)  # type: ignore[method-assign]
    x, start = torch.randn(case.T, case.B, INPUTS), torch.zeros(case.T, case.B, dtype=torch.bool)
    state = memory.initial_state(case.B)
    return passes(lambda: memory(x, start, state)[0], case.backward)


def run_package(case: Case) -> Callable[[], object]:
    """The package `dnc`, of the same sizes."""
    try:
        import dnc
    except ImportError:
        raise SystemExit(
            "The package dnc is missing, expected it to compare with: pip install --no-deps dnc==1.1.0"
        ) from None
    sizes = {
        "input_size": INPUTS,
        "hidden_size": HIDDEN,
        "nr_cells": case.N,
        "cell_size": WIDTH,
        "read_heads": HEADS,
    }
    memory = dnc.DNC(
        **sizes, rnn_type="lstm", num_layers=1, num_hidden_layers=1, batch_first=False, gpu_id=-1
    )
    x = torch.randn(case.T, case.B, INPUTS)
    return passes(lambda: memory(x, (None, None, None), reset_experience=True)[0], case.backward)


def run_lstm(case: Case) -> Callable[[], object]:
    """torch.nn.LSTM with as many units as the DNC's controller."""
    memory, x = nn.LSTM(INPUTS, HIDDEN), torch.randn(case.T, case.B, INPUTS)
    return passes(lambda: memory(x)[0], case.backward)


def passes(forward: Callable[[], torch.Tensor], backward: bool) -> Callable[[], object]:
    """A run: the forward pass without gradients, or with the backward pass of a sum."""

    def with_backward() -> None:
        forward().sum().backward()

    return with_backward if backward else torch.no_grad()(forward)


def build(contender: str, case: Case) -> Callable[[], object]:
    """One run of a contender, to be called again and again."""
    torch.manual_seed(0)
    if contender == "dnc":
        return run_package(case)
    return run_lstm(case) if contender == "lstm" else run_dnc(case, contender)


def takes_part(contender: str, case: Case) -> bool:
    """Whether a contender can run a case, in memory and in time.

    The package has no switch for links. Unfused, a backward pass keeps some ten copies of L per step. Compilation is
    a minute per shape: the default case and acting.
    """
    copies = case.T * 10 if case.backward else 4
    fits = case.B * case.N**2 * 4 * copies < 6e9
    if contender == "dnc":
        return case.links and fits
    if contender == "compiled":
        return case in (DEFAULT, DEFAULT._replace(backward=False), ACTING)
    return fits or contender in ("fused", "lstm")


def lstm_flops(case: Case, inputs: int = INPUTS) -> float:
    """Multiplications and additions in an LSTM's products; a backward pass has twice those of the forward pass."""
    return (3 if case.backward else 1) * case.T * case.B * 2 * 4 * HIDDEN * (inputs + HIDDEN)


def dnc_flops(case: Case) -> float:
    """The same of a DNC: LSTM and interface, and all that walks M (look-up, write, read) or L (update, f, b)."""
    interface = WIDTH * HEADS + 3 * WIDTH + (5 if case.links else 2) * HEADS + 3
    content = (HEADS + 1) * 2 + 4 + 2 * HEADS  # per element of M: cosines and norms, write, reads
    links = 5 + 4 * HEADS  # per element of L: update, f and b
    memory = case.N * WIDTH * content + (case.N**2 * links if case.links else 0)
    steps = (3 if case.backward else 1) * case.T * case.B
    return lstm_flops(case, INPUTS + HEADS * WIDTH) + steps * (2 * HIDDEN * interface + memory)
