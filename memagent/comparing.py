"""Run folders compared: their evaluations read, groups compared, and the comparison written."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memagent.archive import reason
from memagent.evaluation.comparison import Judged, compare, grouped
from memagent.evaluation.comparison_page import for_terminal, picture, write_page
from memagent.files import write_bytes, write_text
from memagent.progress import read_episodes
from memagent.run_config import settings_of
from memagent.runs import RunError, load_config, load_status
from memagent.seeds import seed_dirs


def run_dirs_of(paths: Iterable[Path]) -> list[Path]:
    """The run folders that are meant: each itself, or those of its seeds where several were trained in it."""
    return [run_dir for path in paths for run_dir in seed_dirs(path) or [path]]


def settings_dir(path: Path) -> Path:
    """The folder with the run's settings: the run folder, or the one that holds this folder of an evaluation."""
    return (
        path if (path / "config.json").is_file() or not (path / "evaluation.json").is_file() else path.parent
    )


def load_judged(path: Path, *, trust: bool = False) -> Judged:
    """A run that was judged: its folder, or a folder within it that holds another evaluation.

    Raises:
        RunError: the folder's files are not those of a run and its evaluation.
    """
    run_dir = settings_dir(path)
    settings = settings_of(load_config(run_dir, trust=trust))
    evaluation, log = read_evaluation(path), run_dir / "episodes.csv"
    try:
        episodes = read_episodes(log) if log.is_file() else None
    except (OSError, ValueError) as error:
        raise RunError(f"{log} holds no episodes of a training: {reason(error)}; remove it.") from error
    finished = load_status(run_dir) not in ("training", "interrupted", "failed")
    return Judged(path, json.loads(json.dumps(settings)), evaluation, episodes, finished)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """What a folder's evaluation.json holds.

    Raises:
        RunError: it cannot be read, or is none that `evaluate.py` writes.
    """
    file = folder / "evaluation.json"
    try:
        evaluation: dict[str, Any] = json.loads(file.read_bytes())
        _check(evaluation)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{folder} holds no evaluation that can be compared: {reason(error)}; remove {file}, and judge it anew."
        ) from error
    return evaluation


def _check(evaluation: Mapping[str, Any]) -> None:
    """ValueError, KeyError or TypeError where it is no evaluation, such as one that a stranger wrote."""
    if not isinstance(evaluation["settings"], dict) or not evaluation["contexts"]:
        raise ValueError("it has no settings or no contexts")
    for record in evaluation["contexts"]:
        if record["split"] not in ("train", "held_out") or not isinstance(record["adapted"], bool):
            raise ValueError("a context is of no split, or not said to be adapted or not")
        float(record["mean_return"]), int(record["context_id"]), dict(record["context"])


def compare_runs(
    judged: Sequence[Judged],
    group_by: Sequence[str] = (),
    threshold: float | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Compare the runs, print what was found, and write comparison.json, comparison.html and comparison.png.

    Args:
        judged, group_by, threshold: as in `memagent.evaluation.comparison.compare`.
        out: the folder for the files. None: the one that holds all the runs, else the current one.

    Raises:
        RunError: they cannot be compared, or nothing can be written there.
    """
    from rich.console import Console

    try:
        comparison = compare(judged, group_by, threshold)
        drawn = picture(grouped(judged, group_by), comparison)
    except ValueError as error:
        raise RunError(str(error)) from error
    folder = out or _shared_folder([run.folder for run in judged])
    file, text = folder / "comparison.json", json.dumps(comparison, indent=2) + "\n"
    console = Console()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.is_file() and file.read_bytes() != text.encode():
            console.print(f"Another comparison in {file} is replaced.", markup=False, soft_wrap=True)
        write_text(file, text)
        write_bytes(folder / "comparison.png", drawn)
        write_page(folder / "comparison.html", comparison, drawn)
    except OSError as error:
        raise RunError(
            f"The comparison cannot be written into {folder}: {error}; name another folder by --out."
        ) from error
    console.print(for_terminal(comparison))
    console.print(
        f"The comparison is in {folder}; open {folder / 'comparison.html'}.", markup=False, soft_wrap=True
    )
    return comparison


def _shared_folder(paths: Sequence[Path | Any]) -> Path:
    """The folder that holds all the runs, or all the folders of their seeds; the current one where there is none."""
    parents = {Path(path).resolve().parent for path in paths}
    if len(parents) > 1:
        parents = {parent.parent for parent in parents if seed_dirs(parent)}
    return Path(os.path.relpath(parents.pop())) if len(parents) == 1 else Path()
