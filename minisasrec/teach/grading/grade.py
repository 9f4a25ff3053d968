"""Grading all submissions of a class: who has handed in what, the work, the rows, the files.

In the folder of results:

- `grades.csv`: one row a student, with the points of each exercise; always as far as the work is.
- `verdicts.csv`: one row a student and exercise, with what the grader said; written as they come.
- `feedback/STUDENT.html`: what a student may read.

A verdict is kept with a hash of all that it depends on. A second run grades only what has changed.
"""

from __future__ import annotations

import csv
import hashlib
import html
import json
import os
import queue
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from minisasrec import __version__
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.runs import Run
from minisasrec.teach.exercises import find
from minisasrec.teach.grading.cells import (
    CHECK,
    Notebook,
    Question,
    answer_to,
    attempts,
    code_cells,
    parse_notebook,
    questions,
    read_notebook,
)
from minisasrec.teach.grading.hidden import HiddenCase, read_hidden
from minisasrec.teach.grading.judge import PREPARE, Limits
from minisasrec.terminal import printable

GRADES, VERDICTS, FEEDBACK = "grades.csv", "verdicts.csv", "feedback"
REDONE = "not graded"  # a result that a second run does not keep
LONGEST = 200  # bytes of a name that something is still added to
ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"}
MOST = 100_000_000  # bytes of a notebook: its answers take some thousand, the rest is output


@dataclass(frozen=True)
class Row:
    """One verdict, a line of `verdicts.csv`."""

    student: str
    notebook: str
    exercise: str
    result: str
    points: float
    of: float
    seconds: float
    text: str
    file: str
    key: str


@dataclass(frozen=True)
class Task:
    """An answer to be judged."""

    student: str
    file: str
    question: Question
    cells: tuple[str, ...]
    of: float
    key: str


