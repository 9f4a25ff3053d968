"""Source code as it is now, never a copy."""

from __future__ import annotations

import inspect
from html import escape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minisasrec.autograd.op import Op


class Source:
    """Source text that Jupyter shows highlighted and that prints as it is."""

    def __init__(self, title: str, text: str) -> None:
        self.title, self.text = title, text

    def __repr__(self) -> str:
        return f"# {self.title}\n{self.text}"

    def _repr_html_(self) -> str:
        code = f"<pre>{escape(self.text)}</pre>"
        if find_spec("pygments"):  # comes with IPython
            pygments = import_module("pygments")
            lexer = import_module("pygments.lexers").PythonLexer()
            style = import_module("pygments.formatters").HtmlFormatter(noclasses=True)
            code = pygments.highlight(self.text, lexer, style)
        return f"<small>{escape(self.title)}</small>{code}"


def location(function: Any) -> str:
    """Where a function or class is defined, as `minisasrec/ops/softmax.py:13`."""
    path = Path(inspect.getsourcefile(function) or "?")
    if "minisasrec" in path.parts:
        last = len(path.parts) - 1 - path.parts[::-1].index("minisasrec")
        path = Path(*path.parts[last:])
    else:
        path = Path(path.name)
    return f"{path.as_posix()}:{inspect.getsourcelines(function)[1]}"


def show_source(thing: Any) -> Source:
    """The live source of an op (definition and kernel adaptor), function, class or module.

    A function compiled by Numba shows the Python that was compiled.
    """
    if isinstance(thing, Op):
        return Source(f"{thing.name}: {location(thing.definition)}", thing.source)
    thing = getattr(thing, "py_func", thing)
    if inspect.ismodule(thing):
        return Source(thing.__name__, inspect.getsource(thing))
    name = getattr(thing, "__qualname__", repr(thing))
    return Source(f"{name}: {location(thing)}", inspect.getsource(thing))
