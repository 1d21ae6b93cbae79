"""A memory probe for the order of what was seen: name the symbol that was shown n symbols before the last one.

After RepeatPrevious of POPGym (Morad et al. 2023), with silence before every question. An episode has n + 2 q steps,
n = `back`, q = `num_questions`:

    n steps         a symbol in each, s_0 to s_{n−1};
    q times two     the next symbol, s_{n+i}, in a step in which action 0 has to be taken to earn with the next one;
                    then the question: the action names s_i, n symbols before the last, and earns 1 when right.

Symbols are independent and uniform over `num_values`. Observation [num_values + 1]: the symbol one-hot, question 0 or
1. The return is the number of right answers, the share return / q.

With perfect memory the return is q. Without memory none beats q / num_values, on average. With TransitionObservation a
question shows s_{n+i}, by the change, n >= 1 symbols too late, and the action and the reward of the step before. That
action may have been chosen by s_i, passed on from action to action: but the answer counts only if it was 0, and the
reward of that step is 0 always. What is answered after silence is then the same rule for every s_i, which is
independent of s_{n+i}: right with probability 1 / num_values, and choosing for which s_i to keep silent can only lose
some of that. To keep silent and to name always the same symbol reaches that bound.

The last n symbols have to be kept, 2 n bits by default, and told apart by their order. A DNC has a slot for each up to
n = 128 and its links lead from one to the next; a recurrent network of 128 units, which keeps about one number a unit
(see envs.tasks.pairs), would have to move all of them at every symbol.
"""

from __future__ import annotations

import numpy as np

from envs.tasks.memory_probe import Probe, Script
from envs.tasks.task import ProbeEntry


class RepeatEnv(Probe):
    """Symbols, then symbol and question in turn. The return is the number of right answers, at most `num_questions`."""

    get_state, set_state = Probe.get_state, Probe.set_state  # envs.saving asks a class for its own

    def __init__(self, back: int = 4, num_values: int = 4, num_questions: int = 16) -> None:
        """Sets up the probe.

        Args:
            back: n, the difficulty: how many symbols ago was the one that is asked for; at least 1.
            num_values: symbols, and actions; at least 2.
            num_questions: q, at least 1.
        """
        if num_questions < 1:
            raise ValueError(f"num_questions={num_questions}, expected questions: give 1 or more.")
        self.num_questions = num_questions
        super().__init__(back, num_values, np.zeros(num_values + 1))

    def check(self, difficulty: int) -> None:
        if difficulty < 1:
            raise ValueError(f"back={difficulty}, expected a number of symbols: give 1 or more.")

    @property
    def asked(self) -> int:
        return self.num_questions

    def write(self, difficulty: int) -> Script:
        n, q = difficulty, self.num_questions
        symbols = self.np_random.integers(self.num_values, size=n + q)
        asks = np.arange(n + 2 * q) - n  # 0, 2, … show a symbol, 1, 3, … ask
        asks = (asks > 0) & (asks % 2 == 1)
        shown = np.zeros((n + 2 * q + 1, self.num_values + 1), np.float32)
        shown[np.flatnonzero(~asks), symbols], shown[:-1, -1] = 1.0, asks
        answers = np.full(n + 2 * q, -1)
        answers[asks] = symbols[:q]
        return Script(shown, answers, np.append(asks[1:], False))


PROBE = {"Memory/Repeat-v0": ProbeEntry(RepeatEnv, "Name the symbol that was shown some symbols ago.")}
