"""`minisasrec class`: the students' copy, a class that is graded, a machine that is examined."""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from classroom import NOTEBOOKS, answer_cells, answered, code_cell, hand_in, handed_out, solutions

from minisasrec.commands.cli import run_command
from minisasrec.teach import doctor, handout
from minisasrec.teach.attempt import PACKAGE
from minisasrec.teach.exercises import exercises
from minisasrec.teach.grading.cells import questions, source
from minisasrec.teach.handout import MARKS, for_nbgrader, read_solutions

main = import_module("minisasrec.class").main

AUTOGRAD, CHECKING = solutions("01_autograd"), solutions("02_gradient_checking")
WRONG_TANH = "def my_tanh_backward(y, dy):\n    return dy\n"


def grades(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "grades.csv", encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def verdicts(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with open(folder / "verdicts.csv", encoding="utf-8", newline="") as file:
        return {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}


# --- a class of ten ------------------------------------------------------------------------------


def in_cells_of_her_own() -> Any:
    notebook = answered("01_autograd", {})
    notebook["cells"].append(code_cell(AUTOGRAD["div_backward"]))
    notebook["cells"].insert(0, code_cell("def square(y):\n    return y * y\n"))
    text = "def my_tanh_backward(y, dy):\n    print(y)\n    return dy * (1 - square(y))\n"
    notebook["cells"].insert(1, code_cell(text))
    return notebook


def forged() -> Any:
    """Claims of every kind: in a print, an output, a check of his own, patched graders."""
    claims = (
        f"{WRONG_TANH}print('correct: honest')\n"
        "def check(*_): print('correct: honest')\n"
        "import minisasrec.teach.exercises as e\n"
        "for each in e.exercises().values(): each.grade = lambda _: 'patched'\n"
        "e.verdict = e.find = lambda *_: 'correct'\n"
    )
    notebook = answered("01_autograd", {"tanh_backward": claims, "div_backward": claims})
    for cell in notebook["cells"]:
        if "".join(cell["source"]).startswith("check("):
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "correct: all"}]
            cell["source"] = 'print("correct: all")\ncheck("tanh_backward", my_tanh_backward)'
    return notebook


CLASS: dict[str, dict[str, Any]] = {
    "01 right": {
        "01_autograd.ipynb": answered("01_autograd", AUTOGRAD),
        "02_gradient_checking.ipynb": answered("02_gradient_checking", CHECKING),
    },
    "02 wrong": {
        "01_autograd.ipynb": answered(
            "01_autograd",
            {
                "tanh_backward": "def my_tanh_backward(y, dy):\n    return dy * (1 - y)",
                "div_backward": "def my_div(a, b):\n"
                "    return a / b, lambda dy: (dy / b, -dy * a / b**2)",
            },
        ),
        "02_gradient_checking.ipynb": answered(
            "02_gradient_checking",
            {"third_term": CHECKING["third_term"].replace("mean", "sum")},
        ),
    },
    "03 renamed": {
        "02_gradient_checking (1).ipynb": answered("02_gradient_checking", CHECKING),
        "final version.ipynb": answered("01_autograd", AUTOGRAD),
        "01_autograd.ipynb": answered("01_autograd", {}),  # the empty one is still there
    },
    "04 own cells": {"01_autograd.ipynb": in_cells_of_her_own()},
    "05 half done": {
        "01_autograd.ipynb": answered(
            "01_autograd",
            {
                "tanh_backward": AUTOGRAD["tanh_backward"],
                "div_backward": "def my_div(a, b):\n    y = a / b\n\n    def backward(dy): ...\n\n"
                "    return y, backward  # tomorrow",
            },
        ),
        "02_gradient_checking.ipynb": answered("02_gradient_checking", {}),
    },
    "06 forged": {"01_autograd.ipynb": forged()},
    "07 endless": {
        "01_autograd.ipynb": answered(
            "01_autograd",
            {
                "tanh_backward": "while True: pass",
                "div_backward": AUTOGRAD["div_backward"],
            },
        ),
    },
    "08 crashes": {
        "01_autograd.ipynb": answered(
            "01_autograd",
            {
                "tanh_backward": "import os\nos._exit(0)",
                "div_backward": "import ctypes\ndef my_div(a, b): return ctypes.string_at(0)",
            },
        ),
        "02_gradient_checking.ipynb": answered("02_gradient_checking", CHECKING),
    },
    "09 floods": {
        "01_autograd.ipynb": answered(
            "01_autograd",
            {
                "tanh_backward": "print('x' * 30_000_000)\n" + AUTOGRAD["tanh_backward"],
                "div_backward": "def my_div(a, b):\n    held = []\n"
                "    while True: held.append(np.zeros(10**8))"  # asked for, never touched: quick
                if sys.platform == "linux"  # elsewhere nothing holds the memory
                else "def my_div(a, b): return np.zeros(10**8), print",
            },
        ),
    },
    "10 broken": {"01_autograd.ipynb": None},
}
ALL = len(exercises())
MARKS_OF = {  # the two of the walk, tanh_backward, div_backward, softmax_backward, third_term
    "01 right": (1, 1, 1, 1, 1, 1),
    "02 wrong": (0, 0, 0, 0, 0, 0),
    "03 renamed": (1, 1, 1, 1, 1, 1),
    "04 own cells": (0, 0, 1, 1, 0, 0),
    "05 half done": (0, 0, 1, 0, 0, 0),
    "06 forged": (0, 0, 0, 0, 0, 0),
    "07 endless": (0, 0, 0, 1, 0, 0),
    "08 crashes": (0, 0, 0, 0, 1, 1),
    "09 floods": (0, 0, 1, 0, 0, 0),
    "10 broken": (0, 0, 0, 0, 0, 0),
}
SAID = {
    ("02 wrong", "tanh_backward"): "the slope is 1 - y^2, with the square",
    ("02 wrong", "div_backward"): "db has shape (3, 2), expected that of b, (2,)",
    ("02 wrong", "softmax_backward"): "",
    ("02 wrong", "third_term"): "the sum over i is divided by d, which makes a mean",
    ("05 half done", "div_backward"): "backward has no body yet",
    ("06 forged", "tanh_backward"): "an answer has to be your own",
    ("07 endless", "tanh_backward"): "stopped after 5 seconds",
    ("08 crashes", "tanh_backward"): "ended Python (exit code 0) before it was checked",
}
if sys.platform == "linux":
    SAID["08 crashes", "div_backward"] = "crashed Python (SIGSEGV)"
    SAID["09 floods", "div_backward"] = "MemoryError"


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class of ten, graded by the command of the instructor's guide."""
    folder = tmp_path_factory.mktemp("class")
    for student, files in CLASS.items():
        for name, notebook in files.items():
            hand_in(folder / "submissions" / student, name, notebook)
    (folder / "submissions" / "10 broken" / "01_autograd.ipynb").write_bytes(b'{"cells": [{')
    (folder / "submissions" / "10 broken" / "notes.ipynb").write_text('{"cells": []}', "utf-8")
    assert run_command(main, [*command(folder), "--jobs", "2"]) == 0
    return folder


