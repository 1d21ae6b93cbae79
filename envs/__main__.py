"""`python -m envs` lists the catalogue; `python -m envs ID --plot` draws the drift of an id.

python -m envs                                   every id: parameters, units, training and held-out ranges
python -m envs Drift/CartPole-v0                 one of them
python -m envs Drift/CartPole-v0 --plot          its drift over a lifetime and a strip of frames, as a PNG
python -m envs --write                           the page of documentation, envs/README.md, and its pictures
"""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

import gymnasium as gym

from envs.catalogue import CATALOGUE, canonical_id, default_drift
from envs.catalogue.documentation import described, listing, page, picture
from envs.catalogue.plots import draw_drift

HERE = Path(__file__).parent


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m envs", description="The catalogue of drifting environments.")
    parser.add_argument("id", nargs="?", metavar="ID", help="one id; all where left out")
    parser.add_argument("--plot", action="store_true", help="draw its drift over a lifetime and some frames")
    parser.add_argument("--out", type=Path, help="the PNG to write (default: the id, in this folder)")
    parser.add_argument("--schedule", default="draw", choices=["draw", "random", "cycle"])
    parser.add_argument("--phase-steps", type=int, default=1_000, help="steps of a phase")
    parser.add_argument("--steps", type=int, default=8_000, help="steps of the lifetime to draw")
    parser.add_argument("--frames", type=int, default=6, help="frames to render; 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the lifetime")
    parser.add_argument(
        "--write", action="store_true", help="write the page of documentation and its pictures"
    )
    options = parser.parse_args(arguments)
    if options.plot and options.id is None:
        parser.error("--plot draws one id: name it.")
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}, expected 1 or more.")
    options.id = options.id and canonical_id(options.id)
    if options.id is not None and options.id not in CATALOGUE:
        near = get_close_matches(options.id, CATALOGUE, n=1)
        hint = f"did you mean {near[0]}?" if near else "python -m envs lists them."
        parser.error(f"{options.id} is no id of a drifting environment; {hint}")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Lists, describes, draws or writes."""
    options = parse(arguments)
    if options.write:
        write(HERE)
    elif options.plot:
        plot(options)
    elif options.id is not None:
        sys.stdout.write(described(options.id, CATALOGUE[options.id]) + "\n")
    else:
        sys.stdout.write(listing())


def plot(options: argparse.Namespace) -> None:
    """The drift of an id, as a picture; exit code 2 with a sentence where it cannot be drawn or written."""
    out = options.out or Path(options.id.removeprefix("Drift/") + ".png")
    try:
        drift = default_drift(options.id, options.schedule, options.phase_steps)
        draw_drift(options.id, drift, out, seed=options.seed, steps=options.steps, frames=options.frames)
    except (ValueError, OSError, gym.error.Error) as error:
        sys.stderr.write(f"error: {options.id} cannot be drawn into {out}: {error}\n")
        raise SystemExit(2) from None
    sys.stdout.write(f"{out}\n")


def write(folder: Path) -> None:
    """The page, and a picture of every id, into `folder`."""
    (folder / "README.md").write_text(page())
    (folder / "pictures").mkdir(exist_ok=True)
    for name in CATALOGUE:
        draw_drift(name, default_drift(name), folder / picture(name))


if __name__ == "__main__":
    main()
