"""What an evaluation leaves: records as JSON, pictures, page and table; and what one has to know of a training."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from memagent.agents import MemoryAlgorithm
from memagent.evaluation.adaptation_charts import context_charts, model_chart
from memagent.evaluation.adaptation_figures import context_figure, episodes_figure, model_figure
from memagent.evaluation.charts import contexts_chart, recovery_chart, stream_chart
from memagent.evaluation.figures import png
from memagent.evaluation.metrics import SPLITS, summarise
from memagent.evaluation.page import Picture
from memagent.evaluation.phase_charts import curve_chart, matrix_chart
from memagent.evaluation.phase_scores import PhaseScores, read_phase_scores
from memagent.evaluation.protocol import ContextRecord
from memagent.evaluation.references import References, normalised_summary
from memagent.evaluation.report import SPLIT_NAMES, table, write_report
from memagent.files import write_bytes, write_text
from memagent.progress import read_episodes
from memagent.run_config import RunConfig
from memagent.runs import RunError, load_status, model_file
from memagent.traces import model_errors

CHARTS = {
    "curve": "Evaluated return while training. The mean over the contexts that were trained by then, held still; the "
    "agent of the marked evaluation is in best_model.zip.",
    "matrix": "What each phase left of the contexts. Return on the contexts of the training's first environment at the "
    "end of every phase. Framed is the context that the phase trained: above it is what others gave it, below it what "
    "was kept or forgotten.",
    "stream": "Return over the training stream. Dots are episodes of all environments. Bands, and the parameters "
    "beneath, are of the first environment's phases; each environment has contexts of its own.",
    "episodes": "Return since the change. Mean over contexts by episode, with its 95 % interval.",
    "contexts": "Return on every context. Each is held still and begun from empty memory; bars reach from the lowest "
    "to the highest episode. Point at a mark for its parameters.",
    "context": "The context vector over a drifting stream. Bands are conditions; in the plane a large mark is z at "
    "the end of a phase: conditions that z tells apart lie apart.",
    "model": "What the dynamics model gains by the context. Its error over the steps since a change, with z = 0 and "
    "with z as fitted then; bands are standard errors.",
}


def check_out(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder for the results of an evaluation with these settings.

    Raises:
        RunError: nothing can be written there, or it holds an evaluation with other settings.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
        earlier = out / "evaluation.json"
        held = earlier.read_bytes() if earlier.is_file() else None
    except OSError as error:
        raise RunError(
            f"The evaluation cannot be written into {out}: {error}; evaluate.py takes another folder by --out."
        ) from error
    if held is None:
        return
    try:
        same = json.loads(held)["settings"] == settings
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise RunError(
            f"{earlier} holds an evaluation with other settings, which would be lost; remove it first, or give "
            "evaluate.py another folder by --out."
        )


def remarks_on(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path) -> list[str]:
    """What one has to know of a training before its results: that it ended early, or that nothing was learned.

    Raises:
        RunError: status.json cannot be read.
    """
    state, steps, wanted = load_status(run_dir), agent.num_timesteps, config.total_timesteps
    remarks = []
    if state in ("interrupted", "failed"):
        remarks.append(
            f"The training was {state.replace('failed', 'ended by an error')} after {steps} of {wanted} steps."
        )
    elif state == "training":
        remarks.append(
            f"The training was not finished: {model_file(run_dir)} is of step {steps} of {wanted}."
        )
    if (why := untaught(agent)) is not None:
        remarks.append(why)
    return remarks


def untaught(agent: MemoryAlgorithm) -> str | None:
    """That an agent has learned nothing, and what an update needs; None where it has made one, or no step yet."""
    if agent._n_updates or not agent.num_timesteps:
        return None
    learner = agent.learner
    return (
        f"Nothing was learned: not one update was made in {agent.num_timesteps} steps. After {learner.learning_starts} "
        f"steps one comes every {learner.steps_per_update}, and needs {agent.replay_config.window} rows of an "
        "environment: train longer, or change --learner.learning-starts, --replay.rows or --num-envs."
    )


def read_log(path: Path) -> dict[str, np.ndarray]:
    """The training episodes of a run.

    Raises:
        RunError: the file does not hold them.
    """
    try:
        return read_episodes(path)
    except ValueError as error:
        raise RunError(str(error)) from error


def read_scores(run_dir: Path) -> PhaseScores | None:
    """The scores that were taken while a run trained; None where there were none.

    Raises:
        RunError: the file does not hold them.
    """
    path = run_dir / "phase_scores.json"
    try:
        return read_phase_scores(path) if path.is_file() else None
    except ValueError as error:
        raise RunError(str(error)) from error


def evaluation_of(
    records: Sequence[ContextRecord],
    settings: Mapping[str, Any],
    references: References,
) -> dict[str, Any]:
    """What evaluation.json holds; references and normalised scores where there are any."""
    summary = summarise(records)
    known = {"references": references, "normalised": normalised_summary(summary, references)}
    return {"contexts": records, "summary": summary, "settings": settings} | {
        name: value for name, value in known.items() if value
    }


def write_results(
    out: Path,
    evaluation: Mapping[str, Any],
    figures: Mapping[str, bytes],
    shown: Mapping[str, Sequence[Picture]],
    settings: Mapping[str, Any],
    **of_page: Any,
) -> None:
    """Write evaluation.json, figures/ and report.html.

    Args:
        out: the folder.
        evaluation: what evaluation.json holds.
        figures: pictures by name.
        shown: the page's charts by name.
        settings: the run's, for the page.
        of_page: what else `write_report` takes.

    Raises:
        RunError: they cannot be written.
    """
    file, text = out / "evaluation.json", json.dumps(evaluation, indent=2) + "\n"
    by_caption = {CHARTS[name]: shown[name] for name in CHARTS if name in shown}
    try:
        if file.is_file() and file.read_bytes() != text.encode():
            print(f"Another evaluation in {file} is replaced.")  # noqa: T201
        write_text(file, text)
        save_figures(figures, out / "figures")
        write_report(out / "report.html", evaluation, settings, by_caption, **of_page)
    except OSError as error:
        raise RunError(f"The evaluation cannot be written into {out}: {error}.") from error


def save_figures(figures: Mapping[str, bytes], folder: Path) -> None:
    """Write the pictures as PNG files under their names."""
    folder.mkdir(exist_ok=True)
    for name, data in figures.items():
        write_bytes(folder / f"{name}.png", data)


def show(evaluation: Mapping[str, Any], title: str) -> None:
    """Print the table."""
    Console().print(table(evaluation["contexts"], title, evaluation.get("references", {})))


def adaptation_figures(
    agent: MemoryAlgorithm, records: Sequence[ContextRecord], stream: Mapping[str, np.ndarray] | None
) -> dict[str, bytes]:
    """Returns since the change; and, where something drifts, contexts and the model's error over a drifting stream."""
    figures = {"episodes": png(episodes_figure(records))}
    if stream is not None:
        figures["context"] = png(context_figure(stream["context"][:, 0], stream["context_id"][:, 0]))
        figures["model"] = png(model_figure(*model_errors(agent, stream)))
    return figures


