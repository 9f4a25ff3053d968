"""How Sphinx builds the site: `sphinx-build -W -b html docs docs/_build/html`."""

import inspect
import pkgutil
import re
import shutil
from pathlib import Path

import minisasrec
from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS
from minisasrec.data.registry import table

HERE = Path(__file__).parent
EXTRA = HERE / "generated" / "extra"
EXTRA.mkdir(parents=True, exist_ok=True)  # Sphinx looks for it before any function below is called
NOTEBOOKS = HERE.parent / "notebooks"

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
]
exclude_patterns = ["_build", "generated"]
suppress_warnings = [
    "toc.not_readable",  # a page of docs/index.md that is not written yet
    "mystnb.unknown_mime_type",  # a widget's or progress bar's live view: its text is shown
]

html_theme = "furo"
html_title = "minisasrec"
html_extra_path = ["generated/extra"]  # copied as it is
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


def copy_notebooks(*_):
    """Put ../notebooks beside docs/notebooks/index.md, since Sphinx reads one folder only."""
    target = HERE / "notebooks"
    for old in target.rglob("*.ipynb"):
        old.unlink()
    for source in NOTEBOOKS.rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in source.parts:
            copy = target / source.relative_to(NOTEBOOKS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")  # ../docs/glossary.md is ../glossary.md here
            copy.write_text(text.replace("](../docs/", "](../"), encoding="utf-8")


def write_api_pages(*_):
    """Write one page for each module; an op, being an object, is documented as a function."""
    target = HERE / "api" / "generated"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    modules = [info.name for info in pkgutil.walk_packages(minisasrec.__path__, "minisasrec.")]
    for module in ["minisasrec", *modules]:
        if not module.endswith("__main__"):
            ops = [name for name, op in OPS.items() if op.definition.__module__ == module]
            page = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
            page += [f".. autofunction:: {module}.{name}\n" for name in ops]
            (target / f"{module}.rst").write_text("\n".join(page), encoding="utf-8")


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


MARKUP = re.compile(
    r"""(?P<kept> ``.+?`` | `[^`]+` | ^\*\  | (?<!\S)\*[^\s*][^*\n]*[\w.:]\*(?=\W|$) )
      | (?P<escaped> [*|] | _\b )""",
    re.MULTILINE | re.VERBOSE,
)


def as_written(app, what, name, obj, options, lines):
    """Show docstrings as they are written: they hold formulas, where * and | are no markup.

    An indented paragraph keeps its lines and spaces; elsewhere `code` and *words* are marked up.
    """
    paragraphs = []
    literal = False
    for paragraph in "\n".join(lines).split("\n\n"):
        if paragraph.startswith("    "):
            if not literal and not "".join(paragraphs[-1:]).endswith("::"):
                paragraphs.append("::")
            literal = True
        else:
            literal = False
            if not paragraph.startswith((">>>", "..")):
                paragraph = MARKUP.sub(lambda m: m["kept"] or "\\" + m["escaped"], paragraph)
        paragraphs.append(paragraph)
    if isinstance(obj, Op):
        paragraphs.insert(0, f"``{obj.signature}``" + (f" ({obj.paper})" if obj.paper else ""))
        if obj.torch:
            paragraphs.append(f"In PyTorch: ``{obj.torch}``")
    lines[:] = "\n\n".join(paragraphs).split("\n")


def op_signature(app, what, name, obj, options, signature, return_annotation):
    """An op is called with arrays or tensors: show its arguments without the definition's types."""
    if isinstance(obj, Op):
        parameters = inspect.signature(obj.definition).parameters.values()
        bare = [p.replace(annotation=p.empty) for p in parameters]
        return str(inspect.Signature(bare)), "Tensor"
    return None


def setup(app):
    app.connect("builder-inited", copy_notebooks)
    app.connect("builder-inited", write_api_pages)
    app.connect("builder-inited", write_dataset_table)
    app.connect("builder-inited", write_explorer_page)
    app.connect("autodoc-process-docstring", as_written)
    app.connect("autodoc-process-signature", op_signature)
