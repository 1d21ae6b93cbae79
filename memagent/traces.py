"""What an agent shows while it acts: its contexts over drifting streams, its model's errors, its memory by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from memagent.agents import Acting, MemoryAlgorithm
from memagent.evaluation.protocol import play
from memagent.evaluation.recording import Inside
from memagent.memory import DNC, DNCState

STREAM = ("obs", "action", "reward", "done", "context", "context_id", "steps_since_change")


def play_stream(agent: MemoryAlgorithm, env: VecEnv, steps: int) -> dict[str, np.ndarray]:
    """What `steps` steps of E drifting environments showed, and the contexts that the agent was told, [T, E, ...]."""
    player, obs = agent.make_acting(env.num_envs, adapt=True), env.reset()
    seen: dict[str, list[Any]] = {name: [] for name in STREAM}
    for _ in range(steps):
        assert isinstance(obs, np.ndarray)
        action = player.act(obs)
        context = player.context.cpu().numpy().copy()
        next_obs, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
        told = ([info[name] for info in infos] for name in ("context_id", "steps_since_change"))
        for name, value in zip(STREAM, (obs, action, reward, done, context, *told), strict=True):
            seen[name].append(value)
        obs = next_obs
    env.close()
    return {name: np.stack(values) for name, values in seen.items()}


def model_errors(
    agent: MemoryAlgorithm, stream: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps since the change [n], and the model's squared errors there [n], with z = 0 and with z as it was."""
    model = agent.policy.context_model
    assert model is not None
    outcomes = agent.runs_of(stream["obs"], stream["action"], stream["reward"], stream["done"])
    fitted = torch.as_tensor(stream["context"][: len(outcomes.mask)], device=agent.device)
    counts = outcomes.mask.cpu().numpy()
    errors = [
        model.squared_error(context, outcomes).cpu().numpy()[counts]
        for context in (torch.zeros_like(fitted), fitted)
    ]
    return stream["steps_since_change"][: len(counts)][counts], errors[0], errors[1]


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
        obs = torch.as_tensor(np.stack(seen), device=agent.device)
        x = torch.cat((obs, obs.new_zeros(*obs.shape[:2], agent.policy.context_dim)), -1)  # [T, 1, O + Z]
        start = torch.zeros(x.shape[:2], dtype=torch.bool, device=agent.device)
        trace = extractor.memory.trace(extractor.encoder(x), start, extractor.memory.initial_state(1))
    usage, write, read = (part[:, 0].cpu().numpy() for part in trace)
    return {"usage": usage, "write": write, "read": read}


def inside(player: Acting) -> Inside:
    """What an agent that acts in one environment believes, and what its memory held and did, at the last step."""
    memory: dict[str, np.ndarray] = {}
    if isinstance(state := player.state, DNCState):
        read = {f"read weights, head {r + 1}": state.w_r[0, r] for r in range(state.w_r.shape[1])}
        parts = {"usage": state.u[0], "write weights": state.w_w[0], **read}
        memory = {name: part.float().cpu().numpy().copy() for name, part in parts.items()}
    belief = player.belief
    if belief is None:
        return Inside(memory=memory)
    seen = player.observed
    return Inside(belief.context[0].copy(), float(seen.evidence[0]), bool(seen.alarm[0]), memory)
