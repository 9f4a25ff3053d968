"""The receipt of a run: what its numbers follow from, as fingerprints that two people can compare.

    data       the actions in their order, with the ids, and what the split holds out
    settings   all that changes a number; not threads, paths and what is printed
    code       the package's own files that compute (`COMPUTES`)
    machine    backend, processor, width of its vectors, the rule for threads, libraries
    weights    the best weights
    figures    what was measured in each epoch and at the end, times left out

The same data, settings, code and machine give the same weights and figures, bit for bit. `made_by`
says what code and machine are here; it goes into config.json when a run begins, and again when it
is resumed under others.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec import __version__
from minisasrec.backends import backend
from minisasrec.errors import CheckpointError, ConfigError
from minisasrec.learn.config import NO_NUMBERS, TrainConfig, read_json
from minisasrec.learn.runs import CONFIG, RESULT, ROW_FORM, WEIGHTS, Run, check_form, sha256_of_file
from minisasrec.models import MODELS
from minisasrec.terminal import say

COMPUTES = (
    "autograd",
    "backends.py",
    "data/batches.py",
    "data/sampling.py",
    "data/sequences.py",
    "data/split.py",
    "kernels",
    "learn/evaluation.py",
    "learn/fit.py",
    "learn/metrics.py",
    "learn/recommendation.py",
    "models",
    "nn",
    "ops",
    "random.py",
)
PARTS = ("data", "settings", "code", "machine", "weights", "figures")
NO_FIGURES = {"epoch", "seconds", "targets_per_second"}  # in a line of history.jsonl
SHOWN = 8  # characters of a fingerprint that are shown: 32 bits
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
Facts = dict[str, Any]
MADE_BY_FORM = {"minisasrec": str, "code": str, "backend": str}
ORIGIN_FORM = {"data": str, "init_from?": str, "updates?": list}


# --- what goes into config.json ------------------------------------------------------------------


def origin(config: TrainConfig) -> Facts:
    """What config.json says of how a training begins."""
    facts: Facts = {"made_by": [made_by()]}
    if config.init_from is not None:
        try:
            facts["init_from"] = sha256_of_file(config.init_from)
        except OSError as error:
            raise ConfigError(f"cannot read {config.init_from}: {error.strerror}") from None
    return facts


def origin_in(facts: Facts) -> Facts:
    """The part of config.json's facts that `origin` and `updated` wrote."""
    return {name: facts[name] for name in ("made_by", "init_from", "updates") if name in facts}


def updated(begun: Facts, epochs: int) -> Facts:
    """An `origin` after `Recommender.update`, which trained so many epochs more."""
    made, now = begun.get("made_by", []), made_by()
    if made and made[-1] != now:
        made = [*made, now]
    return {**begun, "made_by": made, "updates": [*begun.get("updates", []), epochs]}


def made_by() -> Facts:
    """The code and the machine that compute now."""
    return {"minisasrec": __version__, "code": code_fingerprint(), **machine()}


