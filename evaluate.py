"""Judge trained agents: play contexts held still, adapted and not, and leave what came of it in their run folders.

python evaluate.py runs/my-run
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from stable_baselines3.common.vec_env import VecEnv

import envs
from memagent.agents import Acting, MemoryAlgorithm
from memagent.evaluation.figures import contexts_figure, memory_figure, png, stream_figure
from memagent.evaluation.metrics import summarise
from memagent.evaluation.protocol import Context, play, play_contexts
from memagent.evaluation.report import table, write_report
from memagent.memory import DNC
from memagent.progress import phase_changes, read_episodes
from memagent.runs import RunConfig, RunError, load_agent, load_config, plain_errors, settings_of

CAPTIONS = {
    "stream": "Return over the training stream, with the phase changes.",
    "contexts": "Return on every context, held still from empty memory, unadapted and adapted.",
    "memory": "The memory over the first training context's first episode.",
}


@dataclass(frozen=True)
class Options:
    """Judge trained agents: play contexts held still, adapted and not, and leave what came of it in the run folders.

    Writes evaluation.json, figures/ and report.html, and prints a table.
    """

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, as train.py leaves them."""
    contexts: int | None = None
    """Contexts of the training ranges, and as many held-out ones. None: as config.json says."""
    episodes: int | None = None
    """Scored episodes of each context, unadapted and adapted. None: as config.json says."""
    warmup_episodes: int | None = None
    """Episodes before them, in which adaptation gathers its first transitions. None: as config.json says."""
    seed: int | None = None
    """Seed of the contexts, of their episodes and of sampled actions. None: as config.json says."""
    deterministic: bool | None = None
    """Judge MemorySAC by its best actions, else by actions sampled as in training. None: as config.json says."""


def main(options: Options) -> None:
    """Evaluate one run folder after the other."""
    given = {name: value for name, value in vars(options).items() if name != "run_dirs" and value is not None}
    for run_dir in options.run_dirs:
        config = load_config(run_dir)
        config = replace(config, evaluation=replace(config.evaluation, **given))
        torch.set_num_threads(config.threads)
        agent = load_agent(run_dir, config, make_env(config, num_envs=1, seed=config.evaluation.seed))
        evaluate(agent, config, run_dir)


def evaluate(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Play; write evaluation.json, figures/ and report.html; print the table; return what evaluation.json holds."""
    settings = config.evaluation

    def make_held_env(contexts: Sequence[Context]) -> VecEnv:
        return hold(make_env(config, len(contexts), settings.seed), contexts)

    def make_player(num_envs: int, adapted: bool) -> Acting:
        sample_with = None if settings.deterministic else np.random.default_rng(settings.seed)
        return agent.make_acting(num_envs, adapt=adapted, sample_with=sample_with)

    contexts = choose_contexts(config)
    records = play_contexts(
        contexts, make_held_env, make_player, settings.episodes, settings.warmup_episodes, progress=True
    )
    evaluation = {"contexts": records, "summary": summarise(records), "settings": asdict(settings)}
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n")

    figures = {"contexts": png(contexts_figure(records))}
    if (run_dir / "episodes.csv").is_file():
        episodes = read_episodes(run_dir / "episodes.csv")
        figures["stream"] = png(stream_figure(episodes["step"], episodes["return"], phase_changes(episodes)))
    if config.memory.kind == "dnc":
        figures["memory"] = png(memory_figure(**trace_episode(agent, make_held_env(contexts[:1]))))
    save_figures(figures, run_dir / "figures")

    shown = {CAPTIONS[name]: figures[name] for name in CAPTIONS if name in figures}
    write_report(run_dir / "report.html", evaluation, settings_of(config), shown, title=config.env)
    Console().print(table(records, title=f"{config.env}, memory {config.memory.kind}, {run_dir}"))
    return evaluation


def make_env(config: RunConfig, num_envs: int, seed: int) -> VecEnv:
    """The environments of a configuration.

    Raises:
        RunError: Gymnasium cannot make them.
    """
    drift: dict[str, Any] = {"schedule": config.schedule, "phase_steps": config.phase_steps}
    given = {name: value for name, value in drift.items() if value is not None}
    if given and config.env not in envs.CATALOGUE:
        raise RunError(
            f"{config.env} takes no {' and no '.join(given)}: only {', '.join(envs.CATALOGUE)} drift."
        )
    try:
        return envs.make_vec(config.env, num_envs, seed, **given)
    except (gym.error.Error, ImportError, ValueError) as error:
        raise RunError(f"The environment {config.env} cannot be made: {error}") from error


def choose_contexts(config: RunConfig) -> list[Context]:
    """As many contexts of the training ranges as held-out ones; one, without values, where nothing drifts."""
    if config.env not in envs.CATALOGUE:
        return [Context(0, "train", {})]
    count, seed = config.evaluation.contexts, config.evaluation.seed
    train, held_out = (envs.contexts(config.env, split, count, seed) for split in ("train", "held_out"))
    return [Context(i, "train", values) for i, values in enumerate(train)] + [
        Context(count + i, "held_out", values) for i, values in enumerate(held_out)
    ]


def hold(env: VecEnv, contexts: Sequence[Context]) -> VecEnv:
    """The same environments; from the next reset on, the c-th stays in the c-th context."""
    env.set_options([{"context": dict(c.context), "frozen": True} if c.context else {} for c in contexts])
    return env


def trace_episode(agent: MemoryAlgorithm, env: VecEnv) -> dict[str, Any]:
    """Usage [T, N], write weights [T, N] and read weights [T, R, N] of the DNC over one unadapted episode."""
    player = agent.make_acting(1, adapt=False)
    seen: list[np.ndarray] = []

    class Recorder:
        observe = player.observe

        def act(self, obs: np.ndarray) -> np.ndarray:
            seen.append(obs.copy())
            return player.act(obs)

    play(env, Recorder(), episodes=1)
    env.close()
    extractor = agent.policy.features_extractor
    assert isinstance(extractor.memory, DNC)
    with torch.no_grad():
        x = torch.as_tensor(np.stack(seen), device=agent.device)  # [T, 1, O]
        start = torch.zeros(x.shape[:2], dtype=torch.bool, device=agent.device)
        trace = extractor.memory.trace(extractor.encoder(x), start, extractor.memory.initial_state(1))
    usage, write, read = (part[:, 0].cpu().numpy() for part in trace)
    return {"usage": usage, "write": write, "read": read}


def save_figures(figures: Mapping[str, bytes], folder: Path) -> None:
    """Write the pictures as PNG files under their names."""
    folder.mkdir(exist_ok=True)
    for name, data in figures.items():
        (folder / f"{name}.png").write_bytes(data)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Options))
