"""Grade a class: `python -m minisasrec.teach.grade submissions --notebooks notebooks`.

`submissions` holds a folder per student with the notebooks that he or she handed in, under the
names they were handed out with. The answers are taken out of them, put into fresh copies of the
notebooks, and those are run, so that a changed check or a stale output does not count. One line
per student and exercise is printed and written to a CSV file.

The students' code runs on this machine with your rights: use a container or an account of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minisasrec.commands.cli import run_command
from minisasrec.errors import ConfigError, DataError
from minisasrec.terminal import show

CHECK = re.compile(r'^check\("(\w+)"', re.MULTILINE)
Notebook = dict[str, Any]


def read_notebook(path: Path) -> Notebook:
    """A notebook as JSON, or a `DataError` in one line."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(notebook["cells"], list):
            return notebook
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path} is no Jupyter notebook (version 4); ask for the .ipynb file itself")


def source(cell: dict[str, Any]) -> str:
    """The text of a cell, which a file holds as one string or as a list of lines."""
    return "".join(cell["source"])


def answer_cells(notebook: Notebook) -> dict[str, dict[str, Any]]:
    """Exercise name -> its answer cell: the one tagged "exercise" before that exercise's check."""
    found: dict[str, dict[str, Any]] = {}
    waiting: dict[str, Any] | None = None
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        if "exercise" in cell["metadata"].get("tags", []):
            waiting = cell
        names = CHECK.findall(source(cell))
        if names and waiting is not None:
            found[names[0]], waiting = waiting, None
    return found


def with_answers(fresh: Notebook, handed_in: Notebook) -> Notebook:
    """A copy of the `fresh` notebook with the answers of the one handed in."""
    copy: Notebook = json.loads(json.dumps(fresh))
    answers = answer_cells(handed_in)
    for name, cell in answer_cells(copy).items():
        if name in answers:
            cell["source"] = source(answers[name])
    return copy


def run_checks(notebook: Notebook, timeout: int) -> dict[str, str]:
    """Run a notebook; what each check printed, by exercise. After an error the others still run."""
    try:
        import nbclient
        import nbformat
    except ImportError:
        raise ConfigError('grading needs nbclient: pip install "minisasrec[notebooks]"') from None

    node: Any = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(
        node, timeout=timeout, kernel_name="python3", allow_errors=True
    )
    told = {}
    try:
        client.execute()
    except (nbclient.exceptions.CellTimeoutError, nbclient.exceptions.DeadKernelError) as error:
        told = {name: f"not yet: {type(error).__name__}" for name in answer_cells(notebook)}
    for cell in node.cells:
        for name in CHECK.findall(source(cell)) if cell.cell_type == "code" else ():
            text = "".join(o.get("text", "") for o in cell.get("outputs", []))
            told[name] = text.strip() or told.get(name, "not yet: the check did not run")
    return told


def grade(
    submissions: Path, notebooks: Path, timeout: int = 600
) -> Iterator[tuple[str, str, str, str]]:
    """(student, notebook, exercise, what its check said) for each exercise handed in."""
    fresh = {path.stem: path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    if not fresh:
        raise ConfigError(f"no notebooks in {notebooks}; --notebooks names the folder handed out")
    handed_in = sorted(submissions.glob("*/*.ipynb"))
    if not handed_in:
        raise ConfigError(f"no STUDENT/NOTEBOOK.ipynb in {submissions}")
    for path in handed_in:
        student = path.parent.name
        if path.stem not in fresh:
            yield student, path.stem, "", "not graded: no notebook of this name was handed out"
            continue
        try:
            notebook = with_answers(read_notebook(fresh[path.stem]), read_notebook(path))
        except DataError as error:
            yield student, path.stem, "", f"not graded: {error}"
            continue
        for name, said in run_checks(notebook, timeout).items():
            yield student, path.stem, name, said


def main(argv: Sequence[str] | None = None) -> None:
    """Grade, print, write the CSV file."""
    parser = argparse.ArgumentParser(
        prog="python -m minisasrec.teach.grade",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("submissions", type=Path, help="folder with a folder per student")
    parser.add_argument(
        "--notebooks",
        type=Path,
        default=Path("notebooks"),
        help="the notebooks as handed out (default: notebooks)",
    )
    parser.add_argument("--out", type=Path, default=Path("grades.csv"), help="default: grades.csv")
    parser.add_argument(
        "--timeout", type=int, default=600, help="seconds that a cell may take (default: 600)"
    )
    args = parser.parse_args(argv)
    rows = []
    for row in grade(args.submissions, args.notebooks, args.timeout):
        rows.append(row)
        show("  ".join(part.splitlines()[0] if part else "-" for part in row))
        sys.stdout.flush()
    try:
        with open(args.out, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("student", "notebook", "exercise", "result"), *rows])
    except OSError as error:
        raise DataError(f"cannot write {args.out}: {error.strerror}") from None
    correct = sum(said.startswith("correct: ") for *_, said in rows)
    show("", f"{correct} of {len(rows)} correct; {args.out}")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
