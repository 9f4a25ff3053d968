"""How many small changes of the code do the tests notice? `python tests/mutants.py --count 300`

A mutant is one change in one line: `<` to `<=`, `+` to `-`, `and` to `or`, a constant, a condition
turned round, a statement left out. The tests of that file run on it. If they pass, the mutant has
survived: either the change makes no difference, or a test is missing. The files on disk stay as
they are: a mutant lives in one process, which imports it in the place of the module.

Survivors are printed with their lines.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minisasrec"
GRACE = 30  # seconds more than ten times what the tests take: an endless loop is noticed, too

OPS = ("tests/test_ops.py",)  # of these, those about the ops of the file
TESTS: dict[str, tuple[str, ...]] = {
    "autograd/engine.py": ("tests/test_engine.py", "tests/test_golden.py"),
    "autograd/op.py": ("tests/test_engine.py", "tests/test_errors.py", "tests/test_gradcheck.py"),
    "ops/attention.py": OPS,
    "ops/dropout.py": OPS,
    "ops/elementwise.py": OPS,
    "ops/embedding.py": OPS,
    "ops/layer_norm.py": OPS,
    "ops/loss.py": OPS,
    "ops/matmul.py": OPS,
    "ops/ranking.py": OPS,
    "ops/shape.py": OPS,
    "ops/softmax.py": OPS,
    "nn/optim.py": ("tests/test_optim.py", "tests/test_golden.py"),
    "learn/metrics.py": ("tests/test_evaluation.py",),
    "learn/evaluation.py": ("tests/test_evaluation.py", "tests/test_golden.py"),
    "data/batches.py": ("tests/test_batches.py", "tests/test_golden.py"),
    "data/sampling.py": ("tests/test_batches.py", "tests/test_evaluation.py"),
    "data/split.py": ("tests/test_data.py", "tests/test_evaluation.py"),
    "models/sasrec.py": ("tests/test_model.py", "tests/test_golden.py"),
}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.USub: ast.UAdd,
}


@dataclass(frozen=True)
class Mutant:
    """A change: its file, its line, what it does, and the text of the changed module."""

    file: str
    line: int
    change: str
    text: str


# --- making them -------------------------------------------------------------------------------


def mutants(file: str) -> list[Mutant]:
    """All mutants of a file."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    found = []
    for number, (line, change) in enumerate(_changes(tree)):
        changed = copy.deepcopy(tree)
        list(_changes(changed, number))
        ast.fix_missing_locations(changed)
        found.append(Mutant(file, line, change, ast.unparse(changed)))
    return found


def _changes(tree: ast.Module, wanted: int = -1) -> Iterator[tuple[int, str]]:
    """Every place that can be changed; the one numbered `wanted` is."""
    number = -1
    for node, part, value in _places(tree):
        for line, change, apply in _ways(node, part, value):
            number += 1
            if number == wanted:
                apply()
                return
            if wanted < 0:
                yield line, change