class Class:
    """What was handed out, and what each student has handed in.

    Raises `ConfigError` or `DataError` where a folder is not what it should be; a file of a student
    that cannot be read is that student's row, and no error.
    """

    def __init__(self, submissions: Path, notebooks: Path, out: Path | None = None) -> None:
        self.handed_out = {
            path.stem: read_notebook(path) for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
        }
        if not self.handed_out:
            raise ConfigError(f"no notebooks in {notebooks}; --notebooks: the folder handed out")
        self.questions = [q for stem, nb in self.handed_out.items() for q in questions(nb, stem)]
        if not submissions.is_dir():
            raise DataError(f"{submissions} is no folder; it holds a folder for each student")
        if out is not None and out.resolve() == submissions.resolve():
            raise ConfigError(f"--out is {out}, the submissions; give another folder")
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out is {out}, a file; give a folder")
        ours = {path.resolve() for path in (notebooks, out) if path is not None}
        self.students, self.loose = list[str](), list[str]()
        for path in sorted(submissions.iterdir()):
            if path.name.startswith(".") or path.name == "__MACOSX" or path.resolve() in ours:
                continue
            if path.is_dir():
                self.students.append(path.name)
            elif handed_in(path):
                self.loose.append(path.name)
        if not self.students:
            raise DataError(f"no folder in {submissions}; it holds a folder for each student")
        self.problems: dict[str, list[str]] = {}
        self.files: dict[tuple[str, str], tuple[str, Notebook]] = {}
        for student in self.students:
            self._collect(submissions / student, student)

    def _collect(self, folder: Path, student: str) -> None:
        problems = self.problems[student] = []
        found: dict[str, list[tuple[int, float, str, Notebook]]] = {}
        for path in candidates(folder):
            name = path.relative_to(folder).as_posix()
            try:
                about = path.lstat()  # a link, or a pipe, might lead anywhere or never end
                if not stat.S_ISREG(about.st_mode):
                    raise DataError(f"{name} is a link or a device, and no file")
                if about.st_size > MOST:
                    size = f"{about.st_size / 1e6:,.0f} MB"
                    raise DataError(f"{name} has {size}; clear its outputs and hand it in again")
                notebook, changed = parse_notebook(path.read_bytes(), name), about.st_mtime
            except DataError as error:
                problems.append(str(error))
                continue
            except OSError as error:
                problems.append(f"{name} cannot be read ({error.strerror})")
                continue
            stem = self._which(notebook, path.stem)
            if stem is None:
                problems.append(f"{name} is none of the notebooks that were handed out")
                continue
            answers = sum(
                answer_to(q, notebook, self.handed_out[stem]) is not None
                for q in self.questions
                if q.notebook == stem
            )
            found.setdefault(stem, []).append((answers, changed, name, notebook))
        problems += [
            f"{path.relative_to(folder).as_posix()} was not opened; ask for the .ipynb files in it"
            for path in sorted(folder.rglob("*"))
            if found and path.suffix.lower() in ARCHIVES and path.is_file()
        ]
        if not found and not problems:
            names = sorted(path.name for path in folder.rglob("*") if path.is_file())
            if names:
                some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
                problems.append(f"no notebook (.ipynb) was handed in, but {some}")
        for stem, copies in found.items():
            *others, (_, _, name, notebook) = sorted(copies, key=lambda copy: copy[:3])
            self.files[student, stem] = name, notebook
            problems += [
                f"{name} has {count} cells that define {' and '.join(q.wanted)}; the last one "
                "above the last check counts"
                for q in self.questions
                if q.notebook == stem
                and (count := attempts(q, notebook, self.handed_out[stem])) > 1
            ]
            problems += [
                f"{other} was not graded: {name} is taken for {stem}" for *_, other, _ in others
            ]

    def _which(self, notebook: Notebook, name: str) -> str | None:
        """The notebook it is: by its checks, whatever the file is called; else by its name."""
        owner = {q.name: q.notebook for q in self.questions}
        checks = [
            owner[c] for code in code_cells(notebook) for c in CHECK.findall(code) if c in owner
        ]
        if checks:
            return max(checks, key=checks.count)
        return next((stem for stem in self.handed_out if stem in name), None)

    def work(self, limits: Limits, hidden: Path | None) -> Iterator[Row | Task]:
        """A row for what needs no judge, a task for the rest; notebook by notebook."""
        cases = read_hidden(hidden) if hidden else {}
        rules = [
            __version__,
            _graders(),
            asdict(limits),
            hidden.read_text("utf-8") if hidden else "",
        ]
        for question in self.questions:
            of = worth(question.name, cases)
            for student in self.students:
                name, notebook = self.files.get((student, question.notebook), ("", None))
                cells = None
                if notebook is not None:
                    cells = answer_to(question, notebook, self.handed_out[question.notebook])
                key = hashlib.sha256(
                    json.dumps([rules, asdict(question), cells]).encode()
                ).hexdigest()
                if cells is None:
                    result = "not handed in" if notebook is None else "not attempted"
                    parts = (result, 0.0, of, 0.0, "", name, key[:16])
                    yield Row(student, question.notebook, question.name, *parts)
                else:
                    yield Task(student, name, question, tuple(cells), of, key[:16])


def handed_in(path: Path) -> bool:
    """Whether a file looks like homework."""
    return ".ipynb" in path.name.lower() or path.suffix.lower() in ARCHIVES


def candidates(folder: Path) -> list[Path]:
    """What may be a notebook: browsers make `a.ipynb.txt` of it, or `a.ipynb (1)`."""
    return sorted(
        path
        for path in folder.rglob("*")
        if ".ipynb" in path.name.lower()
        and not path.is_dir()
        and not path.name.startswith("._")  # beside each file in a zip from macOS
        and ".ipynb_checkpoints" not in path.parts
    )


def worth(name: str, cases: Mapping[str, Sequence[HiddenCase]]) -> float:
    """The points of an exercise with its hidden cases."""
    return find(name).points + sum(case.points for case in cases.get(name, ()))


def _graders() -> str:
    """A hash of what decides a verdict: the graders and the code around them."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# --- the work ------------------------------------------------------------------------------------


def judged(
    tasks: Sequence[Task], limits: Limits, hidden: Path | None, jobs: int, fork: bool = True
) -> Iterator[tuple[Row, tuple[str, ...]]]:
    """The row of each task and how its answer was confined, as they come."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    settings = {
        **asdict(limits),
        "hidden": str(hidden.absolute()) if hidden else None,
        "fork": fork,
    }
    workers = [_Worker(waiting, done, settings) for _ in range(min(jobs, len(tasks)))]
    try:
        for worker in workers:
            worker.start()
        for _ in tasks:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        for worker in workers:
            worker.stop()


