"""The students' copy of the notebooks, and the same for nbgrader."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minisasrec import __version__
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.runs import Run
from minisasrec.teach.attempt import PACKAGE
from minisasrec.teach.exercises import find
from minisasrec.teach.grading.cells import Notebook, Question, questions, read_notebook, source

FOR_INSTRUCTORS = (
    "instructors.md",
    "conf.py",
    "api",
    "notebooks",
    "_build",
    "__pycache__",
)

README = """# Notebooks of the course

Python 3.10 or newer is needed. In this folder, once:

```bash
python3 -m venv .venv && .venv/bin/pip install {install}
.venv/bin/python -m minisasrec.class doctor
```

The last line says whether all is well, and what to do if not. Then, each time:

```bash
.venv/bin/jupyter lab notebooks/00_tour.ipynb
```

The same on Windows, in PowerShell (best in a short path outside OneDrive, such as `C:\\class`):

```powershell
py -m venv .venv; .venv\\Scripts\\pip install {install}
.venv\\Scripts\\python -m minisasrec.class doctor
.venv\\Scripts\\jupyter lab notebooks\\00_tour.ipynb
```

An exercise is a cell with `...`. Put your answer there and run the cell, then the one below it: it
says whether the answer is right, or what is wrong. `hint("...")` gives one hint more at each call.
Helper functions may stand in cells of their own.

Hand in the notebooks themselves (the .ipynb files).
"""


def make_handout(notebooks: Path, folder: Path) -> list[Path]:
    """Write the students' copy: notebooks without solutions, what to install, a README.

    Returns the notebooks written. Raises `ConfigError` for a folder that holds something already.
    """
    found = _notebooks(notebooks)
    for copied in (PACKAGE, PACKAGE.parent / "docs"):
        if folder.resolve().is_relative_to(copied):
            raise ConfigError(f"{folder} is inside {copied}, which is copied; name another folder")
    written = []
    with _new(folder):
        (folder / "notebooks").mkdir()
        for path, notebook in found:
            target = folder / "notebooks" / path.name
            _write(target, notebook)
            written.append(target)
        root = PACKAGE.parent
        from_source = (root / "pyproject.toml").is_file()
        if from_source:
            for name in ("pyproject.toml", "LICENSE", "CITATION.cff"):
                if (root / name).is_file():
                    shutil.copy2(root / name, folder)
            shutil.copytree(
                PACKAGE, folder / "minisasrec", ignore=shutil.ignore_patterns("__pycache__")
            )
            if (root / "docs").is_dir():
                ignore = shutil.ignore_patterns(*FOR_INSTRUCTORS)
                shutil.copytree(root / "docs", folder / "docs", ignore=ignore)
        install = '-e ".[notebooks]"' if from_source else (
            f'"minisasrec[notebooks]=={__version__}"'
        )  # fmt: skip
        Run(folder).write_bytes("README.md", README.format(install=install).encode())
    return written


def make_nbgrader(notebooks: Path, folder: Path) -> list[Path]:
    """Write `source/NAME/NAME.ipynb`, an nbgrader course: answers, checks and points as metadata.

    Solutions stand between nbgrader's marks, which `nbgrader generate_assignment` strips. Raises
    `ConfigError` where the solutions are missing.
    """
    found = _notebooks(notebooks)
    written = []
    with _new(folder):
        for path, notebook in found:
            file = notebooks / "solutions" / f"{path.stem}.py"
            if not file.is_file():
                raise ConfigError(f"nbgrader needs the solutions too, and {file} is missing")
            marked = for_nbgrader(notebook, questions(notebook, path.stem), read_solutions(file))
            target = folder / "source" / path.stem / path.name
            target.parent.mkdir(parents=True)
            _write(target, marked)
            written.append(target)
    return written


def read_solutions(file: Path) -> dict[str, str]:
    """Exercise -> the code of its answer cell, from a file in `notebooks/solutions`."""
    parts = re.split(r"^# exercise: (\w+)\n", file.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {name: code.strip() for name, code in zip(parts[::2], parts[1::2], strict=True)}


def for_nbgrader(notebook: Notebook, asked: list[Question], solutions: dict[str, str]) -> Notebook:
    """A copy of a notebook with nbgrader's metadata.

    The answer cell is "solution", with its stub as a comment. After the check, which tells the
    student, comes a locked cell that raises unless the answer is right, "grade".
    """
    marked = copy.deepcopy(notebook)
    cells = []
    left = list(asked)
    for cell in marked["cells"]:
        cells.append(cell)
        if "exercise" in cell["metadata"].get("tags", []) and left:
            stub = "\n".join(f"# {line}".rstrip() for line in source(cell).splitlines())
            solution = solutions[left[0].name]
            cell["source"] = f"{stub}\n{MARKS[0]}\n{solution}\n{MARKS[1]}"
            cell["metadata"]["nbgrader"] = _metadata(left[0].name, solution=True)
        elif left and re.search(
            rf'^check\(\s*["\']{left[0].name}["\']', source(cell), re.MULTILINE
        ):
            question = left.pop(0)
            points = find(question.name).points
            cells.append(
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"grade-{question.name}".replace("_", "-")[:64],
                    "metadata": {
                        "nbgrader": {
                            **_metadata(f"grade_{question.name}", solution=False),
                            "points": points,
                        }
                    },
                    "outputs": [],
                    "source": "from minisasrec.teach import require\n\n"
                    f'require("{question.name}", {question.answer})',
                }
            )
    marked["cells"] = cells
    return marked


MARKS = "### BEGIN SOLUTION", "### END SOLUTION"


def _metadata(name: str, solution: bool) -> dict[str, Any]:
    return {
        "grade": not solution,
        "grade_id": name,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }


def _notebooks(folder: Path) -> list[tuple[Path, Notebook]]:
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise ConfigError(f"no notebooks in {folder}; --notebooks names their folder")
    return [(path, read_notebook(path)) for path in paths]


@contextmanager
def _new(folder: Path) -> Iterator[None]:
    """A folder that holds nothing yet; if it does not come to its end, it is removed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {error.strerror}") from None
    try:
        yield
    except BaseException:  # Ctrl-C, too: half a course would be refused the next time
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(path: Path, notebook: Notebook) -> None:
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    Run(path.parent).write_bytes(path.name, text.encode())
