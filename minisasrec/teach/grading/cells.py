"""Notebooks as cells of code: which names a cell binds and uses, and where an answer is.

An answer is found by name. The cell that was handed out binds, say, `my_top_k`; whatever cell of
the student binds that name last before the check is the answer, wherever it stands, together with
those cells of his or her own that it needs.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import json
import re
import symtable
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisasrec.errors import DataError

CHECK = re.compile(r'^check\(\s*["\'](\w+)["\']', re.MULTILINE)
BUILTINS = set(dir(builtins)) | {"display", "get_ipython", "__file__", "__name__", "__doc__"}
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what Python's parser raises
MOST_CODE = 1_000_000  # characters of code in a notebook: Python's parser takes a hundred times as
# much memory, and the handed out ones have some 20,000
AUGMENTED = re.compile(r"[-+*/%&|^@<>]=")  # +=
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
Notebook = dict[str, Any]


# --- reading -------------------------------------------------------------------------------------


def read_notebook(path: Path) -> Notebook:
    """A notebook as JSON, or a `DataError` in one line."""
    try:
        return parse_notebook(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def parse_notebook(content: bytes, name: str) -> Notebook:
    """The notebook in a file's `content`. Raises `DataError` for what is none of version 4."""
    try:
        notebook = json.loads(content)  # UTF-8, or UTF-16 with its mark
        if isinstance(notebook, dict) and notebook.get("nbformat") in (1, 2, 3):
            raise DataError(
                f"{name} is a notebook of version {notebook['nbformat']}; open it in JupyterLab, "
                "save it, and hand it in again"
            )
        sound = all(isinstance(source(cell) + cell["cell_type"], str) for cell in notebook["cells"])
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DataError(
            f"{name} is no Jupyter notebook (version 4); ask for the .ipynb file itself"
        )
    if (size := sum(map(len, code_cells(notebook)))) > MOST_CODE:
        raise DataError(f"{name} has {size:,} characters of code; {MOST_CODE:,} are enough for all")
    return notebook


def source(cell: dict[str, Any]) -> str:
    """The text of a cell, which a file holds as one string or as a list of lines."""
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[Any]:
    """The tags of a cell; none where its metadata is not what it should be."""
    metadata = cell.get("metadata")
    found = metadata.get("tags") if isinstance(metadata, dict) else None
    return found if isinstance(found, list) else []


def code_cells(notebook: Notebook) -> list[str]:
    """The sources of the cells with code."""
    return [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]


# --- names ---------------------------------------------------------------------------------------


OF_PYTHON = ("time", "timeit", "capture", "prun")  # what a cell of Python may have after a %%
JUPYTER = (  # what only Jupyter understands, and what stands for it
    (r"^([ \t]*)%time[ \t]+(?=\S)", r"\1"),
    (r"^([ \t]*\w[\w., \t]*=[ \t]*)[%!].*$", r"\1None"),
    (r"^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass"),
)


def plain(code: str) -> str:
    """`code` without what only Jupyter understands: lines of % and !, and a ? on either side.

    >>> plain("%matplotlib inline\\n%time x = 1\\nfiles = !ls")
    'pass\\nx = 1\\nfiles = None'
    """
    try:
        ast.parse(code)
        return code
    except UNREADABLE:
        other = re.match(r"\s*%%(\w+)", code)
        if other and other[1] not in OF_PYTHON:
            return "pass"  # of the shell, or a text
        for pattern, instead in JUPYTER:
            code = re.sub(pattern, instead, code, flags=re.MULTILINE)
        return code


@functools.lru_cache(10_000)  # the cells of a class are mostly the same
def binds(code: str) -> frozenset[str]:
    """The global names that a cell assigns, defines or imports; also of a cell with an error.

    "*" is among them where it imports all that a module has.

    >>> sorted(binds("import numpy as np\\ndef f(x):\\n    y = x\\na, b = 1, 2"))
    ['a', 'b', 'f', 'np']
    """
    code = plain(code)
    try:
        table = symtable.symtable(code, "cell", "exec")
    except UNREADABLE:
        return frozenset(re.findall(r"^(?:def +|class +)?(\w+) *[=(]", code, re.MULTILINE))
    found = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    found |= {s.get_name() for s in table.get_symbols() if s.is_namespace()}
    return frozenset(found | set(re.findall(r"^from\b.*\bimport +(\*)", code, re.MULTILINE)))


@functools.lru_cache(10_000)
def uses_later(code: str) -> frozenset[str]:
    """The global names that the functions of a cell read, when they are called.

    >>> sorted(uses_later("def f(x):\\n    y = np.sqrt(x)\\n    return y + g\\nprint(h)"))
    ['g', 'np']
    """
    found, inner = set[str](), [] if (table := _symbols(code)) is None else table.get_children()
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        found |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    return frozenset(found - BUILTINS)


