"""What the benchmarks share: the machine, a fresh process, data of a known shape, and tables.

`python -m benchmarks.machine` copies the tables of benchmarks/results/*.json into
docs/performance.md. `python -m benchmarks.machine reproduce/*` copies what `minisasrec.reproduce`
wrote into docs/results.md, docs/tuning.md and docs/plots. So no number of these tables is typed by
hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.data import leave_one_out, load_dataset
from minisasrec.data.dataset import PAD, Dataset
from minisasrec.data.split import Split
from minisasrec.errors import MinisasrecError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PAPERS_PAGES = (ROOT / "docs" / "results.md", ROOT / "docs" / "tuning.md")

# users, items, actions, and how uneven the histories are (sigma of the log of their lengths)
SHAPES = {
    "ml-1m": (6_040, 3_416, 999_611, 1.0),
    "amazon-games": (31_013, 23_715, 287_107, 0.6),
    "ml-20m": (138_493, 26_744, 20_000_263, 1.0),
    "tiny": (20, 20, 200, 0.1),
}


# --- processes ----------------------------------------------------------------------------------


def environment(threads: int) -> dict[str, str]:
    """This environment with so many threads, and without what would slow one contender only."""
    # some hosts pin an old OpenBLAS kernel by the first two, which slows NumPy alone
    unwanted = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MINISASREC_BACKEND")
    counts = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    kept = {k: v for k, v in os.environ.items() if k not in unwanted}
    return kept | dict.fromkeys(counts, str(threads))


def run_json(command: Sequence[str], env: dict[str, str]) -> Any:
    """Run a Python command; its last line of output is JSON."""
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        *_, said = ["it said nothing", *done.stderr.strip().splitlines()]  # of a traceback, the end
        said = re.sub(r"^([\w.]*Error|error): ", "", said)
        raise SystemExit(f"error: a measuring process failed: {said}")
    return json.loads(done.stdout.splitlines()[-1])


def in_process(function: Callable[..., Any], threads: int, /, **arguments: Any) -> Any:
    """function(**arguments) in a process of its own: NumPy's BLAS counts its threads only once."""
    module = function.__module__
    if module == "__main__":
        module = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    code = (
        f"import json, sys; from {module} import {function.__name__} as f; "
        "print(json.dumps(f(**json.loads(sys.argv[1]))))"
    )
    return run_json(["-c", code, json.dumps(arguments)], environment(threads))


