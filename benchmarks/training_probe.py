"""What `benchmarks.training` runs in every tree: the speed of one agent, as JSON. Old commits have to run it, too."""

import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

STARTED = time.perf_counter()
# An editable installation would lend a tree the modules that it lacks, of the tree that is installed.
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]
TASK, FILLED, BATCH, ROUNDS, STEPS = "Drift/Pendulum-v0", 8_192, 8, 20, 480


def measure(kind: str) -> dict[str, float]:
    """Milliseconds of processor time of an update, with adaptation and without, and steps of training a second."""
    import numpy as np
    import torch
    from stable_baselines3.common.logger import configure

    import envs
    from memagent import runs
    from memagent.memory import MemoryConfig

    try:
        from memagent.presets import preset_settings
        from memagent.run_config import preset_config
    except ImportError:  # before there were these modules
        preset_settings, preset_config = getattr(envs, "preset"), getattr(runs, "preset_config")  # noqa: B009
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    agents: dict[str, Any] = {}
    for name, adapts in (("adapting", True), ("plain", False)):
        config = preset_config(TASK, preset_settings(TASK))
        config = replace(
            config,
            seed=0,
            device="cpu",
            memory=MemoryConfig(kind=kind),  # type: ignore[arg-type]  # a word of the command line
            adapt=replace(config.adapt, enabled=adapts),
            learner=replace(config.learner, learning_starts=FILLED, refresh_every=None),
        )
        agents[name] = agent = runs.make_agent(config, envs.make_vec(TASK, config.num_envs, 0))
        agent.set_logger(configure(None, []))
        agent.learn(FILLED)
        agent.train(4, BATCH)
    spent: dict[str, list[float]] = {name: [] for name in agents}
    for _ in range(ROUNDS):
        for name, agent in agents.items():
            start = time.process_time()
            agent.train(4, BATCH)
            spent[name].append(1e3 * (time.process_time() - start) / 4)
    start = time.perf_counter()
    agents["adapting"].learn(STEPS, reset_num_timesteps=False)
    speed = STEPS / (time.perf_counter() - start)
    return {f"{name}_ms": float(np.median(times)) for name, times in spent.items()} | {"steps_per_s": speed}


def start_up(kind: str) -> dict[str, float]:
    """Seconds from the command of a training to the end of its first update."""
    import train
    from memagent.agents.learning import SequenceLearner

    update = SequenceLearner._update

    def first(*given: Any, **named: Any) -> None:
        update(*given, **named)
        print(json.dumps({"first_update_s": time.perf_counter() - STARTED}), flush=True)
        os._exit(0)

    SequenceLearner._update = first  # type: ignore[method-assign]
    train.start([f"--memory.kind={kind}", "--run-dir", sys.argv[3]])
    raise SystemExit("The training ended without an update.")


if __name__ == "__main__":
    print(json.dumps({"measure": measure, "start": start_up}[sys.argv[1]](sys.argv[2])))
