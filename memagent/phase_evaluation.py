"""Scores of an agent while it trains: the contexts that it has seen so far are played at the end of every phase."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from memagent import randomness
from memagent.evaluation.phase_scores import PhaseScores, Scored, Seen
from memagent.evaluation.players import RandomPlayer
from memagent.evaluation.protocol import Context, Player, play
from memagent.files import write_text
from memagent.told import told_context, told_number

MOST_CONTEXTS = 16
PARTS = 10  # evaluations of a training in which nothing drifts


class PhaseEvaluation(BaseCallback):
    """Scores all contexts that the training's first environment has seen, whenever one of its phases ends.

    The contexts are held still in environments of their own, where the agent acts with a memory and a context vector of
    its own: the training's clocks, agent, memory and random generators stay as they are, to the bit. The context that
    has just begun is scored too, before it is trained, and each new one once by random actions. Environments that tell
    no phase are scored after each tenth of the training. The end of the training is the end of its last phase.

    What evaluations take is counted in environment steps, so that the same seed gives the same evaluations: the end of
    a phase is passed over while those before have taken more than `share` of the training's steps. The last evaluation
    is always made. At most MOST_CONTEXTS contexts are followed, the first ones.

    SB3's logger gets `eval/mean_reward`, over the contexts that were trained by then, and the metrics, as a row of
    their own; `folder` gets phase_scores.json and, whenever the agent is the best so far (`PhaseScores.add`),
    best_model.zip.

    Args:
        make_env: a vector environment whose c-th environment holds the c-th context, seeded anew at each call.
        make_player: the agent as a fresh player of so many environments.
        folder: for the files; made where it is not there.
        share: steps of evaluation for each step of training, at most; above 0.
        episodes: of each context, from an empty memory on; their mean is the score.
        seed: of the random actions.
        held: whether the environments can be held in a context; else there is one context, without values.
        state: what `get_state` gave, to go on there.
    """

    def __init__(
        self,
        make_env: Callable[[Sequence[Context]], VecEnv],
        make_player: Callable[[int], Player],
        folder: Path,
        *,
        share: float = 0.1,
        episodes: int = 2,
        seed: int = 0,
        held: bool = True,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.make_env, self.make_player, self.folder = make_env, make_player, folder
        self.share, self.episodes, self.seed, self.held = share, episodes, seed, held
        state = state or {}
        self.scores = PhaseScores.from_json(state["scores"]) if state else PhaseScores()
        self.told: int | None = state.get("told")  # the number that the environment gives its phase
        self.spent: int = state.get("spent", 0)  # environment steps of all evaluations
        self._seconds = 0.0

    def get_state(self) -> dict[str, Any]:
        """What another one needs to go on, as JSON's types."""
        return {"scores": self.scores.to_json(), "told": self.told, "spent": self.spent}

    @property
    def affordable(self) -> bool:
        """Whether the evaluations so far have taken no more than their share."""
        return self.spent <= self.share * self.num_timesteps

    def _on_training_start(self) -> None:
        self._began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)

    def _on_step(self) -> bool:
        info, phases = self.locals["infos"][0], self.scores.phases
        told = told_number(info, "phase")
        if not phases:
            phases.append(self._place_of(info))
        elif told != self.told:
            place = self._place_of(info)
            if self.affordable:
                self.evaluate(ended=True)
            phases.append(place)
        elif told is None and self.num_timesteps >= self._due and self.affordable:
            self.evaluate(ended=False)
        self.told = told
        return True

    def _on_training_end(self) -> None:
        if self.scores.phases and self.num_timesteps >= self.locals["total_timesteps"]:
            self.evaluate(ended=True)

    @property
    def _due(self) -> float:
        """The step of the next evaluation where nothing drifts; the training's end has one anyway."""
        part = self.locals["total_timesteps"] / PARTS
        done = self.scores.evaluations[-1].step if self.scores.evaluations else 0
        following = (done // part + 1) * part
        return following if following < self.locals["total_timesteps"] else np.inf

    def _place_of(self, info: Mapping[str, Any]) -> int:
        """The place of the present context among those that are followed, a new one's too; −1: it is not followed."""
        number = (told_number(info, "context_id") or 0) if self.held else 0
        contexts = self.scores.contexts
        for place, seen in enumerate(contexts):
            if seen.context_id == number:
                return place
        if len(contexts) == MOST_CONTEXTS:
            return -1
        contexts.append(Seen(number, told_context(info) if self.held else {}))
        return len(contexts) - 1

    def evaluate(self, *, ended: bool) -> None:
        """Score the present agent on all contexts seen so far."""
        began, generators = time.monotonic(), randomness.get_state()
        self._score_random()
        found = self._play(self.scores.contexts, self.make_player)
        scored = Scored(self.num_timesteps, len(self.scores.phases) - 1, ended, found)
        if self.scores.add(scored):
            self.model.save(self.folder / "best_model.zip")
        write_text(self.folder / "phase_scores.json", json.dumps(self.scores.to_json(), indent=2) + "\n")
        randomness.set_state(generators)
        self._seconds += time.monotonic() - began
        self._log(scored)

    def _score_random(self) -> None:
        """What random actions get in contexts that are new."""
        new = [seen for seen in self.scores.contexts if seen.random is None]
        space = self.training_env.action_space
        if new:
            found = self._play(new, lambda count: RandomPlayer(space, count, self.seed))
            for seen, score in zip(new, found, strict=True):
                seen.random = score

    def _play(self, contexts: Sequence[Seen], make_player: Callable[[int], Player]) -> list[float]:
        """The mean returns of a player in some contexts."""
        env = self.make_env([Context(seen.context_id, "train", seen.context) for seen in contexts])
        player = Counted(make_player(len(contexts)))
        try:
            returns = play(env, player, self.episodes)
        finally:
            env.close()
        self.spent += player.steps * len(contexts)
        return returns.mean(1).tolist()

    def _log(self, scored: Scored) -> None:
        """Write a row of its own, as of this step, past what the logger has not dumped yet."""
        values = {
            "eval/mean_reward": self.scores.mean(scored),
            "eval/contexts": len(scored.scores),
            **{f"eval/{name}": x for name, x in self.scores.transfer().items() if x is not None},
            "time/total_timesteps": self.num_timesteps,
            "time/evaluation_share": self._seconds / max(time.monotonic() - self._began, 1e-9),
        }
        for writer in self.logger.output_formats:
            writer.write(values, dict.fromkeys(values, ()), self.num_timesteps)


class Counted:
    """A player, and how many steps it has made."""

    def __init__(self, player: Player) -> None:
        self.act_of, self.observe = player.act, player.observe
        self.steps = 0

    def act(self, obs: np.ndarray) -> np.ndarray:
        self.steps += 1
        return self.act_of(obs)
