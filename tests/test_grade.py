"""Grading a class, on a notebook of two cells."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from minisasrec.commands.cli import run_command
from minisasrec.teach import grade

ANSWERS = {
    "ann": "def answer(y, dy):\n    return dy * (1 - y * y)",
    "bob": "def answer(y, dy):\n    return dy",
    "cem": "def answer(y, dy): ...",
}


def notebook(answer: str, check: str = 'check("tanh_backward", answer)') -> str:
    def cell(text: str, *tags: str) -> dict[str, object]:
        return {
            "cell_type": "code",
            "execution_count": None,
            "id": f"c{abs(hash(text)) % 10**6}",
            "metadata": {"tags": list(tags)},
            "outputs": [],
            "source": text,
        }

    cells = [cell("from minisasrec.teach import check"), cell(answer, "exercise"), cell(check)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def classroom(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    name = "01_autograd.ipynb"
    (tmp_path / "notebooks" / name).write_text(notebook("def answer(y, dy): ..."))
    for student, answer in ANSWERS.items():
        (tmp_path / "in" / student).mkdir(parents=True)
        # a check that was tampered with does not count: the fresh one runs
        text = notebook(answer, 'print("correct: everything") # \ncheck("tanh_backward", answer)')
        (tmp_path / "in" / student / name).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_grades_are_those_of_fresh_checks(classroom: Path) -> None:
    pytest.importorskip("nbclient", reason="needs the notebooks extra")
    pytest.importorskip("ipykernel", reason="needs the notebooks extra")
    (classroom / "in" / "ann" / "99_other.ipynb").write_text(notebook("1"))
    (classroom / "in" / "bob" / "01_autograd.ipynb").write_text("{}")
    arguments = [str(classroom / "in"), "--notebooks", str(classroom / "notebooks")]
    grade.main([*arguments, "--out", str(classroom / "grades.csv")])
    with open(classroom / "grades.csv", encoding="utf-8") as file:
        rows = {(r["student"], r["notebook"]): r["result"] for r in csv.DictReader(file)}
    assert rows["ann", "01_autograd"].startswith("correct: ")
    assert rows["ann", "99_other"].startswith("not graded: no notebook of this name")
    assert "is no Jupyter notebook" in rows["bob", "01_autograd"]
    assert rows["cem", "01_autograd"].startswith("not attempted yet")


def test_answers_move_and_checks_do_not(classroom: Path) -> None:
    fresh = grade.read_notebook(classroom / "notebooks" / "01_autograd.ipynb")
    handed_in = grade.read_notebook(classroom / "in" / "bob" / "01_autograd.ipynb")
    cells = [grade.source(cell) for cell in grade.with_answers(fresh, handed_in)["cells"]]
    assert cells == [
        grade.source(fresh["cells"][0]),
        ANSWERS["bob"],
        'check("tanh_backward", answer)',
    ]
    assert grade.source(fresh["cells"][1]) == "def answer(y, dy): ..."


def test_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(grade.main, [str(tmp_path), "--notebooks", str(tmp_path)]) == 2
    assert "no notebooks in" in capsys.readouterr().err
