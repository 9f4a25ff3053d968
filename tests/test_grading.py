"""Verdicts from where answers cannot write: hostile, broken and honest answers, one by one."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classroom import (
    NOTEBOOKS,
    answered,
    code_cell,
    hand_in,
    handed_out,
    question,
    solutions,
)

from minisasrec.errors import ConfigError, DataError
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.teach.grading import cells
from minisasrec.teach.grading.grade import Class, Results, Row, Task, feedback, judged, page_name
from minisasrec.teach.grading.hidden import read_hidden
from minisasrec.teach.grading.judge import CAN_FORK, Judge, Limits
from minisasrec.teach.grading.wire import MOST, Closed, Peer, Raised, Unreadable

TANH = question("01_autograd", "tanh_backward")
RIGHT = "def my_tanh_backward(y, dy):\n    return dy * (1 - y * y)\n"
WRONG = "def my_tanh_backward(y, dy):\n    return dy\n"
WRONG_NUMBER = "dx for random y and dy"

# name: (the student's cell, the result, what the text must hold)
ANSWERS = {
    "right": (RIGHT, "correct", "finite differences"),
    "right, with debugging prints": (
        RIGHT.replace("return", "print('y', y, flush=True)\n    return"),
        "correct",
        "",
    ),
    "right, with Jupyter's own commands": (f"%time 3\n!ls\nmy_tanh?\n{RIGHT}", "correct", ""),
    "right, after more of Jupyter's commands": (
        f"%%time\n?np.tanh\nmy_tanh?  \nfiles = !ls\n%time one = 1\none + 1\n{RIGHT}",
        "correct",
        "",
    ),
    "right, after a call of Jupyter": (
        f"get_ipython().run_line_magic('matplotlib', 'inline')\n{RIGHT}",
        "correct",
        "",
    ),
    "right, compiled with a cache": (
        f"import numba\n@numba.njit(cache=True)\n{RIGHT}",
        "correct",
        "",
    ),
    "right, after kernels of the package": (
        "from minisasrec import ops, use_backend\nuse_backend('numba')\n"
        f"ops.softmax.implementation()(np.ones((2, 3)))\n{RIGHT}",
        "correct",
        "",
    ),
    "prints the verdict": (f"{WRONG}print('correct: honest')", "not yet", WRONG_NUMBER),
    "prints megabytes": (f"{WRONG}for _ in range(9): print('x' * 10**7)", "not yet", WRONG_NUMBER),
    "has a check of its own": (
        f"{WRONG}def check(*_): print('correct: honest')\ncheck('tanh_backward', 1)",
        "not yet",
        WRONG_NUMBER,
    ),
    "patches the graders": (
        f"{WRONG}import minisasrec.teach.exercises as e\n"
        "for each in e.exercises().values(): each.grade = lambda answer: 'patched'\n"
        "e.verdict = lambda *_: e.Verdict('correct', 'patched')\ne.equal = lambda *_, **__: None\n",
        "not yet",
        "an answer has to be your own; minisasrec.teach.exercises.nb00 belongs to the grader",
    ),
    "imports what a grader compares with": (
        f"from minisasrec.teach.exercises.nb01 import _gradients\n{RIGHT}",
        "not yet",
        "raised ImportError: an answer has to be your own; minisasrec.teach.exercises.nb01 belongs",
    ),
    "imports it when it is called": (
        "def my_tanh_backward(y, dy):\n    from minisasrec.teach.exercises import nb01\n",
        "not yet",
        "an answer has to be your own",
    ),
    "imports the judge": (
        f"import minisasrec.teach.grading.judge\n{RIGHT}",
        "not yet",
        "minisasrec.teach.grading.judge belongs to the grader",
    ),
    "right, with the notebook's own check": (
        f"from minisasrec.teach import check, hint, keep, require, steps_table\n{RIGHT}"
        "for ask in (check, keep, require): ask('tanh_backward', my_tanh_backward)\n"
        "hint('tanh_backward')\n",
        "correct",
        "",
    ),
    "asks for input": (
        f"{RIGHT}x = input('press')",
        "not yet",
        "nobody types while this is graded; take input() out of the cell (at: x = input('press'))",
    ),
    "patches NumPy's comparison": (
        f"{WRONG}np.isclose = lambda *_, **__: np.array(True)\n",
        "not yet",
        WRONG_NUMBER,
    ),
    "returns what equals everything": (
        "class Equal:\n    def __eq__(self, other): return True\n"
        "def my_tanh_backward(y, dy): return Equal()",
        "not yet",
        "is a Equal, expected an array of numbers",
    ),
    "ends with exit code 0": (f"{WRONG}import sys\nsys.exit(0)", "not yet", "raised SystemExit"),
    "ends at once": (f"{WRONG}import os\nos._exit(0)", "not yet", "ended Python (exit code 0)"),
    "ends when called": (
        "import os\ndef my_tanh_backward(y, dy): os._exit(0)",
        "not yet",
        "ended Python (exit code 0)",
    ),
    "never ends": ("while True: pass", "not yet", "stopped after"),
    "never ends when called": (
        "def my_tanh_backward(y, dy):\n    while True: pass",
        "not yet",
        "stopped after",
    ),
    "returns too much": (
        "def my_tanh_backward(y, dy): return np.zeros(10**8, np.int8)",
        "not yet",
        "what your code returned is too large",
    ),
    "recursion without end": (
        "def my_tanh_backward(y, dy): return my_tanh_backward(y, dy)",
        "not yet",
        "RecursionError",
    ),
    "cannot be read": (
        "def my_tanh_backward(y, dy:\n    return dy",
        "not yet",
        "Python cannot read your cell: '(' was never closed (at: def my_tanh_backward(y, dy:)",
    ),
    "raises": (
        "def my_tanh_backward(y, dy):\n    dx = dy @ y\n    return dx",
        "not yet",
        "(at: dx = dy @ y)",
    ),
    "lacks its return": (
        "def my_tanh_backward(y, dy):\n    dx = dy * (1 - y * y)",
        "not yet",
        "my_tanh_backward returns nothing; the result goes behind `return`",
    ),
    "is a stub": ("def my_tanh_backward(y, dy):\n    '''Later.'''", "not attempted", ""),
    "deletes its name": (f"{RIGHT}del my_tanh_backward", "not yet", "is not defined"),
}
POSIX = {
    "writes to every file": (
        f"{WRONG}import os\n"
        'forged = b\'{"do": "return", "result": "correct", "text": "", "points": 9}\\n\'\n'
        "for number in range(3, 100):\n"
        "    try: os.write(number, forged)\n"
        "    except OSError: pass\n",
        "not yet",
        "interfered",
    ),
    "crashes": (
        "import ctypes\ndef my_tanh_backward(y, dy): ctypes.string_at(0)",
        "not yet",
        "crashed Python (SIGSEGV)",
    ),
    "kills its parent, or tries to": (
        f"{WRONG}import os, signal\n"
        "try: os.kill(os.getppid(), signal.SIGKILL)\nexcept OSError: pass\n",
        "not yet",
        "",
    ),
    "hands its files to another process and never ends": (
        "import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(60)\nwhile True: pass",
        "not yet",
        "stopped after",
    ),
    "leaves processes behind": (
        f"{WRONG}import os, time\nfor _ in range(3):\n    if not os.fork():\n"
        "        os.setsid()\n        time.sleep(60)",
        "not yet",
        WRONG_NUMBER,
    ),
}
LINUX = {
    "takes all memory": (
        "def my_tanh_backward(y, dy):\n    held = []\n"
        "    while True: held.append(bytearray(50_000_000))",
        "not yet",
        "MemoryError",
    ),
}
if os.name == "posix":
    ANSWERS |= POSIX
if sys.platform == "linux":
    ANSWERS |= LINUX


WITHOUT_A_COPY = ["right", "ends at once", "never ends", "prints megabytes", "raises"]
WITHOUT_A_COPY += POSIX if os.name == "posix" else {}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    made = Judge(Limits(seconds=10))
    yield made
    made.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_gets_its_verdict(name: str, judge: Judge) -> None:
    code, result, text = ANSWERS[name]
    said = judge.grade(TANH, [code])
    assert (said.result, said.points) == (result, 1 if result == "correct" else 0), said
    assert text in said.text
    assert judge.grade(TANH, [RIGHT]).result == "correct", "the next answer suffers"


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_A_COPY)
def test_the_same_without_a_copy_of_a_prepared_process(name: str) -> None:
    """As on Windows and macOS: a new Python for each answer."""
    code, result, text = ANSWERS[name]
    said = Judge(Limits(seconds=5), fork=False).grade(TANH, [code])
    assert said.result == result
    assert text in said.text


@pytest.mark.skipif(not CAN_FORK, reason="needs a copy of a process")
def test_nothing_that_an_answer_starts_outlives_it(judge: Judge) -> None:
    judge.grade(TANH, [POSIX["leaves processes behind"][0]])
    judge.grade(TANH, [RIGHT])
    assert judge._prepared is not None
    parent = judge._prepared._process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    assert not children.split()


@pytest.mark.skipif(not CAN_FORK, reason="needs a copy of a process")
def test_a_prepared_process_that_is_lost_is_prepared_again() -> None:
    judge = Judge(Limits(seconds=10))
    assert judge.grade(TANH, [RIGHT]).result == "correct"
    assert judge._prepared is not None
    judge._prepared._process.kill()
    judge._prepared._process.wait()
    assert judge.grade(TANH, [RIGHT]).result == "correct"
    judge.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Landlock")
def test_files_of_the_class_are_out_of_reach(judge: Judge, tmp_path: Path) -> None:
    if "files" not in judge.grade(TANH, [RIGHT]).confined:
        pytest.skip("this kernel has no Landlock")
    solution = NOTEBOOKS / "solutions" / "01_autograd.py"
    said = judge.grade(TANH, [f"exec(open({str(solution)!r}).read())\n{RIGHT}"])
    assert "PermissionError" in said.text
    target = tmp_path / "forged"
    said = judge.grade(TANH, [f"open({str(target)!r}, 'w').write('correct')\n{RIGHT}"])
    assert "PermissionError" in said.text and not target.exists()
    said = judge.grade(TANH, [f"open('notes.txt', 'w').write('mine')\n{RIGHT}"])
    assert said.result == "correct", "its own folder is its own"


def test_secrets_of_the_environment_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_TOKEN", "secret")
    fresh = Judge(Limits(seconds=10))
    said = fresh.grade(TANH, [f"import os\nassert 'COURSE_TOKEN' not in os.environ\n{RIGHT}"])
    fresh.close()
    assert said.result == "correct", said.text


@pytest.mark.slow
@pytest.mark.parametrize("stem", [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))])
def test_the_solutions_of_the_shipped_notebooks_are_right_in_a_process_of_their_own(
    stem: str, judge: Judge
) -> None:
    notebook = answered(stem, solutions(stem))
    for asked in cells.questions(handed_out(stem), stem):
        own = cells.answer_to(asked, notebook, handed_out(stem))
        assert own == [solutions(stem)[asked.name]]
        said = judge.grade(asked, own)
        assert said.result == "correct", (asked.name, said.text)
        assert cells.answer_to(asked, handed_out(stem), handed_out(stem)) is None


def test_what_belongs_to_the_notebook_is_not_taken_from_the_answer() -> None:
    """The model in the check of notebook 00 is the judge's: an answer cannot bring its own."""
    asked = question("00_tour", "next_volume")
    assert asked.answer == "(model, my_history, next_volume)"
    assert asked.wanted == ("my_history",)


