"""Every notebook runs as handed out and with the solutions, and is stored as it ran."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import notebook_outputs
import pytest
from classroom import answer_cells, solutions
from notebook_outputs import code_cells, difference, differences

from minisasrec.teach.exercises import exercises
from minisasrec.teach.grading.cells import CHECK, source

NOTEBOOKS = sorted(notebook_outputs.NOTEBOOKS.glob("*.ipynb"))
LIMIT = 400_000  # bytes of a notebook, outputs included

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    for library in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(library, reason="needs the notebooks extra")
    return notebook_outputs.execute(notebook)


@every_notebook
def test_every_exercise_has_an_answer_cell_a_grader_and_a_solution(path: Path) -> None:
    names = answer_cells(read(path)).keys()
    assert names == solutions(path.stem).keys()
    assert names == {e.name for e in exercises().values() if e.notebook == path.stem}
    assert names, "a notebook without an exercise"


@every_notebook
def test_every_answer_cell_stands_below_the_text_of_its_exercise(path: Path) -> None:
    asked = False
    for cell in read(path)["cells"]:
        text = source(cell)
        if cell["cell_type"] == "markdown":
            asked |= bool(re.search(r"^#+ Exercise\b", text, re.MULTILINE))
        elif "exercise" in cell["metadata"].get("tags", []):
            assert asked, f"nothing says what is to be written in {text!r}"
            asked = False


@every_notebook
def test_links_lead_to_pages_and_headings_that_are_there(path: Path) -> None:
    text = "\n".join(source(c) for c in read(path)["cells"] if c["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!https?:)([^()#\s]*)(?:#([^()\s]+))?\)", text)
    for file, anchor in links:
        assert (path.parent / file).is_file(), file
        if anchor:
            page = (path.parent / file).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{file} has no heading {anchor}"
    of_glossary = {anchor for file, anchor in links if file == "../docs/glossary.md"}
    assert "words" in of_glossary and len(of_glossary) >= 2, "which symbols does it use?"


def test_the_tour_has_all_notebooks_on_its_map() -> None:
    tour = "\n".join(source(cell) for cell in read(NOTEBOOKS[0])["cells"])
    assert re.findall(r"^\| \[\d\d .+?\]\((.+?)\)", tour, re.MULTILINE) == [
        path.name for path in NOTEBOOKS[1:]
    ]


@every_notebook
def test_the_time_that_a_notebook_states_is_that_of_its_length(path: Path) -> None:
    """130 words a minute, 6 seconds a line of code, 45 a picture; no notebook above 50 minutes."""
    words, lines, drawn = 0, 0, 0
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\$+[^$]+\$+", "x", source(cell))  # a formula is a word
            words += len(re.findall(r"\w+", re.sub(r"\]\(\S+\)", "]", text)))
            continue
        said = notebook_outputs.text(cell)
        shown = said if said.startswith("# ") and "minisasrec/" in said else ""  # show_source
        lines += sum(bool(line.strip()) for line in (source(cell) + "\n" + shown).splitlines())
        drawn += notebook_outputs.pictures(cell)
    head = source(read(path)["cells"][0])
    [stated] = re.findall(r"\*\*Time:?\*\*:? (\d+) minutes", head)
    assert int(stated) <= 50
    assert abs(int(stated) - (words / 130 + lines / 10 + drawn * 0.75)) <= 5
    guide = (path.parent.parent / "docs" / "instructors.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| {path.stem[:2]} [^|]*\|[^|]*\| (\d+) \|", guide, re.MULTILINE)
    assert rows == [stated]


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
        said = notebook_outputs.text(cell)
        assert not re.search(r"(^|[\s\"'=(])/(home|root|work|tmp|usr|Users)/", said)
        for name in CHECK.findall(source(cell)):
            assert said.startswith("not attempted yet"), name


@pytest.mark.slow
@every_notebook
def test_runs_as_handed_out_and_shows_what_is_stored(path: Path) -> None:
    stored = read(path)
    fresh = execute(stored)
    for cell in code_cells(fresh):
        for name in CHECK.findall(source(cell)):
            assert notebook_outputs.text(cell).startswith("not attempted yet"), name
    stale = differences(stored, fresh)
    assert not stale, "\n".join([*stale, f"python tests/notebook_outputs.py {path.stem}"])


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
            assert notebook_outputs.text(cell).startswith("correct: "), (
                f"{name}: {notebook_outputs.text(cell)}"
            )
            checked.append(name)
    assert sorted(checked) == sorted(answers)


def cell_that_says(text: str, *tags: str, picture: bool = False) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": text}]
    if picture:
        outputs.append({"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}})
    metadata = {"tags": list(tags)}
    return {"cell_type": "code", "metadata": metadata, "outputs": outputs, "source": "f()"}


@pytest.mark.parametrize(
    ("stored", "fresh", "tags"),
    [
        ("32 ops checked", "40 ops checked", ()),  # a whole number is counted
        ("NDCG 0.512", "NDCG 0.514", ()),
        ("loss 1.7e-05", "loss 1.9e-05", ()),
        ("loss 1.5", "loss -1.5", ()),
        ("NDCG 0.51", "NDCG 0.58", ("trained",)),
        ("an epoch: 3.1 s", "a step: 3.1 s", ("varies",)),
        ("1 2 3", "1 2", ("varies",)),
        ("ml-1m 7", "ml-2m 7", ("varies",)),  # a digit of a name is no number
        ("all well", "", ()),
    ],
)
def test_a_stale_output_is_found(stored: str, fresh: str, tags: tuple[str, ...]) -> None:
    assert not difference(cell_that_says(stored, *tags), cell_that_says(stored, *tags))
    assert difference(cell_that_says(stored, *tags), cell_that_says(fresh, *tags))


@pytest.mark.parametrize(
    ("stored", "fresh", "tags"),
    [
        ("NDCG 0.512", "NDCG 0.513", ()),
        ("[ 1.  12.5]", "[1.   12.5]", ()),  # columns move with the width of a number
        ("# f: minisasrec/ops/softmax.py:13", "# f: minisasrec/ops/softmax.py:15", ()),
        ("a hit in 44%", "a hit in 47%", ("trained",)),
        ("p = 0.003", "p = 0.006", ("trained",)),
        ("took 3.1 s, 12,000 bytes", "took 14.25 s, 9 bytes", ("varies",)),
    ],
)
def test_what_may_differ_between_two_runs_is_not_stale(
    stored: str, fresh: str, tags: tuple[str, ...]
) -> None:
    assert not difference(cell_that_says(stored, *tags), cell_that_says(fresh, *tags))


def test_the_note_of_the_first_run_on_a_machine_is_no_output() -> None:
    note = "compiling kernels (first run only, about 15 s) ...\n"
    assert notebook_outputs.is_compiling({"name": "stderr", "text": note})
    assert not notebook_outputs.is_compiling({"name": "stderr", "text": note + "a warning\n"})
    assert not notebook_outputs.is_compiling({"name": "stdout", "text": note})


def test_a_missing_picture_is_found() -> None:
    with_it, without = cell_that_says("a", picture=True), cell_that_says("a")
    assert difference(with_it, without) == "1 pictures stored, 0 in this run"
    assert not difference(with_it, with_it)


@pytest.mark.slow
def test_a_planted_stale_number_is_found_and_mended(tmp_path: Path) -> None:
    code = {"cell_type": "code", "execution_count": 1, "id": "a", "metadata": {}, "outputs": []}
    cells = [code | {"source": ["print(6 * 7)"]}, code | {"id": "b", "source": ["'a' * 3"]}]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "a.ipynb"
    notebook_outputs.store(path, copy.deepcopy(notebook), execute(notebook))
    stored = read(path)
    assert not differences(stored, execute(stored))
    assert stored["cells"][0]["source"] == ["print(6 * 7)"]
    stored["cells"][0]["outputs"][0]["text"] = ["41\n"]
    found = differences(stored, execute(stored))
    assert found == ["the cell 'print(6 * 7)': 41 stored, 42 in this run"]