def command(folder: Path) -> list[str]:
    return [
        "grade", str(folder / "submissions"), "--notebooks", str(NOTEBOOKS),
        "--out", str(folder / "grades"), "--timeout", "5", "--memory", "1.5",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_class_of_ten_gets_the_marks_it_deserves(graded: Path) -> None:
    found = grades(graded / "grades")
    names = [*AUTOGRAD, *CHECKING]
    assert {s: tuple(int(row[n]) for n in names) for s, row in found.items()} == MARKS_OF
    assert all(int(row["points"]) == sum(MARKS_OF[s]) for s, row in found.items())
    assert {row["of"] for row in found.values()} == {str(ALL)}
    told = verdicts(graded / "grades")
    assert len(told) == 10 * ALL
    for place, text in SAID.items():
        assert text in told[place]["text"], told[place]
    results = {place[0]: row["result"] for place, row in told.items() if place[1] == "top_k"}
    assert set(results.values()) == {"not handed in"}
    assert told["05 half done", "third_term"]["result"] == "not attempted"
    assert told["03 renamed", "div_backward"]["file"] == "final version.ipynb"


@pytest.mark.slow
def test_every_student_has_a_page(graded: Path) -> None:
    pages = {path.stem: path.read_text("utf-8") for path in (graded / "grades/feedback").iterdir()}
    assert pages.keys() == MARKS_OF.keys()
    assert f"01 right: 6 of {ALL} points" in pages["01 right"]
    assert "with the square" in pages["02 wrong"]
    assert "01_autograd.ipynb was not graded: final version.ipynb is taken" in pages["03 renamed"]
    assert "01_autograd.ipynb is no Jupyter notebook" in pages["10 broken"]
    assert "notes.ipynb is none of the notebooks that were handed out" in pages["10 broken"]


@pytest.mark.slow
def test_a_second_run_grades_what_has_changed(
    graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (graded / "grades" / "verdicts.csv").read_text("utf-8")
    assert run_command(main, command(graded)) == 0
    said = capsys.readouterr()
    assert "28 answers have not changed since the last run" in said.err, said.err
    assert re.search(rf"01 right +6 of {ALL} points, +6 of {ALL} correct", said.out)
    assert (graded / "grades" / "verdicts.csv").read_text("utf-8") == before
    late = answered("02_gradient_checking", CHECKING)
    hand_in(graded / "submissions" / "04 own cells", "02_gradient_checking.ipynb", late)
    assert run_command(main, command(graded)) == 0
    assert grades(graded / "grades")["04 own cells"]["points"] == "4"
    assert grades(graded / "grades")["02 wrong"]["points"] == "0"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a signal")
def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path) -> None:
    answers = AUTOGRAD | {"div_backward": "while True: pass"}
    hand_in(tmp_path / "submissions" / "ann", "a.ipynb", answered("01_autograd", answers))
    words = [sys.executable, "-m", "minisasrec.class", *command(tmp_path), "--timeout", "60"]
    process = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # in a shell's background job it would be ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    rows = tmp_path / "grades" / "verdicts.csv"
    for _ in range(600):
        text = rows.read_text("utf-8") if rows.is_file() else ""
        if all(name in text for name in AUTOGRAD.keys() - {"div_backward"}):  # in any order
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "interrupted: the same command again goes on where it stopped" in said
    assert grades(tmp_path / "grades")["ann"]["tanh_backward"] == "1"
    answers = AUTOGRAD
    hand_in(tmp_path / "submissions" / "ann", "a.ipynb", answered("01_autograd", answers))
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    assert "3 answers have not changed" in said
    assert grades(tmp_path / "grades")["ann"]["points"] == "4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grade", "nowhere"], "nowhere is no folder"),
        (["grade", ".", "--notebooks", "nowhere"], "no notebooks in nowhere"),
        (["grade", ".", "--timeout", "0"], "--timeout is 0; it is 1 second at least"),
        (["grade", ".", "--timeout", "99999999999"], "--timeout is 99999999999; it is"),
        (["grade", ".", "--memory", "1e30"], "--memory is 1e+30; it is 0.1 GB at least"),
        (["grade", ".", "--memory", "0"], "--memory is 0.0"),
        (["grade", ".", "--memory", "nan"], "--memory is nan"),
        (["grade", ".", "--jobs", "0"], "--jobs is 0"),
        (["grade", ".", "--hidden", "no.py"], "--hidden is no.py, which is no file"),
        (["grade", ".", "--out", "."], "--out is ., the submissions; give another folder"),
        (["grade", ".", "--out", __file__], "test_class.py, a file; give a folder"),
        (["grade", ""], "the path of the submissions is empty; give a path"),
        (["make", str(PACKAGE / "new")], "which is copied; name another folder"),
        (["make", str(PACKAGE.parent / "docs" / "new")], "which is copied; name another folder"),
        (["grad", "."], "class has no 'grad'; did you mean grade?"),
        (["make"], "Missing"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, arguments) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_each_work_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["make", "--help"], ["grade", "--help"], ["doctor", "--help"]):
        assert run_command(main, words) == 0
        assert "usage: python -m minisasrec.class" in capsys.readouterr().out


