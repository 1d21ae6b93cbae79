"""How Sphinx builds these pages: `make docs`. Nothing is fetched; warnings are errors."""

import re
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
copyright = f"2026, {author}"
version = release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False  # types of other libraries have no pages here
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {
    "source_repository": PROJECT["urls"]["Homepage"],
    "source_branch": "main",
    "source_directory": "docs/",
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
python_trailing_comma_in_multi_line_signatures = False
smartquotes_action = "D"  # dashes, no quotes
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Files that lie elsewhere in the repository, and the pages that show them.
SHOWN = {
    "envs/README.md": "drifting",
    "benchmarks/pointgoal.md": "results/pointgoal",
    **{
        f"benchmarks/results/{name}.md": f"results/{name}"
        for name in ("adaptation", "detection", "continuous", "plain")
    },
    **{f"benchmarks/results/{name}.md": f"results/{name}" for name in ("controls", "memory", "gpu")},
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "README.md": "index",
}
SHOW = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
REPOSITORY = f"{PROJECT['urls']['Homepage']}/blob/main/"


def show(app: Sphinx, page: str, source: list[str]) -> None:
    """Put in what a page includes, and turn links between files of the repository into links between pages."""
    path = DOCS / f"{page}.md"

    def included(match: re.Match[str]) -> str:
        other = (path.parent / match[1]).resolve()
        app.env.note_dependency(str(other))
        return relinked(other.read_text().strip(), other, page)

    own = SHOW.split(source[0])[::2]
    others = [included(match) for match in SHOW.finditer(source[0])]
    parts = [relinked(part, path, page) for part in own]
    source[0] = "".join(part for pair in zip(parts, [*others, ""], strict=True) for part in pair)


def relinked(text: str, path: Path, page: str) -> str:
    """The Markdown `text` of the file `path`, with its links as they have to be on `page`."""
    up = "../" * page.count("/")

    def target(match: re.Match[str]) -> str:
        meant = (path.parent / match[1]).resolve()
        name = meant.relative_to(ROOT).as_posix()
        if not meant.exists():
            raise ValueError(f"{path} links to {match[1]}, which is not there.")
        if name in SHOWN:
            name = f"docs/{SHOWN[name]}.md"
        if name.startswith("docs/"):
            return up + name.removeprefix("docs/") + (match[2] or "")
        return f"{up}../{name}" if meant.suffix == ".png" else REPOSITORY + name

    parts = CODE.split(text)
    # Code in brackets is a link's text: only whole links have "](" outside of it.
    return "".join(part if k % 2 else LINK.sub(target, part) for k, part in enumerate(parts))


def as_restructured(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are text with `code` and indented examples: say so in Sphinx's words, before napoleon reads them."""
    example: int | None = None  # the indentation that an example has to be deeper than
    for k, line in enumerate(lines):
        indentation = len(line) - len(line.lstrip())
        if example is not None and (not line.strip() or indentation > example):
            continue
        example = None
        parts = re.split(r"(`[^`]+`)", line)
        lines[k] = "".join(
            f"`{part}`" if j % 2 else re.sub(r"[*|\\]|(?<=\w)_(?=\W|$)", r"\\\g<0>", part)
            for j, part in enumerate(parts)
        )
        deeper = re.compile(rf"\s*\n {{{indentation + 1},}}\S")
        if line.strip() and deeper.match("\n".join(lines[k + 1 : k + 3])):
            lines[k] = f"{lines[k]}:" if line.endswith(":") else f"{lines[k]} ::"
            example = indentation


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", show)
    app.connect("autodoc-process-docstring", as_restructured, priority=400)
