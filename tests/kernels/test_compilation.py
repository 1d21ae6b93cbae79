"""Kernels are loaded, not used by the process that compiled them; where nothing can be kept, they run all the same."""

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memagent.memory.fused import compilation

SOURCE = """
from numba import njit


@njit(cache=True)
def doubled(begin, end, numbers):
    for i in range(begin, end):
        numbers[i] *= 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a kernel that no process has compiled yet."""
    monkeypatch.setattr(compilation, "_loaded", set())
    monkeypatch.setattr(compilation, "_here", set())
    path = tmp_path / "fresh.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("fresh", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fresh", made)
    spec.loader.exec_module(made)
    return made


def test_what_is_not_on_the_disk_is_compiled_by_another_process(
    module: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def compile_apart(dtype: torch.dtype) -> None:
        asked.append(dtype)
        program = "import fresh, numpy; fresh.doubled(0, 0, numpy.zeros(3)); assert fresh.doubled.stats.cache_misses"
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(module.__file__).parent)

    monkeypatch.setattr(compilation, "_compile_apart", compile_apart)
    numbers = np.arange(3.0)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            compilation.load(module.doubled, torch.float64, numbers)
        module.doubled(0, 3, numbers)
    assert numbers.tolist() == [0.0, 4.0, 8.0]
    assert asked == [torch.float64]
    assert len(caplog.messages) == 1 and "ompiling" in caplog.messages[0]
    stats = module.doubled.stats
    assert sum(stats.cache_hits.values()) == 1  # loaded, and that once


def test_without_another_process_it_is_compiled_here(
    module: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    numbers = np.arange(3.0)
    with caplog.at_level(logging.WARNING):
        compilation.load(module.doubled, torch.float64, numbers)
    module.doubled(0, 3, numbers)
    assert numbers.tolist() == [0.0, 2.0, 4.0]
    assert "No other process can be started" in caplog.messages[-1]
    assert not module.doubled.stats.cache_hits


def test_the_program_of_the_other_process_uses_every_kernel() -> None:
    """In a process of its own: it may compile, and has the disk's kernels, or new ones, of both passes."""
    program = (
        "import sys; from memagent.memory.fused import compile_kernels, kernels\n"
        "compile_kernels.main('float32')\n"
        "for entry in (kernels.forward_span, kernels.backward_span):\n"
        "    assert len(entry.signatures) == 1, entry\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_initial_weights_are_those_of_one_thread() -> None:
    from memagent.memory.controller import gate_parameters

    threads, made = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        torch.manual_seed(0)
        made.append(gate_parameters(4, 128, 128)[1])
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert torch.equal(*made)