# --- cells ---------------------------------------------------------------------------------------


def in_new_cell(answer: str, at: int | None = None) -> Any:
    notebook = answered("01_autograd", {})
    notebook["cells"].insert(len(notebook["cells"]) if at is None else at, code_cell(answer))
    return notebook


def test_an_answer_is_found_in_whatever_cell_it_stands() -> None:
    fresh = handed_out("01_autograd")
    assert cells.answer_to(TANH, in_new_cell(RIGHT), fresh) == [RIGHT]
    check = next(i for i, c in enumerate(fresh["cells"]) if 'check("tanh' in cells.source(c))
    assert cells.answer_to(TANH, in_new_cell(RIGHT, check), fresh) == [RIGHT]
    both = answered("01_autograd", {"tanh_backward": WRONG})
    both["cells"].insert(check, code_cell(RIGHT))
    assert cells.answer_to(TANH, both, fresh) == [RIGHT], "the last one before the check counts"
    both["cells"].append(code_cell(WRONG.replace("dy\n", "y\n")))
    assert cells.answer_to(TANH, both, fresh) == [RIGHT]


CHECKED = 'check("tanh_backward", my_tanh_backward)'


def test_the_last_attempt_counts() -> None:
    """Also one that stands below the first check, or in one cell with its check."""
    fresh = handed_out("01_autograd")
    check = next(i for i, c in enumerate(fresh["cells"]) if 'check("tanh' in cells.source(c))
    again = answered("01_autograd", {"tanh_backward": WRONG})
    again["cells"][check + 1 : check + 1] = [code_cell(RIGHT), code_cell(CHECKED)]
    assert cells.answer_to(TANH, again, fresh) == [RIGHT]
    assert cells.attempts(TANH, again, fresh) == 2
    together = answered("01_autograd", {"tanh_backward": WRONG})
    together["cells"][check] = code_cell(f"{RIGHT}\n{CHECKED}")
    assert cells.answer_to(TANH, together, fresh) == [f"{RIGHT}\n{CHECKED}"]
    twice = answered("01_autograd", {"tanh_backward": RIGHT})
    twice["cells"] += twice["cells"]
    assert cells.answer_to(TANH, twice, fresh) == [RIGHT]
    assert cells.attempts(TANH, twice, fresh) == 1


