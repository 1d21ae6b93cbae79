"""What SB3 calls a setting, and what gives it here: for those who come from its DQN or SAC."""

from __future__ import annotations

from collections.abc import Iterable

_LEARNER = ("learning_rate", "learning_starts", "batch_size", "gamma", "tau", "max_grad_norm")
_NO_NOISE = (
    "has no counterpart: MemoryDQN explores by ExplorationConfig, MemorySAC by its policy's distribution"
)
_OWN_REPLAY = "has no counterpart: the replay is a PrioritizedSequenceBuffer, set by replay=ReplayConfig(…)"
WAYS = {
    **{name: f"is learner=LearnerConfig({name}=…)" for name in _LEARNER},
    "train_freq": "is learner=LearnerConfig(steps_per_update=…)",
    "gradient_steps": "is learner=LearnerConfig(steps_per_update=…)",
    "target_update_interval": "is learner=LearnerConfig(tau=…)",
    "buffer_size": "is replay=ReplayConfig(capacity=…)",
    "n_steps": "is replay=ReplayConfig(n_step=…)",
    "replay_buffer_class": _OWN_REPLAY,
    "replay_buffer_kwargs": _OWN_REPLAY,
    "optimize_memory_usage": _OWN_REPLAY,
    "exploration_fraction": "is exploration=ExplorationConfig(fraction=…)",
    "exploration_initial_eps": "is exploration=ExplorationConfig(initial=…)",
    "exploration_final_eps": "is exploration=ExplorationConfig(final=…)",
    "ent_coef": "is entropy=EntropyConfig(temperature=…)",
    "target_entropy": "is entropy=EntropyConfig(target=…)",
    "action_noise": _NO_NOISE,
    "use_sde": _NO_NOISE,
    "sde_sample_freq": _NO_NOISE,
    "use_sde_at_warmup": _NO_NOISE,
}
"""By SB3's name of a setting of its DQN and SAC."""


def ways(names: Iterable[str], configs: Iterable[str]) -> str:
    """How settings of these names are given, as the end of a sentence: SB3's by their way here, others by `configs`."""
    known = [f"SB3's {name} {WAYS[name]}" for name in names if name in WAYS]
    return "; ".join(known) or f"give {', '.join(f'{name}=…' for name in configs)}"
