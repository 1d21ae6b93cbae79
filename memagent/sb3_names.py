"""What SB3 calls a setting or an attribute, and what it is here: for those who come from its DQN or SAC."""

from __future__ import annotations

from collections.abc import Iterable

_NO_NOISE = (
    "has no counterpart: MemoryDQN explores by ExplorationConfig, MemorySAC by its policy's distribution; "
    "leave it out"
)
_OWN_REPLAY = (
    "has no counterpart: the replay is a PrioritizedSequenceBuffer, set by replay=ReplayConfig(…); "
    "leave it out"
)
WAYS = {
    "target_update_interval": "is tau=…",
    "n_steps": "is replay=ReplayConfig(n_step=…)",
    "replay_buffer_class": _OWN_REPLAY,
    "replay_buffer_kwargs": _OWN_REPLAY,
    "optimize_memory_usage": _OWN_REPLAY,
    "action_noise": _NO_NOISE,
    "use_sde": _NO_NOISE,
    "sde_sample_freq": _NO_NOISE,
    "use_sde_at_warmup": _NO_NOISE,
}
"""By SB3's name of a setting of its DQN and SAC that is none here."""

_ROWS = "is a field of the rows that sample draws windows of"
ATTRIBUTES = {
    "log_ent_coef": "is policy.log_temperature",
    "ent_coef_tensor": "is policy.log_temperature.exp()",
    "ent_coef_optimizer": "is policy.optimizer",
    "max_grad_norm": "is learner.max_grad_norm",
    "exploration_fraction": "is exploration.fraction",
    "exploration_initial_eps": "is exploration.initial",
    "exploration_final_eps": "is exploration.final",
    "ent_coef": "is policy.log_temperature.exp()",
    "exploration_schedule": "follows from exploration, an ExplorationConfig; its present value is exploration_rate",
    "q_net": "is policy.heads, on the features that policy.unroll gives",
    "q_net_target": "is policy.target_heads, on the features that policy.unroll gives",
    "actor": "is policy.heads.actor, on the features that policy.unroll gives; to act, call predict",
    "critic": "is policy.heads.critics, on the features that policy.unroll gives",
    "critic_target": "is policy.target_heads.critics, on the features that policy.unroll gives",
    **dict.fromkeys(("observations", "next_observations", "actions", "rewards", "dones", "timeouts"), _ROWS),
    "extend": "is add, with rows of all environments",
    "device": "has no counterpart: rows are arrays of NumPy, in the machine's memory, whatever the agent's device",
}
"""By SB3's name of an attribute of its DQN, SAC, their policies and their replay."""


def ways(names: Iterable[str], configs: Iterable[str]) -> str:
    """How settings of these names are given, as the end of a sentence: SB3's by their way here, others by `configs`."""
    by_way: dict[str, list[str]] = {}
    for name in names:
        if name in WAYS:
            by_way.setdefault(WAYS[name], []).append(name)
    known = [f"SB3's {' or '.join(alike)} {way}" for way, alike in by_way.items()]
    return "; ".join(known) or f"give {', '.join(f'{name}=…' for name in configs)}"


def no_attribute(owner: object, name: str) -> AttributeError:
    """What to raise where `owner` has no attribute of this name: with its way here, if it is one of SB3's."""
    way = ATTRIBUTES.get(name) or WAYS.get(name)
    said = f"; SB3's {name} {way}." if way else ""
    return AttributeError(
        f"{type(owner).__name__!r} object has no attribute {name!r}{said}", name=name, obj=owner
    )
