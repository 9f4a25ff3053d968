"""Every benchmark runs, writes its JSON and plot, and its tables have a place in the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
PLACES = re.findall(r"<!-- table: ([\w-]+) -->\n(?:[^<].*\n)*<!-- end -->", PAGE)
TINY = {  # sizes at which nothing is worth measuring, and the tables that come out
    "compare": (
        "--scale .004 --steps 1 --repeats 1 --rounds 1 --skip-numpy --threads 1",
        ["compare"],  # with more threads than one, "compare-one-thread", too
    ),
    "ops": (
        "--scale .002 --users 2 --steps 1 --largest 32 --budget .001 --threads 2",
        ["limits", "ops-ml-1m", "ops-amazon-games", "dispatch", "matmul"],
    ),
    "scaling": (
        "--lengths 4 8 --widths 4 8 --items 100 200 --users 3 --ranked 4 --budget .001 --threads 1",
        ["scaling", "catalogue"],
    ),
    "cores": ("--scale .002 --users 2 --steps 1 --threads 2", ["cores"]),
    "fused": ("--scale .002 --steps 1 --threads 2", ["fused"]),
    "large": ("--scale .002 --steps 1 --items 2000 --users 10 --threads 1", ["large"]),
    "recommend": ("--users 30 60 --items 50 --repeats 1 --threads 1", ["recommend"]),
    "reading": ("--rows 500 --threads 1", ["reading"]),
    "startup": ("--repeats 1 --warm-only --threads 1", ["startup"]),
    "time_to": (
        "--dataset bookshop --steps 1 --goal .01 --epochs 1 --threads 1",
        ["time-to"],
    ),
    "ladder": ("--names softmax --budget .001 --threads 1", ["ladder"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    options, expected = TINY[name]
    command = [sys.executable, "-m", f"benchmarks.{name}", *options.split(), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / f"{name}.json").read_text())
    assert list(report["tables"]) == expected
    assert set(expected) <= set(PLACES)
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
    for mark, text in report["tables"].items():
        assert f"<!-- table: {mark} -->\n{text}\n" in done.stdout
        widths = {line.count("|") for line in text.splitlines()}
        assert len(widths) == 1 and len(text.splitlines()) > 2
    if name == "ops":  # one thread and two: the bits of every op agree
        pairs = report["facts"]["steps"].values()
        for one, two in pairs:
            ops = [label for label in one["rows"] if "ward" in label]
            assert len(ops) >= 12
            for label in ops:
                assert one["rows"][label]["digest"] == two["rows"][label]["digest"], label


def test_tables_go_to_their_places_and_nowhere_else() -> None:
    from benchmarks.machine import fill, table

    page = "a\n<!-- table: x -->\n<!-- end -->\nb\n<!-- table: y -->\nold\n<!-- end -->\n"
    text = table(["what", "s"], [["this", 0.01234], ["that", 1234.5], ["those", 3]])
    assert text.splitlines()[2:] == ["| this | 0.0123 |", "| that | 1,234 |", "| those | 3 |"]
    filled = fill(page, {"x": text})
    assert filled == page.replace("x -->\n", f"x -->\n{text}\n")
    assert fill(filled, {"x": text}) == filled
    assert fill(filled, {"x": "new"}) == page.replace("x -->\n", "x -->\nnew\n")


def test_a_mark_without_an_end_loses_nothing() -> None:
    from benchmarks.machine import fill

    page = "<!-- table: a -->\nprose\n<!-- table: b.c -->\nold\n<!-- end -->\n"
    assert fill(page, {"b.c": "new"}) == page.replace("old", "new")
    with pytest.raises(SystemExit, match="after <!-- table: a --> there is no <!-- end --> of its"):
        fill(page, {"a": "new"})


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_training_that_fails_is_no_time(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that fails after some epochs: it is not "not reached in so many seconds"."""
    from benchmarks import time_to

    def validations(process: Any, history: Path) -> Iterator[float]:
        process.wait()
        yield from [0.1] * epochs

    monkeypatch.setattr(time_to, "validations", validations)
    with pytest.raises(SystemExit, match="error: a training ended with 2: no data set 'none'"):
        time_to.reach(["--dataset", "none"], goal=0.5, threads=1)


def test_a_line_that_the_board_has_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from benchmarks import time_to

    with pytest.raises(SystemExit):
        time_to.main(["--steps", "1", "9", "--out", str(tmp_path)])
    assert f"--steps has 9; the board has {len(time_to.STEPS)} lines" in capsys.readouterr().err


def test_the_tables_of_reproduce_go_to_their_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.machine import copy_reproduced

    page, other = tmp_path / "results.md", tmp_path / "tuning.md"
    page.write_text(
        "<!-- table: table3-a -->\nold\n<!-- end -->\n![b](plots/table3-a.png)\n"
        "<!-- table: grid-b -->\nkept\n<!-- end -->\n"
    )
    other.write_text("<!-- table: tuning-d -->\nold\n<!-- end -->\n")
    pages = page, other
    (tmp_path / "plots").mkdir()
    folders = [tmp_path / name for name in ("table3-a", "table4-c", "tuning-d", "grid-b")]
    for folder in folders[:3]:
        folder.mkdir()
        (folder / "table.md").write_text("# A title\n\n| x |\n|---|\n\n- a note\n")
        (folder / "plot.png").write_bytes(b"picture")
    copy_reproduced([*folders, tmp_path / "gone"], pages)
    said = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(str(tmp_path))[1:] for line in said] == [
        "table3-a: copied",
        "table4-c: passed over, no <!-- table: table4-c --> in results.md and tuning.md",
        "tuning-d: copied",
        "grid-b: passed over, it has no table.md",
        "gone: passed over, it has no table.md",
    ]
    assert page.read_text() == (
        "<!-- table: table3-a -->\n| x |\n|---|\n\n- a note\n<!-- end -->\n"
        "![b](plots/table3-a.png)\n<!-- table: grid-b -->\nkept\n<!-- end -->\n"
    )
    assert other.read_text().startswith("<!-- table: tuning-d -->\n| x |\n")
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["table3-a.png"]
    (folders[0] / "plot.png").unlink()
    copy_reproduced(folders, pages)
    assert "table3-a: table copied, but not plot.png: No such file" in capsys.readouterr().out


def test_a_clean_environment() -> None:
    from benchmarks.machine import environment

    env = environment(3)
    assert env["NUMBA_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "3"
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(env)


def test_the_fastest_peer_stands_out() -> None:
    """It, and not the one that makes us look best, has the targets beside it."""
    from benchmarks.compare import fastest, lines

    def row(median: float, peak: float) -> dict[str, object]:
        return {"median": median, "min": median, "max": median, "peak_mib": peak, "drawing": [0.1]}

    names = {"ours": row(1, 100), "tuned": row(9, 400), "packed": row(3, 250), "port": row(12, 500)}
    names["padded-numpy"] = row(0.5, 90)  # ours, and no peer
    assert fastest(names) == "packed"
    for threads, goal in ((2, "4"), (1, "3.5")):
        table = lines({("ml-1m", "train"): names}, threads)
        assert [line[-2] for line in table] == [
            "", "9.0 times", f"**3.0 times** (target {goal})", "12.0 times", "0.5 times"
        ]  # fmt: skip
        assert table[2][-1] == "0.40 (target 0.5)"
        assert "the fastest peer" in table[2][1]
