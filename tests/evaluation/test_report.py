"""The table and the page: right numbers, nothing from outside, nothing unescaped."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from rich.console import Console

from memagent.evaluation import intervals, report
from memagent.evaluation.figures import png


def record(context_id, split, adapted, mean, std=2.0, episodes=5, **context) -> dict:
    return {
        "context_id": context_id,
        "split": split,
        "context": context,
        "adapted": adapted,
        "episodes": episodes,
        "mean_return": mean,
        "std_return": std,
        "returns": [mean - std, *[mean] * (episodes - 2), mean + std],
    }


RECORDS = [
    record(i, split, adapted, base + 10.0 * i + 5.0 * adapted, force=float(i))
    for split, base in (("train", 100.0), ("held_out", -50.0))
    for i in range(4)
    for adapted in (False, True)
]


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def shown(records) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(records))
    return console.file.getvalue()


def test_table_has_both_splits_both_ways_and_the_paired_gain():
    text = shown(RECORDS)
    expected = intervals.interval([100.0, 110.0, 120.0, 130.0])
    assert f"115 [{expected.low:.0f}, {expected.high:.0f}]" in text
    assert "training (4)" in text and "held out (4)" in text
    assert text.count("+5.0 [+5.0, +5.0]") == 2
    assert "−35.0 [" in text


def test_a_task_that_does_not_drift_is_one_row_with_an_interval_over_episodes(tmp_path):
    """No return is above 500, nor is an end of its interval; nothing tells of adaptation, which there was not."""
    returns = [500.0, 500.0, 500.0, 500.0, 400.0]
    records = [record(0, "train", False, 480.0) | {"returns": returns}]
    score = report.split_score(records, "train", adapted=False)
    assert score == intervals.interval(returns)
    assert 400.0 <= score.low < 480.0 < score.high <= 500.0
    text = shown(records)
    assert f"480 [{score.low:.0f}, {score.high:.0f}]" in text and "held out" not in text
    page = Page(report.write_report(tmp_path / "r.html", {"contexts": records}, {}, {}).read_text()).text
    for shows in (text, page):
        assert not {"adapted", "unadapted", "gain", "Gain"} & set(re.findall(r"\w+", shows))


def test_brackets_of_a_name_are_no_markup():
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(RECORDS, title="runs/a[/b]c, [bold]"))
    assert "runs/a[/b]c, [bold]" in console.file.getvalue()


def test_remarks_stand_before_the_numbers(tmp_path):
    path = report.write_report(
        tmp_path / "r.html", {"contexts": RECORDS}, {}, {}, remarks=["It was <cut> short."]
    )
    text = Page(path.read_text()).text
    assert text.index("It was <cut> short.") < text.index("training (4)")


def test_what_was_not_played_has_no_score():
    assert report.split_score(RECORDS[:2], "held_out", adapted=True) is None
    assert report.split_score([], "train", adapted=True) is None


def test_page_holds_numbers_figures_and_settings(tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    picture = png(figure)
    (tmp_path / "a.png").write_bytes(picture)
    path = report.write_report(
        tmp_path / "report.html",
        {"contexts": RECORDS, "summary": {}, "episodes": 5, "recovery": {"steps": 12}},
        {"env": "Drift/CartPole-v0", "memory": {"kind": "dnc", "memory_size": 128}},
        {"From bytes": picture, "From a file": tmp_path / "a.png", "From a figure": figure},
        title="Drift/CartPole-v0",
    )
    page = Page(path.read_text(encoding="utf-8"))
    for text in (
        "Drift/CartPole-v0",
        "memory.kind",
        "dnc",
        "recovery.steps",
        "+5.0 [+5.0, +5.0]",
        "From a file",
    ):
        assert text in page.text
    assert page.text.index("+5.0") < page.text.index("From bytes")  # the summary is on top
    pictures = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 3
    for source in pictures:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == picture
    assert sum(tag == "tr" for tag, _ in page.tags) == 1 + len(RECORDS) + 2 + 3


def test_page_loads_nothing(tmp_path):
    path = report.write_report(tmp_path / "r.html", {"contexts": RECORDS}, {}, {"x": png(Figure())})
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//", source.split("base64,")[0])
    tags = Page(source).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object"}
    assert any("default-src 'none'; script-src 'none'" in str(attrs.get("content")) for _, attrs in tags)


def test_page_escapes_everything(tmp_path):
    evil = "\"><script>alert(1)</script><b a='"
    records = [{**record(0, "train", False, 1.0), "context": {evil: 1.0}}]
    path = report.write_report(
        tmp_path / "r.html",
        {"contexts": records, evil: evil},
        {evil: {evil: evil}, "list": [evil]},
        {evil: png(Figure())},
        title=evil,
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert not {tag for tag, _ in page.tags} & {"script", "b"}
    # Title and heading, parameter, caption, entry (name, value), setting (both names, value).
    assert page.text.count(evil) == 2 + 1 + 1 + 2 + 3
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == [evil]


def test_the_scripts_of_a_page_are_those_that_its_policy_names(tmp_path):
    path = report.write_report(tmp_path / "r.html", {"contexts": RECORDS}, {}, {"x": go.Figure()})
    source = path.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    assert len(scripts) == 2
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', source)
    allowed = " ".join(f"&#39;sha256-{digest}&#39;" for digest in hashes)
    assert f"default-src &#39;none&#39;; script-src {allowed};" in policy
    assert "data:" in policy and "unsafe-eval" not in policy and "http" not in policy
    assert path.stat().st_size < 6e6


def test_charts_stand_in_the_page_under_the_first_sentence_of_their_caption(tmp_path):
    charts = [
        go.Figure(layout={"height": height}).add_scatter(y=[1, 2], name="</script><b>")
        for height in (200, 250)
    ]
    figures = {"Two of them. Side by side.": charts}
    source = report.write_report(tmp_path / "r.html", {"contexts": RECORDS}, {}, figures).read_text()
    page = Page(source)
    boxes = [attrs for tag, attrs in page.tags if tag == "div" and attrs.get("class") == "chart"]
    assert [box["style"] for box in boxes] == ["height:200px", "height:250px"]
    assert "<h2>Two of them</h2>" in source and "Side by side." in page.text
    assert not {tag for tag, _ in page.tags} & {"b"}
    texts = re.findall(r'px"><script type="application/json">(.*?)</script>', source)
    assert [json.loads(text)["data"][0]["name"] for text in texts] == ["</script><b>"] * 2


def test_commands_stand_in_the_page_as_they_are_typed(tmp_path):
    command = "python train.py --env 'a&b'"
    path = report.write_report(tmp_path / "r.html", {"contexts": RECORDS}, {}, {}, commands=[command])
    assert command in Page(path.read_text()).text


def test_page_of_numpy_settings_and_no_figures(tmp_path):
    path = report.write_report(
        tmp_path / "r.html", {"contexts": []}, {"gamma": np.float64(0.98), "empty": {}}, {}
    )
    assert "empty" in Page(path.read_text(encoding="utf-8")).text
