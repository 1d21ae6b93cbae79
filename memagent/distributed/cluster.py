"""A Ray cluster that is joined for as long as it is needed: one that is there, or one of this machine alone.

Ray sends no usage statistics from here, and starts no dashboard. All processes of a cluster that is started here end
with this one, and nothing of it is left on the disk.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from memagent.runs import RunError

LOOPBACK = "127.0.0.1"
STORE_BYTES = 256 * 1024**2
"""Shared memory of a cluster of this machine, for weights and rows on their way."""


@contextmanager
def connected(address: str, num_cpus: int | None = None) -> Iterator[None]:
    """Be connected to a Ray cluster; processes that this one has started on it end with the block.

    Where this process is connected to one already, that one is used, and stays.

    Args:
        address: HOST:PORT, "auto" for a cluster that this machine is part of, "local" for one that is started here
            and ended with the block.
        num_cpus: of the cluster that is started, in Ray's counting; None: as many as this machine has.

    Raises:
        RunError: Ray is not installed, or there is no cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise RunError(
            f"--ray {address} was given, and Ray is not installed; `pip install 'memagent[ray]'`, or leave --ray out."
        ) from error
    if ray.is_initialized():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        where: dict[str, Any] = {"address": address}
        if address == "local":
            where |= {"num_cpus": num_cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
            where |= {"_node_ip_address": LOOPBACK, "_temp_dir": folder}
        try:
            refuse_unreachable(address)
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            said = str(error).partition("\n")[0].rstrip(".")
            raise RunError(
                f"There is no Ray cluster at {address!r} ({said}); begin one by `ray start --head`, give its "
                "HOST:PORT, or --ray local."
            ) from error
        try:
            if threading.current_thread() is threading.main_thread():  # where Ray takes SIGTERM
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            yield
        finally:
            ray.shutdown()


def refuse_unreachable(address: str) -> None:
    """OSError where nobody answers at HOST:PORT within ten seconds; Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[-1].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def refuse_unmet(needed: Mapping[str, float], what: str) -> None:
    """RunError where no machine of the cluster has the resources that a process needs."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(has.get(name, 0) >= count for name, count in needed.items()) for has in machines):
        asked = ", ".join(f"{count:g} {name}" for name, count in needed.items() if count)
        there = "; ".join(", ".join(f"{has.get(name, 0):g} {name}" for name in needed) for has in machines)
        raise RunError(
            f"{what} needs {asked}, and the cluster's machines have {there}; ask for less, or add a machine."
        )