@pytest.mark.parametrize(
    ("passed", "defined"),
    [
        ("slope", RIGHT.replace("my_tanh_backward", "slope")),
        ("Mine.slope", "class Mine:\n    slope = staticmethod(lambda y, dy: dy * (1 - y * y))"),
        ("lambda y, dy: dy * (1 - y * y)", ""),
    ],
)
def test_what_the_check_passes_counts_where_the_usual_name_is_not_defined(
    passed: str, defined: str, judge: Judge
) -> None:
    fresh = handed_out("01_autograd")
    notebook = answered("01_autograd", {"tanh_backward": defined} if defined else {})
    for cell in notebook["cells"]:
        if CHECKED in (text := cells.source(cell)):
            cell["source"] = text.replace(CHECKED, f'check("tanh_backward", {passed})')
    own = cells.answer_to(TANH, notebook, fresh)
    assert own is not None
    assert judge.grade(TANH, own).result == "correct"
    notebook["cells"].insert(0, code_cell(WRONG))  # the usual name counts where it is
    assert cells.answer_to(TANH, notebook, fresh) == [WRONG]


def test_a_check_of_what_is_not_defined_is_not_yet(judge: Judge) -> None:
    notebook = answered("01_autograd", {})
    notebook["cells"].append(code_cell('check("tanh_backward", nothing)'))
    own = cells.answer_to(TANH, notebook, handed_out("01_autograd"))
    assert own is not None
    assert "name 'nothing' is not defined" in judge.grade(TANH, own).text
    notebook["cells"][-1] = code_cell('check("tanh_backward")\ncheck(')
    assert cells.answer_to(TANH, notebook, handed_out("01_autograd")) is None