@cache
def code_fingerprint(root: Path = Path(__file__).parents[1]) -> str:
    """SHA-256 (hex) of the files that compute, the same for both ways to end a line."""
    digest = hashlib.sha256()
    for name in COMPUTES:
        files = [root / name] if name.endswith(".py") else (root / name).rglob("*.py")
        for path, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
            content = file.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{path} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def machine() -> Facts:
    """What bits depend on beside data, settings and code, on the backend of this thread."""
    found: Facts = {
        "backend": backend(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
    }
    if find_spec("numba"):
        found |= _processor()
    if backend() == "numba":
        from minisasrec.kernels.simd.vector import VECTOR_BYTES

        # a task is a fixed piece of the work, so the number of threads changes no bit
        return {**found, "vectors": f"{VECTOR_BYTES} bytes", "threads": "any number"}
    return {**found, **_blas()}


def _processor() -> Facts:
    """The processor that kernels are compiled for, and by what."""
    import numba

    from minisasrec.kernels.simd.internals import (
        config,
        get_host_cpu_features,
        get_host_cpu_name,
        llvmlite_version,
    )

    features = config.CPU_FEATURES or get_host_cpu_features()
    return {
        "processor": config.CPU_NAME or get_host_cpu_name(),
        "features": " ".join(sorted(f[1:] for f in features.split(",") if f[:1] == "+")),
        "numba": numba.__version__,
        "llvmlite": llvmlite_version,
    }


def _blas() -> Facts:
    """The library that multiplies matrices for NumPy: it divides them among its threads."""
    built: Any = np.show_config(mode="dicts")  # type: ignore[call-arg, func-returns-value, unused-ignore]
    told = built.get("Build Dependencies", {}).get("blas", {})
    kernels = os.environ.get("OPENBLAS_CORETYPE", "").split()
    wanted = [int(text) for name in BLAS_THREADS if (text := os.environ.get(name, "")).isdecimal()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = min([cores or 1, *[n for n in wanted[:1] if n]])
    return {
        "blas": " ".join([told.get("name", "?"), told.get("version", ""), *kernels]),
        "blas_threads": threads,
    }


def go_on(run: Run, config: TrainConfig, anew: bool = False) -> None:
    """Write down that a run goes on: with other --epochs perhaps, by other code or elsewhere.

    One line says so if the bits may then differ from those of an uninterrupted run; not if it
    begins `anew`, since nothing is left of an earlier attempt.
    """
    values = run.read_config()
    check_form(values, {"settings": dict, "made_by?": list}, run.path(CONFIG))
    made, now = values.get("made_by", []), made_by()
    for entry in made:
        check_form(entry, MADE_BY_FORM, run.path(CONFIG))
    how = ", ".join(_differences(made[-1], now, "now")) if made else "not noted then"
    if anew:
        made = [now]
    elif how:
        made = [*made, now] if made else []  # what is not known is not made up
        say(
            f"note: {run.folder} was begun under other conditions ({how}): its bits may differ "
            "from those of an uninterrupted run"
        )
    changed = {name: getattr(config, name) for name in ("epochs", "patience")}
    new = {**values, "settings": {**values["settings"], **changed}, "made_by": made}
    if new != values:
        run.write_config(new)


WORDS = {"code": "files of the package", "features": "processor features"}


def _differences(before: Facts, now: Facts, there: str) -> Iterator[str]:
    for name in before:
        if name in now and before[name] != now[name]:
            word = WORDS.get(name, name.replace("_", " "))
            told = f"{word} {before[name]}, {there} {now[name]}"
            yield word if name in ("code", "features") else told


# --- the receipt ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    """`sha256` of each of `PARTS`, and `told`: what is known about the part."""

    sha256: dict[str, str]
    told: dict[str, Any]

    @property
    def overall(self) -> str:
        """One fingerprint of all parts."""
        return _digest([self.sha256[part] for part in PARTS])

    @classmethod
    def of(cls, run: Run) -> Receipt:
        """The receipt of a run, or of a folder that `Recommender.save` wrote; no data is needed.

        Raises `CheckpointError` for a folder without weights, or of a version that noted too
        little.
        """
        config, facts = run.settings()
        made = facts.get("made_by")
        if not made:
            raise CheckpointError(
                f"{run.folder} was begun by an earlier version, which did not note what it was "
                "made by, so it has no receipt; train it anew"
            )
        check_form(facts, ORIGIN_FORM, run.path(CONFIG))
        for entry in made:
            check_form(entry, MADE_BY_FORM, run.path(CONFIG))
        arrays, about = run.load_arrays(WEIGHTS)
        code = [{name: entry[name] for name in ("minisasrec", "code")} for entry in made]
        machines = [{k: v for k, v in entry.items() if k not in code[0]} for entry in made]
        known = facts.get("known", {})
        told: dict[str, Any] = {
            "data": {name: known.get(f"num_{name}") for name in ("users", "items")},
            "settings": _settings(config, facts),
            "code": _once(code),
            "machine": _once(machines),
            "weights": {"epoch": about.get("best_epoch")},
            "figures": _figures(run),
        }
        sha256 = {"data": facts["data"], **_digests(told), "weights": _digest_of_arrays(arrays)}
        return cls(sha256, told)

    @classmethod
    def read(cls, path: Path) -> Receipt:
        """The receipt of a folder, or one that was written as JSON. Raises `CheckpointError`."""
        if not path.is_file():
            return cls.of(Run.open(path))
        try:
            values = read_json(path)
        except ConfigError as error:
            raise CheckpointError(str(error)) from None
        check_form(values, {**dict.fromkeys(PARTS, dict), "overall": str}, path)
        kinds = {**dict.fromkeys(PARTS, dict), "code": list, "machine": list}
        for part in PARTS:
            check_form(values[part], {"sha256": str, "told": kinds[part]}, f"{path}, {part}")
        for entry in values["code"]["told"]:
            check_form(entry, {"code": str}, path)
        for entry in values["machine"]["told"]:
            check_form(entry, {}, path)
        sha256, told = ({p: values[p][key] for p in PARTS} for key in ("sha256", "told"))
        found = cls(sha256, told)
        if sha256 != {**sha256, **_digests(told)} or found.overall != values["overall"]:
            raise CheckpointError(
                f"{path} was damaged or changed: its fingerprints are not those of what it tells; "
                "make it again: receipt RUN --json"
            )
        return found

    def to_json(self) -> Facts:
        """What `read` reads."""
        parts = {p: {"sha256": self.sha256[p], "told": self.told[p]} for p in PARTS}
        return {"overall": self.overall, **parts}

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Of each part its name, its eight characters, and what it is about; then of all."""
        for part in PARTS:
            yield part, self.sha256[part][:SHOWN], _about(part, self.told[part])
        yield "overall", self.overall[:SHOWN], ""

    def compare(self, other: Receipt) -> str:
        """One sentence: what differs first, and what that means for the numbers."""
        differ = [part for part in PARTS if self.sha256[part] != other.sha256[part]]
        if not differ:
            return f"the same {_listed(PARTS)}, bit for bit"
        first = differ[0]
        same = PARTS[: PARTS.index(first)]
        begin = f"the same {_listed(same)}, " if same else ""
        how = {part: _how(part, self.told[part], other.told[part]) for part in differ}
        what = f"{begin}other {first} ({how[first]})" if how[first] else f"{begin}other {first}"
        if first in ("data", "settings"):
            return f"{what}: other numbers are to be expected"
        if first == "weights":
            return (
                f"{what}: one of them is not trained to its end, or was changed; if neither is so, "
                "please report it"
            )
        if first == "figures" and self.told[first] and other.told[first]:
            return (
                f"{what}: the same weights give the same figures, so one of them was changed; "
                "evaluate RUN makes those of the test part again"
            )
        if first == "figures":
            return f"{begin}bit for bit; figures are in one of them alone"
        bits = "numbers" if first == "code" else "bits"
        found = "they do" if "weights" in differ else "they do not, the weights are the same"
        if "figures" in differ and "weights" not in differ:
            found += f", but other figures ({how['figures']})"
        return f"{what}: {bits} may differ; here {found}"


def _digests(told: dict[str, Any]) -> dict[str, str]:
    """The fingerprints of the parts that a receipt tells in full."""
    code = [entry["code"] for entry in told["code"]]
    values = {"code": code, **{part: told[part] for part in ("settings", "machine", "figures")}}
    return {part: _digest(value) for part, value in values.items()}


def _settings(config: TrainConfig, facts: Facts) -> Facts:
    """The settings that change numbers, flat; a file to start from by its content."""
    own, values = MODELS[config.model][1], config.to_json()
    others = {section for _, section in MODELS.values()} | NO_NUMBERS
    found = {name: value for name, value in values.items() if name not in others}
    found |= {"init_from": facts.get("init_from"), "updates": facts.get("updates", [])}
    return {**found, "on": facts.get("known", {}).get("on", "train"), **values.get(own, {})}


def _figures(run: Run) -> Facts:
    """What was measured: in each epoch, then at the end. Nothing in the folder of a recommender."""
    found: Facts = {}
    for entry in run.history():
        of = f"of epoch {entry['epoch']}"
        found |= {f"{name} {of}": entry[name] for name in entry if name not in NO_FIGURES}
    if run.path(RESULT).is_file():
        for row in run.result()["test"]:
            of = f"of {row['model']} on the test part, {row['protocol']}"
            found |= {f"{name} {of}": row[name] for name in row if name not in ROW_FORM}
    return found


def _once(entries: list[Facts]) -> list[Facts]:
    """Each entry once, in order: a run that was resumed with other code, on the same machine."""
    return [entry for i, entry in enumerate(entries) if entry not in entries[:i]]


def _about(part: str, told: Any) -> str:
    if part == "data":
        return f"{told.get('users')} users, {told.get('items')} items" if told.get("users") else ""
    if part == "settings":
        return f"{told.get('model')}, seed {told.get('seed')}"
    if part == "weights":
        return f"of epoch {told['epoch']}" if told.get("epoch") else ""
    if part == "figures":
        return f"{len(told)} numbers" if told else "none here"
    return ", then ".join(_in_words(entry) for entry in told)


def _in_words(entry: Facts) -> str:
    """An entry of code or machine, without what is long."""
    short = {name: value for name, value in entry.items() if name not in ("code", "features")}
    return ", ".join(f"{WORDS.get(k, k.replace('_', ' '))} {value}" for k, value in short.items())


def _how(part: str, ours: Any, theirs: Any) -> str:
    """How a part differs, here and there; of figures the first that does."""
    if part == "figures":
        first = next(_differences(ours, theirs, "there"), None)
        return first or f"{len(ours)} numbers, there {len(theirs)}"
    if not isinstance(ours, list):
        return "; ".join(_differences(ours, theirs, "there"))
    if len(ours) != len(theirs):
        return f"{len(ours)} in turn, there {len(theirs)}: one was resumed elsewhere"
    pairs = zip(ours, theirs, strict=True)
    return "; ".join(text for a, b in pairs for text in _differences(a, b, "there"))


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_of_arrays(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes; not of the file, which also holds other facts."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
