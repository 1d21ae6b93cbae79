"""Build sdist and wheel, install the wheel into an empty environment, and use it there.

    python tests/try_wheel.py dist

The wheel is built from the sdist, so that both are tried. Packages come at the pins of constraints.txt.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
USE = """
import importlib.metadata, pathlib, sys

import envs, memagent
from memagent import AdaptConfig, LearnerConfig, MemoryConfig, MemoryDQN, ReplayConfig
from memagent.evaluation.report import write_report
from stable_baselines3.common.evaluation import evaluate_policy

for package in (envs, memagent):
    folder = pathlib.Path(package.__file__).parent
    assert folder.is_relative_to(sys.prefix) and (folder / "py.typed").is_file(), folder
write_report(pathlib.Path("report.html"), {"contexts": []}, {}, {})  # its template is in the package
agent = MemoryDQN(
    "MemoryPolicy",
    envs.make_vec("Drift/CartPole-v0", num_envs=4, seed=0),
    memory=MemoryConfig(memory_size=8, memory_dim=8, num_read_heads=1, hidden_size=16),
    learner=LearnerConfig(batch_size=4, learning_starts=200, steps_per_update=16),
    replay=ReplayConfig(capacity=2_000, burn_in=2, rows=8, stride=4, n_step=2),
    adapt=AdaptConfig(steps_ahead=1, history=4),
    seed=0,
)
agent.learn(500)
assert agent._n_updates > 0
judged = envs.make_vec("Drift/CartPole-v0", num_envs=2, seed=1)
before = evaluate_policy(agent, judged, n_eval_episodes=2)
agent.save("agent.zip")
judged = envs.make_vec("Drift/CartPole-v0", num_envs=2, seed=1)
assert evaluate_policy(MemoryDQN.load("agent.zip"), judged, n_eval_episodes=2) == before
print("memagent", importlib.metadata.version("memagent"), "trained, judged, saved and loaded:", before)
"""


def main(dist: Path) -> None:
    """Build into `dist`, and try what was built."""
    dist.mkdir(parents=True, exist_ok=True)
    dist = dist.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        empty = Path(temporary) / "empty"
        venv.create(empty, with_pip=True)
        python = empty / ("Scripts" if os.name == "nt" else "bin") / "python"
        made = build(python, dist, Path(temporary))
        with zipfile.ZipFile(made) as wheel:
            roots = {name.partition("/")[0] for name in wheel.namelist()}
        assert {root for root in roots if not root.endswith(".dist-info")} == {"envs", "memagent"}, roots
        pip(python, "install", "--constraint", ROOT / "constraints.txt", made)
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, "-c", USE], check=True, cwd=temporary, env=clean | {"WANDB_MODE": "disabled"})


def build(python: Path, dist: Path, temporary: Path) -> Path:
    """The wheel, made from the sdist, in an environment of its own that has nothing but `build`."""
    builder = temporary / "builder"
    venv.create(builder, with_pip=True)
    python = builder / python.relative_to(python.parents[1])
    pip(python, "install", "build")
    subprocess.run([python, "-m", "build", "--outdir", temporary / "made", ROOT], check=True)
    made = [Path(shutil.copy(path, dist)) for path in (temporary / "made").iterdir()]
    (wheel,) = (path for path in made if path.suffix == ".whl")
    return wheel


def pip(python: Path, *arguments: str | Path) -> None:
    """Run an environment's pip."""
    subprocess.run([python, "-m", "pip", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