def test_a_fraction_is_a_number_on_the_wire() -> None:
    got = Loop().carry([Fraction(1, 4), {"a": Fraction(3)}])
    assert got == [0.25, {"a": 3.0}] and type(got[0]) is float


def test_a_cell_that_imports_everything_comes_along_where_a_name_is_not_known() -> None:
    fresh = handed_out("01_autograd")
    answer = "def my_tanh_backward(y, dy):\n    return multiply(dy, 1 - y * y)\n"
    notebook = answered("01_autograd", {"tanh_backward": answer})
    notebook["cells"].insert(0, code_cell("from numpy import *"))
    assert cells.answer_to(TANH, notebook, fresh) == ["from numpy import *", answer]
    known = answered("01_autograd", {"tanh_backward": RIGHT})
    known["cells"].insert(0, code_cell("from numpy import *"))
    assert cells.answer_to(TANH, known, fresh) == [RIGHT]


def test_a_notebook_of_many_cells_does_not_hold_up_the_class() -> None:
    many = [f"a{i} = 1" for i in range(6000)]
    answer = f"{RIGHT}({', '.join(line[:-4] for line in many)})"
    notebook = answered("01_autograd", {"tanh_backward": answer})
    notebook["cells"][:0] = map(code_cell, many)
    began = time.process_time()
    found = cells.answer_to(TANH, notebook, handed_out("01_autograd"))
    assert found is not None and len(found) == 6001
    assert time.process_time() - began < 3, "every name looked up in every cell takes far longer"


def test_helpers_and_earlier_answers_come_along() -> None:
    fresh = handed_out("01_autograd")
    helper = "import math\ndef slope(y):\n    return 1 - my_square(y)\n"
    square = "def my_square(y):\n    return y * y\n"
    answer = "def my_tanh_backward(y, dy):\n    return dy * slope(y)\n"
    notebook = answered("01_autograd", {"tanh_backward": answer})
    notebook["cells"].insert(0, code_cell(square))
    notebook["cells"].insert(1, code_cell(helper))
    notebook["cells"].insert(2, code_cell("while True: pass"))  # nothing that is needed
    assert cells.answer_to(TANH, notebook, fresh) == [square, helper, answer]


def between_answer_and_check(answer: str, *below: str, above: tuple[str, ...] = ()) -> Any:
    notebook = answered("01_autograd", {"tanh_backward": answer})
    cells_of = [cells.source(cell) for cell in notebook["cells"]]
    at = cells_of.index(answer)
    notebook["cells"][at : at + 1] = [code_cell(code) for code in (*above, answer, *below)]
    return notebook


def test_what_holds_at_the_check_counts() -> None:
    """As in the student's own notebook, where the cells ran one after the other."""
    fresh = handed_out("01_autograd")
    bad, good = ("def slope(y):\n    return 1 - y * y" + end for end in (" * 2", ""))
    answer = "def my_tanh_backward(y, dy):\n    return dy * slope(y)"
    mended = between_answer_and_check(answer, good, above=(bad,))
    assert cells.answer_to(TANH, mended, fresh) == [bad, answer, good]
    later = between_answer_and_check(answer, above=(good,))
    later["cells"].append(code_cell(bad))  # for something else, below the check
    assert cells.answer_to(TANH, later, fresh) == [good, answer]


