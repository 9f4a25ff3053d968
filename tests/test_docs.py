"""The pages that name code name code that exists."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import re
import warnings
from pathlib import Path

import pytest

from minisasrec.backends import backend, use_backend
from minisasrec.data import DataWarning
from minisasrec.evaluate import EvaluateConfig
from minisasrec.train import parse

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::([\w.]+))?`", MAP)))
OPTIONS = sorted(set(re.findall(r"`--([^`]+)`", MAP)))  # with their values


def names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """Functions, classes and constants defined in `body`, those of a class as "Class.name"."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {prefix + t.id for t in targets if isinstance(t, ast.Name)}
        if isinstance(node, ast.ClassDef):
            found |= names(node.body, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_paper_map_names_what_exists(file: str, name: str) -> None:
    path = ROOT / ("tests" if file.startswith("test_") else "minisasrec") / file
    assert path.is_file()
    assert not name or name in names(ast.parse(path.read_text(encoding="utf-8")).body)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_paper_map_names_options_that_exist(option: str) -> None:
    name, *values = option.split()
    if name in {f.name.replace("_", "-") for f in dataclasses.fields(EvaluateConfig)}:
        return
    if name in ("epochs", "l2", "negatives", "patience"):
        values = ["1"]
    if name == "beta2":
        values = ["0.9"]
    parse([f"--{name}", *values])


def run_page(name: str) -> int:
    """Run the examples of a page; how many there are."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    page = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)  # an example ends at an empty line
    examples = doctest.DocTestParser().get_doctest(page, {}, name, None, 0)
    with use_backend(backend()), warnings.catch_warnings():  # the page may choose both
        warnings.simplefilter("error", DataWarning)  # a note that the page does not mention
        assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples).failed
    return len(examples.examples)


def test_one_gradient_is_what_the_package_computes() -> None:
    assert run_page("one_gradient.md") > 30


def test_weights_in_and_out_are_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    monkeypatch.chdir(tmp_path)  # the page writes files
    assert run_page("exchange.md") > 30


def test_the_recommender_is_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the page saves a folder
    assert run_page("recommender.md") > 20


# --- the reading path ------------------------------------------------------------------------

READING = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
PATH = re.findall(r"^\| (\d+) \| (.*?) \| .*? \| (\d+) \|$", READING, flags=re.MULTILINE)


def lines_of(place: str) -> int:
    """How many lines a file has, or a function or class in it, decorators included."""
    file, _, name = place.partition("::")
    text = (ROOT / "minisasrec" / file).read_text(encoding="utf-8")
    if not name:
        return len(text.splitlines())
    body: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        [node] = [
            n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part
        ]
        body = node.body
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    assert node.end_lineno is not None
    return node.end_lineno - first + 1


@pytest.mark.parametrize(("number", "places", "lines"), PATH, ids=[n for n, *_ in PATH])
def test_a_stop_of_the_reading_path_has_so_many_lines(number: str, places: str, lines: str) -> None:
    assert sum(lines_of(place) for place in re.findall(r"`([^`]+)`", places)) == int(lines)


def test_the_reading_path_is_an_evening() -> None:
    total = sum(int(lines) for *_, lines in PATH)
    assert [int(number) for number, *_ in PATH] == list(range(1, len(PATH) + 1))
    assert f"Together: {total} lines" in READING and total <= 700
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{total} lines" in readme
    for _, places, lines in PATH:  # README lists the same files in the same order
        file = re.findall(r"`([^`:]+)", places)[0]
        assert f"[{file}](minisasrec/{file}) {lines}" in readme
