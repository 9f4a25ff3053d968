"""Every notebook runs as handed out and with the solutions, and is stored as it ran."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from classroom import answer_cells, solutions

from minisasrec.teach.exercises import exercises
from minisasrec.teach.grading.cells import CHECK, source

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIMIT = 300_000  # bytes of a notebook, outputs included

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_outputs(cell: dict[str, Any]) -> str:
    """What the cell printed and returned, as text."""
    parts = []
    for output in cell["outputs"]:
        parts.append(output.get("text", output.get("data", {}).get("text/plain", "")))
    return "".join("".join(part) for part in parts)


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    nbformat = pytest.importorskip("nbformat", reason="needs the notebooks extra")
    nbclient = pytest.importorskip("nbclient", reason="needs the notebooks extra")
    pytest.importorskip("ipykernel", reason="needs the notebooks extra")
    node = nbformat.reads(json.dumps(notebook), as_version=4)
    nbclient.NotebookClient(node, timeout=600, kernel_name="python3").execute()
    return node


@every_notebook
def test_every_exercise_has_an_answer_cell_a_grader_and_a_solution(path: Path) -> None:
    names = answer_cells(read(path)).keys()
    assert names == solutions(path.stem).keys()
    assert names == {e.name for e in exercises().values() if e.notebook == path.stem}
    assert names, "a notebook without an exercise"


@every_notebook
def test_stored_as_it_ran_from_top_to_bottom(path: Path) -> None:
    notebook = read(path)
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < LIMIT
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output
            assert output.get("name") != "stderr", output
        assert not re.search(r"(^|[\s\"'=(])/(home|root|work|tmp|usr|Users)/", text_outputs(cell))
        for name in CHECK.findall(source(cell)):
            assert text_outputs(cell).startswith("not attempted yet"), name


@pytest.mark.slow
@every_notebook
def test_runs_as_handed_out(path: Path) -> None:
    for cell in code_cells(execute(read(path))):
        for name in CHECK.findall(source(cell)):
            assert text_outputs(cell).startswith("not attempted yet"), name


@pytest.mark.slow
@every_notebook
def test_solutions_are_graded_correct(path: Path) -> None:
    notebook = copy.deepcopy(read(path))
    answers = solutions(path.stem)
    for name, cell in answer_cells(notebook).items():
        cell["source"] = answers[name]
    checked = []
    for cell in code_cells(execute(notebook)):
        for name in CHECK.findall(source(cell)):
            assert text_outputs(cell).startswith("correct: "), f"{name}: {text_outputs(cell)}"
            checked.append(name)
    assert sorted(checked) == sorted(answers)
