"""How Sphinx builds the site: `sphinx-build -W -b html docs docs/_build/html`."""

import sys
from pathlib import Path

import minisasrec
from minisasrec.data.registry import table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))  # api, breaks, figures, notebooks, offline
EXTRA = HERE / "generated" / "extra"
STATIC = HERE / "generated" / "static"
for folder in (EXTRA, STATIC):  # Sphinx looks for them before anything is written into them
    folder.mkdir(parents=True, exist_ok=True)

project = "minisasrec"
author = "the minisasrec authors"
copyright = "2026, the minisasrec authors"
version = release = minisasrec.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "api",
    "breaks",
    "figures",
    "notebooks",
    "offline",
]
exclude_patterns = ["_build", "generated"]
suppress_warnings = [
    "toc.not_readable",  # a page of docs/index.md that is not written yet
    "mystnb.unknown_mime_type",  # a widget's or progress bar's live view: its text is shown
]

html_theme = "furo"
html_title = "minisasrec"
html_extra_path = ["generated/extra"]  # copied as it is
html_static_path = ["_static", "generated/static"]
html_css_files = ["book.css"]
html_copy_source = False  # a notebook is downloaded as itself, not as text
mathjax_path = "mathjax.js"
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are stored with their results; the tests execute them

default_role = "literal"  # docstrings write code in single backticks
autodoc_mock_imports = ["lenskit"]  # optional, and not in `dev`
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
viewcode_follow_imported_members = False  # an op is where its definition is
autodoc_default_options = {
    "members": True,
    "ignore-module-all": True,  # a name is documented where it is defined, and only there
    "show-inheritance": True,
}
python_maximum_signature_line_length = 88


def write_dataset_table(*_):
    """The table of docs/datasets.md, from the registry."""
    target = HERE / "generated" / "datasets.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(table() + "\n", encoding="utf-8")


def write_explorer_page(*_):
    """The explorer of the bookshop: a short training, unless the page is newer than the package.

    So no weights lie in the repository, and the page is always that of the code beside it.
    """
    from minisasrec import Recommender
    from minisasrec.explorer import write

    target = EXTRA / "explorer" / "bookshop.html"
    package = Path(minisasrec.__file__).parent
    files = [path for path in package.rglob("*.*") if "__pycache__" not in path.parts]
    newest = max(path.stat().st_mtime for path in files)
    if not target.exists() or target.stat().st_mtime < newest:
        # about 12 seconds; NDCG@10 is .54 after them, and .56 after a whole training
        recommender = Recommender("sasrec", epochs=4, lr=0.004, dropout=0.2, batch_size=64)
        write(recommender.fit("bookshop", progress=False), target, weights="float16")


def setup(app):
    app.connect("builder-inited", write_dataset_table)
    app.connect("builder-inited", write_explorer_page)
