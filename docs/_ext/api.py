"""The pages of the API: one for each public module, in groups that a reader meets in this order."""

import ast
import inspect
import pkgutil
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

from sphinx.errors import ExtensionError

import minisasrec
from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS

ROOT = Path(minisasrec.__file__).parent
TARGET = Path(__file__).parents[1] / "api" / "generated"

# What each group is for is said once: the files of the root here, a folder in its own docstring.
ROOT_FILES = {
    "package": (
        "What `import minisasrec` gives, and what stands beside it.",
        ("recommender", "random", "backends", "plots", "errors", "lenskit"),
    ),
    "commands": (
        "What one types: `python -m minisasrec.train`, and so on. Each is a function, too.",
        (
            *("train", "evaluate", "recommend", "similar", "explore", "explain", "tune"),
            *("reproduce", "datasets", "receipt", "class"),
        ),
    ),
}
ORDER = (
    *("package", "autograd", "ops", "kernels", "nn", "models", "data", "learn"),
    *("experiments", "exchange", "explorer", "teach", "commands"),
)
# No pages: what serves the package alone, and may change without a word.
PRIVATE = (
    *("_*", "*._*", "commands", "commands.*", "completion", "border", "budget", "terminal"),
    *(f"kernels.{name}" for name in ("cache", "chooser", "cores", "jit", "memory", "team")),
    *("kernels.simd", "kernels.simd.*"),
    # of grading only `hidden` is for others: an instructor's own cases
    *("teach.attempt", "teach.walk", "teach.exercises.*", "teach.grading", "teach.grading.[!h]*"),
)


def public_modules():
    """All modules that get a page, without the name of the package."""
    found = pkgutil.walk_packages(minisasrec.__path__, "minisasrec.")
    names = [info.name.removeprefix("minisasrec.") for info in found]
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in PRIVATE)]


def first_sentence(module):
    """What a module says of itself first; its file is read and not imported."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return " ".join(text.split("\n\n")[0].split())


def groups():
    """(name, sentence, modules) of each group, in the reader's order."""
    modules = public_modules()
    found = []
    for name in ORDER:
        if name in ROOT_FILES:
            found.append((name, *ROOT_FILES[name]))
        else:
            inside = [module for module in modules if module.startswith(f"{name}.")]
            found.append((name, first_sentence(name), inside))
    named = {module for name, _, inside in found for module in (name, *inside)}
    if lost := sorted(set(modules) - named):
        raise ExtensionError(f"docs/_ext/api.py: no group and not PRIVATE: {', '.join(lost)}")
    return found


def _page(name, title, *lines):
    text = "\n".join([title, "=" * len(title), "", *lines, ""])
    (TARGET / f"{name}.rst").write_text(text, encoding="utf-8")


def _automodule(module):
    """An op, being an object, is documented as a function."""
    ops = [name for name, op in OPS.items() if op.definition.__module__ == module]
    return [f".. automodule:: {module}", "", *(f".. autofunction:: {module}.{op}\n" for op in ops)]


def _as_rst(text):
    return re.sub(
        r"`+([^`]+)`+", r"``\1``", MARKUP.sub(lambda m: m["kept"] or "\\" + m["escaped"], text)
    )


def _contents(entries):
    """A list of (label, page, sentence), and the same for the side bar."""
    listed = [
        f"- :doc:`{label} <{page}>`: {_as_rst(sentence)}" for label, page, sentence in entries
    ]
    toctree = [f"   {label} <{page}>" for label, page, _ in entries]
    return [*listed, "", ".. toctree::", "   :hidden:", "", *toctree]


def write_api_pages(*_):
    """A page for each module, one for each group, and the list of groups."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    index = []
    for name, sentence, modules in groups():
        entries = []
        for module in modules:
            _page(
                f"minisasrec.{module}", f"minisasrec.{module}", *_automodule(f"minisasrec.{module}")
            )
            entries.append(
                (module.removeprefix(f"{name}."), f"minisasrec.{module}", first_sentence(module))
            )
        contents = _contents(entries)
        if name == "package":
            _page(f"group-{name}", "The package", *contents, "", *_automodule("minisasrec"))
        elif name == "commands":
            _page(f"group-{name}", "The commands", _as_rst(sentence), "", *contents)
        else:
            own = _automodule(f"minisasrec.{name}")
            _page(f"group-{name}", f"minisasrec.{name}", *own, "", *contents)
        index.append((name, f"group-{name}", sentence))
    (TARGET / "index.txt").write_text(
        "\n".join(_contents([(n, f"/api/generated/{p}", s) for n, p, s in index])), encoding="utf-8"
    )


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
    app.connect("builder-inited", write_api_pages)
    app.connect("autodoc-process-docstring", as_written)
    app.connect("autodoc-process-signature", op_signature)
    return {"version": "1", "parallel_read_safe": True}
