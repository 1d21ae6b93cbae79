"""The catalogue's page, pictures and command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import envs
from envs.__main__ import HERE, main
from envs.catalogue import BASES, CATALOGUE, PROBES, default_drift
from envs.catalogue.documentation import page, picture
from envs.catalogue.plots import described, draw_drift, film
from envs.tasks import TASKS


def test_the_page_is_up_to_date():
    assert (HERE / "README.md").read_text() == page(), "run `python -m envs --write`"


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_tells_of_every_parameter_and_range(name):
    section = page().split(f"## {name}\n")[1].split("\n## ")[0]
    entry = CATALOGUE[name]
    assert entry.summary in section and entry.source in section and entry.base in section
    for parameter in entry.train:
        assert section.count(f"| `{parameter}` |") == 1


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_pictures_are_up_to_date(name):
    shown = Image.open(HERE / picture(name)).text["Description"]
    assert shown == described(name, default_drift(name), 0, 8_000), "run `python -m envs --write`"


def test_the_page_lists_every_probe():
    assert all(f"| `{name}` | {entry.summary} |" in page() for name, entry in PROBES.items())


def test_the_page_lists_every_plant():
    assert all(f"### {task.documented}\n" in page() for task in TASKS if task.documented)


def test_a_picture_shows_what_it_says(tmp_path):
    out = tmp_path / "picture.png"
    drift = default_drift("Drift/PointWind-v0", "cycle", 100)
    draw_drift("Drift/PointWind-v0", drift, out, seed=3, steps=500, frames=2)
    image = Image.open(out)
    assert image.text["Description"] == described("Drift/PointWind-v0", drift, 3, 500)
    assert len(np.unique(np.asarray(image.convert("L")))) > 20  # something is drawn


def test_frames_come_from_different_phases():
    name = "Drift/PointGoal-v0"
    frames = film(name, default_drift(name, phase_steps=200), seed=0, steps=1_000, frames=3)
    assert [phase for _, phase, _ in frames] == sorted({phase for _, phase, _ in frames})
    assert all(image.shape == (240, 240, 3) for *_, image in frames)
    assert not np.array_equal(frames[0][2], frames[1][2])


def test_the_command_line_draws(tmp_path, capsys):
    out = tmp_path / "cartpole.png"
    main(["Drift/CartPole-v0", "--plot", "--out", str(out), "--steps", "300", "--frames", "2"])
    assert out.exists() and capsys.readouterr().out.strip() == str(out)


def test_the_command_line_describes_one_id(capsys):
    main(["Drift/Pendulum-v0"])
    said = capsys.readouterr().out
    assert "action_gain" in said and "Drift/CartPole-v0" not in said


def test_the_command_line_refuses_what_it_cannot_draw(capsys):
    with pytest.raises(SystemExit):
        main(["--plot"])
    assert "--plot draws one id: name it." in capsys.readouterr().err


def without(module, code):
    """What code prints where a module is not installed."""
    hidden = f"import sys; sys.modules[{module!r}] = None\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(envs.__file__).parents[1],
    )
    return done.stdout


@pytest.mark.parametrize(
    ("module", "extra", "name"),
    [
        ("mujoco", "mujoco", "Drift/HalfCheetah-v0"),
        ("mujoco", "mujoco", "Drift/HalfCheetahVel-v0"),
        ("Box2D", "box2d", "Drift/LunarLanderContinuous-v0"),
    ],
)
def test_an_id_whose_extra_is_missing_says_which_to_install(module, extra, name):
    code = f"""
import gymnasium as gym, envs
from envs.catalogue.documentation import listing
try:
    gym.make({name!r})
except gym.error.DependencyNotInstalled as missing:
    print(missing)
print(listing().count("needs the extra"))
"""
    said = without(module, code).splitlines()
    assert said[0] == f"{name} needs the extra {extra}: pip install 'memagent[{extra}]'."
    assert int(said[1]) == sum(entry.extra == extra for entry in CATALOGUE.values())


def test_the_listing_names_every_id_that_is_registered_and_nothing_else_is_said():
    code = (
        "import gymnasium as gym; before = set(gym.registry); import envs.__main__ as m; m.main([]); "
        "print('registered', *(set(gym.registry) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, _, ids = done.stdout.partition("registered ")
    assert done.stderr == ""
    assert len(ids.split()) == len(CATALOGUE) + len(PROBES) + len(BASES)
    assert all(name in listed for name in ids.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Drift/Carpole-v0"], "did you mean Drift/CartPole-v0?"),
        (["xyz"], "python -m envs lists them."),
        (["Drift/CartPole-v0", "--plot", "--phase-steps", "0"], "expected a period of at least 1 step"),
        (["Drift/CartPole-v0", "--plot", "--steps", "0"], "--steps is 0, expected 1 or more"),
        (["Drift/CartPole-v0", "--plot", "--frames=0", "--steps=9", "--out", "/"], "cannot be drawn into /"),
        (
            ["Drift/CartPole-v0", "--plot", "--frames=0", "--out", "/dev/null/x.png"],
            "cannot be drawn into /dev/null",
        ),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert said in err.splitlines()[-1]
