"""Outputs of a notebook: run it again, store what came out, and compare with what is stored.

    python tests/notebook_outputs.py 09 12      # run notebooks 09 and 12 again, store the outputs
    python tests/notebook_outputs.py --look 09  # only tell where the stored ones are stale

Text has to be the same, and a picture has to be there. Whole numbers have to be the same, others to
one unit of their last digit. Two tags on a cell say that its numbers differ from run to run:

    trained    numbers of a trained model, which are others on another processor: to a tenth
    varies     times, memory, p-values: any number will do, the words around it have to be the same
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

Cell = dict[str, Any]
Notebook = dict[str, Any]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
LINE = re.compile(r"(\.py):\d+")  # where a function begins moves with every line above it
INLINE = "module://matplotlib_inline.backend_inline"  # whatever the tests themselves draw with
COMPILING = re.compile(r"compiling kernels \(first run only, .*\n")
TENTH, UNITS = 0.1, 3  # what `trained` allows: a tenth, or three units of the last digit


def execute(notebook: Notebook) -> Notebook:
    """The notebook as it is after a run from top to bottom, in an empty folder."""
    import nbclient
    import nbformat
    from traitlets.config import Config

    node = nbformat.reads(json.dumps(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # Two kernels that start at once may draw the same ports of TCP: one dies, or both wait.
        # Sockets in a folder of their own cannot collide.
        sockets = {"transport": "ipc", "ip": str(Path(folder, ".kernel"))}
        client = nbclient.NotebookClient(
            node,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            config=Config(KernelManager=sockets if os.name == "posix" else {}),
        )
        client.execute(env=os.environ | {"MPLBACKEND": INLINE})
    for cell in code_cells(node):
        cell["outputs"] = [output for output in cell["outputs"] if not is_compiling(output)]
    return node


def is_compiling(output: Any) -> bool:
    """Whether an output only says that kernels are compiled, which comes once on a machine."""
    return output.get("name") == "stderr" and bool(COMPILING.fullmatch(output["text"]))


def code_cells(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(cell: Cell) -> str:
    """What the cell printed and returned, as text."""
    parts = []
    for output in cell["outputs"]:
        parts.append(output.get("text", output.get("data", {}).get("text/plain", "")))
    return "".join("".join(part) for part in parts)


def pictures(cell: Cell) -> int:
    return sum(
        kind.startswith("image/") for output in cell["outputs"] for kind in output.get("data", {})
    )


def near(stored: str, fresh: str, trained: bool) -> bool:
    """Whether two printed numbers are the same, as far as their digits and the tag say."""
    a, b = (float(number.replace(",", "")) for number in (stored, fresh))
    decimals = [re.sub(r"e.*", "", n).partition(".")[2] for n in (stored, fresh)]
    if not any(decimals) and "e" not in stored + fresh and not trained:
        return a == b
    exponent = max(int(n.partition("e")[2] or 0) for n in (stored, fresh))
    unit = 10.0 ** (exponent - max(map(len, decimals)))
    if trained:
        return abs(a - b) <= max(TENTH * max(abs(a), abs(b)), UNITS * unit)
    return abs(a - b) <= 1.01 * unit


def difference(stored: Cell, fresh: Cell) -> str:
    """In one line how what a cell shows differs from what is stored with it; "" if it does not."""
    if pictures(stored) != pictures(fresh):
        return f"{pictures(stored)} pictures stored, {pictures(fresh)} in this run"
    tags = stored["metadata"].get("tags", [])
    words, numbers = [], []
    for cell in (stored, fresh):
        said = LINE.sub(r"\1", text(cell))
        numbers.append(NUMBER.findall(said))
        words.append(re.sub(r"\s+", " ", NUMBER.sub(" # ", said)).split())
    for old, new in zip_longest(*words, fillvalue="nothing"):
        if old != new:
            return f"{old!r} stored, {new!r} in this run (# is a number)"
    if "varies" in tags:
        return ""
    for old, new in zip(*numbers, strict=True):
        if not near(old, new, "trained" in tags):
            return f"{old} stored, {new} in this run"
    return ""


def differences(stored: Notebook, fresh: Notebook) -> list[str]:
    """One line for each cell whose stored outputs are not those of a run."""
    found = []
    for old, new in zip(code_cells(stored), code_cells(fresh), strict=True):
        if said := difference(old, new):
            first = "".join(old["source"]).strip().partition("\n")[0]
            found.append(f"the cell {first!r}: {said}")
    return found


def store(path: Path, notebook: Notebook, fresh: Notebook) -> None:
    """Write the outputs of a run into the notebook's file, and leave all else as it is."""
    for old, new in zip(code_cells(notebook), code_cells(fresh), strict=True):
        old["execution_count"], old["outputs"] = new["execution_count"], joined(new["outputs"])
    lines = json.loads(json.dumps(notebook), object_hook=as_lines)
    path.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def joined(outputs: list[Any]) -> list[Any]:
    """Outputs with the pieces of a stream that follow one another as one, kinds by name."""
    result: list[Any] = []
    for output in outputs:
        if result and output.get("name") and output["name"] == result[-1].get("name"):
            result[-1]["text"] = "".join(result[-1]["text"]) + "".join(output["text"])
        else:
            result.append(dict(output))
            if "data" in output:  # kinds come in any order; in one order, less differs between runs
                result[-1]["data"] = dict(sorted(output["data"].items()))
    return result


def as_lines(part: dict[str, Any]) -> dict[str, Any]:
    """Sources and texts as lists of lines, which is how files of notebooks hold them."""
    for key in ("source", "text", "text/plain", "text/html", "image/svg+xml"):
        if isinstance(part.get(key), str):
            part[key] = part[key].splitlines(keepends=True)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", help="beginnings of names, as 09; none: all")
    parser.add_argument("--look", action="store_true", help="tell what is stale, store nothing")
    options = parser.parse_args()
    paths = [
        path
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        if not options.notebooks or path.stem.startswith(tuple(options.notebooks))
    ]
    if not paths:
        sys.exit(f"no notebook begins with {' or '.join(options.notebooks)}")
    for path in tqdm(paths, unit="notebook"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        fresh = execute(notebook)
        for line in differences(notebook, fresh):
            tqdm.write(f"{path.stem}: {line}")
        if not options.look:
            store(path, notebook, fresh)


if __name__ == "__main__":
    main()
