"""How programs end: a sentence for what was expected to go wrong, an exit code for signals, between two steps."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from stable_baselines3.common.callbacks import BaseCallback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS_TO_STOP = 120.0


class StopOnSignal(BaseCallback):
    """Ends `learn` after the step in which SIGINT or SIGTERM came; a second signal ends the process at once.

    A context manager: signals are its own from entering to leaving, and while that lasts nothing is interrupted, a file
    that is being written least of all. Outside the main thread, where Python hands out no signals, it does nothing.
    """

    received: signal.Signals | None = None
    """The first signal that came."""

    def _on_step(self) -> bool:
        return self.received is None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)  # files are replaced as a whole, so nothing is left half-written
        self.received = signal.Signals(number)
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nStopping after this step and saving; a second signal leaves at once.\n")

    def __enter__(self) -> Self:
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def stop_with_input() -> None:
    """From now on the end of the standard input is a Ctrl-C: the process that holds its other end stops this one so.

    The input also ends where that process is gone, however it went, so that this one never outlives it by much: after
    two minutes in which it did not stop it ends at once.
    """

    def wait() -> None:
        # Not sys.stdin, whose lock a thread that still reads would hold while the interpreter ends.
        while os.read(0, 1024):
            pass
        _thread.interrupt_main()
        time.sleep(SECONDS_TO_STOP)
        os._exit(128 + signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def plain_errors(*kinds: type[Exception]) -> Iterator[None]:
    """What a script runs in: these errors end it with their sentence and exit code 2, SIGINT with 130, SIGTERM 143."""
    before = signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it was while the libraries loaded
    try:
        yield
    except kinds as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 a command line talks to a person
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    print("Terminated.", file=sys.stderr)  # noqa: T201
    raise SystemExit(128 + number)
