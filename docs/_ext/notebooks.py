"""The notebooks in the site: a copy of each as a page, and a card of each from its own head."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from figures import alt_text
from sphinx.errors import ExtensionError

DOCS = Path(__file__).parents[1]
NOTEBOOKS = DOCS.parent / "notebooks"
GENERATED = DOCS / "generated"
LITE = GENERATED / "extra" / "lite"


@dataclass
class Head:
    """What the first cell of a notebook says of it."""

    name: str  # 05_self_attention
    title: str  # Self-attention: rows that look at one another
    time: str
    needs: str  # in Markdown, links to other notebooks included
    lead: str  # Afterwards you can
    learns: list[str]

    @property
    def number(self):
        return self.name[:2]


def _fact(text, *labels):
    """What stands behind the first of these labels, `**Time** 25 minutes.` or `**Time:** ...`."""
    for label in labels:
        found = re.search(rf"\*\*{label}:?\*\*:?\s*(.+?)(?=\s*\*\*|\s*$)", text, re.MULTILINE)
        if found:
            return found[1].rstrip(" .")
    return None


def head(name, text):
    """The head of the notebook `name`, whose first cell is `text`; an error says what it lacks."""
    title = re.match(r"# \d\d\s+(.+)", text)
    time = _fact(text, "Time")
    needs = _fact(text, "You need", "Before this")
    learns = re.search(r"^(Afterwards you .*?):?\n\n((?:- .*\n?(?:  .*\n?)*)+)", text, re.MULTILINE)
    for what, found in {
        "a title, `# 05  TITLE`": title,
        "its time, `**Time** 25 minutes`": time,
        "what it needs, `**You need** ...`, or what is `**Before this**`": needs,
        "a list under `Afterwards you can`": learns,
    }.items():
        if not found:
            raise ExtensionError(f"{name}.ipynb: the first cell lacks {what}")
    items = re.split(r"^- ", learns[2], flags=re.MULTILINE)[1:]
    return Head(
        name=name,
        title=title[1].strip(),
        time=time.split(". ")[0],
        needs=needs,
        lead=learns[1],
        learns=[" ".join(item.split()).rstrip(";.") for item in items],
    )


def _cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def heads():
    """The heads of all notebooks, in their order."""
    paths = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    return [head(path.stem, "".join(_cells(path)[0]["source"])) for path in paths]


def _download(name, text):
    return f"{{download}}`{text} </../notebooks/{name}.ipynb>`"


def _linked(text):
    """Links to notebooks as links to their pages, from wherever a card is shown."""
    return re.sub(r"\[([^]]+)\]\((\w+)\.ipynb\)", r"{doc}`\1 </notebooks/\2>`", text)


def card(head):
    """A card in the Markdown of sphinx-design."""
    learns = "\n".join(f"- {item}" for item in head.learns)
    return f"""\
:::{{grid-item-card}} {{doc}}`{head.number}  {head.title} </notebooks/{head.name}>`
:class-card: notebook

**Time** {head.time}.

**You need** {_linked(head.needs)}.

{head.lead}

{learns}

Download {_download(head.name, f"{head.name}.ipynb")}
:::
"""


def write_cards(*_):
    """`generated/cards.md`, which the landing page and the index of the notebooks include."""
    cards = "\n".join(card(one) for one in heads())
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / "cards.md").write_text(
        f"::::{{grid}} 1 1 2 2\n:gutter: 3\n\n{cards}\n::::\n", encoding="utf-8"
    )


def write_picture(*_):
    """`generated/tour.md`: the last picture of notebook 00, for the landing page."""
    outputs = [
        output for cell in _cells(NOTEBOOKS / "00_tour.ipynb") for output in cell.get("outputs", [])
    ]
    svgs = [
        "".join(o["data"]["image/svg+xml"]) for o in outputs if "image/svg+xml" in o.get("data", {})
    ]
    (GENERATED / "tour.svg").write_text(svgs[-1], encoding="utf-8")
    alt = re.sub(r"[][\\]", "", alt_text(svgs[-1]))
    (GENERATED / "tour.md").write_text(f"![{alt}](/generated/tour.svg)\n", encoding="utf-8")


def _links(name):
    """What stands under the title of a page; the second link if `docs/lite.py` has been run."""
    links = _download(name, "Download this notebook")
    if (LITE / "files" / f"{name}.ipynb").exists():
        page = f"../lite/lab/index.html?path={name}.ipynb"
        links += f' <span class="online">or <a href="{page}">run it in the browser</a></span>'
    return links


def copy_notebooks(*_):
    """Put ../notebooks beside docs/notebooks/index.md, since Sphinx reads one folder only.

    Each page begins with a link to the notebook itself.
    """
    target = DOCS / "notebooks"
    for old in target.rglob("*.ipynb"):
        old.unlink()
    for source in sorted(NOTEBOOKS.glob("*.ipynb")):
        text = source.read_text(encoding="utf-8")
        notebook = json.loads(text.replace("](../docs/", "](../"))  # where the glossary is here
        first = notebook["cells"][0]
        title, _, rest = "".join(first["source"]).partition("\n")
        first["source"] = f"{title}\n\n{_links(source.stem)}\n{rest}"
        copy = json.dumps(notebook, ensure_ascii=False, indent=1)
        (target / source.name).write_text(copy, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", copy_notebooks)
    app.connect("builder-inited", write_cards)
    app.connect("builder-inited", write_picture)
    return {"version": "1", "parallel_read_safe": True}
