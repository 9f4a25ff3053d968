"""Each exercise, its typical wrong answers, and what a student must be told for each.

`wrong_answers/NOTEBOOK.py` is the table: a wrong answer is a piece of code below two comments,

    # EXERCISE: what is wrong with it
    # says: a part of the message ... another part of it
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from classroom import NOTEBOOKS, handed_out, solutions

from minisasrec.autograd.gradients import sum_to_shape
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


# --- answers that would pass a careless comparison -----------------------------------------------


def with_zeros(function: Callable[..., Any], spoilt: list[Any]) -> Callable[..., Any]:
    """Right for arguments that it has set to 0 in place: as if these had been asked for."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            for array in arg if isinstance(arg, list) else [arg]:
                if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.any():
                    array[...] = 0
                    spoilt.append(array)
        return inside(function(*args, **kwargs), lambda f: with_zeros(f, spoilt))

    return call


def with_nan(function: Callable[..., Any], spoilt: list[Any]) -> Callable[..., Any]:
    """NaN in place of every number, which is neither above nor below anything."""

    def call(*args: Any, **kwargs: Any) -> Any:
        def spoil(value: Any) -> Any:
            if not isinstance(value, np.ndarray | np.number | float | int):
                return value
            spoilt.append(value)
            return np.full(np.shape(value), np.nan)

        result = function(*args, **kwargs)
        return inside(result, lambda f: with_nan(f, spoilt), spoil)

    return call


def inside(
    result: Any,
    change: Callable[[Any], Any],
    spoil: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """A result with its functions changed and its values spoilt."""
    if isinstance(result, tuple):
        return tuple(inside(each, change, spoil) for each in result)
    if isinstance(result, dict):
        return {key: inside(value, change, spoil) for key, value in result.items()}
    return change(result) if callable(result) else spoil(result)


def asked_before(function: Callable[..., Any], table: dict[str, Any]) -> Callable[..., Any]:
    """Puts each result into the table, by the arguments."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return table.setdefault(repr((args, kwargs)), function(*args, **kwargs))

    return call


DRAWN = """topological_order walk_back pad_left causal_mask top_k shifted_targets parameters
multiply_adds expected_ndcg sampled_hit paired_bootstrap gbce_beta last_items changed_share
spreads""".split()  # exercises with cases that are drawn anew at each check


@pytest.mark.parametrize("name", DRAWN)
def test_a_table_of_what_checks_expected_is_not_right(name: str) -> None:
    made, asked = room(find(name).notebook)
    question = next(q for q in asked if q.name == name)
    names = dict(made.names)
    exec(compile(solutions(question.notebook)[name], "<solution>", "exec"), names)
    table: dict[str, Any] = {}
    for _ in range(5):
        answer = asked_before(names[question.answer], table)
        assert verdict(find(name).grade, answer).result == "correct"

    def look_up(*args: Any, **kwargs: Any) -> Any:
        return table.get(repr((args, kwargs)), next(iter(table.values())))

    assert verdict(find(name).grade, look_up).result == "not yet"


FUNCTIONS = {  # exercises whose answer is a function of numbers
    name: e.notebook
    for name, e in sorted(exercises().items())
    if name not in ("next_volume", "seasons", "become_fism", "topological_order")
}


@pytest.mark.parametrize("attack", [with_zeros, with_nan])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_grader_is_taken_in(name: str, attack: Callable[..., Any]) -> None:
    made, asked = room(FUNCTIONS[name])
    question = next(q for q in asked if q.name == name)
    names = dict(made.names)
    exec(compile(solutions(question.notebook)[name], "<solution>", "exec"), names)
    [answer] = question.wanted
    spoilt: list[Any] = []
    names[answer] = attack(names[answer], spoilt)
    said = verdict(find(name).grade, eval(question.answer, names))
    assert said.result == ("not yet" if spoilt else "correct"), said.text
    assert spoilt or attack is with_zeros


def other_right_answers() -> dict[str, Any]:
    """Exercise -> an answer that is right in a form of its own: lists, fractions, whole floats."""

    def division(a: Any, b: Any) -> Any:
        def backward(dy: Any) -> list[Any]:
            return [sum_to_shape(dy / b, a.shape), sum_to_shape(-dy * a / b**2, b.shape)]

        return [a / b, backward]

    def dropout(x: Any, keep: Any, rate: float) -> Any:
        return [x * keep / (1 - rate), lambda dy: dy * keep / (1 - rate)]

    def hit(rank: int, others: int, negatives: int = 100, k: int = 10) -> Fraction:
        ways = (comb(rank - 1, j) * comb(others - rank + 1, negatives - j) for j in range(k))
        return Fraction(sum(ways), comb(others, negatives))

    def beta(negatives: int, num_items: int, t: float) -> Fraction:
        return 1 + Fraction(t) * (Fraction(negatives, num_items - 1) - 1)

    def spreads(scores: Any) -> np.ndarray:
        rows = [[Fraction(float(score)) for score in row] for row in scores]
        means = [sum(row) / len(row) for row in rows]
        ranges = [max(row) - min(row) for row in rows]
        return np.array([max(means) - min(means), sum(ranges, Fraction()) / len(ranges)])

    def stacked(sequences: Any, n: int) -> np.ndarray:
        found = np.zeros((2, len(sequences), n), dtype=int)
        for b, kept in enumerate(S[-n - 1 :] for S in sequences):
            found[:, b, n + 1 - len(kept) :] = kept[:-1], kept[1:]
        return found

    return {
        "div_backward": division,
        "shifted_targets": stacked,
        "inverted_dropout": dropout,
        "sampled_hit": hit,
        "gbce_beta": beta,
        "spreads": spreads,
    }


KERNELS = (
    """
@numba.guvectorize(["(f8[:],f8[:],f8[:],f8,f8[:])"], "(d),(d),(d),()->(d)")
def my_layer_norm(x, gamma, beta, eps, y):
    y[:] = gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta
""",
    """
@numba.njit
def fill(x, gamma, beta, eps, y):
    for t in range(len(x)):
        y[t] = gamma * (x[t] - x[t].mean()) / np.sqrt(x[t].var() + eps) + beta

def my_layer_norm(x, gamma, beta, eps):
    y = np.empty_like(x)
    fill(x, gamma, beta, eps, y)
    return y
""",
)


@pytest.mark.parametrize("code", KERNELS)
def test_a_kernel_may_be_a_ufunc_or_stand_in_a_wrapper(code: str) -> None:
    names = dict(room("03_kernels")[0].names)
    exec(code, names)
    said = verdict(find("layer_norm_kernel").grade, names["my_layer_norm"])
    assert said.result == "correct", said.text


RACE = """
@numba.njit(parallel=True)
def my_scatter_add(dy, ids, size):
    table = np.zeros((size, dy.shape[1]))
    for t in numba.prange(len(ids)):
        for j in range(dy.shape[1]):
            table[ids[t], j] += dy[t, j]
    return table
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread runs no race")
def test_threads_that_add_to_the_same_rows_are_told_that_the_table_is_wrong() -> None:
    names = dict(room("03_kernels")[0].names)
    exec(RACE, names)
    grade = find("scatter_add_kernel").grade
    results = {verdict(grade, names["my_scatter_add"]).result for _ in range(10)}
    assert "not yet" in results  # where other programs take the time, threads may not meet


@pytest.mark.parametrize("name", other_right_answers())
def test_a_right_answer_may_have_another_form(name: str) -> None:
    said = verdict(find(name).grade, other_right_answers()[name])
    assert said.result == "correct", said.text


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