@functools.lru_cache(10_000)
def uses(code: str) -> frozenset[str]:
    """The global names that a cell reads, also from inside its functions.

    >>> sorted(uses("def f(x):\\n    y = np.sqrt(x)\\n    return y + g\\nprint(h)"))
    ['g', 'h', 'np']
    """
    symbols = [] if (table := _symbols(code)) is None else table.get_symbols()
    found = {s.get_name() for s in symbols if s.is_referenced()}
    return frozenset(found - BUILTINS) | uses_later(code)


def _symbols(code: str) -> symtable.SymbolTable | None:
    try:
        return symtable.symtable(plain(code), "cell", "exec")
    except UNREADABLE:
        return None


@functools.lru_cache(10_000)
def builds_on(code: str) -> frozenset[str]:
    """The global names that a cell assigns and reads before: their values come from above.

    >>> sorted(builds_on("a += 1\\nb = b[1:]\\ndef c(): pass\\nc = c()\\nd = [e for e in a]"))
    ['a', 'b']
    """
    found, bound, body = set[str](), set[str](), list[ast.stmt]()
    if not uses(code) & binds(code) and not AUGMENTED.search(code):
        return frozenset()
    with contextlib.suppress(*UNREADABLE):
        body = ast.parse(plain(code)).body
    for statement in body:
        nodes = list(_outside_functions(statement))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        stored = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
        read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        if not isinstance(statement, ast.Assign):  # a loop reads what it has assigned itself
            read -= stored
        read -= {n.id for c in nodes if isinstance(c, ast.comprehension)
                 for n in ast.walk(c.target) if isinstance(n, ast.Name)}  # fmt: skip
        read |= {name for n in nodes if isinstance(n, ast.AugAssign) for name in _root(n.target)}
        found |= read - bound
        bound |= stored | {n.name for n in nodes if isinstance(n, FUNCTIONS) and hasattr(n, "name")}
        imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
        bound |= {(a.asname or a.name).split(".")[0] for n in imports for a in n.names}
    return frozenset(found & binds(code))


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but for the bodies of functions and classes."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FUNCTIONS):
            waiting += ast.iter_child_nodes(node)