def charts(
    agent: MemoryAlgorithm,
    records: Sequence[ContextRecord],
    episodes: Mapping[str, np.ndarray] | None,
    conditions: Mapping[int, Mapping[str, float]],
    stream: Mapping[str, np.ndarray] | None,
    scores: PhaseScores | None,
) -> dict[str, Sequence[Picture]]:
    """The page's charts by name; what was not trained, does not drift or does not adapt has none.

    Args:
        agent: who is judged.
        records: of every context.
        episodes: of its training.
        conditions: of that training's first environment, by context id.
        stream: a drifting one that it has played.
        scores: taken while it trained.
    """
    found: dict[str, Sequence[Picture]] = {
        "episodes": [recovery_chart(own, name) for name, own in by_split(records).items()],
        "contexts": contexts_charts(records),
    }
    if scores is not None and scores.evaluations:
        found["curve"] = [curve_chart(scores)]
        if len(scores.contexts) > 1 and len(scores.matrix()[0]):
            found["matrix"] = [matrix_chart(scores)]
    if episodes is not None:
        found["stream"] = [stream_chart(episodes, conditions)]
    if stream is not None:
        found["context"] = context_charts(stream["context"][:, 0], stream["context_id"][:, 0])
        found["model"] = [model_chart(*model_errors(agent, stream))]
    return found


def by_split(records: Sequence[ContextRecord]) -> dict[str, list[ContextRecord]]:
    """The records of each split that has any, by its name for a person."""
    found = {SPLIT_NAMES[split]: [r for r in records if r["split"] == split] for split in SPLITS}
    return {name: own for name, own in found.items() if own}


def contexts_charts(records: Sequence[ContextRecord]) -> list[Picture]:
    """Returns by context, a chart for each split."""
    return [contexts_chart(own, name) for name, own in by_split(records).items()]
