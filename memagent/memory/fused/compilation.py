"""Kernels come from disk, always: one that is not there is compiled in a process of its own first.

A process that compiles them links their inner functions to code that was generated apart from the entries; one that
loads them has the entries' own. Both are right, and round otherwise in the last place, from which two trainings of one
seed go different ways. So that the same seed is the same run, nobody uses what he has compiled himself, but where there
is nothing to load from: a folder that cannot be written, or no Python to start.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numba.core import event

logger = logging.getLogger(__name__)
_loaded: set[tuple[Callable[..., Any], torch.dtype]] = set()
_here: set[torch.dtype] = set()  # dtypes whose kernels this process may compile


class _NotOnDiskError(Exception):
    """Numba would compile."""


class _Refusal(event.Listener):
    """Keeps Numba from compiling a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def on_start(self, event: event.Event) -> None:
        if event.data["dispatcher"] is self.function:
            raise _NotOnDiskError

    def on_end(self, event: event.Event) -> None:
        pass


def load(function: Callable[..., Any], dtype: torch.dtype, *arguments: Any) -> None:
    """Have a kernel ready for calls like `function(begin, end, *arguments)`.

    Args:
        function: compiled by Numba with cache=True; does nothing from 0 to 0.
        dtype: of the arguments, which have the same types wherever it is the same.
        arguments: of such a call.
    """
    if (function, dtype) in _loaded:
        return
    if dtype not in _here:
        try:
            with event.install_listener("numba:compile", _Refusal(function)):
                function(0, 0, *arguments)
        except _NotOnDiskError:
            logger.warning(
                "Compiling the memory's kernels: about a minute, once; the result is kept on disk."
            )
            _compile_apart(dtype)
            _here.add(dtype)  # what is still not on the disk cannot be kept there
    _loaded.add((function, dtype))


def _compile_apart(dtype: torch.dtype) -> None:
    """Compile the kernels for a dtype onto the disk in another process, if that can be."""
    command = [
        sys.executable,
        "-m",
        "memagent.memory.fused.compile_kernels",
        str(dtype).removeprefix("torch."),
    ]
    paths = {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    try:
        subprocess.run(
            command,
            env=os.environ | paths,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is meant for the training
            check=False,
        )
    except OSError as error:
        logger.warning("No other process can be started to compile in: %s", error)


def allow(dtype: torch.dtype) -> None:
    """Let this process compile the kernels for a dtype."""
    _here.add(dtype)
