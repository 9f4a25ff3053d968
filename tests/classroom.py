"""Notebooks as a student hands them in, made from those that are handed out."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from minisasrec.teach.grading.cells import CHECK, Notebook, questions, read_notebook, source

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def handed_out(stem: str) -> Notebook:
    """A notebook as it is in the folder, with the source of each cell as a list of lines."""
    return read_notebook(NOTEBOOKS / f"{stem}.ipynb")


def code_cell(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"new-{abs(hash(text)) % 10**8}",
        "metadata": {},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }


def answered(stem: str, answers: dict[str, str]) -> Notebook:
    """The notebook with these answers in its answer cells, by exercise."""
    notebook = copy.deepcopy(handed_out(stem))
    for name, cell in answer_cells(notebook).items():
        if name in answers:
            cell["source"] = answers[name].splitlines(keepends=True)
    return notebook


def answer_cells(notebook: Notebook) -> dict[str, dict[str, Any]]:
    """Exercise name -> its answer cell; the check that comes next says which exercise it is."""
    found, waiting = {}, None
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        if "exercise" in cell["metadata"].get("tags", []):
            assert waiting is None, f"no check follows the answer cell {source(waiting)!r}"
            waiting = cell
        for name in CHECK.findall(source(cell)) if waiting else ():
            found[name], waiting = waiting, None
            break
    assert waiting is None
    return found


def solutions(stem: str) -> dict[str, str]:
    """Exercise name -> the code of its answer cell."""
    text = (NOTEBOOKS / "solutions" / f"{stem}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# exercise: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: code.strip() for name, code in zip(parts[::2], parts[1::2], strict=True)}


def hand_in(folder: Path, name: str, notebook: Notebook) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(notebook, indent=1), encoding="utf-8")


def question(stem: str, name: str) -> Any:
    return next(q for q in questions(handed_out(stem), stem) if q.name == name)