def _places(tree: ast.Module) -> Iterator[tuple[Any, str, Any]]:
    """Nodes inside functions: neither texts nor types, nor what is checked by mypy alone."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[Any, str, Any]]:
        for part, value in ast.iter_fields(node):
            if part in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            inner = inside or isinstance(node, ast.FunctionDef)
            if isinstance(node, ast.FunctionDef) and node.name.endswith("sample"):
                continue  # examples for the tests themselves
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.Raise | ast.Assert | ast.JoinedStr):
                    continue  # the words of a message
                if inner and child is not None:
                    yield node, part, child
                if isinstance(child, ast.AST):
                    yield from walk(child, inner)

    yield from walk(tree, False)


def _ways(node: Any, part: str, value: Any) -> Iterator[tuple[int, str, Any]]:
    line = getattr(value, "lineno", getattr(node, "lineno", 0))

    def put(new: Any) -> Any:
        def apply() -> None:
            old = getattr(node, part)
            if isinstance(old, list):
                old[next(i for i, item in enumerate(old) if item is value)] = new
            else:
                setattr(node, part, new)

        return apply

    if type(value) in SWAPS:
        name, other = type(value).__name__, SWAPS[type(value)]
        yield line, f"{name} to {other.__name__}", put(other())
    elif isinstance(value, ast.Constant) and part != "slice" and not isinstance(node, ast.Expr):
        if isinstance(value.value, bool):
            yield line, f"{value.value} to {not value.value}", put(ast.Constant(not value.value))
        elif isinstance(value.value, int | float):
            yield line, f"{value.value} to {value.value + 1}", put(ast.Constant(value.value + 1))
    elif isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not):
        yield line, "without not", put(value.operand)
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and part == "test":
        yield line, "condition turned round", put(ast.UnaryOp(ast.Not(), value))
    elif isinstance(value, ast.AugAssign) or (
        isinstance(value, ast.Expr) and isinstance(value.value, ast.Call)
    ):
        yield line, f"without {ast.unparse(value)[:60]}", put(ast.Pass())


# --- trying them ---------------------------------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the text of a mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.path = PACKAGE / mutant.file
        self.name = ".".join(("minisasrec", *Path(mutant.file).with_suffix("").parts))
        self.text = mutant.text

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)  # type: ignore[arg-type]
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def run(mutant: Mutant | None, tests: Sequence[str], seconds: float) -> bool:
    """Whether the tests pass on this mutant (None: on the code as it is), in a child process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(seconds) + 1)  # ends the process
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            if mutant is not None:
                sys.meta_path.insert(0, _Finder(mutant))
            import pytest

            options = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--no-header")
            status = int(pytest.main([*options, *tests]))
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def arguments(file: str) -> tuple[str, ...]:
    """What pytest is given for the mutants of a file."""
    if TESTS[file] is not OPS:
        return ("tests/test_defaults.py", *TESTS[file])
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    names = [f.name for f in tree.body if isinstance(f, ast.FunctionDef) and f.name[0] != "_"]
    return ("tests/test_defaults.py", *OPS, "-k", " or ".join([*names, "test_defaults"]))


def prepare() -> None:
    """Import what all tests need, once: each mutant's process begins with it."""
    os.chdir(ROOT)
    os.environ["CI"] = "1"  # Hypothesis draws the same examples for every mutant
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for name in ("numpy", "numba", "pandas", "hypothesis", "pytest", "torch", "tqdm"):
        if importlib.util.find_spec(name):
            __import__(name)


def sample(files: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """`count` of the files' mutants, drawn with a seed, file by file."""
    every = [mutant for file in files for mutant in mutants(file)]
    drawn = random.Random(seed).sample(range(len(every)), min(count, len(every)))
    return [every[i] for i in sorted(drawn)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="mutants to try (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--files", nargs="*", default=list(TESTS), help="default: all in TESTS")
    parser.add_argument("--skip", type=int, default=0, help="go on after so many mutants")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--at-least", type=float, default=0.0, help="share that must be killed")
    parser.add_argument("--out", type=Path, help="append each result to this JSON-lines file")
    options = parser.parse_args()
    prepare()
    chosen = sample(options.files, options.count, options.seed)[options.skip :]
    start, taken = time.monotonic(), dict[str, float]()
    tried, lived = 0, list[Mutant]()
    for mutant in chosen:
        if time.monotonic() - start > 60 * options.minutes:
            break
        tests = arguments(mutant.file)
        if mutant.file not in taken:
            began = time.monotonic()
            if not run(None, tests, 3600):
                print(f"{' '.join(tests)} fail without any change", file=sys.stderr)
                return 2
            taken[mutant.file] = time.monotonic() - began
        passed = run(mutant, tests, 10 * taken[mutant.file] + GRACE)
        tried += 1
        if passed:
            lived.append(mutant)
            print(f"lived: {mutant.file}:{mutant.line} {mutant.change}", flush=True)
        if options.out:
            entry = {"file": mutant.file, "line": mutant.line, "change": mutant.change}
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**entry, "lived": passed}) + "\n")
    share = 1 - len(lived) / max(1, tried)
    print(f"{tried} mutants of {len(chosen)}, {tried - len(lived)} killed: {share:.1%}")
    return int(share < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