def peak_mib() -> float:
    """The most memory this process has had resident, in MiB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**20)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child begins with the parent's
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak:
            return int(peak[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def seconds(function: Callable[[], Any], budget: float = 0.3) -> float:
    """The median time of a call, after one that warms up; three calls at least."""
    function()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# --- data ---------------------------------------------------------------------------------------


def synthetic(name: str, users: int, items: int, actions: int, sigma: float) -> Dataset:
    """Random actions: histories of log-normal lengths, 3 to items / 2, of uniform items."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(0, sigma, users)
    lengths = np.rint(lengths * (actions / lengths.sum())).clip(3, items // 2).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    drawn = rng.integers(1, items, offsets[-1], dtype=np.int32, endpoint=True)
    ids = [str(i) for i in range(1, items + 1)]
    return Dataset(name, drawn, offsets, [str(u) for u in range(users)], [PAD, *ids])


def load(name: str, data_dir: str | None, scale: float = 1.0) -> Split:
    """The data set, or without its files a made-up one of its shape with `scale` x the users.

    `data_dir` holds the files, or in a folder of the data set's name what `Dataset.save` wrote:
    then the readers of files are not imported, which would count in the peak memory of a training.
    """
    if data_dir and (saved := Path(data_dir) / name).joinpath("dataset.json").is_file():
        return leave_one_out(Dataset.load(saved, mmap=False))
    if data_dir:
        found = load_dataset(name, data_dir=data_dir, download=False, progress=False)
        return leave_one_out(found)
    users, items, actions, sigma = SHAPES[name]
    shape = max(20, round(users * scale)), items, round(actions * scale)
    return leave_one_out(synthetic(f"{name}-shaped", *shape, sigma))


# --- reports ------------------------------------------------------------------------------------


def parser(doc: str, threads: int = 2) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    result = argparse.ArgumentParser(description=doc.splitlines()[0])
    result.add_argument("--threads", type=positive, default=threads)
    result.add_argument("--out", type=_folder, default=RESULTS, help="folder for JSON and plot")
    return result


def positive(text: str) -> int:
    """An option that is a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def count(text: str) -> int:
    """An option that is a whole number of at least 0."""
    return 0 if text == "0" else positive(text)


def _folder(text: str) -> Path:
    try:
        Path(text).mkdir(parents=True, exist_ok=True)  # now, and not when all has been measured
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {error.strerror}") from None
    return Path(text)


def run(main: Callable[[], None]) -> None:
    """`main`; what it cannot do ends it with one line."""
    try:
        main()
    except MinisasrecError as error:
        raise SystemExit(f"error: {error}") from None


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are given three digits and stand on the right."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---:" if i else "---" for i in range(len(head))) + "|")
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def save(name: str, args: argparse.Namespace, facts: Any, tables: dict[str, str]) -> None:
    """Print the tables under the marks of docs/performance.md, and write NAME.json."""
    versions = {p: version(p) for p in ("numpy", "numba")} | {"python": platform.python_version()}
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": versions,
        "options": {
            k: "DIR" if k == "data_dir" and v else str(v)
            for k, v in vars(args).items()
            if k != "out"
        },
        "facts": facts,
        "tables": tables,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['machine']}, {report['date']}, {versions}\n")
    for mark, text in tables.items():
        print(f"<!-- table: {mark} -->\n{text}\n")


def fill(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its marks; places without a table stay as they are."""
    found = set()

    def place(match: re.Match[str]) -> str:
        found.add(match[2])
        text = tables.get(match[2])
        return f"{match[1]}\n{text}\n{match[3]}" if text else match[0]

    other = "<!-- table: "
    marks = rf"({other}(\S+) -->)\n(?:(?!{other}).)*?(<!-- end -->)"
    filled = re.sub(marks, place, page, flags=re.DOTALL)
    for name in tables:  # without an end, all up to the end of the next table would be replaced
        if f"{other}{name} -->" in page and name not in found:
            raise SystemExit(f"error: after {other}{name} --> there is no <!-- end --> of its own")
    return filled


def copy_reproduced(folders: Sequence[Path], pages: Sequence[Path]) -> None:
    """The table.md of each folder between the marks of its name; its plot beside the page.

    A folder that no page has a mark for is passed over, and so is a plot that its page does not
    show.
    """
    for folder in folders:
        file, name = folder / "table.md", folder.resolve().name
        if not file.is_file():
            print(f"{folder}: passed over, it has no table.md")
            continue
        texts = {page: page.read_text(encoding="utf-8") for page in pages}
        marked = [page for page in pages if f"<!-- table: {name} -->" in texts[page]]
        if not marked:
            of_pages = " and ".join(page.name for page in pages)
            print(f"{folder}: passed over, no <!-- table: {name} --> in {of_pages}")
            continue
        page, text = marked[0], texts[marked[0]]
        _title, _, table_and_notes = file.read_text(encoding="utf-8").partition("\n\n")
        text = fill(text, {name: table_and_notes.strip()})
        said = "copied"
        if f"(plots/{name}.png)" in text:
            try:
                shutil.copyfile(folder / "plot.png", page.parent / "plots" / f"{name}.png")
            except OSError as error:
                said = f"table copied, but not plot.png: {error.strerror}"
        page.write_text(text, encoding="utf-8")
        print(f"{folder}: {said}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folders", nargs="*", type=Path, help="folders that reproduce wrote")
    folders = options.parse_args().folders
    if folders:
        copy_reproduced(folders, PAPERS_PAGES)
        return
    tables: dict[str, str] = {}
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        if "tables" in report:
            tables |= report["tables"]
            print(f"{path.name}: {report['date']}, {', '.join(report['tables'])}")
    text = PAGE.read_text(encoding="utf-8")
    for name in tables:
        if f"<!-- table: {name} -->" not in text:
            print(f"passed over, {PAGE.name} has no <!-- table: {name} -->")
    PAGE.write_text(fill(text, tables), encoding="utf-8")


if __name__ == "__main__":
    main()
