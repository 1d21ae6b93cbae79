"""Imports run one way, as the table below says: read from the source, not from what happens to be loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("memagent", "envs")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# What each part of the package may import of the others: the arrows of the design, written out.
MAY_IMPORT = {
    "memagent.memory": set(),
    "memagent.extractor": {"memagent.memory"},
    "memagent.heads": set(),
    "memagent.dynamics": set(),
    "memagent.meta": set(),
    "memagent.fused_context": {"memagent.dynamics", "memagent.meta"},
    "memagent.context": {"memagent.dynamics", "memagent.meta", "memagent.fused_context"},
    "memagent.detector": {"memagent.dynamics"},
    "memagent.policies": {
        "memagent.memory",
        "memagent.extractor",
        "memagent.heads",
        "memagent.targets",
        "memagent.meta",
        "memagent.belief",
        "memagent.context",
        "memagent.detector",
        "memagent.dynamics",
        "memagent.saved_policy",
        "memagent.sb3_names",
    },
    "memagent.fields": {"memagent.archive", "memagent.settings"},
    "memagent.saved_policy": {
        "memagent.archive",
        "memagent.context",
        "memagent.fields",
        "memagent.files",
        "memagent.memory",
        "memagent.meta",
        "memagent.settings",
    },
    "memagent.fused_belief": set(),
    "memagent.belief": {
        "memagent.fused_belief",
        "memagent.context",
        "memagent.detector",
        "memagent.dynamics",
    },
    "memagent.replay": {"memagent.sb3_names"},
    "memagent.sb3_names": set(),
    "memagent.archive": set(),
    "memagent.layout": set(),
    "memagent.files": set(),
    "memagent.tables": {"memagent.files"},
    "memagent.randomness": set(),
    "memagent.settings": set(),
    "memagent.targets": set(),
    "memagent.agents": {
        "memagent.memory",
        "memagent.policies",
        "memagent.replay",
        "memagent.targets",
        "memagent.meta",
        "memagent.dynamics",
        "memagent.belief",
        "memagent.context",
        "memagent.layout",
        "memagent.archive",
        "memagent.files",
        "memagent.settings",
        "memagent.fields",
        "memagent.randomness",
        "memagent.sb3_names",
        "memagent.told",
    },
    "memagent.checkpoints": {"memagent.agents", "memagent.archive", "memagent.files"},
    "memagent.told": set(),
    "memagent.evaluation": {"memagent.files", "memagent.told"},
    "memagent.traces": {"memagent.agents", "memagent.evaluation", "memagent.memory"},
    "memagent.command_line": set(),
    "memagent.stopping": set(),
    "memagent.jobs": set(),
    "memagent.seeds": {"memagent.jobs", "memagent.run_config", "memagent.runs"},
    "memagent.distributed": {
        "memagent.agents",
        "memagent.files",
        "memagent.jobs",
        "memagent.progress",
        "memagent.replay",
        "memagent.run_config",
        "memagent.runs",
    },
    "memagent.comparing": {
        "memagent.archive",
        "memagent.evaluation",
        "memagent.files",
        "memagent.progress",
        "memagent.run_config",
        "memagent.runs",
        "memagent.seeds",
    },
    "memagent.tracking": {"memagent.files"},
    "memagent.tracking_results": {"memagent.results", "memagent.run_config", "memagent.tracking"},
    "memagent.progress": {"memagent.files", "memagent.memory", "memagent.tables", "memagent.told"},
    "memagent.phase_evaluation": {
        "memagent.evaluation",
        "memagent.files",
        "memagent.randomness",
        "memagent.told",
    },
    "memagent.presets": {
        "memagent.agents",
        "memagent.memory",
        "memagent.meta",
        "memagent.replay",
        "memagent.settings",
    },
    "memagent.run_config": {
        "memagent.agents",
        "memagent.memory",
        "memagent.meta",
        "memagent.replay",
        "memagent.settings",
    },
    "memagent.runs": {
        "memagent.agents",
        "memagent.archive",
        "memagent.checkpoints",
        "memagent.files",
        "memagent.run_config",
        "memagent.settings",
    },
    "memagent.tuning": {
        "memagent.archive",
        "memagent.evaluation",
        "memagent.files",
        "memagent.phase_evaluation",
        "memagent.run_config",
        "memagent.runs",
        "memagent.settings",
    },
    "memagent.sb3_models": {"memagent.agents", "memagent.archive", "memagent.run_config", "memagent.runs"},
    "memagent.results": {
        "memagent.agents",
        "memagent.evaluation",
        "memagent.files",
        "memagent.progress",
        "memagent.run_config",
        "memagent.runs",
        "memagent.traces",
    },
    "memagent.resuming": {
        "memagent.agents",
        "memagent.archive",
        "memagent.checkpoints",
        "memagent.files",
        "memagent.run_config",
        "memagent.runs",
    },
}
# The rooms of envs, from the ground up: each may import those before it.
ENVS = [
    "envs.compiling",
    "envs.keyed_random",
    "envs.schedules",
    "envs.drift",
    "envs.lifetime",
    "envs.channels",
    "envs.plants",
    "envs.tasks",
    "envs.wrappers",
    "envs.saving",
    "envs.batched",
    "envs.catalogue",
    "envs.vector",
    "envs.__main__",
]
# The layers of the memory: pure maths, one step, the unroll.
MEMORY_LAYERS = ["memagent.memory.addressing", "memagent.memory.bank", "memagent.memory.controller"]


def imports(module: str) -> set[str]:
    """Full names of all modules that a module imports, at its top or in a function, for annotations alone too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` imports the module; `from module import name` stays in the module.
            found.update(
                full if (full := f"{base}.{alias.name}") in MODULES else base for alias in node.names
            )
    return found


def part(module: str) -> str:
    """The part of the house that a module belongs to: its first two names."""
    return ".".join(module.split(".")[:2])


def test_the_table_names_every_part() -> None:
    parts = {part(module) for module in MODULES if module.startswith("memagent.")}
    assert parts == MAY_IMPORT.keys()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("memagent.")])
def test_memagent_imports_run_one_way(module: str) -> None:
    inside = {part(name) for name in imports(module) if name.startswith("memagent.")} - {part(module)}
    assert inside <= MAY_IMPORT[part(module)]


def test_envs_has_the_rooms_of_the_list_and_at_most_fifteen() -> None:
    assert {part(module) for module in MODULES if module.startswith("envs.")} == set(ENVS)
    assert len(ENVS) <= 15


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("envs.")])
def test_imports_within_envs_run_one_way(module: str) -> None:
    inside = {part(name) for name in imports(module) if name.partition(".")[0] == "envs"} - {part(module)}
    assert inside <= set(ENVS[: ENVS.index(part(module))])


@pytest.mark.parametrize("layer", range(3))
def test_memory_is_built_from_the_maths_up(layer: int) -> None:
    reached, todo = set(), [MEMORY_LAYERS[layer]]
    while todo:
        todo = [
            n for m in todo for n in imports(m) - reached if n.startswith("memagent.memory.") and n in MODULES
        ]
        reached.update(todo)
    assert not reached & set(MEMORY_LAYERS[layer + 1 :])


@pytest.mark.parametrize("module", MODULES)
def test_envs_knows_nothing_of_memagent_and_memagent_of_envs_how_to_compile_alone(module: str) -> None:
    if module.partition(".")[0] == "envs":
        assert not {name.partition(".")[0] for name in imports(module)} & {"memagent", "torch"}
    else:
        assert {name for name in imports(module) if name.partition(".")[0] == "envs"} <= {"envs.compiling"}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: imports(module) & MODULES.keys() for module in MODULES}
    while graph:
        free = {module for module, needs in graph.items() if not needs & (graph.keys() - {module})}
        assert free, f"These import each other in a circle: {sorted(graph)}"
        graph = {module: needs for module, needs in graph.items() if module not in free}


def test_no_module_is_a_drawer_for_what_fits_nowhere() -> None:
    assert not {module.rpartition(".")[2] for module in MODULES} & {
        "utils",
        "common",
        "types",
        "helpers",
        "misc",
    }


def test_importing_envs_leaves_torch_alone() -> None:
    loaded = "import sys, envs; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "gymnasium" in done.stdout.split()
    assert not {"torch", "stable_baselines3", "memagent"} & set(done.stdout.split())