@pytest.mark.parametrize(
    "change",
    ["ones[0] = 1", "ones += [1]", "ones.append(1)", "if True:\n    ones.insert(0, 1)",
     "np.copyto(ones, 1)", "ones.a.b[2] = 1"],
)  # fmt: skip
def test_what_is_filled_in_a_later_cell_is_filled(change: str) -> None:
    fresh = handed_out("01_autograd")
    made = "ones = []"
    answer = "def my_tanh_backward(y, dy):\n    return dy * (ones[0] - y * y)"
    for notebook in (
        between_answer_and_check(answer, change, above=(made,)),
        between_answer_and_check(answer, above=(made, change)),
    ):
        found = cells.answer_to(TANH, notebook, fresh)
        assert found is not None and sorted(found) == sorted([made, answer, change])
    idle = between_answer_and_check(answer, "print(ones[0], sum(ones))", above=(made, change))
    assert cells.answer_to(TANH, idle, fresh) == [made, change, answer]


def test_cells_are_read_as_python_reads_them() -> None:
    assert cells.binds("for i in x: pass\nwith a as b: c = 1\nimport d.e, f as g") == set("ibcdg")
    assert cells.binds("def f(:\n    x = 1\ny = 2") == {"f", "y"}
    assert cells.uses("def f(a, b=c):\n    d = a\n    return [e for e in d + g]") == {"c", "g"}
    assert cells.plain("x = 5 % 3\n") == "x = 5 % 3\n"
    assert cells.plain("%%bash\nx=1\nfor i in *; do") == "pass", "no Python"
    assert cells.binds("from a import b\nfrom c import *") == {"b", "*"}
    assert cells.needed_for({"c"}, ["a = 1", "b = 2", "c = a", "a = 3", "d = c"]) == [0, 2]
    assert cells.definitions("x = f()\ndef g(): return x\nimport os") == [
        "def g():\n    return x",
        "import os",
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b'{"cells": 3}', b'{"cells": [{"cell_type": "code"}]}',
     b'{"cells": [{"cell_type": "code", "source": 3}]}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_notebook_is_said_in_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match=r"x.ipynb is no Jupyter notebook \(version 4\)"):
        cells.parse_notebook(content, "x.ipynb")


def test_a_notebook_of_an_earlier_version_is_named() -> None:
    content = json.dumps({"nbformat": 3, "worksheets": [{"cells": []}]}).encode()
    with pytest.raises(
        DataError, match="x.ipynb is a notebook of version 3; open it in JupyterLab"
    ):
        cells.parse_notebook(content, "x.ipynb")


def test_a_notebook_in_utf_16_is_read() -> None:
    notebook = answered("01_autograd", {"tanh_backward": RIGHT + "# 박"})
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        content = json.dumps(notebook, ensure_ascii=False).encode(encoding)
        assert cells.parse_notebook(content, "x.ipynb") == notebook


def test_metadata_of_any_kind_is_no_error() -> None:
    notebook = answered("01_autograd", {"tanh_backward": RIGHT})
    kinds: list[Any] = [None, [], "exercise", {"tags": None}, {"tags": "exercise"}, {"tags": [3]}]
    for i, cell in enumerate(notebook["cells"]):
        cell["metadata"] = kinds[i % len(kinds)]
    del notebook["cells"][0]["metadata"]
    content = json.dumps(notebook).encode()
    found = cells.parse_notebook(content, "x.ipynb")
    assert cells.answer_to(TANH, found, handed_out("01_autograd")) == [RIGHT]


@pytest.mark.parametrize("deep", ["-" * 100_000 + "1", "x" + ".a" * 100_000, "lambda:" * 50_000])
def test_a_cell_that_pythons_parser_gives_up_on_is_no_error(deep: str) -> None:
    code = f"my_tanh_backward = {deep}"
    notebook = in_new_cell(code, 0)
    notebook["cells"].append(code_cell(RIGHT))
    assert cells.plain(code) == code
    assert cells.binds(code) == {"my_tanh_backward"}
    assert not cells.uses(code) and not cells.definitions(code)
    assert cells.answer_to(TANH, notebook, handed_out("01_autograd")) == [code]


def test_a_notebook_of_endless_code_is_not_parsed() -> None:
    notebook = in_new_cell("x = 1\n" * 300_000)
    with pytest.raises(DataError, match="x.ipynb has 1,8.* characters of code; 1,000,000 are"):
        cells.parse_notebook(json.dumps(notebook).encode(), "x.ipynb")


# --- the wire ------------------------------------------------------------------------------------


class Loop:
    """A wire whose two ends are in this process: what is asked is answered at once."""

    def __init__(self, trusting: bool = False) -> None:
        self.there = io.BytesIO()
        self.one = Peer(io.BytesIO(), self.there, trusting)

    def carry(self, value: Any) -> Any:
        self.there.seek(0)
        self.there.truncate()
        self.one.send({"do": "x", "value": value})
        return Peer(io.BytesIO(self.there.getvalue()), io.BytesIO(), trusting=True).receive()[
            "value"
        ]


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 10**30, 2.5, "text", [1, [2]], (1, (2.0, "x")), {"a": (1,)}, ..., 1j,
     np.arange(6).reshape(2, 3), np.zeros((0, 3), np.float32), np.array(2.0), np.float32(1.5),
     np.array(["a", "bc"]), np.array([True])],
)  # fmt: skip
def test_plain_values_arrive_as_they_are(value: Any) -> None:
    got = Loop().carry(value)
    assert type(got) is type(value)
    if not isinstance(value, np.ndarray | np.generic):
        assert got == value
    else:
        np.testing.assert_array_equal(got, value)
        assert got.dtype == value.dtype and got.shape == value.shape


