"""The page as a browser shows it: nothing is asked for, nothing is complained of, everything fits and moves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Tab, chromium
from evaluation.recordings import CHANGE, NOTICED, STEPS, made_up
from evaluation.test_charts import EPISODES, records

from memagent.evaluation import report
from memagent.evaluation.adaptation_charts import context_charts, model_chart
from memagent.evaluation.charts import contexts_chart, recovery_chart, stream_chart

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
BOTH = [
    r | {"episodes": 2, "std_return": 1.5}
    for r in records(False, 20.0, 40.0, 30.0) + records(True, 50.0, 90.0, 70.0)
]
RECORDS = BOTH + [r | {"split": "held_out", "context_id": 3 + r["context_id"]} for r in BOTH]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = np.repeat([0, 1, 0], 20)
    conditions = {3: {"force": -5.0, "a_parameter_with_a_long_name": 1.0}, 4: {"force": 5.0}}
    figures = {
        "Return over the training stream. Of every episode.": [stream_chart(EPISODES, conditions)],
        "Return since the change.": [recovery_chart(BOTH, "training"), recovery_chart(BOTH, "held out")],
        "Return on every context.": [contexts_chart(BOTH, "training"), contexts_chart(BOTH, "held out")],
        "The context vector.": context_charts(np.stack([ids, 1.0 - ids], 1), ids),
        "The model.": [model_chart(np.arange(60), np.ones(60), np.full(60, 0.5))],
    }
    return report.write_report(
        tmp_path_factory.mktemp("page") / "report.html",
        {"contexts": RECORDS, "settings": {"episodes": 2}},
        {"env": "Drift/CartPole-v0", "a": {"setting": "x" * 300}},
        figures,
        title="Drift/CartPole-v0, " + "a_long_name" * 8,
        recording=made_up(),
        commands=["python train.py " + "--run-dir=" + "y" * 200],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_asks_for_nothing_and_says_nothing(
    tab: Tab, page: Path, width: int, scheme: str
) -> None:
    tab.events.clear()
    tab.view(width, 800, scheme)
    tab.open(page)
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.complaints() == []
    assert tab.requests() == [page.as_uri()]
    assert tab.run("document.querySelectorAll('.chart .main-svg').length > 8")
    boxes = tab.run("[...document.querySelectorAll('.chart')].map(c => [c.layout.width, c.clientWidth])")
    assert all(drawn is None or drawn <= room for drawn, room in boxes)
    ink, ground = tab.run("['color', 'background-color'].map(k => getComputedStyle(document.body)[k])")
    text = tab.run("document.querySelector('.chart .xtick text').style.fill")
    assert text == ink
    assert (brightness(ink) > brightness(ground)) == (scheme == "dark")
    line = tab.run("document.querySelectorAll('.chart')[1].data.find(t => t.name === 'adapted').line.color")
    assert line == {"light": "#0072B2", "dark": "#4CB2F0"}[scheme]


def brightness(colour: str) -> int:
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_the_page_follows_the_scheme_while_it_is_open(tab: Tab, page: Path) -> None:
    tab.view(768, 800, "light")
    tab.open(page)
    tab.view(768, 800, "dark")
    line = "document.querySelectorAll('.chart')[1].data.find(t => t.name === 'adapted').line.color"
    assert waited(tab, f"{line} === '#4CB2F0'")


SHOWN = """({frame: document.getElementById("frame").src, said: document.getElementById("state").textContent,
  now: document.getElementById("now").textContent, slider: Number(document.getElementById("slider").value),
  memory: [...document.querySelectorAll("#memory canvas")].map(c => c.toDataURL())})"""
CURSOR = "document.getElementById('course').layout.shapes.find(s => s.name === 'cursor').x0"


def waited(tab: Tab, expression: str) -> bool:
    """Whether it becomes true within some seconds."""
    return tab.run(
        f"""new Promise(done => {{ const end = performance.now() + 20000; const look = () => ({expression})
        ? done(true) : performance.now() > end ? done(false) : setTimeout(look, 20); look(); }})"""
    )


def slide(tab: Tab, step: int) -> dict:
    tab.run(
        f"(s => {{ s.value = {step}; s.dispatchEvent(new Event('input')) }})(document.getElementById('slider'))"
    )
    return tab.run(SHOWN)


def test_the_slider_moves_frame_memory_and_cursor(tab: Tab, page: Path) -> None:
    tab.view(1440, 900, "light")
    tab.open(page)
    first, later = slide(tab, 4), slide(tab, CHANGE + 1)
    assert first["frame"].startswith("data:image/jpeg") and first["frame"] != later["frame"]
    assert len(first["memory"]) == 3
    assert all(one != other for one, other in zip(first["memory"], later["memory"], strict=True))
    assert "force10" in first["now"] and "force-10" in later["now"]
    assert "1 step ago; the agent has not noticed yet" in later["said"]
    assert "noticed after 6 steps" in slide(tab, NOTICED)["said"]
    assert f"{CHANGE - 4} steps before the change" in first["said"]
    assert "21 (episode 2, step 11)" in later["now"] and "return so far12" in later["now"]
    assert waited(tab, f"{CURSOR} === {NOTICED}")
    assert slide(tab, 4) == first


def test_keys_and_buttons_move_the_player(tab: Tab, page: Path) -> None:
    tab.open(page)
    slide(tab, 10)
    tab.run("document.activeElement.blur()")
    for key, step in (("ArrowRight", 11), ("ArrowRight", 12), ("ArrowLeft", 11)):
        tab.press(key)
        assert tab.run(SHOWN)["slider"] == step
    tab.run("document.getElementById('to-change').click()")
    assert tab.run(SHOWN)["slider"] == CHANGE
    tab.run("document.getElementById('play').click()")
    assert tab.run("document.getElementById('play').textContent") == "Pause"
    assert waited(tab, f"Number(document.getElementById('slider').value) === {STEPS - 1}")
    assert waited(tab, "document.getElementById('play').textContent === 'Play'")


def test_a_foreign_agent_in_an_environment_that_cannot_be_drawn_has_a_player_too(
    tab: Tab, tmp_path: Path
) -> None:
    bare = made_up(frames=False, contexts=None, evidence=None, memory={}, noticed=[])
    path = report.write_report(tmp_path / "r.html", {"contexts": RECORDS}, {}, {}, recording=bare)
    tab.events.clear()
    tab.view(360, 740, "light")
    tab.open(path)
    assert tab.complaints() == []
    assert tab.run("document.getElementById('frame')") is None
    assert tab.run("document.querySelector('#course .heatmaplayer image') !== null")
    tab.run("document.getElementById('to-change').click()")
    assert "changed 0 steps ago." in tab.run("document.getElementById('state').textContent")
