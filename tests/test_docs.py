"""What README and docs/ say can be done: Python blocks run, commands have flags that there are, links lead somewhere.

All blocks of a page run in order, in one namespace. A comment before a block makes it small:

    <!-- test: 60_000 -> 2_000; "agent.zip" -> SAVED -->
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from agents.builders import SMALL
from gymnasium import spaces

import envs
import evaluate
import train
from benchmarks import readme
from memagent import LearnerConfig, MemoryConfig, MemoryDQN
from memagent.run_config import RunConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- test:? ?(?P<smaller>.*?) ?-->\n)?^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
PLAIN = re.compile(r"^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"`(?:python|\.venv/bin/python) ([^`\n]+)`")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(?:#([^)\s]*))?\)")


def blocks(page: Path) -> list[str]:
    found = []
    for match in BLOCK.finditer(page.read_text()):
        code = match["code"]
        for change in filter(None, (match["smaller"] or "").split("; ")):
            long, _, short = change.partition(" -> ")
            assert code.count(long) == 1, f"{page.name}: {long} is not in the block, or more than once"
            code = code.replace(long, short)
        found.append(code)
    return found


def commands(page: Path) -> list[list[str]]:
    """The words behind `python`, of every command line of a page."""
    text = page.read_text()
    lines = [
        line.split(" #")[0]
        for block in PLAIN.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("python ")
    ]
    return [shlex.split(line)[1:] for line in lines] + [shlex.split(found) for found in COMMAND.findall(text)]


WITH_PYTHON = [page for page in PAGES if blocks(page)]
COMMANDS = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small agent that was saved."""
    agent = MemoryDQN(
        "MemoryPolicy",
        envs.make_vec("Drift/CartPole-v0", num_envs=2, seed=0),
        memory=MemoryConfig(**SMALL),
        learner=LearnerConfig(batch_size=4),
        seed=0,
    )
    agent.save(path := tmp_path_factory.mktemp("saved") / "agent.zip")
    return path


def test_the_pages_have_blocks_and_commands() -> None:
    assert {"README.md", "train.md", "own-drift.md"} <= {page.name for page in WITH_PYTHON}
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(
    page: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"SAVED": saved, "__name__": "page"}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "-"
)
def test_a_command_is_one_that_there_is(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    one = SimpleNamespace(action_space=spaces.Discrete(2), close=lambda: None)
    make_env = train.make_env

    def made(config: RunConfig, *args: object, **kwargs: object) -> object:
        return make_env(config, *args, **kwargs) if config.env.startswith("Drift/") else one

    monkeypatch.setattr(train, "make_env", made)  # of packages that are not here
    monkeypatch.setattr(train, "main", lambda config, *_: called.append(config))
    monkeypatch.setattr(train, "resume", lambda run_dir, *_, **__: called.append(run_dir))
    monkeypatch.setattr(train, "train_seeds", lambda config, *_, **__: called.append(config))
    monkeypatch.setattr(train, "search", lambda config, _: called.append(config))
    monkeypatch.setattr(train, "read_preset", lambda _: {})
    script, *arguments = words
    if arguments == ["--help"]:
        arguments = []
        called.append(script)
    if script == "train.py":
        train.start(arguments)
    elif script == "evaluate.py":
        called.append(evaluate.parse(arguments or ["runs/mine"]))
    elif script == "-m":
        assert importlib.util.find_spec(arguments[0]) is not None
        called.append(arguments[0])
    elif script != "-c":
        assert (ROOT / script).is_file(), script
        called.append(script)
    assert called or script == "-c", f"{page} has python {shlex.join(words)}"


def slug(heading: str) -> str:
    """The anchor that Markdown's readers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readmes_scores_are_those_of_the_results() -> None:
    (kept,) = readme.MARKED.findall(readme.README.read_text())
    assert kept.startswith(f"\n{readme.table()}\n\nMade by"), "run `python -m benchmarks.readme`"
    (kept,) = readme.COSTS_MARKED.findall(readme.PAGE.read_text())
    assert kept == f"\n{readme.costs()}\n\n", "run `python -m benchmarks.readme`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for name, anchor in LINK.findall(page.read_text()):
        target = (page.parent / name).resolve()
        assert target.exists(), f"{page.name} links to {name}"
        if anchor:
            text = target.read_text()
            for included in re.findall(r"^```\{include\} (\S+)$", text, re.MULTILINE):
                text += (target.parent / included).read_text()
            assert anchor in {slug(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}


def test_sphinx_builds_the_pages_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="`make docs` installs it")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "api.html").is_file()
