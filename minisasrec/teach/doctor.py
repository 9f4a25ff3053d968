"""Is this machine ready for the notebooks? Versions, disk, cache, kernels, a short training."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from minisasrec import __version__
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw
from minisasrec.backends import backend
from minisasrec.data import leave_one_out, load_dataset
from minisasrec.kernels.cores import available_cores
from minisasrec.learn.config import TrainConfig
from minisasrec.learn.fit import fit
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig

NEEDED_DISK = 500_000_000  # bytes: compiled kernels, figures, a few runs
NOTEBOOK_PARTS = {"ipykernel": "ipykernel", "jupyterlab": "jupyterlab", "ipywidgets": "ipywidgets"}
TRAINING_SECONDS = 10.0
EXPECTED_EPOCH = 1.0  # seconds; 0.8 to 1.3 on two cores that other work shared, 2026-11-26
UNTRAINED_LOSS = 1.3863  # 2 log 2: two sigmoids that know nothing


@dataclass(frozen=True)
class Finding:
    """A line of the report: what was looked at, what was seen, what to do ("": all is well)."""

    what: str
    seen: str
    to_do: str = ""

    def __str__(self) -> str:
        mark = "TO DO" if self.to_do else "ok"
        return f"{mark:6}{self.what:14} {self.seen}" + (f": {self.to_do}" if self.to_do else "")


def examine() -> Iterator[Finding]:
    """All findings, one after the other; the last ones take seconds."""
    yield from _versions()
    yield from _places()
    yield _kernels()
    yield _training()


def _versions() -> Iterator[Finding]:
    python = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    old = "" if sys.version_info >= (3, 10) else "install Python 3.10 or newer"
    yield Finding("Python", python, old)
    outside = sys.prefix == sys.base_prefix
    yield Finding(
        "environment",
        f"{sys.prefix}{' (that of the system)' if outside else ''}",
    )
    yield Finding("minisasrec", f"{__version__}, {Path(__file__).parents[1]}")
    for name in ("numpy", "numba", "matplotlib", "pandas"):
        yield _library(name, name, f"pip install {name}")
    for module, name in NOTEBOOK_PARTS.items():
        yield _library(module, name, 'pip install "minisasrec[notebooks]"')


def _library(module: str, name: str, to_do: str) -> Finding:
    try:
        return Finding(name, version(name), "" if find_spec(module) else to_do)
    except PackageNotFoundError:
        return Finding(name, "not installed", to_do)


def _places() -> Iterator[Finding]:
    cores = available_cores()
    yield Finding("processor", f"{cores} core{'s' * (cores > 1)} for this program")
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding(
        "disk",
        f"{free / 1e9:,.1f} GB free here",
        "" if free > NEEDED_DISK else f"make room: {NEEDED_DISK / 1e9:.1f} GB are wanted",
    )
    folder = Path.cwd()
    writable = os.access(folder, os.W_OK)
    yield Finding(
        "folder", str(folder), "" if writable else "not writable: go to a folder of your own"
    )
    synced = [part for part in folder.parts if "onedrive" in part.lower()]
    long = len(str(folder)) > 150 and os.name == "nt"
    if synced or long:
        yield Finding("path", str(folder), "use a short path outside OneDrive, such as C:\\class")


def _kernels() -> Finding:
    if backend() == "numpy":
        wanted = os.environ.get("MINISASREC_BACKEND") == "numpy"
        why = "MINISASREC_BACKEND=numpy is set" if wanted else "Numba cannot be used"
        return Finding(
            "kernels", why, "notebooks 03 and 09 need Numba; the others are several times slower"
        )
    from minisasrec.kernels.jit import CACHE_FOLDER

    began = time.perf_counter()
    count = compile_kernels()
    took = time.perf_counter() - began
    seen = f"{count} ops compiled or loaded in {took:.0f} s"
    if CACHE_FOLDER is None or not _holds(CACHE_FOLDER):
        return Finding(
            "kernels",
            f"{seen}, but not kept in {CACHE_FOLDER}",
            "set NUMBA_CACHE_DIR to a folder that you may write to; else each run compiles them",
        )
    size = sum(path.stat().st_size for path in CACHE_FOLDER.iterdir())
    return Finding("kernels", f"{seen}; {size / 1e6:.0f} MB in {CACHE_FOLDER}")


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def compile_kernels(progress: bool = True) -> int:
    """Compile the kernel of every op, or load it from the cache; how many there are."""
    from tqdm import tqdm

    ops = [op for op in OPS.values() if op.adaptor is not None]
    for op in tqdm(ops, "kernels", unit="op", leave=False, disable=None if progress else True):
        arrays, constants = op.sample(Draw(seed=0))
        for kind in ("float32", "float64"):
            given = [a.astype(kind) if a.dtype.kind == "f" else a for a in arrays]
            y, backward = op.implementation()(*given, **constants)
            backward(y)
    return len(ops)


def _training(
    seconds: float = TRAINING_SECONDS, clock: Callable[[], float] = time.perf_counter
) -> Finding:
    """Train on the bookshop for some seconds: does the loss fall, and how long is an epoch?"""
    split = leave_one_out(load_dataset("bookshop"))
    config = TrainConfig(sasrec=SASRecConfig(n=50, d=48, dropout=0.2), epochs=8, lr=5e-3)
    model = SASRec(split.dataset.num_items, config.sasrec)
    ends: list[float] = []

    class Enough(Exception):
        pass

    losses: list[float] = []
    began = clock()

    def watch(entry: dict[str, float]) -> None:
        ends.append(clock())
        losses.append(entry["loss"])
        if clock() - began > seconds:
            raise Enough

    try:
        fit(model, split, config, progress=True, on_epoch=watch)
    except Enough:
        pass
    epoch = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else ends[0] - began
    seen = (
        f"{len(losses)} epochs of the bookshop, {epoch:.2f} s each, loss {losses[0]:.3f} to "
        f"{losses[-1]:.3f}"
    )
    if not losses[-1] < min([UNTRAINED_LOSS, *losses[:-1]]):
        return Finding("training", seen, "the loss does not fall; please report this machine")
    if epoch > 3 * EXPECTED_EPOCH:
        return Finding(
            "training",
            seen,
            f"about {EXPECTED_EPOCH:g} s are usual: close other programs, plug the laptop in; the "
            f"minutes of the notebooks grow {epoch / EXPECTED_EPOCH:.0f} times",
        )
    return Finding("training", f"{seen} (about {EXPECTED_EPOCH:g} s an epoch are usual)")
