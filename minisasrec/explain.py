"""Explain an op: `python -m minisasrec.explain layer_norm`, or all of them without a name."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tyro

from minisasrec import ops
from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS
from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.errors import ConfigError
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.teach.source import location

ROOT = Path(ops.__file__).parents[2]  # the folder of a clone; an installed package has no tests


def facts(name: str) -> dict[str, Any]:
    """What is known about an op: its text, signature, and where paper, code and tests have it.

    Raises `ConfigError` for a name that is not an op.
    """
    if name not in OPS:
        near = get_close_matches(name, OPS, n=3) or sorted(OPS)
        raise ConfigError(f"no op {name!r}; did you mean one of {', '.join(near)}?")
    op = OPS[name]
    return {
        "name": name,
        "text": inspect.getdoc(op) or "",
        "signature": str(op.signature),
        "paper": op.paper,
        "defined in": location(op.definition),
        "kernels": list(_kernels(op)),
        "tests": list(_tests(op)),
        "notebooks": list(_notebooks(op)),
    }


NOTHING = {
    "paper": "not in the paper",
    "kernels": "none: the NumPy definition is used",
    "tests": "not here: they come with a clone of the repository",
    "notebooks": "none",
}


def explain(name: str) -> str:
    """The `facts` about an op as lines."""
    known = facts(name)
    lines = [known.pop("name"), "", known.pop("text"), ""]
    for label, fact in known.items():
        told = fact if isinstance(fact, str) else ", ".join(fact)
        lines.append(f"{label + ':':12}{told or NOTHING[label]}")
    return "\n".join(lines)


def _kernels(op: Op) -> Iterator[str]:
    """The files of the kernels that the op's adaptor calls."""
    source = inspect.getsource(op.adaptor) if op.adaptor else ""
    for family in dict.fromkeys(re.findall(r"\bkernels\.(\w+)", source)):
        yield f"minisasrec/kernels/{family}.py"


def _tests(op: Op) -> Iterator[str]:
    """Test files that speak of the op, or of every op in the registry."""
    wanted = re.compile(rf"\bops\.{op.name}\b|[\"']{op.name}[\"']|\bOPS\b")
    for path in sorted(ROOT.glob("tests/test_*.py")):
        if wanted.search(path.read_text(encoding="utf-8")):
            yield f"{path.parent.name}/{path.name}"


def _notebooks(op: Op) -> Iterator[str]:
    """Notebooks whose code uses the op."""
    wanted = re.compile(rf"\bops\.{op.name}\b|import .*\b{op.name}\b")
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if any(c["cell_type"] == "code" and wanted.search("".join(c["source"])) for c in cells):
            yield path.stem


@dataclass(frozen=True)
class ExplainConfig:
    """Explain ops: formula, shapes, paper section, source, tests and notebooks."""

    ops: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[OP ...]")] = ()
    """Names of ops, such as layer_norm; without a name, all ops are listed."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON array with an object for each op."""


def main(argv: Sequence[str] | None = None) -> None:
    """Explain the ops named, or list them all."""
    options = read_options(ExplainConfig, "explain", argv)
    use_machine(options.machine)
    names = options.ops
    if options.json:
        print_json([facts(name) for name in names or OPS])
    elif names:
        print("\n\n".join(explain(name) for name in names))
    else:
        width = max(len(op.paper) for op in OPS.values())
        for op in OPS.values():
            print(f"{op.name:24} {op.paper:{width}} {op.signature}".rstrip())


if __name__ == "__main__":
    sys.exit(run_command(main, None))