@functools.lru_cache(10_000)
def changes(code: str) -> frozenset[str]:
    """The global names whose values a cell changes in place, without giving them another.

    By an index or an attribute, a method as a statement, or a function of NumPy as a statement.

    >>> sorted(changes("W[0, 1] = 1\\na.b += 2\\nfor i in x:\\n    x.append(i)\\nnp.copyto(y, 0)"))
    ['W', 'a', 'x', 'y']
    >>> sorted(changes("W = 1\\nprint(x.sum(), x[0])\\ndef f(z):\\n    z[0] = 1"))
    []
    """
    found, body = set[str](), ast.Module([], [])
    if not set(code) & set("[.("):
        return frozenset()
    with contextlib.suppress(*UNREADABLE):
        body = ast.parse(plain(code))
    for node in _outside_functions(body):
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            found |= _root(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function, arguments = node.value.func, node.value.args
            of_numpy = _root(function) & {"np", "numpy"}
            if isinstance(function, ast.Attribute):
                found |= _root(arguments[0]) if of_numpy and arguments else _root(function)
    return frozenset(found - BUILTINS - {"np", "numpy", "plt"})


def _root(node: ast.AST) -> set[str]:
    """The name that an expression such as ``W[0].T`` begins with."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def needed_for(names: Iterable[str], cells: Sequence[str]) -> list[int]:
    """Which cells, in their order, give `names` their values: those that bind them, and so on."""
    found: set[int] = set()
    waiting = [(name, len(cells)) for name in names]
    seen: set[tuple[str, int]] = set()
    while waiting:
        name, before = waiting.pop()
        if (name, before) in seen:
            continue
        seen.add((name, before))
        cell = next((i for i in reversed(range(before)) if name in binds(cells[i])), None)
        if cell is not None:
            found.add(cell)
            waiting += [(other, cell) for other in uses(cells[cell])]
    return sorted(found)


def definitions(code: str) -> list[str]:
    """The imports, functions and classes of a cell, each as code of its own: quick to run."""
    try:
        tree = ast.parse(plain(code))
    except UNREADABLE:
        return []
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return [ast.unparse(node) for node in tree.body if isinstance(node, kinds)]


# --- exercises -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """An exercise as handed out: what is asked, and what the check looks at."""

    name: str
    notebook: str
    answer: str
    """The expression that is checked: `my_top_k`, or `(model, my_history, next_volume)`."""
    wanted: tuple[str, ...]
    """The names in it that the answer cell binds; the others come from the notebook."""
    cells: tuple[str, ...]
    """The notebook's cells of code, without answers and checks."""
    before: int
    """How many of them stand before the answer."""


def questions(notebook: Notebook, stem: str) -> list[Question]:
    """The exercises of a notebook that was handed out: an answer cell, then its check."""
    found, cells, waiting = list[tuple[Any, ...]](), list[str](), None
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        code = source(cell)
        if "exercise" in tags(cell):
            waiting = code
            continue
        name = CHECK.search(code)
        if name is None:
            cells.append(code)
        elif waiting is not None:
            call = next(c for c in ast.walk(ast.parse(code)) if _is_check(c))
            expression = ast.unparse(call.args[1])  # type: ignore[attr-defined]
            wanted = tuple(sorted(uses(expression) & binds(waiting)))
            found.append((name[1], expression, wanted, len(cells)))
            waiting = None
    return [
        Question(name, stem, expression, wanted, tuple(cells), before)
        for name, expression, wanted, before in found
    ]


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "check" and len(node.args) > 1


def answer_to(question: Question, handed_in: Notebook, handed_out: Notebook) -> list[str] | None:
    """The student's cells that answer a question, in their order; None if there are none.

    Where several give the answer its name, that is the last one above the last check. Where none
    does, the answer is what that check passes.
    """
    cells, own, bound = _own_cells(handed_in, handed_out)
    ends = [i for i, code in enumerate(cells) if question.name in CHECK.findall(code)]
    end = ends[-1] if ends else len(cells)
    if ends and end in own and not any(bound[name] for name in question.wanted):
        cells[end] += _naming(question, cells[end])
        for name in binds(cells[end]):
            bound[name] = sorted({*bound[name], end})
    changed = defaultdict[str, list[int]](list)
    for i in sorted(own):
        for name in changes(cells[i]):
            changed[name].append(i)
    waiting, found = list[int](), set[int]()
    for name in question.wanted:
        above = [i for i in bound[name] if i <= end]  # the answer may stand above its check in one
        if bound[name]:
            waiting.append(above[-1] if above else bound[name][0])
        elif (place := _in_its_place(question.name, handed_in)) in own:
            waiting.append(place)  # it binds nothing, or cannot be read; running it will tell
        else:
            return None
    given = {name for code in question.cells[: question.before] for name in binds(code)}
    while waiting:
        cell = waiting.pop()
        if cell in found:
            continue
        found.add(cell)
        code = cells[cell]
        for name in binds(code) if ends else ():  # what is made here may be filled further down
            waiting += [i for i in changed[name] if cell < i <= end]
        for name in uses_later(code) if ends else ():  # a function sees what holds at the check
            waiting += [i for i in bound[name] if cell < i <= end][-1:]
        for name in uses(code) - binds(code) | builds_on(code):
            above = [i for i in bound[name] if i < cell]
            if above:  # his or her own, if there is one, even where the notebook has one, too
                waiting.append(above[-1])
            elif name not in given:
                waiting += bound[name][:1] or [i for i in bound["*"] if i < cell]
    return [cells[i] for i in sorted(found)]


def _naming(question: Question, code: str) -> str:
    """A line that gives what a student's own check passes the name of the answer; or nothing.

    `check("pad_left", pad)` makes it `my_pad_left = pad`.
    """
    calls = list[ast.Call]()
    with contextlib.suppress(*UNREADABLE):
        calls = [c for c in ast.walk(ast.parse(plain(code))) if isinstance(c, ast.Call)]
    passed = [
        ast.unparse(c.args[1])
        for c in calls
        if _is_check(c) and isinstance(c.args[0], ast.Constant) and c.args[0].value == question.name
    ]
    return f"\n{question.answer} = {passed[-1]}" if {*passed[-1:]} - {question.answer} else ""


def attempts(question: Question, handed_in: Notebook, handed_out: Notebook) -> int:
    """How many different cells of the student give the answer its name."""
    cells, _, bound = _own_cells(handed_in, handed_out)
    return max((len({_bare(cells[i]) for i in bound[name]}) for name in question.wanted), default=0)


def _own_cells(
    handed_in: Notebook, handed_out: Notebook
) -> tuple[list[str], set[int], dict[str, list[int]]]:
    """All cells of code, which of them are the student's own, and which of these bind a name."""
    cells = code_cells(handed_in)
    fresh = {_bare(code) for code in code_cells(handed_out)}
    own = {i for i, code in enumerate(cells) if _bare(code) not in fresh and code.strip()}
    bound = defaultdict[str, list[int]](list)
    for i in sorted(own):
        for name in binds(cells[i]):
            bound[name].append(i)
    return cells, own, bound


def _in_its_place(name: str, handed_in: Notebook) -> int:
    """Which of the cells of code is the answer cell above this check; -1 if it has gone."""
    found = -1
    code = [cell for cell in handed_in["cells"] if cell["cell_type"] == "code"]
    for i, cell in enumerate(code):
        if "exercise" in tags(cell):
            found = i
        elif name in (named := CHECK.findall(source(cell))):
            return found
        elif named:
            found = -1
    return -1


def _bare(code: str) -> str:
    return "\n".join(line.rstrip() for line in code.strip().splitlines())
