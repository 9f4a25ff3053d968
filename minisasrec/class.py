"""Teaching a class: `python -m minisasrec.class make DIR`, `... grade DIR`, `... doctor`.

`make` writes the students' copy of the notebooks, `grade` grades what comes back, and `doctor` says
whether a machine is ready.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.errors import ConfigError
from minisasrec.kernels.cores import available_cores
from minisasrec.terminal import say, show


@dataclass(frozen=True)
class MakeConfig:
    """Write the students' copy of the notebooks into a new folder.

    It holds the notebooks without the solutions, the package to install, and a README.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The folder to write, which must be new or empty."""
    notebooks: Path = Path("notebooks")
    """The folder of the notebooks."""
    nbgrader: bool = False
    """Write a course for nbgrader instead: DIR/source, with solutions, checks and points."""


@dataclass(frozen=True)
class GradeConfig:
    """Grade a class: a folder of submissions that holds a folder for each student.

    Writes grades.csv (one row a student), verdicts.csv (what was said of each answer) and
    feedback/STUDENT.html. A second run grades only what is new or has changed.
    """

    submissions: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The folder of submissions. Files may have been renamed."""
    notebooks: Path = Path("notebooks")
    """The notebooks as they were handed out."""
    out: Path = Path("grades")
    """The folder of results."""
    hidden: Path | None = None
    """A Python file with hidden cases (docs/instructors.md)."""
    timeout: int = 60
    """Seconds that an answer may take."""
    memory: float = 2.0
    """Gigabytes of memory that an answer may take (held on Linux)."""
    jobs: int | None = None
    """Answers that are graded side by side; by default one a core."""


@dataclass(frozen=True)
class DoctorConfig:
    """Say whether this machine is ready for the notebooks, and what to do if not.

    Looks at versions, disk and folders, compiles all kernels, and trains for ten seconds.
    """

    json: bool = False
    """Print one JSON array with an object for each line."""


def make(options: MakeConfig) -> None:
    """`class make`."""
    from minisasrec.teach.handout import make_handout, make_nbgrader

    write = make_nbgrader if options.nbgrader else make_handout
    written = write(options.notebooks, options.folder)
    if options.nbgrader:
        what = "assignments; nbgrader generate_assignment NAME takes the solutions out"
    else:
        what = "notebooks without solutions; students begin with README.md"
    show(f"{options.folder}: {len(written)} {what}")


def grade(options: GradeConfig) -> None:
    """`class grade`."""
    from tqdm import tqdm

    from minisasrec.teach.grading.grade import (
        GRADES,
        REDONE,
        VERDICTS,
        Class,
        Results,
        Row,
        Task,
        judged,
    )
    from minisasrec.teach.grading.judge import Limits

    if not 1 <= options.timeout <= 86_400:
        raise ConfigError(f"--timeout is {options.timeout}; it is 1 second at least, 86400 at most")
    if not 0.1 <= options.memory <= 10_000:
        raise ConfigError(f"--memory is {options.memory}; it is 0.1 GB at least, 10000 at most")
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs is {options.jobs}; it must be at least 1")
    if options.hidden is not None and not options.hidden.is_file():
        raise ConfigError(f"--hidden is {options.hidden}, which is no file")
    pupils = Class(options.submissions, options.notebooks, options.out)
    for name in pupils.loose:
        say(f"note: {name} was not graded: it is in no student's folder")
    limits = Limits(options.timeout, int(options.memory * 1e9))
    results = Results(options.out, pupils.students, [q.name for q in pupils.questions])
    tasks, confined, kept = list[Task](), set[str](), 0
    for found in pupils.work(limits, options.hidden):
        row = found if isinstance(found, Row) else results.kept(found)
        if row is not None:
            results.add(row, new=False)
            kept += isinstance(found, Task)
        elif isinstance(found, Task):
            tasks.append(found)
    if kept:
        say(f"{kept} answers have not changed since the last run; their rows are kept")
    try:
        work = judged(tasks, limits, options.hidden, options.jobs or available_cores())
        for row, held in tqdm(work, "grading", len(tasks), unit="answer", disable=None):
            results.add(row)
            confined |= set(held)
        results.finish(pupils.problems)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command again goes on where it stopped") from None
    finally:
        results.close()
    for student in pupils.students:
        rows = [row for row in results.rows.values() if row.student == student]
        points, of = sum(row.points for row in rows), sum(row.of for row in rows)
        right = sum(row.result == "correct" for row in rows)
        show(f"{student:30} {points:6g} of {of:g} points, {right:3} of {len(rows)} correct")
        for problem in pupils.problems[student]:
            show(f"{'':30} note: {problem}")
    show("", f"{options.out / GRADES} has a row for each student")
    if lost := sum(row.result == REDONE for row in results.rows.values()):
        say(
            f"note: {lost} answers could not be graded and are left blank; see 'not graded' in "
            f"{options.out / VERDICTS}; the same command again tries them once more"
        )
    if tasks and "files" not in confined:
        say(
            "note: this system cannot keep answers away from files; if you do not trust them, "
            "grade in a container (docs/instructors.md)"
        )


def doctor(options: DoctorConfig) -> None:
    """`class doctor`."""
    from minisasrec.teach.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not options.json:
            show(finding)
            sys.stdout.flush()
    if options.json:
        print_json([vars(finding) for finding in findings])
        return
    to_do = sum(bool(finding.to_do) for finding in findings)
    show("", f"{to_do} thing{'s' * (to_do != 1)} to do" if to_do else "this machine is ready")


@dataclass(frozen=True)
class ClassConfig:
    """Teach a class: make the students' copy, grade what comes back, examine a machine.

    Each has its own options: minisasrec class grade --help.
    """

    work: (
        Annotated[MakeConfig, tyro.conf.subcommand("make", prefix_name=False)]
        | Annotated[GradeConfig, tyro.conf.subcommand("grade", prefix_name=False)]
        | Annotated[DoctorConfig, tyro.conf.subcommand("doctor", prefix_name=False)]
    )


WORK: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "make": (MakeConfig, make),
    "grade": (GradeConfig, grade),
    "doctor": (DoctorConfig, doctor),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Do the work that the first word names."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else "--help"
    if name in WORK:
        options, do = WORK[name]
        do(read_options(options, f"class {name}", words[1:]))
    elif name.startswith("-"):
        read_options(ClassConfig, "class", [name])
    else:
        near = get_close_matches(name, WORK, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"class has no {name!r}; {hint}choose one of {', '.join(WORK)}")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
