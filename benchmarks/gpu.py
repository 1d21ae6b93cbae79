"""What the DNC costs on a GPU: ours by its Triton kernels and by its reference, cuDNN's LSTM for scale; and training.

    python -m benchmarks.gpu                        # everything, some six minutes on one GPU and its host
    python -m benchmarks.gpu --training-steps 0     # the memory alone

A run is one forward and backward pass over T = 40 steps of B sequences, 16 inputs, the default memory, float32, timed
by device events; given are medians. The limit is the time to write every step's tape once and to read it once, at the
rate at which this GPU copies. Training is `MemoryDQN` with the environment's preset, the memory's updates and acting in
16 environments included, on the GPU and on its host's CPU. Results are kept in benchmarks/results: gpu.json and gpu.md.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn

from benchmarks.gpu_tables import report
from memagent.memory import DNC, MemoryConfig

RESULTS = Path(__file__).parent / "results" / "gpu.json"
STEPS, INPUTS = 40, 16


@dataclass(frozen=True)
class Options:
    """What to measure."""

    batches: tuple[int, ...] = (8, 32, 128, 512, 1024)
    """B, the numbers of sequences to go through."""
    compiled: tuple[int, ...] = (32,)
    """Those of them at which the reference is also run under torch.compile, which takes minutes for each."""
    repeats: int = 10
    """Runs that a median is of, after three that warm up."""
    env: str = "Drift/CartPole-v0"
    """Where training goes on."""
    training_steps: int = 4_000
    """Environment steps of a training; 0 trains nowhere."""
    threads: int = 2
    """Threads of the training on the CPU."""


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """Median time on the device of a run."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def dnc_run(backend: Any, B: int, *, T: int = STEPS, backward: bool = True) -> Callable[[], object]:
    """One pass of a DNC by "triton", "reference", or "compiled", the reference with its step under torch.compile."""
    torch.manual_seed(0)
    config = MemoryConfig(backend="reference" if backend == "compiled" else backend)
    memory = DNC(config, INPUTS).cuda()
    if backend == "compiled":
        memory._step = torch.compile(memory._step)  # type: ignore[method-assign]
    x, start = torch.randn(T, B, INPUTS, device="cuda"), torch.zeros(T, B, dtype=torch.bool, device="cuda")
    state = memory.initial_state(B)
    return passes(lambda: memory(x, start, state)[0], backward)


def lstm_run(B: int) -> Callable[[], object]:
    """One pass of torch.nn.LSTM with as many units as the DNC's controller."""
    memory, x = (
        nn.LSTM(INPUTS, MemoryConfig().hidden_size).cuda(),
        torch.randn(STEPS, B, INPUTS, device="cuda"),
    )
    return passes(lambda: memory(x)[0], backward=True)


def passes(forward: Callable[[], torch.Tensor], backward: bool) -> Callable[[], object]:
    """A run: the forward pass without gradients, or with the backward pass from a random gradient."""
    d_y = torch.randn_like(forward())  # the sum of a layer norm has no gradient to speak of
    return (lambda: forward().backward(d_y)) if backward else torch.no_grad()(forward)


def bytes_per_second() -> float:
    """At what rate the device copies 1 GiB, bytes read and bytes written."""
    a = torch.randn(2**28, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.nbytes / milliseconds(lambda: b.copy_(a), 10) * 1e3


def tape_bytes(B: int) -> int:
    """What the kernels write of all steps of B sequences in a forward pass, and read in the backward pass."""
    from memagent.memory.gpu.records import kernel_shape, record_sizes, state_sizes

    shape = kernel_shape(MemoryConfig(), 1e-5, torch.float32)
    numbers = sum(torch.Size(size).numel() for size in (*state_sizes(shape), *record_sizes(shape)))
    return 4 * numbers * STEPS * B


def measure(options: Options) -> list[dict[str, Any]]:
    """One row for each number of sequences."""
    rate, rows = bytes_per_second(), []
    for B in options.batches:
        row = {
            "B": B,
            "triton_ms": milliseconds(dnc_run("triton", B), options.repeats),
            "triton_forward_ms": milliseconds(dnc_run("triton", B, backward=False), options.repeats),
            "lstm_ms": milliseconds(lstm_run(B), options.repeats),
            "limit_ms": 2 * tape_bytes(B) / rate * 1e3,
            "copy_bytes_per_second": rate,
        }
        torch.cuda.reset_peak_memory_stats()
        dnc_run("triton", B)()
        row["triton_peak_bytes"] = torch.cuda.max_memory_allocated()
        row["reference_ms"] = milliseconds(dnc_run("reference", B), 3)
        if B in options.compiled:
            row["compiled_ms"] = milliseconds(dnc_run("compiled", B), options.repeats)
        rows.append(row)
        print(json.dumps(row), flush=True)
        torch.cuda.empty_cache()
    return rows


def train(options: Options, device: str) -> dict[str, Any]:
    """How long an agent takes for its steps, acting and learning, without evaluation and without compilation."""
    import envs
    from memagent.presets import preset_settings
    from memagent.run_config import preset_config
    from memagent.runs import make_agent

    torch.set_num_threads(options.threads)
    config = replace(preset_config(options.env, preset_settings(options.env)), device=device)
    for steps in (
        config.learner.learning_starts + 500,
        options.training_steps,
    ):  # the first compiles all kernels
        agent = make_agent(config, envs.make_vec(options.env, config.num_envs, 0))
        begin = time.perf_counter()
        agent.learn(steps)
        seconds = time.perf_counter() - begin
    return {"device": device, "seconds": seconds, "steps": agent.num_timesteps, "updates": agent._n_updates}


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    import triton

    about = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in about if "model name" in line]
    return {
        "gpu": torch.cuda.get_device_name(),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cudnn": torch.backends.cudnn.version(),
    }


def main(options: Options) -> None:
    """Measure, print, keep."""
    if not torch.cuda.is_available():
        raise SystemExit(
            "This benchmark was run without a CUDA device, expected one: run it on a machine with a GPU."
        )
    acting = {name: dnc_run(name, 16, T=1, backward=False) for name in ("triton", "reference")}
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "machine": machine(),
        "acting_ms": {name: milliseconds(run, 50) for name, run in acting.items()},
        "rows": measure(options),
        "training": [],
    }
    if options.training_steps:
        result |= {"env": options.env, "threads": options.threads}
        result["training"] = [train(options, device) for device in ("cuda", "cpu")]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(report(result) + "\n")
    print(report(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