def test_other_values_arrive_as_what_stands_for_them() -> None:
    loop = Loop()
    model = SASRec(5, SASRecConfig(n=3, d=2), seed=3)
    got = loop.carry(model)
    assert got.config == model.config
    for name, weights in model.state().items():
        np.testing.assert_array_equal(got.state()[name], weights)
    rng = np.random.default_rng(5)
    rng.random(3)
    assert loop.carry(rng).random() == rng.random()
    assert type(loop.carry(object())).__name__ == "object"
    assert loop.carry(test_cells_are_read_as_python_reads_them).__name__.startswith("test_cells")
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(Exception, match="deep"):
        loop.carry(cycle)
    with pytest.raises(Exception, match="65 MB, more than 64 MB"):
        loop.carry(np.zeros(65_000_000, np.int8))


@pytest.mark.parametrize(
    "text",
    [b"{", b"[]", b'{"do": 3}', b'{"do": "x", "v": {"array": ["O", [1], 0]}}',
     b'{"do": "x", "v": {"array": ["<f8", [4], 0]}}',
     b'{"do": "x", "v": {"array": ["<f8", [-1], 0]}}',
     b'{"do": "x", "v": {"array": ["<f8", [99999999999], 0]}}', b"[" * 100_000,
     b'{"do": "x", "v": {"settings": {"d": "x"}}}'],
)  # fmt: skip
def test_what_is_no_message_is_not_read(text: bytes) -> None:
    import struct

    peer = Peer(io.BytesIO(struct.pack("<II", len(text), 8) + text + bytes(8)), io.BytesIO(), False)
    with pytest.raises(Unreadable):
        peer.receive()
    with pytest.raises(Closed):
        peer.receive()
    with pytest.raises(Unreadable):
        Peer(io.BytesIO(struct.pack("<II", 1, MOST + 1)), io.BytesIO(), False).receive()


def test_the_judge_takes_no_model_of_another_size() -> None:
    there = io.BytesIO()
    Peer(io.BytesIO(), there, False).send({"do": "x", "value": SASRec(5, SASRecConfig(n=3, d=2))})
    got = Peer(io.BytesIO(there.getvalue()), io.BytesIO(), trusting=False).receive()["value"]
    assert type(got).__name__ == "ModelOfOtherSettings"


def test_calls_go_both_ways_and_change_what_was_given(judge: Judge) -> None:
    """As in one process: an argument that is changed, an error with its line, a function given."""
    asked = question("06_stacking", "sublayer")
    said = judge.grade(asked, [solutions("06_stacking")["sublayer"]])
    assert said.result == "correct", said.text
    said = judge.grade(TANH, ["def my_tanh_backward(y, dy):\n    dy *= 1 - y * y\n    return dy\n"])
    assert "your function changes dy" in said.text
    said = judge.grade(asked, ["def my_sublayer(x, norm, g, drop):\n    return norm(x, 3)\n"])
    assert "TypeError" in said.text
    assert isinstance(Raised("KeyError", "3", "a story"), Exception)


# --- hidden cases --------------------------------------------------------------------------------

HIDDEN = """
import numpy as np
from minisasrec.teach.exercises import equal
from minisasrec.teach.grading.hidden import hidden


@hidden("tanh_backward", points=2)
def _(answer):
    equal(answer(np.array([0.5]), np.array([3.0])), [2.25], "dx for y = 0.5, dy = 3")


@hidden("tanh_backward", points=0.5, told=True)
def _(answer):
    equal(answer(np.zeros((0, 3)), np.zeros((0, 3))), np.zeros((0, 3)), "dx of nothing")
"""


def test_hidden_cases_add_their_points(tmp_path: Path) -> None:
    file = tmp_path / "hidden.py"
    file.write_text(HIDDEN, encoding="utf-8")
    judge = Judge(Limits(seconds=10), file)
    try:
        assert judge.grade(TANH, [RIGHT]).points == 3.5
        fitted = RIGHT.replace("y * y)", "y * y) + (y.size == 1)")
        said = judge.grade(TANH, [fitted])
        assert (said.result, said.points) == ("not yet", 1.5), said
        assert "a hidden case fails" in said.text
        assert "0.5, dy" not in said.text, "what is hidden is not told"
        shape = RIGHT.replace("dy *", "np.zeros(2) if y.size == 0 else dy *")
        said = judge.grade(TANH, [shape])
        assert (said.points, "hidden case: dx of nothing has shape (2,)" in said.text) == (3, True)
    finally:
        judge.close()


