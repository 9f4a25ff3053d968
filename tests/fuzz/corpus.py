"""A few small files of every kind that the package reads, made here: nothing binary is kept.

A `Target` is what reads a kind of file: it gets the folder with the files, and gives data or raises
one `MinisasrecError`.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from minisasrec.commands.loading import load_recommender
from minisasrec.commands.tables import read_ids
from minisasrec.commands.titles import Titles
from minisasrec.data import load_dataset
from minisasrec.data.dataset import Dataset
from minisasrec.data.split import make_split
from minisasrec.exchange import from_port, to_port
from minisasrec.exchange.arrays import read_metadata
from minisasrec.exchange.reference import Reference
from minisasrec.experiments import search
from minisasrec.learn.config import TrainConfig, from_json, make_model, read_config, read_json
from minisasrec.learn.fit import fit
from minisasrec.learn.machine import MachineOptions
from minisasrec.learn.receipt import Receipt
from minisasrec.learn.runs import Run
from minisasrec.models import SequenceModel
from minisasrec.recommender import Recommender

Files = dict[str, bytes]
Chooser = random.Random


@dataclass(frozen=True)
class Target:
    """Files, which of them are changed, and who reads them.

    ``signed``: config.json holds checksums of the files, which are made right after a change, or
    every change would be found by its checksum alone.
    """

    name: str
    files: Files
    read: Callable[[Path, Chooser], Any]
    changed: tuple[str, ...] = ()
    signed: bool = False

    def names(self) -> tuple[str, ...]:
        """The files that are changed; by default all."""
        return self.changed or tuple(self.files)


# --- logs ----------------------------------------------------------------------------------------

ROWS = [(1 + n % 5, 10 + n * 7 % 9, 1_600_000_000 + 977 * n) for n in range(30)]
FRAME = pandas.DataFrame(
    [(f"u{u}", f"i{i}", t, f'The "{i}", a film') for u, i, t in ROWS],
    columns=["user_id", "item_id", "timestamp", "title"],
)
DATED = FRAME.assign(timestamp=pandas.to_datetime(FRAME["timestamp"], unit="s"))


def lines(pattern: str, head: str = "") -> bytes:
    return (head + "".join(pattern.format(u=u, i=i, t=t) + "\n" for u, i, t in ROWS)).encode()


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def into(write: Callable[[Any], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


CSV = FRAME.to_csv(index=False).encode()
JSON_LINES = FRAME.to_json(orient="records", lines=True).encode()
STEAM = b"".join(
    repr({"username": f"Ann {u}", "product_id": str(i), "date": f"2017-01-{1 + i:02}"}).encode()
    + b"\n"
    for u, i, _ in ROWS
)
RETAIL = pandas.DataFrame(
    {
        "InvoiceNo": [str(536365 + n) for n in range(len(ROWS))],
        "StockCode": [f"{85000 + i}A" for _, i, _ in ROWS],
        "Description": [f"Lantern {i}" for _, i, _ in ROWS],
        "Quantity": 6,
        "InvoiceDate": DATED["timestamp"],
        "CustomerID": [17850.0 + u for u, _, _ in ROWS],
    }
)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "user_column": ("user_id", "title", "none"),
    "item_column": ("item_id", "timestamp"),
    "time_column": ("timestamp", "title"),
    "title_column": ("title", "user_id"),
    "header": (False,),
    "columns": ("user,item,time,title", "user,item", "-,user,-,item", "a,b,c,d"),
    "separator": (",", "tab", "space", "::", ";", "x", "\n", '"', "\\"),
    "encoding": ("utf-8", "cp1252", "utf-16", "latin-1", "utf-8-sig", "shift_jis", "utf-7", "no"),
    "skip_lines": (1, 2, 100),
    "time_format": ("day-first", "month-first", "s", "ms", "%Y-%m-%d %H:%M:%S", "%", "%d%d"),
    "where": ("user_id=u1", "timestamp>5", "title!=a", "item_id<=1"),
    "drop_missing": (True,),
    "min_actions": (1, 2, 5),
    "filter": ("none", "iterative"),
}
IN_FRAMES = ("user_column", "item_column", "time_column", "title_column", "time_format", "where",
             "drop_missing")  # fmt: skip


def log(name: str, content: bytes, *, also: Files | None = None, public: str = "") -> Target:
    """A log by its path, or as the public data set of this name."""

    def read(folder: Path, choose: Chooser) -> Dataset:
        options: dict[str, Any] = {"min_actions": 0}
        if not public and choose.random() < 0.3:
            names = [*OPTIONS] if name.endswith(("csv", "tsv", "txt", "gz", "zip")) else IN_FRAMES
            for option in choose.sample(sorted(names), choose.randint(1, 3)):
                options[option] = choose.choice(OPTIONS[option])
        path = folder / name
        if public:
            return load_dataset(public, data_dir=folder, download=False, min_actions=0)
        return load_dataset(path, progress=False, **options)

    return Target(f"{public or 'log'} {name}", {name: content, **(also or {})}, read)


PRODUCTS = b"".join(
    repr({"asin": f"i{i}", "title": f"Lamp {i}", "price": 1.5}).encode() + b"\n" for i in range(9)
)
GAMES = b"".join(
    repr({"id": str(i), "app_name": f"Game {i}"}).encode() + b"\n" for i in range(10, 19)
)
REVIEWS = b"".join(
    json.dumps({"reviewerID": f"u{u}", "asin": f"i{i}", "unixReviewTime": t}).encode() + b"\n"
    for u, i, t in ROWS
)
ITEMS = b"item_id:token\ttitle:token_seq\tgenres:token_seq\n" + b"".join(
    f"{i}\tTitle {i}\tA|B\n".encode() for i in range(10, 19)
)
MOVIES = b"".join(f"{i}::Film {i} (1999)::Drama|Comedy\n".encode() for i in range(10, 19))
GENRES = b"".join(
    f"{i}|Film {i}|01-Jan-1995||http://x|{'0|' * 18}1\n".encode() for i in range(10, 19)
)
RETAIL_ITEMS = b"item_id,title,genres\n" + b"".join(
    f"{i},Lamp {i},A|B\n".encode() for i in range(10, 19)
)
PAIRS = {"item_id": "i{i}", "user_id": "u{u}"}


def logs() -> list[Target]:
    sheet = into(lambda stream: DATED.to_excel(stream, index=False))
    return [
        log("log.csv", CSV),
        log("log.tsv", lines("{u}\t{i}\t{t}", "user\titem\ttime\n")),
        log("dates.csv", DATED.to_csv(index=False, sep=";").encode("utf-16")),
        log("numbers.csv", lines("{u},{i},{t}", "user,item,time\n")),
        log("log.csv.gz", gzip.compress(CSV, mtime=0)),
        log("log.zip", packed("log.csv", CSV)),
        log("log.jsonl", JSON_LINES),
        log("log.json", b"[" + JSON_LINES.replace(b"}\n", b"},").rstrip(b",") + b"]"),
        log("log.parquet", into(lambda stream: DATED.to_parquet(stream, index=False))),
        log("log.xlsx", sheet),
        log("log.inter", lines("{u}\t{i}\t{t}", "user_id:token\titem_id:token\ttimestamp:float\n"),
            also={"log.item": ITEMS}),
        log("ratings.dat", lines("{u}::{i}::4::{t}"), also={"movies.dat": MOVIES}),
        log("u.data", lines("{u}\t{i}\t4\t{t}"), also={"u.item": GENRES}),
        log("pairs.txt", lines("{u} {i}")),
        log("loc-gowalla_totalCheckins.txt",
            lines("{u}\t2010-10-19T23:55:27Z\t30.2\t-97.7\t{i}"), public="gowalla"),
        log("steam_reviews.json", STEAM, also={"steam_games.json": GAMES}, public="steam"),
        log("reviews_Beauty.json", REVIEWS, also={"meta_Beauty.json": PRODUCTS},
            public="amazon-beauty"),
        log("interactions.csv", CSV, also={"items.csv": RETAIL_ITEMS}, public="online-retail"),
        log("Online Retail.xlsx", into(lambda stream: RETAIL.to_excel(stream, index=False)),
            public="online-retail"),
    ]  # fmt: skip


# --- lists of ids --------------------------------------------------------------------------------


def ids(name: str, content: bytes) -> Target:
    return Target(f"ids {name}", {name: content}, lambda folder, _: read_ids(folder / name))


def lists() -> list[Target]:
    frame = FRAME[["item_id"]].rename(columns={"item_id": "item"})
    return [
        ids("ids.txt", b"i10\ni12\ni13\n"),
        ids("ids.csv", frame.to_csv(index=False).encode()),
        ids("ids.tsv", FRAME.rename(columns={"item_id": "item"}).to_csv(sep="\t").encode()),
        ids("ids.jsonl", frame.to_json(orient="records", lines=True).encode()),
        ids("ids.parquet", into(lambda stream: frame.to_parquet(stream))),
    ]


# --- folders that were written by the package ----------------------------------------------------

SETTINGS = {
    "model": "sasrec",
    "epochs": 2,
    "sasrec": {"d": 4, "n": 5, "blocks": 1},
    "machine": {"threads": 1, "backend": "numpy"},
    "columns": {"min_actions": 0},
}


def content_of(folder: Path) -> Files:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != ".lock"
    }


def recommender_in(folder: Path, choose: Chooser) -> Any:
    """What `recommend` does with a folder."""
    found = load_recommender(folder, MachineOptions())
    if choose.random() < 0.2 and found.known.titles is not None:
        Titles(found.known).history(["The 11, a film"])
    return found.recommend(k=3) if found.known.split is not None else found


def resumed(folder: Path, choose: Chooser) -> Any:
    """What `train --resume` reads: nothing is left to train."""
    run = Run.open(folder)
    config, facts = run.settings()
    Receipt.read(folder)
    split = DATASET_SPLIT
    model = make_model(dataclasses.replace(CONFIG, seed=config.seed), split)
    assert isinstance(model, SequenceModel)
    return fit(model, split, CONFIG, run, progress=False)


CONFIG = from_json({**SETTINGS, "epochs": 2})
DATASET_SPLIT = make_split(load_dataset(FRAME, min_actions=0, title_column="title"))


def folders(work: Path) -> list[Target]:
    dataset = DATASET_SPLIT.dataset
    dataset.save(work / "saved")
    made = Recommender("sasrec", d=4, n=5, blocks=1, epochs=1, threads=1, backend="numpy")
    made.fit(DATASET_SPLIT, progress=False)
    made.save(work / "model")
    run = Run.create(work / "run", CONFIG, made.known.facts(), made.known.files())
    model = make_model(CONFIG, DATASET_SPLIT)
    assert isinstance(model, SequenceModel)
    fit(model, DATASET_SPLIT, CONFIG, run, progress=False)
    run.write_json("result.json", {"epochs": 2, "test": [], "out": "run"})
    saved, whole, begun = (content_of(work / name) for name in ("saved", "model", "run"))
    return [
        Target("saved data set", saved, lambda folder, _: load_dataset(folder).fingerprint()),
        Target("recommender", whole, recommender_in),
        Target("recommender, signed", whole, recommender_in, signed=True),
        Target("resumed run", begun, resumed),
        Target("resumed run, signed", begun, resumed, signed=True),
    ]


# --- weights, settings, searches -----------------------------------------------------------------


def port_in(name: str) -> Callable[[Path, Chooser], Any]:
    def read(folder: Path, choose: Chooser) -> Any:
        norm = choose.choice(["post", "pre", "authors"])
        read_metadata(folder / name)
        return from_port(folder / name, norm, 1, padding="zeroed")  # type: ignore[arg-type]

    return read


def reference_in(folder: Path, _: Chooser) -> Any:
    return Reference.read(folder / "reference.npz", 9)


def settings_in(folder: Path, _: Chooser) -> TrainConfig:
    return read_config(folder / "settings.json", TrainConfig())


def space_in(folder: Path, _: Chooser) -> Any:
    return search.read_space(read_json(folder / "space.json"), TrainConfig())


def files_of_models(work: Path) -> list[Target]:
    settings = {"n": 5, "d": 4, "blocks": 1, "output_projection": True, "padding": "zeroed"}
    config = from_json({"sasrec": {**settings, "norm": "authors"}})
    model = make_model(config, DATASET_SPLIT)
    found = []
    for name in ("port.safetensors", "port.npz", "port.pth"):
        if name.endswith(".pth"):
            try:
                import torch
            except ImportError:
                continue
            arrays = to_port(model)  # type: ignore[arg-type]
            torch.save({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, work / name)
        else:
            to_port(model, work / name)  # type: ignore[arg-type]
        found.append(Target(f"exchange {name}", {name: (work / name).read_bytes()}, port_in(name)))
    batch = {"sequences": np.ones((2, 5), np.int64), "logits": np.zeros((2, 10), np.float32)}
    reference = into(lambda stream: np.savez(stream, **batch))  # type: ignore[arg-type]
    space = {"d": [4, 8], "lr": {"from": 0.001, "to": 0.1, "scale": "log"}}
    return [
        *found,
        Target("reference batch", {"reference.npz": reference}, reference_in),
        Target("settings", {"settings.json": json.dumps(SETTINGS).encode()}, settings_in),
        Target("search space", {"space.json": json.dumps(space).encode()}, space_in),
    ]


def targets(work: Path) -> list[Target]:
    """All of them; ``work`` is an empty folder."""
    work.mkdir(parents=True, exist_ok=True)
    return [*logs(), *lists(), *folders(work), *files_of_models(work)]