class _Worker(threading.Thread):
    """Gives tasks to a judge, a process of its own, and starts another one if it is lost."""

    def __init__(
        self,
        waiting: queue.SimpleQueue[Task],
        done: queue.SimpleQueue[Any],
        settings: dict[str, Any],
    ) -> None:
        super().__init__(daemon=True)
        self._waiting, self._done, self._settings = waiting, done, settings
        self._judge: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(self) -> None:
        """Until no task is left."""
        try:
            while not self._stopped:
                try:
                    task = self._waiting.get_nowait()
                except queue.Empty:
                    break
                self._done.put(self._grade(task))
        except BaseException as error:  # the main thread is to know
            self._done.put(error)
        finally:
            self.stop()

    def stop(self) -> None:
        """End the judge, also in the middle of an answer; it ends what it has started."""
        self._stopped = True
        judge, self._judge = self._judge, None
        if judge is None or judge.stdin is None:
            return
        with suppress(OSError):
            judge.stdin.close()  # no more tasks
        for end, seconds in ((judge.terminate, 1), (judge.kill, 10)):
            try:
                judge.wait(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                end()
        judge.wait()

    def _grade(self, task: Task) -> tuple[Row, tuple[str, ...]]:
        said: dict[str, Any] = {}
        for _ in range(2):  # once more, should the judge be lost
            said = self._ask({"question": asdict(task.question), "cells": task.cells})
            if said or self._stopped:
                break
        if not said:
            text = "the check itself did not end; please look at this answer"
            said = {"result": REDONE, "text": text, "points": 0.0, "seconds": 0.0, "confined": ()}
        row = Row(
            task.student,
            task.question.notebook,
            task.question.name,
            said["result"],
            said["points"],
            task.of,
            said["seconds"],
            said["text"],
            task.file,
            task.key,
        )
        return row, tuple(said["confined"])

    def _ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """What the judge says; {} if it is lost, or takes far longer than an answer may."""
        if self._judge is None:
            self._judge = subprocess.Popen(
                [sys.executable, "-m", "minisasrec.teach.grading.judge"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                start_new_session=os.name == "posix",  # Ctrl-C comes to this process alone
            )
            assert self._judge.stdin is not None
            self._judge.stdin.write(json.dumps(self._settings) + "\n")
        judge = self._judge
        assert judge.stdin is not None and judge.stdout is not None
        clock = threading.Timer(2 * PREPARE + self._settings["seconds"], judge.kill)
        clock.start()
        try:
            judge.stdin.write(json.dumps(task) + "\n")
            judge.stdin.flush()
            return json.loads(judge.stdout.readline())
        except (OSError, ValueError):
            if not self._stopped:  # else `stop` lets it end what it has started
                judge.kill()
                judge.wait()
                self._judge = None
            return {}
        finally:
            clock.cancel()


# --- the files -----------------------------------------------------------------------------------


class Results:
    """The folder of results: rows of an earlier run that still hold, and those of this one."""

    def __init__(self, folder: Path, students: Sequence[str], names: Sequence[str]) -> None:
        self.folder, self.students, self.names = folder, students, names
        self.rows: dict[tuple[str, str], Row] = {}
        (folder / FEEDBACK).mkdir(parents=True, exist_ok=True)
        self._kept = self._read()
        self._file = open(folder / VERDICTS, "a", newline="", encoding="utf-8")
        if not self._file.tell():
            csv.writer(self._file).writerow([f.name for f in fields(Row)])

    def _read(self) -> dict[tuple[str, str, str], Row]:
        """Rows of an earlier run, by student, exercise and key; a last half line is left out."""
        kept = {}
        try:
            with open(self.folder / VERDICTS, newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    try:
                        line |= {name: float(line[name]) for name in ("points", "of", "seconds")}
                        row = Row(**line)  # type: ignore[arg-type]
                    except (TypeError, ValueError, KeyError):
                        continue
                    if row.result != REDONE:
                        kept[_unquoted(row.student), row.exercise, row.key] = row
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{self.folder / VERDICTS} cannot be read ({error}); move it away to begin again"
            ) from None
        return kept

    def kept(self, task: Task) -> Row | None:
        """The row of an earlier run for this very answer."""
        row = self._kept.get((task.student, task.question.name, task.key))
        return None if row is None else Row(**{**asdict(row), "student": task.student})

    def add(self, row: Row, new: bool = True) -> None:
        """Take in a row; a new one is written at once."""
        self.rows[row.student, row.exercise] = row
        if new:
            csv.writer(self._file).writerow([_quoted(value) for value in asdict(row).values()])
            self._file.flush()
            self.write_grades()

    def write_grades(self) -> None:
        """Write one row a student; what is not graded yet is left blank."""
        lines = [["student", "points", "of", *self.names]]
        of = sum({row.exercise: row.of for row in self.rows.values()}.values())
        for student in self.students:
            rows = [self.rows.get((student, name)) for name in self.names]
            points = sum(row.points for row in rows if row)
            each = [f"{row.points:g}" if row and row.result != REDONE else "" for row in rows]
            lines.append([_quoted(student), f"{points:g}", f"{of:g}", *each])
        text = "\r\n".join(_csv_line(line) for line in lines) + "\r\n"
        Run(self.folder).write_bytes(GRADES, text.encode())

    def finish(self, problems: Mapping[str, Sequence[str]]) -> None:
        """Write everything anew from memory, whatever has become of the files."""
        self._file.close()
        places = [(student, name) for student in self.students for name in self.names]
        order = [self.rows[place] for place in places if place in self.rows]
        lines = [[f.name for f in fields(Row)]]
        lines += [[_quoted(value) for value in asdict(row).values()] for row in order]
        text = "".join(_csv_line(line) + "\r\n" for line in lines)
        Run(self.folder).write_bytes(VERDICTS, text.encode())
        self.write_grades()
        for student in self.students:
            rows = [row for row in order if row.student == student]
            page = feedback(student, rows, problems.get(student, ()))
            Run(self.folder / FEEDBACK).write_bytes(page_name(student), page.encode())

    def close(self) -> None:
        """Close the file of verdicts; the grades are as far as it is, even after Ctrl-C."""
        self._file.close()
        self.write_grades()


def page_name(student: str) -> str:
    """The file of a student's page; of a name that is as long as a file's, only the beginning."""
    if len(os.fsencode(student)) <= LONGEST:
        return f"{student}.html"
    return f"{student[:30]} {hashlib.sha256(os.fsencode(student)).hexdigest()[:12]}.html"


def feedback(student: str, rows: Sequence[Row], problems: Sequence[str]) -> str:
    """A page for a student: points, and what the grader said of each answer."""

    def safe(text: object) -> str:
        return html.escape(printable(text))

    points, of = sum(row.points for row in rows), sum(row.of for row in rows)
    body = [f"<h1>{safe(student)}: {points:g} of {of:g} points</h1>"]
    body += [f"<p>{safe(problem)}</p>" for problem in problems]
    for stem in dict.fromkeys(row.notebook for row in rows):
        own = [row for row in rows if row.notebook == stem]
        files = ", ".join({row.file: None for row in own if row.file}) or "not handed in"
        body.append(f"<h2>{safe(stem)}</h2><p>{safe(files)}</p><table>")
        for row in own:
            cells = (row.exercise, f"{row.points:g} of {row.of:g}", row.result, row.text)
            body.append(f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in cells)}</tr>")
        body.append("</table>")
    return PAGE.format(title=safe(student), body="\n".join(body))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 sans-serif }}
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
td {{ padding: .25rem .75rem .25rem 0; vertical-align: top; overflow-wrap: anywhere }}
</style></head><body>
{body}
</body></html>
"""


def _quoted(value: object) -> str:
    """Text for a table: a spreadsheet must not take what a student has chosen for a formula."""
    text = f"{value:g}" if isinstance(value, float) else printable(value)
    return "'" + text if re.match("'*[=+@-]", text) else text


def _unquoted(text: str) -> str:
    return text[1:] if re.match("'+[=+@-]", text) else text


def _csv_line(values: Sequence[str]) -> str:
    quoted = ('"' + v.replace('"', '""') + '"' if set(v) & set(',"\r\n') else v for v in values)
    return ",".join(quoted)
