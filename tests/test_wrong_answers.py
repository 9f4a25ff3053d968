"""Each exercise, its typical wrong answers, and what a student must be told for each.

`wrong_answers/NOTEBOOK.py` is the table: a wrong answer is a piece of code below two comments,

    # EXERCISE: what is wrong with it
    # says: a part of the message ... another part of it
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from classroom import NOTEBOOKS, handed_out, solutions

from minisasrec.teach.exercises import exercises, find, verdict
from minisasrec.teach.grading.answers import Room
from minisasrec.teach.grading.cells import Question, questions

FOLDER = Path(__file__).parent / "wrong_answers"
LEAST = 5  # wrong answers to each exercise


class WrongAnswer(NamedTuple):
    stem: str
    exercise: str
    mistake: str
    says: list[str]
    code: str


def table() -> list[WrongAnswer]:
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        parts = re.split(
            r"^# (\w+): (.*)\n# says: (.*)\n", path.read_text("utf-8"), flags=re.MULTILINE
        )[1:]
        for name, mistake, says, code in zip(*(parts[i::4] for i in range(4)), strict=True):
            found.append(WrongAnswer(path.stem, name, mistake, says.split(" ... "), code.strip()))
    return found


TABLE = table()
ROOMS: dict[str, tuple[Room, list[Question]]] = {}


def room(stem: str) -> tuple[Room, list[Question]]:
    """The notebook's imports and definitions, and what its checks need; once for all answers."""
    if stem not in ROOMS:
        asked = questions(handed_out(stem), stem)
        made = Room(asked[0].cells)
        if stem == "00_tour":
            made.provide({"model", "next_volume", "dataset"})
        ROOMS[stem] = made, asked
    return ROOMS[stem]


def marked(answer: Any, *identity: str) -> Any:
    """Notebook 00 trains its model first."""
    slow = [pytest.mark.slow] if answer[0] == "00_tour" else []
    return pytest.param(answer, id=": ".join(identity), marks=slow)


@pytest.mark.parametrize("wrong", [marked(w, w.exercise, w.mistake) for w in TABLE])
def test_a_wrong_answer_is_told_what_is_wrong(wrong: WrongAnswer, tmp_path: Path) -> None:
    made, asked = room(wrong.stem)
    question = next(q for q in asked if q.name == wrong.exercise)
    names: dict[str, Any] = dict(made.names)
    file = tmp_path / "answer.py"
    file.write_text(wrong.code, encoding="utf-8")
    exec(compile(wrong.code, str(file), "exec"), names)
    said = verdict(find(wrong.exercise).grade, eval(question.answer, names))
    assert said.result == "not yet"
    at = 0
    for part in wrong.says:
        assert part in said.text[at:], said.text
        at = said.text.index(part, at) + len(part)
    assert "\n" not in said.text
    assert len(said.text) < 700


@pytest.mark.parametrize(
    "answer", [marked((e.notebook, name), name) for name, e in sorted(exercises().items())]
)
def test_the_solution_is_right(answer: tuple[str, str]) -> None:
    stem, name = answer
    made, asked = room(stem)
    names = dict(made.names)
    exec(compile(solutions(stem)[name], "<solution>", "exec"), names)
    question = next(q for q in asked if q.name == name)
    said = verdict(find(name).grade, eval(question.answer, names))
    assert said.result == "correct", said.text
    assert said.text and "\n" not in said.text


def test_the_table_of_the_instructors_guide_is_taken_from_this_one() -> None:
    page = (NOTEBOOKS.parent / "docs" / "instructors.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == exercises().keys()
    assert set(rows) <= {(w.exercise, w.mistake, " ... ".join(w.says)) for w in TABLE}


def test_every_exercise_has_its_wrong_answers() -> None:
    counts = Counter(wrong.exercise for wrong in TABLE)
    assert counts.keys() == exercises().keys()
    assert min(counts.values()) >= LEAST, counts
    assert {w.stem for w in TABLE} == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert all(find(w.exercise).notebook == w.stem for w in TABLE)
