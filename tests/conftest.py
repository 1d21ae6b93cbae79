"""What every test runs under: one thread for PyTorch, no display, no connection leaves the machine."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports PyTorch, matplotlib or wandb; subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nets are small: a second thread costs more than it brings
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TRITON_INTERPRET", "1")  # the GPU's kernels run on the CPU; 0 for those who have a GPU
os.environ["WANDB_ERROR_REPORTING"] = "false"
os.environ["WANDB_MODE"] = "offline"

import pytest
from hypothesis import settings

SLOW = {
    "agents/test_acting.py",
    "agents/test_adaptation.py",
    "agents/test_combinations.py",
    "agents/test_devices.py",
    "agents/test_dqn.py",
    "agents/test_finite.py",
    "agents/test_protocol.py",
    "agents/test_sac.py",
    "agents/test_saving.py",
    "agents/test_settings.py",
    "agents/test_spaces.py",
    "agents/test_stopping.py",
    "environments/batched/test_batched.py",
    "environments/tasks/test_point.py",
    "environments/test_foreign.py",
    "environments/test_random_drifts.py",
    "environments/test_vector.py",
    "evaluation/test_page_in_browser.py",
    "evaluation/test_training_goes_on.py",
    "kernels/test_compilation.py",
    "kernels/test_gpu_parity.py",
    "kernels/test_kernels_threads.py",
    "kernels/test_lanes.py",
    "memory/test_gradients.py",
    "test_belief.py",
    "test_benchmarks.py",
    "test_checkpoints.py",
    "test_cli.py",
    "test_comparing.py",
    "test_compiling.py",
    "test_docs.py",
    "test_examples.py",
    "test_extractor.py",
    "test_jobs.py",
    "test_meta.py",
    "test_packaging.py",
    "test_phase_evaluation.py",
    "test_ray.py",
    "test_report_data.py",
    "test_resuming.py",
    "test_sb3_models.py",
    "test_seeds.py",
    "test_signals.py",
    "test_tracking.py",
    "test_tuning.py",
}
"""Files that take more than seconds, as they train agents, begin processes or compile: `make quick` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


# A shared machine is slow at times: no test asserts a time, neither does hypothesis.
settings.register_profile("memagent", deadline=None, print_blob=True)
settings.load_profile("memagent")


@pytest.fixture(scope="session", autouse=True)
def wandb_outside_home() -> Iterator[None]:
    """W&B keeps logs, settings and staged files in the home directory unless told where."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(Path(folder) / name.lower()))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A connection to another machine fails the test that tries it."""
    connect = socket.socket.connect

    def local_connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise AssertionError(f"A test tried to connect to {address}; tests stay on this machine.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_connect)
        yield