def test_a_file_of_hidden_cases_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "hidden.py"
    file.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(ConfigError, match="hidden.py with hidden cases does not run: Zero"):
        read_hidden(file)
    file.write_text("raise SystemExit(3)", encoding="utf-8")
    with pytest.raises(
        ConfigError, match="hidden.py with hidden cases does not run: SystemExit: 3"
    ):
        read_hidden(file)
    for points in ("-1", "float('nan')", "'2'"):
        file.write_text(HIDDEN.replace("points=2", f"points={points}"), encoding="utf-8")
        with pytest.raises(ConfigError, match="a hidden case of tanh_backward is worth .* points"):
            read_hidden(file)
    file.write_text(HIDDEN.replace("tanh_backward", "tan_backward"), encoding="utf-8")
    with pytest.raises(ConfigError, match="no exercise 'tan_backward'"):
        read_hidden(file)


# --- rows and files ------------------------------------------------------------------------------


def row(student: str, exercise: str = "tanh_backward", **changes: Any) -> Row:
    values = {
        "student": student, "notebook": "01_autograd", "exercise": exercise, "result": "correct",
        "points": 1.0, "of": 1.0, "seconds": 0.1, "text": "well", "file": "a.ipynb", "key": "k",
    }  # fmt: skip
    return Row(**(values | changes))


def test_rows_are_there_as_they_come_and_a_second_run_keeps_them(tmp_path: Path) -> None:
    first = Results(tmp_path, ["ann", "=bob"], ["tanh_backward", "div_backward"])
    first.add(row("ann"))
    first.add(row("=bob", result="not yet", points=0.0, text="=cmd()"))
    with open(tmp_path / "grades.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["student", "points", "of", "tanh_backward", "div_backward"],
        ["ann", "1", "1", "1", ""],
        ["'=bob", "0", "1", "0", ""],
    ]
    first.close()  # as if the machine had stopped here
    with open(tmp_path / "verdicts.csv", "a", encoding="utf-8") as file:
        file.write("ann,01_autograd,div_ba")
    second = Results(tmp_path, ["ann", "=bob"], ["tanh_backward", "div_backward"])
    task = Task("=bob", "a.ipynb", TANH, ("x",), 1.0, "k")
    kept = second.kept(task)
    assert kept is not None and kept.result == "not yet"
    assert second.kept(Task("ann", "a.ipynb", TANH, ("x",), 1.0, "other key")) is None
    second.close()


def test_grades_are_as_far_as_the_verdicts_wherever_ctrl_c_strikes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path, ["ann"], ["tanh_backward"])

    def strikes(_: Results) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Results, "write_grades", strikes)
        results.add(row("ann"))
    results.close()
    assert "ann,1,1,1" in (tmp_path / "grades.csv").read_text("utf-8")


def test_a_row_without_a_verdict_is_graded_again(tmp_path: Path) -> None:
    first = Results(tmp_path, ["ann"], ["tanh_backward"])
    first.add(row("ann", result="not graded", points=0.0))
    first.close()
    assert "ann,0,1,\r\n" in (tmp_path / "grades.csv").read_bytes().decode(), "blank, and no 0"
    second = Results(tmp_path, ["ann"], ["tanh_backward"])
    assert second.kept(Task("ann", "a.ipynb", TANH, ("x",), 1.0, "k")) is None
    second.close()


def test_a_feedback_page_shows_what_was_said_and_runs_nothing() -> None:
    page = feedback("ann <b>", [row("ann", text="<script>alert(1)</script>\x1b[31m")], ["a note"])
    assert "<script>" not in page and "&lt;script&gt;" in page and "\x1b" not in page
    assert "ann &lt;b&gt;: 1 of 1 points" in page and "a note" in page