# --- the students' copy --------------------------------------------------------------------------


def test_the_students_copy_has_no_solution_and_points_to_nothing_that_is_missing(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "class"
    assert run_command(main, ["make", str(folder), "--notebooks", str(NOTEBOOKS)]) == 0
    made = sorted((folder / "notebooks").iterdir())
    assert [path.name for path in made] == sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    texts = {path: path.read_text("utf-8") for path in folder.rglob("*") if path.suffix in
             (".ipynb", ".md", ".py")}  # fmt: skip
    for stem in (path.stem for path in made):
        for name, code in solutions(stem).items():
            lines = [line for line in code.splitlines() if line.startswith("    ")]
            body = "\n".join(lines) or code
            assert not any(body in text for text in texts.values()), name
        notebook = json.loads((folder / "notebooks" / f"{stem}.ipynb").read_text("utf-8"))
        assert notebook == handed_out(stem)
    for path in (*made, folder / "README.md"):
        for target in re.findall(r"\b(?:docs|notebooks|minisasrec)/[\w./-]+\.\w+", texts[path]):
            assert (folder / target).exists(), f"{path.name} points to {target}"
        for target in re.findall(r"\]\((?!https?:|#)([\w./-]+)[)#]", texts[path]):
            assert (path.parent / target).exists(), f"{path.name} points to {target}"
    assert not list(folder.rglob("*solution*")) and not list(folder.rglob("__pycache__"))
    readme = texts[folder / "README.md"]
    assert '.venv/bin/pip install -e ".[notebooks]"' in readme
    assert ".venv\\Scripts\\pip install" in readme
    assert run_command(main, ["make", str(folder), "--notebooks", str(NOTEBOOKS)]) == 2


@pytest.mark.parametrize("form", [[], ["--nbgrader"]])
def test_a_copy_that_is_interrupted_leaves_nothing(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "class"
    arguments = ["make", str(folder), "--notebooks", str(NOTEBOOKS), *form]

    def interrupted(path: Path, notebook: object) -> None:
        if path.name.startswith("03"):
            raise KeyboardInterrupt
        write(path, notebook)

    write = handout._write
    monkeypatch.setattr(handout, "_write", interrupted)
    assert run_command(main, arguments) == 130
    assert not folder.exists()
    monkeypatch.setattr(handout, "_write", write)
    assert run_command(main, arguments) == 0


@pytest.mark.slow
def test_the_last_hint_in_the_students_copy_names_no_solution(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    assert run_command(main, ["make", str(folder), "--notebooks", str(NOTEBOOKS)]) == 0
    code = 'from minisasrec.teach import hint\nfor _ in range(9): hint("top_k")'
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "notebooks", env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "hint 3 of 3" in said.stdout and "solution" not in said.stdout


def test_an_nbgrader_course_has_answers_checks_and_points(tmp_path: Path) -> None:
    folder = tmp_path / "course"
    arguments = ["make", str(folder), "--notebooks", str(NOTEBOOKS), "--nbgrader"]
    assert run_command(main, arguments) == 0
    made = sorted(folder.glob("source/*/*.ipynb"))
    assert [path.stem for path in made] == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    for path in made:
        assert path.parent.name == path.stem
        notebook = json.loads(path.read_text("utf-8"))
        marked = [cell for cell in notebook["cells"] if "nbgrader" in cell["metadata"]]
        own = [cell["metadata"]["nbgrader"] for cell in marked]
        ids = [data["grade_id"] for data in own]
        assert len(set(ids)) == len(ids) == 2 * len(solutions(path.stem))
        for answer, test in zip(marked[::2], marked[1::2], strict=True):
            stub, _, rest = source(answer).partition(f"{MARKS[0]}\n")
            assert all(line.startswith("#") for line in stub.splitlines()) and "..." in stub
            assert rest.endswith(MARKS[1])
            data = test["metadata"]["nbgrader"]
            assert data["grade"] and data["locked"] and data["points"] == 1
            assert f'require("{answer["metadata"]["nbgrader"]["grade_id"]}"' in source(test)


def test_the_mark_of_nbgrader_raises_for_a_wrong_answer_alone() -> None:
    stem = "01_autograd"
    file = NOTEBOOKS / "solutions" / f"{stem}.py"
    asked = questions(handed_out(stem), stem)
    marked = for_nbgrader(handed_out(stem), asked, read_solutions(file))
    tests = [source(c) for c in marked["cells"] if "points" in c["metadata"].get("nbgrader", {})]
    names: dict[str, Any] = {}
    exec(AUTOGRAD["tanh_backward"], names)
    test = next(text for text in tests if '"tanh_backward"' in text)
    exec(test, names)
    exec(WRONG_TANH, names)
    with pytest.raises(AssertionError, match="not yet: dx for random y and dy"):
        exec(test, names)
    assert answer_cells(copy.deepcopy(marked)).keys() == AUTOGRAD.keys()


# --- the doctor ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_machine_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok    ", "TO DO ")) for line in lines[:-2])
    told = {line[6:20].strip(): line for line in lines[:-2]}
    assert {"Python", "numpy", "numba", "disk", "folder", "kernels", "training"} <= told.keys()
    assert re.search(r"\d+ ops compiled or loaded in \d+ s", told["kernels"])
    assert re.search(r"epochs of the bookshop, .* s each, loss .* to", told["training"])
    assert lines[-1] == "this machine is ready" or "to do" in lines[-1]


def test_what_is_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINISASREC_BACKEND", "numpy")
    monkeypatch.setattr(doctor, "backend", lambda: "numpy")
    assert "MINISASREC_BACKEND=numpy is set: notebooks 03" in str(doctor._kernels())
    missing = doctor._library("no_such_module", "no-such-module", "pip install it")
    assert str(missing).startswith("TO DO no-such-module not installed: pip install it")
    folder = tmp_path / "OneDrive - School"
    folder.mkdir()
    monkeypatch.chdir(folder)
    told = {finding.what: finding for finding in doctor._places()}
    assert "outside OneDrive" in told["path"].to_do
    monkeypatch.setattr(doctor, "NEEDED_DISK", 10**18)
    told = {finding.what: finding for finding in doctor._places()}
    assert "make room" in told["disk"].to_do


def test_a_slow_machine_is_told_what_to_expect() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            self.now += 4.0
            return self.now

    finding = doctor._training(seconds=5, clock=Clock())
    assert "close other programs" in finding.to_do
