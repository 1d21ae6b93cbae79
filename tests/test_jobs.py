"""Commands side by side: how many at a time, what is shown of them, and that none outlives what started it."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from memagent import jobs
from memagent.jobs import Display, Job

ROOT = Path(__file__).parents[1]
WAITS = "import sys, pathlib; pathlib.Path(sys.argv[1]).touch(); sys.stdin.read(); pathlib.Path(sys.argv[2]).touch()"
DEAF = "import sys, pathlib, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(1000)"


def job(folder: Path, name: str, code: str, *arguments: object) -> Job:
    return Job(name, [sys.executable, "-S", "-c", code, *map(str, arguments)], folder / f"{name}.txt")


def until(there: Callable[[], bool]) -> None:
    for _ in range(6000):
        if there():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come in a minute.")


def test_no_more_than_asked_for_run_at_once(tmp_path: Path) -> None:
    code = "import time; print(time.monotonic()); time.sleep(0.3); print(time.monotonic())"
    made = [job(tmp_path, f"job {i}", code) for i in range(5)]
    assert jobs.run(made, 2, os.environ) == {f"job {i}": 0 for i in range(5)}
    spans = [tuple(map(float, one.said())) for one in made]
    together = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(together) == 2


def test_one_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = "print('first'); print('training: 3/9 00:01<00:02, 3step/s'); raise SystemExit('it broke')"
    made = [job(tmp_path, "bad", fails), job(tmp_path, "good", "print('fine')")]
    assert jobs.run(made, 1, os.environ) == {"bad": 1, "good": 0}
    err = capsys.readouterr().err
    assert "bad: ended with exit code 1; the last that it printed" in err
    assert "    first\n    it broke" in err
    assert "good: done." in err and "training" not in err


def test_a_bar_of_tqdm_is_shown_as_the_job_s_own(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    code = "from tqdm.auto import tqdm\nb = tqdm(total=40, desc='training', unit='step')\n"
    code += "b.update(10); b.set_postfix({'return': '7.5'}); b.refresh()"
    one = Job("seed 3", [sys.executable, "-c", code], tmp_path / "output.txt")
    assert jobs.run([one], 1, os.environ) == {"seed 3": 0}
    found = one.bar()
    assert found is not None
    assert (found["what"], found["n"], found["total"]) == ("training", "10", "40")
    display = Display(screen := Terminal())
    display.show(one)
    display.close(one)
    assert "seed 3, training  25%" in screen.getvalue()
    assert "10/40" in screen.getvalue() and "return=7.5" in screen.getvalue()
    assert one.said() == []


def test_ctrl_c_ends_all_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [job(tmp_path, n, WAITS, tmp_path / f"{n}-begun", tmp_path / f"{n}-saved") for n in ("a", "b")]
    interrupt_when(monkeypatch, [tmp_path / "a-begun", tmp_path / "b-begun"])
    with pytest.raises(KeyboardInterrupt):
        jobs.run([*made, job(tmp_path, "never", "")], 2, os.environ)
    assert [one.process.poll() for one in made if one.process is not None] == [0, 0]
    assert (tmp_path / "a-saved").exists() and (tmp_path / "b-saved").exists()
    assert not (tmp_path / "never.txt").exists()


def test_a_second_ctrl_c_kills_what_does_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = job(tmp_path, "deaf", DEAF, tmp_path / "begun")
    interrupt_when(monkeypatch, [tmp_path / "begun"], times=2)
    with pytest.raises(KeyboardInterrupt):
        jobs.run([deaf], 1, os.environ)
    assert deaf.process is not None and deaf.process.poll() == -signal.SIGKILL


def interrupt_when(monkeypatch: pytest.MonkeyPatch, files: Sequence[Path], times: int = 1) -> None:
    """KeyboardInterrupt, so often, in place of a look at the jobs once these files are there."""
    left = [times]

    def look(running: list[Job], display: Display) -> dict[str, int]:
        if left[0] and all(file.exists() for file in files):
            left[0] -= 1
            raise KeyboardInterrupt
        return seen(running, display)

    seen = jobs._look
    monkeypatch.setattr(jobs, "_look", look)


@pytest.mark.skipif(os.name == "nt", reason="kills by a signal")
def test_a_job_learns_that_what_started_it_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from memagent.jobs import Job, run; "
        "run([Job('one', sys.argv[2:], Path(sys.argv[1]))], 1, os.environ)"
    )
    begun, saved = tmp_path / "begun", tmp_path / "saved"
    command = [sys.executable, "-S", "-c", WAITS, begun, saved]
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "output.txt", *command],
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ) as parent:
        until(begun.exists)
        parent.kill()
    until(saved.exists)
