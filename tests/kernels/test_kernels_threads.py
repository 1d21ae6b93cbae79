import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from kernels.kernel_cases import make_case, unroll
from numba.core.registry import CPUDispatcher

from memagent.memory.fused import kernels
from memagent.memory.fused.threads import BatchThreads
from memagent.memory.fused.unroll import fused_unroll


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    case, results = make_case("random", resets=0.2, steps=11), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(unroll(case, fused=True))
    for other in results[1:]:
        for name, value in other.named().items():
            torch.testing.assert_close(value, results[0].named()[name])
            # PyTorch's products over all steps sum in another order with each number of threads.
            over_steps = name == "d_x" or name.startswith("d_parameter")
            assert over_steps or torch.equal(value, results[0].named()[name])


@pytest.mark.usefixtures("threads")
def test_a_sequence_does_not_depend_on_its_neighbours() -> None:
    case = make_case("random", resets=0.2)
    changed = case.x.clone()
    changed[:, 1:] += 1.0
    with torch.no_grad():
        y, _ = fused_unroll(case.dnc, case.x, case.start, case.state)
        other, _ = fused_unroll(case.dnc, changed, case.start, case.state)
    assert torch.equal(y[:, 0], other[:, 0]) and not torch.equal(y[:, 1], other[:, 1])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 2, 7])
def test_threads_do_everything_once_in_spans_that_begin_even(count: int) -> None:
    torch.set_num_threads(count)
    threads, spans, lock = BatchThreads(), [], threading.Lock()

    def work(begin: int, end: int, offset: int) -> None:
        with lock:
            spans.append((begin + offset, end + offset))

    for size in (0, 1, 5, 32, 3):
        spans.clear()
        threads.run(work, size, 4, 100)
        assert sorted(i for begin, end in spans for i in range(begin, end)) == list(range(100, 100 + size))
        assert all(begin % 2 == 0 and end - begin <= 4 for begin, end in spans)


@pytest.mark.usefixtures("threads")
def test_threads_pass_errors_on() -> None:
    torch.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)

    def work(begin: int, end: int) -> None:
        barrier.wait()
        if begin:
            raise ValueError("the second span")

    with pytest.raises(ValueError, match="the second span"):
        BatchThreads().run(work, 4, 2)


@pytest.mark.usefixtures("threads")
def test_two_python_threads_may_unroll_at_once() -> None:
    torch.set_num_threads(2)
    cases = [make_case("random", seed=seed) for seed in range(4)]
    expected, results = [unroll(case, fused=True).named() for case in cases], [None] * len(cases)

    def work(i: int) -> None:
        results[i] = unroll(cases[i], fused=True).named()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for given, wanted in zip(results, expected, strict=True):
        assert all(torch.equal(given[name], wanted[name]) for name in wanted)


FORK = """
import os, torch
from memagent.memory import DNC, MemoryConfig
torch.set_num_threads(2)
dnc = DNC(MemoryConfig(memory_size=9, memory_dim=4, num_read_heads=2, hidden_size=6), 3).requires_grad_(False)
x, start = torch.randn(2, 20, 3), torch.zeros(2, 20, dtype=torch.bool)
y, _ = dnc(x, start, dnc.initial_state(20))
child = os.fork()
if child == 0:
    other, _ = dnc(x, start, dnc.initial_state(20))
    os._exit(0 if torch.equal(y, other) else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_unrolls_too() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=300)


def test_the_cache_on_disk_sees_an_edit_of_every_file_that_is_compiled() -> None:
    seen, waiting = {kernels}, [kernels]
    while waiting:
        for value in vars(waiting.pop()).values():
            if isinstance(value, CPUDispatcher) and value.__module__.startswith("memagent"):
                module = sys.modules[value.__module__]
                waiting += [module] if module not in seen else []
                seen.add(module)
    assert len(seen) > 1 and {m.__file__ for m in seen - {kernels}} <= set(kernels.COMPILED_FILES)
    digest = hashlib.sha256(b"".join(Path(f).read_bytes() for f in kernels.COMPILED_FILES)).hexdigest()
    for entry in (kernels.forward_span, kernels.backward_span):
        assert digest in [cell.cell_contents for cell in entry.py_func.__closure__]


@pytest.mark.parametrize("given", [None, "7"])
def test_importing_changes_no_setting_of_the_process(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if given is not None:
        environment["GOMP_SPINCOUNT"] = given
    code = "import os; before = dict(os.environ); import memagent; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
