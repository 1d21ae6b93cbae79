"""The package metadata says what the code needs, and the pins cover all of it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = PROJECT["dependencies"] + [
    r for extra in PROJECT["optional-dependencies"].values() for r in extra
]


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[^+\s]+", line) for line in lines)
    return dict(line.split("==") for line in lines)


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def installed(requirement: str) -> bool:
    try:
        distribution(Requirement(requirement).name)
    except PackageNotFoundError:
        return False
    return True


def installed_closure() -> set[str]:
    """All distributions that memagent needs with all its extras, as installed here; docs and ray may not be."""
    found: set[tuple[str, frozenset[str]]] = set()
    apart = [r for extra in ("docs", "ray") for r in PROJECT["optional-dependencies"][extra]]
    todo = [Requirement(r) for r in REQUIREMENTS if r not in apart or installed(r)]
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) not in found:
            found.add((name, extras))
            todo += [
                needed
                for needed in map(Requirement, distribution(name).requires or [])
                if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *extras))
            ]
    return {name for name, _ in found}


def third_party_imports(*folders: str) -> set[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")] + [*ROOT.glob("*.py")]
    roots = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.partition(".")[0])
    return roots - sys.stdlib_module_names - {"memagent", "envs", "benchmarks", "train", "evaluate"}


def test_what_the_code_imports_is_a_dependency() -> None:
    distributions = packages_distributions()
    # imported where they are used only: MuJoCo, a memory on CUDA, videos, searches, trainings over machines
    optional = {"mujoco", "triton", "imageio_ffmpeg", "optuna", "sqlalchemy", "ray"}
    roots = third_party_imports("memagent", "envs") - optional
    assert {canonicalize_name(distributions[root][0]) for root in roots} <= names(PROJECT["dependencies"])


def test_every_dependency_is_used() -> None:
    distributions = packages_distributions()
    used = {
        canonicalize_name(distributions[root][0])
        for root in third_party_imports("memagent", "envs", "benchmarks")
        if root in distributions  # a benchmark's rival need not be installed
    }
    assert names(PROJECT["dependencies"]) - used == set()


def test_the_pins_cover_everything_that_is_installed() -> None:
    assert installed_closure() - pins().keys() == set()


def test_the_pinned_versions_satisfy_the_ranges() -> None:
    for requirement in map(Requirement, REQUIREMENTS):
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_a_fresh_process_finds_the_environments() -> None:
    # Gymnasium 1.x loads no entry points any more: the module before the colon registers the ids.
    make = "import gymnasium; print(gymnasium.make('envs:Drift/CartPole-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", make], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "Drift/CartPole-v0"
    (point,) = distribution("memagent").entry_points.select(group="gymnasium.envs")
    assert point.load().__module__ == "envs.catalogue"


def test_the_version_is_that_of_the_metadata() -> None:
    assert version("memagent") == PROJECT["version"]


def test_both_packages_say_that_they_have_types() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert all((ROOT / package / "py.typed").is_file() and "py.typed" in data[package] for package in data)
    assert data.keys() == {"envs", "memagent"}


def test_the_reference_scores_are_installed_too() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert (ROOT / "envs" / "catalogue" / "scores.json").is_file() and "catalogue/scores.json" in data["envs"]


def test_the_citation_names_the_version_and_the_licence() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {PROJECT['version']}" in lines
    assert f"license: {PROJECT['license']}" in lines
