"""SB3's `save` and `load` without pickle: agents and their replay."""

from __future__ import annotations

import pathlib
import zipfile
from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv

from memagent.agents.described import DescribedLearner
from memagent.agents.loading import is_pickled, load_agent, load_weights
from memagent.agents.saving import Where, found_at, name_of, place_of, save_agent
from memagent.archive import ArchiveError, reason
from memagent.files import replacing


class SavedLearner(DescribedLearner, ABC):
    """A learner that is saved as tensors and JSON; what it consists of is `saving`'s, what is checked `loading`'s."""

    def save(
        self, path: Where, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
    ) -> None:
        """Write weights, optimiser, settings and counters without pickle, whole or not at all.

        The replay is apart, in `save_replay_buffer`. `exclude` and `include` are SB3's, and there is no choice here.

        Raises:
            ArchiveError: something cannot be said without pickle, or numbers are not finite.
        """
        if exclude or include:
            raise ArchiveError("save was given exclude or include; leave them out: the file has fixed parts.")
        save_agent(self, path)

    @classmethod
    def load(
        cls,
        path: Where,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        trust: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Read what `save` wrote; no code in the file is run.

        Args:
            path, env, device, print_system_info, force_reset: as in SB3.
            custom_objects, kwargs: settings of the constructor to take in place of the file's, "policy_class" for a
                policy of one's own, and "tensorboard_log", which is not in the file.
            trust: also read a pickled file, of SB3's form, which runs whatever code is in it.

        Raises:
            ArchiveError: a ValueError that says what of the file, or of what was given, does not fit.
        """
        given = (custom_objects or {}) | kwargs
        if trust and is_pickled(path):
            if given:
                raise ArchiveError(
                    f"{name_of(path)} was not loaded: it is pickled, with settings of its own, and {', '.join(given)} "
                    "was given; load it without, save it anew, and give that to the new file's load."
                )
            return super().load(
                path, env, device, print_system_info=print_system_info, force_reset=force_reset
            )
        return load_agent(
            cls,
            path,
            env,
            device,
            given,
            print_system_info=print_system_info,
            force_reset=force_reset,
        )

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Take weights and optimiser from a file that `save` wrote, or, as in SB3, from what `get_parameters` gave."""
        if isinstance(load_path_or_dict, Mapping):
            super().set_parameters(load_path_or_dict, exact_match, device)  # type: ignore[arg-type]  # a dict
        else:
            load_weights(self, load_path_or_dict)

    # What SB3 itself saves, for `get_parameters` and for files that are pickled.

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "acting"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def save_replay_buffer(self, path: Where) -> None:
        """Write the replay as plain arrays (npz); the next batch after loading is the same to the bit.

        A path without suffix gets .npz, its folder is made, and the file is replaced as a whole.
        """
        arrays: dict[str, Any] = self.replay_buffer.state_dict()
        if isinstance(path, str | pathlib.Path):
            with replacing(place_of(path, ".npz")) as file:
                np.savez(file, **arrays)
        else:
            np.savez(path, **arrays)  # numpy takes file objects

    def load_replay_buffer(self, path: Where, truncate_last_traj: bool = True) -> None:
        """Read what `save_replay_buffer` wrote; a seam follows unless `truncate_last_traj` is False.

        Raises:
            ValueError: the file is no such replay's, or of one with other sizes.
        """
        if getattr(self, "replay_buffer", None) is None:  # as SB3's examples leave it
            self.replay_buffer = self.make_replay()
        file = found_at(path, ".npz") if isinstance(path, str | pathlib.Path) else path
        try:
            with np.load(file, allow_pickle=False) as saved:
                self.replay_buffer.load_state_dict(saved)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{name_of(path)} holds no replay for this agent: {reason(error)}") from error
        if truncate_last_traj:
            self.replay_buffer.seam()
