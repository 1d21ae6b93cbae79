"""What a run in Weights & Biases is called, and what it holds of a trained agent: tables, pictures, files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memagent.results import read_scores
from memagent.run_config import RunConfig
from memagent.tracking import Labels, Tracker

FILES = {
    "model": ["model.zip", "config.json"],
    "report": ["report.html", "evaluation.json", "phase_scores.json"],
    "config": ["config.json"],
}
"""Artifacts, and what is in them of a run folder."""


def labels_of(config: RunConfig) -> Labels:
    """Name, group and tags of a run, after its environment, ablation and seed."""
    ablation = config.memory.kind if config.adapt.enabled else f"{config.memory.kind}-unadapted"
    group = f"{config.env.rpartition('/')[2]}-{ablation}"
    adapts = "adapted" if config.adapt.enabled else "unadapted"
    tags = (config.env, f"memory {config.memory.kind}", adapts, f"seed {config.seed}")
    return Labels(f"{group}-seed{config.seed}", group, "train", tags)


def track_results(tracker: Tracker, run_dir: Path, evaluation: Mapping[str, Any], step: int) -> None:
    """Hand over what a run folder holds: scores as a summary and as tables, pictures, video, and files as artifacts.

    The artifact `model` has the version `best`, where an agent was kept as that, and `latest`.
    """
    scores = {
        f"eval/{split}/{kind}": score
        for split, of_split in evaluation["summary"].items()
        for kind, score in of_split.items()
        if score is not None
    }
    tracker.summarise(scores)
    track_tables(tracker, run_dir, evaluation, step)
    for path in sorted((run_dir / "figures").glob("*.png")):
        tracker.log_figure(f"figures/{path.stem}", path, step)
    for path in sorted(run_dir.glob("video.*")):
        tracker.log_video("eval/video", path, step)
    if (best := run_dir / "best_model.zip").is_file():
        tracker.log_files("model", [best, run_dir / "config.json"], ["best"])
    for kind, names in FILES.items():
        paths = [path for name in names if (path := run_dir / name).is_file()]
        if paths:
            tracker.log_files(kind, paths, ["latest"], scores if kind == "model" else None)


def track_tables(tracker: Tracker, run_dir: Path, evaluation: Mapping[str, Any], step: int) -> None:
    """Every context as a row, with its parameters; and the matrix of the scores taken while training."""
    records = evaluation.get("contexts", [])
    names = list(dict.fromkeys(name for record in records for name in record["context"]))
    columns = ["split", "context_id", *names, "adapted", "episodes", "mean_return", "std_return"]
    rows = [[{**record["context"], **record}.get(column) for column in columns] for record in records]
    if rows:
        tracker.log_table("eval/contexts_table", columns, rows, step)
    scores = read_scores(run_dir)
    if scores is not None and len(scores.matrix()[0]):
        table = scores.to_json()
        header = ["phase", "context_id", "trains", "return"]
        cells = [
            [phase, seen.context_id, scores.phases[phase] == place, row[place]]
            for phase, row in enumerate(table["matrix"])
            for place, seen in enumerate(scores.contexts)
        ]
        tracker.log_table("eval/phase_matrix", header, cells, step)