def test_a_judge_that_is_lost_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from minisasrec.teach.grading import grade

    started = []
    popen = grade.subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        started.append(command)
        if len(started) == 1:
            command = [sys.executable, "-c", "pass"]
        return popen(command, **options)

    monkeypatch.setattr(grade.subprocess, "Popen", start)
    tasks = [Task("ann", "a.ipynb", TANH, (RIGHT,), 1.0, "k")]
    ((found, _),) = judged(tasks, Limits(seconds=20), None, jobs=1)
    assert (found.result, len(started)) == ("correct", 2)


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("fork", [True, False])
def test_a_judge_that_is_stopped_in_an_answer_ends_what_it_has_started(
    fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minisasrec.teach.grading import grade

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the answers' folders
    judges = []
    popen = grade.subprocess.Popen
    monkeypatch.setattr(
        grade.subprocess, "Popen", lambda *a, **k: judges.append(popen(*a, **k)) or judges[-1]
    )
    answers = (RIGHT, "while True: pass")
    tasks = [Task("ann", "a.ipynb", TANH, (answer,), 1.0, "k") for answer in answers]
    rows = judged(tasks, Limits(seconds=300), None, 1, fork)
    assert next(rows)[0].result == "correct"
    for _ in range(600):
        if list(tmp_path.glob("answer-*")):
            break
        time.sleep(0.1)
    rows.close()  # type: ignore[attr-defined]  # as Ctrl-C does
    assert [judge.returncode for judge in judges] == [0], "it was not killed"
    assert not list(tmp_path.glob("answer-*"))


def test_files_of_every_name_and_kind(tmp_path: Path) -> None:
    """What browsers and systems make of a notebook counts; what may never end is not opened."""
    content = json.dumps(answered("01_autograd", {"tanh_backward": RIGHT}))

    def put(student: str, name: str, text: str = content) -> Path:
        path = tmp_path / student / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    names = ["01_autograd.ipynb.txt", "01_AUTOGRAD.IPYNB", "01_autograd.ipynb (1)", "박.ipynb"]
    for i, name in enumerate(names):
        put(f"as {i}", name)
    put("mac", "01_autograd.ipynb")
    put("mac", "__MACOSX/._01_autograd.ipynb", "\0\5\26\7")
    put("zipped", "homework.zip", "PK")
    put("large", "01_autograd.ipynb", "")
    os.truncate(tmp_path / "large" / "01_autograd.ipynb", 200_000_000)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "folder" / "01_autograd.ipynb").mkdir(parents=True)
    if os.name == "posix":
        put("special", "homework.txt", "")
        (tmp_path / "special" / "a.ipynb").symlink_to(tmp_path / "mac" / "01_autograd.ipynb")
        (tmp_path / "special" / "b.ipynb").symlink_to("/dev/zero")
        os.mkfifo(tmp_path / "special" / "c.ipynb")
    found = Class(tmp_path, NOTEBOOKS)
    handed_in = {student for student, stem in found.files if stem == "01_autograd"}
    assert handed_in == {"as 0", "as 1", "as 2", "as 3", "mac"}
    problems = {student: said for student, said in found.problems.items() if said}
    if os.name == "posix":
        assert problems.pop("special") == [
            f"{name}.ipynb is a link or a device, and no file" for name in "abc"
        ]
    assert problems == {
        "zipped": ["no notebook (.ipynb) was handed in, but homework.zip"],
        "large": ["01_autograd.ipynb has 200 MB; clear its outputs and hand it in again"],
    }


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Files beside the folders of students, archives beside a notebook, several attempts."""
    notebook = answered("01_autograd", {"tanh_backward": WRONG})
    notebook["cells"].append(code_cell(RIGHT))
    hand_in(tmp_path / "ann", "01_autograd.ipynb", notebook)
    (tmp_path / "ann" / "rest.ZIP").write_bytes(b"PK")
    hand_in(tmp_path, "bob_01_autograd.ipynb", notebook)
    (tmp_path / "carl.zip").write_bytes(b"PK")
    (tmp_path / "list.csv").write_text("ann", "utf-8")
    for name in (".git", "__MACOSX", "grades", "handed out"):
        (tmp_path / name).mkdir()
    shutil.copy(NOTEBOOKS / "01_autograd.ipynb", tmp_path / "handed out")
    found = Class(tmp_path, tmp_path / "handed out", tmp_path / "grades")
    assert found.students == ["ann"]
    assert found.loose == ["bob_01_autograd.ipynb", "carl.zip"]
    assert found.problems["ann"] == [
        "rest.ZIP was not opened; ask for the .ipynb files in it",
        "01_autograd.ipynb has 2 cells that define my_tanh_backward; the last one above the last "
        "check counts",
    ]


def test_students_whose_names_differ_in_an_apostrophe_have_rows_of_their_own(
    tmp_path: Path,
) -> None:
    students = ["=ann", "'=ann", "''=ann", "'t Hooft"]
    for again in (False, True):
        results = Results(tmp_path, students, ["tanh_backward"])
        for student in students:
            kept = results.kept(Task(student, "a.ipynb", TANH, ("x",), 1.0, "k"))
            assert (kept is not None) == again
            results.add(kept or row(student), new=not again)
        results.finish({})
    with open(tmp_path / "grades.csv", encoding="utf-8", newline="") as file:
        names = [line["student"] for line in csv.DictReader(file)]
    assert names == ["'=ann", "''=ann", "'''=ann", "'t Hooft"]


def test_a_student_with_a_long_name_gets_a_page() -> None:
    long = "김" * 80
    assert page_name("김 민수") == "김 민수.html"
    names = {page_name(long), page_name(long + "이")}
    assert len(names) == 2
    assert all(len(os.fsencode(name)) < 150 for name in names)


def test_folders_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no notebooks in"):
        Class(tmp_path, tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        Class(tmp_path / "none", NOTEBOOKS)
    with pytest.raises(DataError, match="no folder in"):
        Class(tmp_path, NOTEBOOKS)
