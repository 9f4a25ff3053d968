"""A student's own file: what is kept, and that the model trains with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classroom import solutions

from minisasrec import SASRec, SASRecConfig, fit, load_dataset, ops
from minisasrec.autograd import engine
from minisasrec.backends import backend, use_backend
from minisasrec.data.split import leave_one_out
from minisasrec.errors import ConfigError
from minisasrec.learn.config import TrainConfig
from minisasrec.nn import optim
from minisasrec.teach import keep, own_ops
from minisasrec.teach.exercises import find
from minisasrec.teach.own_ops import PARTS, read_own

IMPORTS = """
import numpy as np
from minisasrec.ops.elementwise import stable_sigmoid
"""


def notebook(folder: Path, code: str) -> Any:
    """A module with this code, as a notebook's cells are one."""
    file = folder / f"cells_{abs(hash(code))}.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def solution(folder: Path, name: str) -> Callable[..., Any]:
    code = solutions(find(name).notebook)[name]
    function = code.partition("def ")[2].partition("(")[0]
    return getattr(notebook(folder, IMPORTS + "\n\n" + code), function)  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_right_answer_is_kept_and_can_be_used_without_the_notebook(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
import numpy
from minisasrec.ops.elementwise import stable_sigmoid as unused
ONE = 1
def rest(rate): return share(ONE, rate)
def share(one, rate): return one - rate
def my_dropout(x, keep, rate):
    factor = numpy.where(keep, 1 / rest(rate), 0.0)
    return x * factor, lambda dy: dy * factor
"""
    keep("inverted_dropout", notebook(folder, code).my_dropout)
    assert capsys.readouterr().out == "kept in my_ops.py: inverted_dropout\n"
    first = (folder / "my_ops.py").read_text("utf-8")
    assert "unused" not in first
    keep("inverted_dropout", notebook(folder, code).my_dropout)
    assert (folder / "my_ops.py").read_text("utf-8") == first  # twice is as once
    x, mask = np.arange(4.0), np.array([True, False, True, True])
    y, back = read_own()["inverted_dropout"](x, mask, 0.5)
    np.testing.assert_array_equal(y, [0, 0, 4, 6])
    np.testing.assert_array_equal(back(x), y)


def test_two_parts_stand_side_by_side_and_a_new_answer_replaces_the_old(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("third_term", "inverted_dropout", "walk_back"):
        keep(name, solution(folder, name))
    assert capsys.readouterr().out.endswith("third_term, inverted_dropout, walk_back\n")
    code = IMPORTS + "\n\ndef mine(xhat, rstd, dxhat):\n    m = np.mean(xhat * dxhat, -1)\n"
    code += "    return -xhat * rstd * m[..., None]  # another way\n"
    keep("third_term", notebook(folder, code).mine)
    text = (folder / "my_ops.py").read_text("utf-8")
    assert text.count("# exercise: third_term") == 1
    assert "another way" in text
    assert list(read_own()) == ["third_term", "inverted_dropout", "walk_back"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(x, keep, rate): ...", "once it is right"),
        ("def f(x, keep, rate): return x, lambda dy: dy", "once it is right"),
        (
            "import numpy as np\nones = np.ones(1)\ndef f(x, keep, rate):\n"
            "    m = ones * keep / (1 - rate)\n    return x * m, lambda dy: dy * m",
            "your function uses ones, which is a ndarray of the notebook; make it inside",
        ),
        ("f = eval('lambda x, k, r: (x * k / (1 - r), lambda dy: dy * k / (1 - r))')", "once more"),
    ],
)
def test_what_is_not_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    keep("inverted_dropout", notebook(folder, code).f)
    assert says in capsys.readouterr().out
    assert not (folder / "my_ops.py").exists()


def test_an_exercise_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no exercise 'dropuot'"):
        keep("dropuot", len)


def losses() -> list[float]:
    split = leave_one_out(load_dataset("bookshop"))
    settings = SASRecConfig(n=8, d=8, dropout=0.2, blocks=1)
    config = TrainConfig(sasrec=settings, epochs=2, lr=5e-3, max_users=300)
    model = SASRec(split.dataset.num_items, settings)
    return [epoch["loss"] for epoch in fit(model, split, config, progress=False).epochs]


def places() -> list[Any]:
    taken = (ops.embedding, ops.packed_causal_attention, ops.layer_norm, ops.dropout)
    found = [op.definition for op in (*taken, ops.sampled_bce)]
    return [*found, engine.topological_order, optim.Adam._update]


@pytest.mark.slow
def test_the_model_trains_with_what_was_kept_and_to_the_same_losses(folder: Path) -> None:
    with use_backend("numpy"):
        by_the_book = losses()
    for name in PARTS:
        keep(name, solution(folder, name))
    before = places(), backend()
    with own_ops() as whose:
        assert [row[2] for row in whose.rows] == ["yours"] * len(PARTS)
        assert all(a is not b for a, b in zip(places(), before[0], strict=True))
        mine = losses()
    assert (places(), backend()) == before
    np.testing.assert_allclose(mine, by_the_book, rtol=1e-5)
    assert mine != by_the_book  # rounding differs where the arithmetic is another


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_what_computes(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that fails from the second grading on stops the training."""
    keep(name, solution(folder, name))
    count = dict.fromkeys(PARTS, 0)

    def counted(own: dict[str, Callable[..., Any]]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            count[name] += 1
            return own[name](*args, **kwargs)

        return PART({**own, name: call})

    does, PART = PARTS[name]
    monkeypatch.setitem(PARTS, name, (does, counted))
    split = leave_one_out(load_dataset("bookshop"))
    settings = SASRecConfig(n=5, d=4, dropout=0.2, blocks=1)
    config = TrainConfig(sasrec=settings, epochs=1, max_users=20)
    with own_ops() as whose:
        assert sum(row[2] == "yours" for row in whose.rows) == 1
        fit(SASRec(split.dataset.num_items, settings), split, config, progress=False)
    assert count[name] > 0


def test_without_a_file_nothing_changes(folder: Path) -> None:
    before = places()
    with own_ops() as whose:
        assert places() == before
        assert backend() == "numpy"
    assert {row[2] for row in whose.rows} == {"the package's; not yet in my_ops.py"}


def test_a_part_that_was_spoilt_is_left_out_and_the_table_says_why(folder: Path) -> None:
    keep("inverted_dropout", solution(folder, "inverted_dropout"))
    keep("third_term", solution(folder, "third_term"))
    file = folder / "my_ops.py"
    text = file.read_text("utf-8")
    file.write_text(text.replace("keep / (1 - rate)", "keep").replace("-rstd", "-rstdd"), "utf-8")
    before = places()
    with own_ops() as whose:
        assert places() == before
    said = {row[1]: row[2] for row in whose.rows}
    assert said["inverted_dropout (06)"].endswith("what stays must grow")
    assert "NameError" in said["third_term (02)"]


def test_a_file_that_cannot_be_read_by_python(folder: Path) -> None:
    (folder / "my_ops.py").write_text("# exercise: third_term\ndef f(:\n", "utf-8")
    with own_ops() as whose:
        pass
    assert "Python cannot read" in dict((row[1], row[2]) for row in whose.rows)["third_term (02)"]
