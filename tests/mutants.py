"""How many small changes of the code do the tests notice? `python tests/mutants.py --count 300`

A mutant is one change in one line: `<` to `<=`, `+` to `-`, `and` to `or`, a constant, a condition
turned round, a statement left out. The tests of that file run on it, quick ones first. If they
pass, the mutant has lived: either the change makes no difference, or a test is missing. The files
on disk stay as they are: a mutant lives in one process, which imports it in the place of the
module. (This needs `os.fork`, so Linux or macOS.)

Each one that lived is printed with its line. `tests/mutants_that_live.py` lists those that may,
each with the reason; they count as not noticed all the same.
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
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minisasrec"
TIMES, GRACE = 5, 20  # a mutant may take 5 times as long as the code, and 20 seconds more

ALL = ("tests/test_defaults.py", "tests/test_errors.py")  # quick, and about everything
OPS = ("tests/test_ops.py", "tests/test_magnitudes.py", "tests/test_torch_oracle.py")
KERNELS = ("tests/test_ops.py", "tests/test_kernels.py")
TESTS: dict[str, tuple[str, ...]] = {
    "autograd/engine.py": ("tests/test_engine.py", "tests/test_two_threads.py"),
    "autograd/gradients.py": ("tests/test_engine.py", "tests/test_ops.py"),
    "autograd/op.py": ("tests/test_engine.py", "tests/test_replicas.py", "tests/test_gradcheck.py"),
    "autograd/tensor.py": ("tests/test_engine.py", "tests/test_replicas.py", "tests/test_ops.py"),
    # of the tests in OPS, those about the ops of the file
    "ops/attention.py": OPS,
    "ops/convolution.py": ("tests/test_convolution.py", *OPS),
    "ops/dropout.py": ("tests/test_random.py", *OPS),
    "ops/elementwise.py": OPS,
    "ops/embed.py": ("tests/test_fused.py", *OPS),
    "ops/embedding.py": OPS,
    "ops/feed_forward.py": ("tests/test_fused.py", *OPS),
    "ops/layer_norm.py": OPS,
    "ops/loss.py": OPS,
    "ops/matmul.py": OPS,
    "ops/projections.py": ("tests/test_fused.py", *OPS),
    "ops/ranking.py": OPS,
    "ops/recurrent.py": ("tests/test_recurrent.py", *OPS),
    "ops/shape.py": OPS,
    "ops/softmax.py": OPS,
    "nn/optim.py": ("tests/test_optim.py", "tests/test_golden.py"),
    "learn/metrics.py": ("tests/test_metrics_oracle.py", "tests/test_evaluation.py"),
    "learn/evaluation.py": ("tests/test_evaluation.py", "tests/test_split.py"),
    "data/batches.py": ("tests/test_batches.py", "tests/test_golden.py"),
    "data/sampling.py": ("tests/test_batches.py", "tests/test_evaluation.py"),
    "data/split.py": ("tests/test_data.py", "tests/test_split.py", "tests/test_evaluation.py"),
    "models/sasrec.py": ("tests/test_model.py", "tests/test_golden.py"),
    # compiled for each mutant, so slow: not among those that are tried without asking. Of the
    # tests in OPS those about the ops that call the kernels of the file
    "kernels/adam.py": ("tests/test_optim.py",),
    "kernels/attention.py": KERNELS,
    "kernels/convolution.py": ("tests/test_convolution.py", *KERNELS),
    "kernels/dropout.py": KERNELS,
    "kernels/elementwise.py": ("tests/test_engine.py", *KERNELS),
    "kernels/embedding.py": ("tests/test_fused.py", "tests/test_engine.py", *KERNELS),
    "kernels/feed_forward.py": ("tests/test_fused.py", *KERNELS),
    "kernels/layer_norm.py": KERNELS,
    "kernels/loss.py": KERNELS,
    "kernels/matmul.py": KERNELS,
    "kernels/projections.py": ("tests/test_fused.py", *KERNELS),
    "kernels/ranking.py": KERNELS,
    "kernels/recurrent.py": ("tests/test_recurrent.py", *KERNELS),
    "kernels/sampling.py": ("tests/test_batches.py",),
    "kernels/softmax.py": KERNELS,
}
USUAL = ("autograd", "ops", "nn", "learn", "data", "models")
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
    source: str  # of the line
    change: str
    text: str


# --- making them -------------------------------------------------------------------------------


def mutants(file: str) -> list[Mutant]:
    """All mutants of a file."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    found = []
    for number, (line, source, change) in enumerate(changes(file)):
        changed = copy.deepcopy(tree)
        list(_changes(changed, number))
        ast.fix_missing_locations(changed)
        found.append(Mutant(file, line, source, change, ast.unparse(changed)))
    return found


