"""The public data sets: `python -m minisasrec.datasets`, or `... datasets ml-1m --download`.

`python -m minisasrec.data FILE` is the command for a file of your own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.data import DATASETS, Dataset, DataWarning, load_dataset
from minisasrec.data.downloads import cache_folder, download
from minisasrec.data.registry import DATA_DIR_VARIABLE, DatasetSpec, FileFormat, locate
from minisasrec.errors import ConfigError, DataError, UnknownDatasetError
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.terminal import show

Record = dict[str, Any]
KINDS = ("users", "items", "actions")


@dataclass(frozen=True)
class DatasetsConfig:
    """List the public data sets; show, download, verify or clear the ones named.

    Without a name: all of them, and which are on this machine. With names: statistics, licence,
    place and address of each.
    """

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]")
    ] = ()
    """Names of data sets, such as ml-1m."""
    download: bool = False
    """Download those that are not here, into this package's cache, and verify them."""
    verify: bool = False
    """Compare checksum and counts with the published ones, and print the fingerprint."""
    clear: bool = False
    """Delete what was downloaded into this package's cache, and nothing else."""
    data_dir: Path | None = None
    """Folder that holds the data sets' files already; by default $MINISASREC_DATA_DIR."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON array with an object for each data set."""


def main(argv: Sequence[str] | None = None) -> None:
    """List, or do what was asked for each name."""
    options = read_options(DatasetsConfig, "datasets", argv)
    use_machine(options.machine)
    asked = [name for name in ("download", "verify", "clear") if getattr(options, name)]
    if len(asked) > 1:
        raise ConfigError(f"give one of --{' and --'.join(asked)} at a time")
    if asked and not options.names:
        raise ConfigError(f"--{asked[0]} needs a name; the names are {', '.join(DATASETS)}")
    for name in options.names:
        if name not in DATASETS:
            raise UnknownDatasetError(
                f"no data set {name!r}; the names are {', '.join(DATASETS)} (for a file of your "
                "own: python -m minisasrec.data FILE)"
            )
    specs = [DATASETS[name] for name in dict.fromkeys(options.names)] or list(DATASETS.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # what they say is among what is printed
        records = [_do(spec, options) for spec in specs]
    if options.json:
        print_json(records)
    elif options.names:
        show(*"\n\n".join(_lines(record) for record in records).split("\n"))
    else:
        show(*_table(records).split("\n"))
    failed = [record["name"] for record in records if record.get("verified") is False]
    if failed:
        raise DataError(f"not as published: {', '.join(failed)}; the lines above say what differs")


def _do(spec: DatasetSpec, options: DatasetsConfig) -> Record:
    if options.clear:
        return clear(spec, options.data_dir)
    if options.download:
        return fetch(spec, options.data_dir)
    if options.verify:
        return verify(spec, options.data_dir)
    return describe(spec, options.data_dir, read=bool(options.names))


def describe(spec: DatasetSpec, data_dir: Path | None, read: bool) -> Record:
    """What is known of a data set: from the registry alone, or also from its file."""
    place, published = _place(spec, data_dir), _published(spec)
    record: Record = {
        "name": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "page": spec.page or None,
        "download": list(spec.urls),
        "present": place is not None,
        "place": place,
        **dict(zip(KINDS, published, strict=True)),
    }
    if read and place is not None:
        record |= _seen(_load(spec, data_dir))
    return record


def fetch(spec: DatasetSpec, data_dir: Path | None) -> Record:
    """Download a data set unless it is here; then verify it."""
    if spec.make is None and locate(spec, data_dir) is None:
        if not spec.urls:
            raise DataError(f"{spec.name} has no address to download it from; see {spec.page}")
        download(spec.urls, cache_folder() / spec.name / spec.file, spec.md5)
    return verify(spec, data_dir)


def verify(spec: DatasetSpec, data_dir: Path | None) -> Record:
    """Compare a data set on this machine with what is published. DataError if it is not here."""
    found = None if spec.make else locate(spec, data_dir)
    if spec.make is None and found is None:
        raise DataError(
            f"{spec.name} is not on this machine; get it with: minisasrec datasets {spec.name} "
            "--download"
        )
    record = describe(spec, data_dir, read=False)
    checks: Record = {}
    if found is not None and spec.md5 and found[1].path.name == spec.file:
        seen = _md5(found[1].path)
        same = "as published" if seen == spec.md5 else f"differs: {seen}, published {spec.md5}"
        checks["MD5"] = same
    dataset = _load(spec, data_dir)
    seen_counts = [getattr(dataset.statistics(), kind) for kind in KINDS]
    for kind, seen_count, wanted in zip(KINDS, seen_counts, _published(spec, found), strict=True):
        if wanted is None:
            checks[kind] = f"{seen_count:,}; no published number to compare with"
        elif wanted == seen_count:
            checks[kind] = "as published"
        else:
            checks[kind] = f"differs: {seen_count:,}, published {wanted:,}"
    good = not any(text.startswith("differs") for text in checks.values())
    return {**record, **_seen(dataset), "checks": checks, "verified": good}


def clear(spec: DatasetSpec, data_dir: Path | None = None) -> Record:
    """Delete a data set's folder in the cache. Raises DataError rather than touch a user's folder.

    That is a folder that `data_dir` or MINISASREC_DATA_DIR names, or one that a link leads to.
    """
    folder = cache_folder() / spec.name
    told = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if told:
        own = Path(told).expanduser().resolve()
        if (
            own == folder.resolve()
            or own in folder.resolve().parents
            or folder.resolve() in own.parents
        ):
            raise DataError(
                f"{own} is your data folder, and the cache lies in it: remove it by hand"
            )
    if folder.is_symlink():
        raise DataError(f"{folder} is a link to another place: remove it by hand")
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    size = sum(path.lstat().st_size for path in files)
    if folder.is_dir():
        shutil.rmtree(folder)
    return {
        "name": spec.name,
        "removed": [str(path) for path in files],
        "bytes": size,
        "cache": str(folder),
    }


def _published(
    spec: DatasetSpec, found: tuple[FileFormat, Any, Any] | None = None
) -> tuple[int | None, ...]:
    """Users, items and actions that a correct reading gives, None where nobody has said."""
    if spec.make is not None:
        statistics = spec.make().statistics()
        return tuple(getattr(statistics, kind) for kind in KINDS)
    counts = found[0].counts if found else next((f.counts for f in spec.forms if f.counts), None)
    return counts or (None, None, None)


def _place(spec: DatasetSpec, data_dir: Path | None) -> str | None:
    if spec.make is not None:
        return "made by this package"
    found = locate(spec, data_dir)
    return str(found[1]) if found else None


def _load(spec: DatasetSpec, data_dir: Path | None) -> Dataset:
    return load_dataset(spec.name, data_dir=data_dir, download=False)


def _seen(dataset: Dataset) -> Record:
    counts = dataset.statistics()
    return {
        **{kind: getattr(counts, kind) for kind in KINDS},
        "statistics": str(counts),
        "source": dataset.source,
        "notes": list(dataset.warnings),
        "fingerprint": dataset.fingerprint(),
    }


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers give
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _table(records: list[Record]) -> str:
    """All data sets: counts, title and place; a line below each has the licence."""
    lines = [f"{'name':14}{'users':>9}{'items':>9}{'actions':>12}  title"]
    for record in records:
        counts = ["-" if record[kind] is None else f"{record[kind]:,}" for kind in KINDS]
        users, items, actions = counts
        title = record["title"]
        lines += [
            f"{record['name']:14}{users:>9}{items:>9}{actions:>12}  {title}",
            f"{'':14}{record['licence']}",
            f"{'':14}{record['place'] or 'not here'}",
        ]
    lines.append(
        "\nMore: minisasrec datasets NAME. To get one: minisasrec datasets NAME --download"
    )
    return "\n".join(lines)


def _lines(record: Record) -> str:
    """One data set, a fact a line."""
    if "removed" in record:
        if not record["removed"]:
            return f"{record['name']}: nothing of it is in the cache ({record['cache']})"
        gone = "\n".join(f"removed  {path}" for path in record["removed"])
        return f"{gone}\n{record['name']}: {record['bytes']:,} bytes are free again"
    counts = ", ".join(f"{record[kind]:,} {kind}" for kind in KINDS if record[kind] is not None)
    facts: list[tuple[str, Any]] = [
        ("name", record["name"]),
        ("title", record["title"]),
        ("statistics", record.get("statistics") or counts or "not known before it is read"),
        ("licence", record["licence"]),
        ("here", record["place"] or "no; add --download to get it"),
        ("page", record["page"]),
        ("address", " or ".join(record["download"])),
        ("read as", record.get("source")),
        *(("note", note) for note in record.get("notes", ())),
        ("fingerprint", record.get("fingerprint")),
        *((f"{name}", text) for name, text in record.get("checks", {}).items()),
    ]
    return "\n".join(f"{label:14}{fact}" for label, fact in facts if fact)


if __name__ == "__main__":
    sys.exit(run_command(main, None))
