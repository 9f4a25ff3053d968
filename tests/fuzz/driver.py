"""Hostile files for all readers: each input gives data, or one `MinisasrecError` on one line.

    python tests/fuzz/driver.py --count 20000 --seed 3

A mutation of a small file (corpus.py, mutate.py) is read; what is counted: exceptions of other
kinds, messages that are too long or do not name the file, growth over 500 MB, more than 5 seconds.
Input number i of a seed is the same on every machine, so `--only i` runs one again.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from corpus import Files, Target, targets
from mutate import mutated

from minisasrec.errors import MinisasrecError

LONGEST = 500  # characters of a message
MOST_MEMORY = 500 << 20  # bytes of growth
MOST_SECONDS = 5.0
SHOWN = 40


@dataclass
class Report:
    """What came of the inputs."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    most_memory: int = 0
    most_seconds: float = 0.0
    slowest: str = ""
    seconds: float = 0.0

    def fault(self, kind: str, where: str, what: str) -> None:
        """Count a fault and keep the first few."""
        self.kinds[kind] += 1
        if len(self.faults) < SHOWN:
            self.faults.append(f"{kind}: {where}: {what}")

    def __str__(self) -> str:
        """A few lines."""
        named = ("foreign exceptions", "bad messages", "over 500 MB", "over 5 s")
        counts = ", ".join(f"{self.kinds[kind]} {kind}" for kind in named)
        return "\n".join(
            [
                *self.faults,
                f"{self.inputs:,} inputs in {self.seconds:.0f} s: {self.read:,} read, "
                f"{self.refused:,} refused in one line",
                f"{counts}; the most was {self.most_memory >> 20} MB, and "
                f"{self.most_seconds:.1f} s ({self.slowest})",
            ]
        )


class Peak:
    """How much the memory of this process has grown at most, in bytes; Linux only, else 0."""

    def __init__(self) -> None:
        self.status, self.clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
        self.start()

    def start(self) -> None:
        """Begin to measure."""
        self.before = 0
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide what is taken
        with suppress(OSError):
            self.clear.write_text("5", encoding="ascii")  # forget the peak up to now
            self.before = self._read("VmRSS")

    def growth(self) -> int:
        """The highest use since `start`, less the use at that time."""
        with suppress(OSError):
            return self._read("VmHWM") - self.before if self.before else 0
        return 0

    def _read(self, name: str) -> int:
        for line in self.status.read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
        return 0


def is_hidden(letter: str) -> bool:
    """Whether a terminal would obey a letter, or show the line otherwise; joiners are in words."""
    kind = unicodedata.category(letter)
    return (kind[0] == "C" or kind in ("Zl", "Zp")) and letter not in "\u200c\u200d"


def sign(files: Files) -> Files:
    """The checksums in config.json made those of the files, as somebody with intent would."""

    def digest(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    with suppress(ValueError, AttributeError, TypeError, KeyError, RecursionError):
        config = json.loads(files["config.json"])
        for name in config["files"]:
            if name in files:
                config["files"][name] = [digest(files[name])]
        config.pop("checksum", None)
        if isinstance(config.get("format"), int):
            config["checksum"] = digest(json.dumps(config, sort_keys=True).encode())
        files = {**files, "config.json": json.dumps(config).encode()}
    return files


def inputs(
    all_targets: list[Target], seed: int, numbers: Iterable[int]
) -> Iterator[tuple[int, Target, Files]]:
    """Number, target and changed files of each input."""
    others = [content for target in all_targets for content in target.files.values()]
    for number in numbers:
        choose = random.Random(f"{seed} {number}")
        target = all_targets[number % len(all_targets)]
        files = dict(target.files)
        name = choose.choice(target.names())
        files[name] = mutated(files[name], choose, others)
        if choose.random() < 0.02:
            del files[name]
        yield number, target, sign(files) if target.signed else files


def run(count: int, seed: int, work: Path, only: int | None = None, wanted: str = "") -> Report:
    """Read `count` inputs; `work` is an empty folder."""
    warnings.simplefilter("ignore")
    all_targets = [t for t in targets(work / "corpus") if wanted in t.name]
    folders: dict[str, Path] = {}
    report, peak, begun = Report(), Peak(), time.perf_counter()
    numbers = range(count) if only is None else [only]
    for number, target, files in inputs(all_targets, seed, numbers):
        folder = folders.setdefault(target.name, work / str(len(folders)))
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        where = f"seed {seed}, number {number}, {target.name}"
        report.inputs += 1
        peak.start()
        start = time.process_time()
        try:
            target.read(folder, random.Random(f"{seed} {number} options"))
            report.read += 1
        except MinisasrecError as error:
            told = str(error)
            report.refused += 1
            if len(told) > LONGEST or len(told.splitlines()) != 1 or any(map(is_hidden, told)):
                report.fault("bad messages", where, f"{type(error).__name__} {told[:300]!r}")
            if only is not None:
                print(f"{type(error).__name__}: {told}")
        except Exception as error:
            report.refused += 1
            last = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in last if "minisasrec" in frame.filename]
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
            report.fault(
                "foreign exceptions", where, f"{place} {type(error).__name__}: {str(error)[:120]!r}"
            )
            if only is not None:
                traceback.print_exc()
        seconds, grown = time.process_time() - start, peak.growth()
        if seconds > report.most_seconds:
            report.most_seconds, report.slowest = seconds, where
        report.most_memory = max(report.most_memory, grown)
        if seconds > MOST_SECONDS:
            report.fault("over 5 s", where, f"{seconds:.1f} s")
        if grown > MOST_MEMORY:
            report.fault("over 500 MB", where, f"{grown >> 20} MB")
        if number % 1000 == 0:
            gc.collect()
    report.seconds = time.perf_counter() - begun
    return report


def main() -> None:
    """Run as a command; the exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="another number, other inputs")
    parser.add_argument("--only", type=int, help="the number of one input, to be read again")
    parser.add_argument("--target", default="", help="a part of the name of a target")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        report = run(options.count, options.seed, Path(work), options.only, options.target)
    print(report)
    sys.exit(1 if report.kinds else 0)


if __name__ == "__main__":
    os.environ.setdefault("MINISASREC_BACKEND", "numpy")
    main()
