"""The house: which folder may import which. Nothing imports upward."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import minisasrec

ROOT = Path(minisasrec.__file__).parent

# From the ground up. A folder imports its own files and what stands on the floors below it.
FLOORS = (
    ("terminal",),
    ("errors",),
    ("random",),
    ("kernels", "plots"),
    ("backends", "border", "budget"),
    ("autograd",),
    ("ops",),
    ("nn",),
    ("data",),
    ("models",),
    ("learn",),
    ("experiments", "exchange"),
    ("recommender",),
    ("commands", "explorer", "lenskit"),
    ("teach",),
    (
        *("train", "evaluate", "tune", "datasets", "recommend", "similar"),
        *("explore", "reproduce", "explain", "receipt", "class"),
    ),
    ("completion",),
    ("__main__",),
)
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def place(file: Path) -> str:
    """The folder, or the file at the root, that a file belongs to."""
    return file.parts[0].removesuffix(".py")


def imports(file: Path) -> list[str]:
    """The modules of this package that a file imports, also inside functions; no mere types."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import; write the whole name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [
        name
        for name in found
        if name.split(".")[0] == "minisasrec" and name != "minisasrec.__version__"
    ]


def where(name: str) -> str:
    """`minisasrec.data.split.Split` -> data."""
    return name.split(".")[1] if "." in name else ""


def test_every_file_has_its_floor() -> None:
    assert {place(file) for file in FILES} == FLOOR.keys() | {"__init__"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_nothing_imports_upward(file: Path) -> None:
    if file.name in ("__init__.py", "__main__.py") and len(file.parts) == 1:
        return  # the front door shows what is inside
    if file == Path("data/__main__.py"):
        return  # a command that stands beside what it shows
    for name in imports(file):
        target = where(name)
        assert target in FLOOR, f"{file} imports {name}: take it from where it is defined"
        own = place(file)
        assert target == own or FLOOR[target] < FLOOR[own], f"{file} imports {name}, a floor above"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_private_names_stay_in_their_folder(file: Path) -> None:
    for name in imports(file):
        private = any(part.startswith("_") and part[:2] != "__" for part in name.split("."))
        assert not private or where(name) == place(file), f"{file} imports {name}, which is private"


def test_files_of_a_folder_do_not_go_in_circles() -> None:
    graph = {}
    for file in FILES:
        module = ".".join(("minisasrec", *file.with_suffix("").parts)).removesuffix(".__init__")
        graph[module] = {
            target
            for name in imports(file)
            for target in (name, name.rpartition(".")[0])
            if target != "minisasrec"
        }
    graph.pop("minisasrec")  # the front door
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in graph[module] & graph.keys():
                if target not in (module, module.rpartition(".")[0]):
                    visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_house_of_the_design_page_has_all_floors() -> None:
    page = (ROOT.parent / "docs" / "design.md").read_text(encoding="utf-8")
    house = set(re.findall(r"\w+", page.split("```text\n")[1].split("```")[0]))
    commands = set(FLOORS[-3]) | {"completion", "__main__"}  # the first line says: and so on
    assert FLOOR.keys() - commands <= house