def changes(file: str) -> list[tuple[int, str, str]]:
    """(line, its text, change) of all mutants of a file."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    return [(line, lines[line - 1].strip(), change) for line, change in _changes(ast.parse(text))]


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
    elif isinstance(value, ast.Constant) and not isinstance(node, ast.Expr):
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
        # without a file its kernels are compiled, and none is taken from the cache or put there
        file = "<mutant>" if "kernels" in self.path.parts else str(self.path)
        exec(compile(self.text, file, "exec"), module.__dict__)


def run(mutant: Mutant | None, tests: Sequence[str], seconds: float) -> str:
    """Run the tests on this mutant (None: on the code as it is) in a child process.

    "lived" if they pass, "killed" if one fails, "stopped" after so many seconds.
    """
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
    code = os.waitstatus_to_exitcode(status)
    return {0: "lived", -signal.SIGALRM: "stopped"}.get(code, "killed")


def arguments(file: str) -> tuple[str, ...]:
    """What pytest is given for the mutants of a file."""
    tests = (*TESTS[file], *ALL)
    if OPS[0] not in tests or file.startswith("autograd"):
        return tests
    names = []
    for ops in sorted((PACKAGE / "ops").glob("*.py")):
        text = ops.read_text(encoding="utf-8")
        if ops.name == Path(file).name or (
            file.startswith("kernels") and re.search(rf"kernels\.{Path(file).stem}\b", text)
        ):
            body = ast.parse(text).body
            names += [f.name for f in body if isinstance(f, ast.FunctionDef) and f.name[0] != "_"]
    whole = [Path(test).stem for test in tests if test not in OPS]
    return (*tests, "-k", " or ".join([*names, *whole]))


def prepare() -> None:
    """Import what all tests need, once: each mutant's process begins with it."""
    os.chdir(ROOT)
    os.environ["CI"] = "1"  # Hypothesis draws the same examples for every mutant
    os.environ.pop("MINISASREC_DATA_DIR", None)  # the same tests whatever data are there
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take seconds to import
    needed = "numpy numba pandas scipy.stats hypothesis pytest torch sympy tqdm platformdirs"
    for name in needed.split():
        if importlib.util.find_spec(name):
            __import__(name)


def sample(files: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """`count` of the files' mutants, drawn with a seed, file by file."""
    every = [mutant for file in files for mutant in mutants(file)]
    drawn = random.Random(seed).sample(range(len(every)), min(count, len(every)))
    return [every[i] for i in sorted(drawn)]


def may_live() -> dict[tuple[str, str, str], str]:
    """The reason by file, line and change; a `ValueError` for a change that nobody can make."""
    from mutants_that_live import LIVES

    for file, source, change, _ in LIVES:
        if (source, change) not in [(text, done) for _, text, done in changes(file)]:
            raise ValueError(f"mutants_that_live.py: {file} has no {source!r} with {change!r}")
    return {(file, source, change): reason for file, source, change, reason in LIVES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="mutants to try (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument(
        "--files",
        nargs="+",
        default=USUAL,
        help=f"folders or files of the package: ops, kernels/loss.py (default: {' '.join(USUAL)})",
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--at-least", type=float, default=0.0, help="share that must be noticed")
    parser.add_argument(
        "--out", type=Path, help="JSON lines: what was tried; those in it are not tried again"
    )
    options = parser.parse_args()
    prepare()
    known, results = may_live(), dict[int, dict[str, Any]]()
    if options.out and options.out.exists():
        lines = options.out.read_text(encoding="utf-8").splitlines()
        results = {entry["number"]: entry for entry in map(json.loads, lines)}
    files = [file for file in TESTS if file.startswith(tuple(options.files))]
    chosen = sample(files, options.count, options.seed)
    start, taken = time.monotonic(), dict[str, float]()
    for number, mutant in enumerate(chosen):
        if number in results:
            continue
        if time.monotonic() - start > 60 * options.minutes:
            break
        tests = arguments(mutant.file)
        if mutant.file not in taken:
            began = time.monotonic()
            if run(None, tests, 3600) != "lived":
                print(f"{' '.join(tests)} fail without any change", file=sys.stderr)
                return 2
            taken[mutant.file] = time.monotonic() - began
        results[number] = {
            "number": number,
            "file": mutant.file,
            "line": mutant.line,
            "source": mutant.source,
            "change": mutant.change,
            "result": run(mutant, tests, TIMES * taken[mutant.file] + GRACE),
        }
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(results[number]) + "\n")
        if results[number]["result"] == "lived":
            print(describe(results[number], known), flush=True)
    lived = [entry for entry in results.values() if entry["result"] == "lived"]
    stopped = sum(entry["result"] == "stopped" for entry in results.values())
    new = [entry for entry in lived if _key(entry) not in known]
    share = 1 - len(lived) / max(1, len(results))
    print(
        f"{len(results)} mutants of {len(chosen)} tried, {len(results) - len(lived)} noticed "
        f"({stopped} by never coming to an end): {share:.1%}; {len(lived)} lived, {len(new)} of "
        "them not in mutants_that_live.py"
    )
    return int(share < options.at_least)


def describe(entry: dict[str, Any], known: dict[tuple[str, str, str], str]) -> str:
    """One that lived, on a line."""
    reason = known.get(_key(entry), "NEW")
    return f"lived: {entry['file']}:{entry['line']} {entry['change']} ({reason}): {entry['source']}"


def _key(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["file"], entry["source"], entry["change"]


if __name__ == "__main__":
    sys.exit(main())
