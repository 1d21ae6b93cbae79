"""A trained agent, by `predict` alone, in an environment that changes in mid-episode; prints when it noticed.

    make train
    python examples/notice.py runs/CartPole-v0-none-seed0-…

Nobody tells the agent of the changes: what its actions did is read off the observations, and the state that `predict`
takes and returns holds memory and belief. The `info` of the environments serves for printing alone.
"""

import sys
from pathlib import Path

import envs
from memagent.belief import Belief
from memagent.runs import load_agent, load_config


def main(run_dir: Path, steps: int = 1_500) -> None:
    """Act for some steps, with a new context every 200 in the mean."""
    config = load_config(run_dir)
    env = envs.make_vec(config.env, 1, seed=1, schedule="random", change_at="step", phase_steps=200)
    agent = load_agent(run_dir, config, env)
    obs, state, start = env.reset(), None, [True]
    known, changed, gained = 0, 0, 0.0
    for step in range(steps):
        action, state = agent.predict(obs, state, start, deterministic=True)
        belief = Belief(*state[-len(Belief._fields) :])
        if belief.phase[0] > known:
            known = belief.phase[0]
            print(f"step {step:5d}: noticed a change, {step - changed} steps after the last one")
        obs, reward, start, infos = env.step(action)
        gained += reward[0]
        if infos[0]["phase_changed"]:
            changed = step
            context = ", ".join(f"{name} {value:.2f}" for name, value in infos[0]["context"].items())
            print(f"step {step:5d}: changed to {context}")
        if start[0]:
            print(f"step {step:5d}: an episode ended with a return of {gained:.0f}")
            gained = 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
