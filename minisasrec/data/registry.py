"""`load_dataset`: from the name of a public data set, or a path, to a `Dataset`.

Everything that is known about a public data set stands once, in `DATASETS`: where it is published,
its checksum and licence, the forms in which it is met and how each is read, the filter of each, the
counts that a correct reading must give, and the settings of SASRec for it. Help texts, the table in
the docs and the tests are made from it, so a new data set is one entry here.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

from minisasrec.border import at_home, reading
from minisasrec.data import downloads, files, readers
from minisasrec.data.actions import Actions
from minisasrec.data.builder import read_actions
from minisasrec.data.dataset import (
    SAVED_META,
    Dataset,
    DataWarning,
    Repeats,
    assemble,
    emit_warnings,
)
from minisasrec.data.files import Source
from minisasrec.data.frames import FrameTable, is_frame
from minisasrec.data.options import Filter, ReadingOptions
from minisasrec.data.readers import Headerless
from minisasrec.errors import DataError, UnknownDatasetError

DATA_DIR_VARIABLE = "MINISASREC_DATA_DIR"

Reader = Callable[..., Actions]


@dataclass(frozen=True)
class FileFormat:
    """One form in which a data set goes around: its files, how they are read, the filter.

    ``files`` are accepted names of the file of actions, ``companions`` those of a file with titles
    beside it (each also with ``.gz``); ``layout`` says in words what is in it. ``counts`` are the
    users, items and actions (None: not published) after the filter. If they differ, a ``fixed``
    release is damaged: DataError; of others there are variants: DataWarning.
    """

    files: tuple[str, ...]
    read: Reader
    companions: tuple[str, ...] = ()
    layout: str = ""
    min_actions: int = 5
    filter: Filter = "one-pass"
    counts: tuple[int, int, int | None] | None = None
    fixed: bool = False

    def in_words(self) -> str:
        """What a line of the file looks like."""
        return self.layout or (self.read.layout if isinstance(self.read, Headerless) else "")


@dataclass(frozen=True)
class DatasetSpec:
    """A public data set.

    ``file`` is what ``urls`` (the first that answers) download; ``page`` describes it. ``orders``
    says what is known about an order of the actions, by `Dataset.fingerprint` (so also of a file
    with another name), and what is to be said of `ANY` other: where actions share a time, two files
    of the same actions can differ.
    ``preset`` holds the settings that are known to suit it, as in a configuration file; None where
    nobody has chosen any, which training then says. ``make`` makes a data set that is not read
    from files.
    """

    name: str
    title: str
    licence: str
    file: str = ""
    urls: tuple[str, ...] = ()
    forms: tuple[FileFormat, ...] = ()
    md5: str | None = None
    page: str = ""
    orders: Mapping[str, str] = field(default_factory=dict)
    preset: Mapping[str, Any] | None = None
    make: Callable[[], Dataset] | None = None

    @property
    def archives(self) -> tuple[str, ...]:
        """Names of a zip archive that holds the files."""
        return (self.file,) if self.file.endswith(".zip") else ()


# What the paper (Sec. IV-C) says about SASRec's n and dropout on dense and on sparse data.
DENSE: Mapping[str, Any] = {"sasrec": {"n": 200, "dropout": 0.2}}
SPARSE: Mapping[str, Any] = {"sasrec": {"n": 50, "dropout": 0.5}}

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
GROUPLENS_LICENCE = "GroupLens: research use, no redistribution, no commercial use"
AMAZON = (
    "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon/categoryFiles",
)
AMAZON_LICENCE = "not stated: research use, cite McAuley et al. (2015), do not redistribute"

ANY = "any other"
AUTHORS_ORDER = "the order of the paper's authors, on which published figures stand"
OTHER_ORDER = (
    "not the actions and the order of the paper's authors: where actions share a second, the order "
    "is the file's, so figures differ from the published ones by up to a tenth"
)
OTHER_TIMES = (
    "not the actions and the order of the paper's authors, on which published figures stand: where "
    "actions share a time, the order is the file's"
)
_ML_1M = FileFormat(
    ("ratings.dat",),
    readers.read_movielens,
    ("movies.dat",),
    layout="user::item::rating::time, latin-1",
    counts=(6_040, 3_416, 999_611),
    fixed=True,
)
_ML_100K = FileFormat(
    ("u.data",),
    readers.read_ml_100k,
    ("u.item",),
    layout="user, item, rating, time with tabs between, latin-1",
    counts=(943, 1_349, 99_287),
    fixed=True,
)
_ML_20M = FileFormat(
    ("ratings.csv",),
    readers.read_table,
    ("movies.csv",),
    layout="CSV with a header",
    counts=(138_493, 18_345, 19_984_024),
)
_ONLINE_RETAIL_COUNTS = (4_074, 3_145, 264_514)


def _bookshop() -> Dataset:
    from minisasrec.data.bookshop import load_bookshop

    return load_bookshop()


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="bookshop",
            title="Bookshop, simulated by this package",
            licence="free for any use",
            make=_bookshop,
            # ours, chosen on validation: against the whole catalogue at once, 1,500 books are
            # learnt in a quarter of the epochs that the paper's loss takes (--loss bce)
            preset={
                "sasrec": {"n": 50, "dropout": 0.4, "loss": "softmax"},
                "epochs": 60,
                "eval_every": 5,
            },
        ),
        DatasetSpec(
            name="ml-1m",
            page="https://grouplens.org/datasets/movielens/1m/",
            preset=DENSE,  # the paper's
            title="MovieLens 1M",
            licence=GROUPLENS_LICENCE,
            file="ml-1m.zip",
            urls=(f"{GROUPLENS}/ml-1m.zip",),
            md5="c4d9eecfca2ab87c1945afe126590906",
            forms=(
                _ML_1M,
                FileFormat(
                    ("ml-1m.txt",),
                    readers.read_authors_ml_1m,
                    ("sas_to_original_items.txt",),
                    layout="user item, the authors' own numbers",
                    filter="none",
                    counts=(6_040, 3_416, 999_611),
                    fixed=True,
                ),
            ),
            orders={
                "db7bcbfd3ef8418a3166e372ee0e7e47a18cb1eeabc820a4c7f019adb7f56dae": AUTHORS_ORDER,
                # the same, as the authors' text: with MovieLens' item ids, and with their own
                "8fd1efa11c7e10a7140dfec30030ac85287f477253a708e50b02a0ccea9afc0f": AUTHORS_ORDER,
                "cbfcc7210eeb05c61a1dd3a467c7b9e716b55846bb5f9d36bddec5dd4ccab84d": AUTHORS_ORDER,
                ANY: OTHER_ORDER,
            },
        ),
        DatasetSpec(
            name="ml-100k",
            page="https://grouplens.org/datasets/movielens/100k/",
            preset=DENSE,  # as ml-1m
            title="MovieLens 100K",
            licence=GROUPLENS_LICENCE,
            file="ml-100k.zip",
            urls=(f"{GROUPLENS}/ml-100k.zip",),
            md5="0e33842e24a9c977be4e0107933c0723",
            forms=(_ML_100K,),
        ),
        DatasetSpec(
            name="ml-20m",
            page="https://grouplens.org/datasets/movielens/20m/",
            preset=DENSE,  # as ml-1m
            title="MovieLens 20M",
            licence=GROUPLENS_LICENCE,
            file="ml-20m.zip",
            urls=(f"{GROUPLENS}/ml-20m.zip",),
            md5="cd245b17a1ae2cc31bb14903e1204af3",
            forms=(_ML_20M,),
        ),
        DatasetSpec(
            name="amazon-beauty",
            page="https://cseweb.ucsd.edu/~jmcauley/datasets.html",
            preset=SPARSE,  # the paper's
            title="Amazon Beauty (reviews of 2014)",
            licence=AMAZON_LICENCE,
            file="reviews_Beauty.json.gz",
            urls=tuple(f"{host}/reviews_Beauty.json.gz" for host in AMAZON),
            orders={
                "0a0490f40853c55243a80e0b2ec9c954e496c92093bd93572725b9c176a2c866": (
                    "the file of the SASRec+ study (Klenitskiy and Vasilev, RecSys 2023)"
                )
            },
            forms=(
                FileFormat(
                    ("Beauty.txt",),
                    readers.read_pairs,
                    filter="none",
                    counts=(52_024, 57_289, None),
                ),
                FileFormat(
                    ("reviews_Beauty.json",),
                    readers.read_json_lines,
                    ("meta_Beauty.json",),
                    layout="JSON lines",
                    counts=(52_024, 57_289, None),
                ),
            ),
        ),
        DatasetSpec(
            name="amazon-games",
            page="https://cseweb.ucsd.edu/~jmcauley/datasets.html",
            preset=SPARSE,  # the paper's
            title="Amazon Video Games (reviews of 2014)",
            licence=AMAZON_LICENCE,
            file="reviews_Video_Games.json.gz",
            urls=tuple(f"{host}/reviews_Video_Games.json.gz" for host in AMAZON),
            orders={
                "2b5d616d8517a50838611c351e9dcac66d8411038baf3548a29382c189efad47": AUTHORS_ORDER,
                ANY: OTHER_TIMES,
            },
            forms=(
                FileFormat(
                    ("Video.txt", "Games.txt", "Video_Games.txt"),
                    readers.read_pairs,
                    filter="none",
                    counts=(31_013, 23_715, 287_107),
                ),
                FileFormat(
                    ("reviews_Video_Games.json",),
                    readers.read_json_lines,
                    ("meta_Video_Games.json",),
                    layout="JSON lines",
                    counts=(31_013, 23_715, 287_107),
                ),
            ),
        ),
        DatasetSpec(
            name="steam",
            page="https://cseweb.ucsd.edu/~jmcauley/datasets.html",
            preset=SPARSE,  # the paper's
            title="Steam reviews",
            licence="not stated: research use, cite Kang and McAuley (2018)",
            file="steam_reviews.json.gz",
            urls=(
                "https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz",
                "https://mcauleylab.ucsd.edu/public_datasets/data/steam/steam_reviews.json.gz",
            ),
            forms=(
                FileFormat(
                    ("Steam.txt",),
                    readers.read_pairs,
                    filter="none",
                    counts=(334_730, 13_047, None),
                ),
                FileFormat(
                    ("steam_reviews.json",),
                    readers.read_steam,
                    ("steam_games.json",),
                    layout="one Python literal a line",
                    counts=(334_730, 13_047, None),
                ),
            ),
        ),
        DatasetSpec(
            name="online-retail",
            page="https://doi.org/10.24432/C5BW33",
            preset=SPARSE,  # as in docs/results.md
            title="Online Retail (UCI)",
            licence="CC BY 4.0: Chen, Sain and Guo (2012), doi:10.24432/C5BW33",
            file="online+retail.zip",
            urls=("https://archive.ics.uci.edu/static/public/352/online+retail.zip",),
            forms=(
                FileFormat(
                    ("interactions.csv",),
                    readers.read_table,
                    ("items.csv",),
                    layout="CSV with a header",
                    filter="none",
                    counts=_ONLINE_RETAIL_COUNTS,
                ),
                FileFormat(
                    ("Online Retail.xlsx", "online_retail.xlsx"),
                    readers.read_online_retail,
                    layout="one .xlsx sheet, cleaned",
                    filter="iterative",
                    counts=_ONLINE_RETAIL_COUNTS,
                ),
            ),
        ),
        DatasetSpec(
            name="gowalla",
            title="Gowalla check-ins (SNAP)",
            licence="not stated: research use, cite Cho, Myers and Leskovec (KDD 2011)",
            file="loc-gowalla_totalCheckins.txt.gz",
            urls=("https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",),
            page="https://snap.stanford.edu/data/loc-gowalla.html",
            forms=(
                FileFormat(
                    ("loc-gowalla_totalCheckins.txt", "Gowalla_totalCheckins.txt"),
                    Headerless("user time latitude longitude item", "\t"),
                ),
            ),
        ),
    )
}


def table() -> str:
    """The data sets as a table in Markdown, as the docs show it."""
    lines = ["| name | source and licence | filter | put in the data folder |", "|---|---|---|---|"]
    for spec in DATASETS.values():
        title = f"[{spec.title}]({spec.page})" if spec.page else spec.title
        rules = [
            "none" if form.filter == "none" else f"{form.filter}, {form.min_actions}"
            for form in spec.forms
        ]
        places = []
        for form in spec.forms:
            titles = f" (titles: `{'`, `'.join(form.companions)}`)" if form.companions else ""
            places.append(f"`{'`, `'.join(form.files)}`{titles}: {form.in_words()}")
        if spec.file:
            places.append(f"or the download, `{spec.file}`")
        cells = [
            f"`{spec.name}`",
            f"{title}; {spec.licence}",
            "; ".join(dict.fromkeys(rules)) or "none",
            "; ".join(places) or "nothing",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def load_dataset(
    data: str | os.PathLike[str] | Any,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    repeats: Repeats = "auto",
    download: bool = True,
    progress: bool = True,
    **options: Any,
) -> Dataset:
    """Read a data set by its name in `DATASETS`, a file or folder by its path, or a frame.

    A name is looked for in ``data_dir`` (or the folder in the environment variable
    MINISASREC_DATA_DIR) and its subfolder of that name, packed or unpacked; then among earlier
    downloads; then it is downloaded, unless ``download`` is False. A download that breaks off is
    continued by the next call.

    A path may be a folder written by `Dataset.save`, a folder or archive called like a data set of
    `DATASETS` and laid out like it, or a file, which goes by its ending whatever else it is called:
    ``.csv``, ``.tsv``, ``.parquet``, ``.xlsx``, ``.json``/``.jsonl`` (one object a line),
    ``.inter`` (RecBole), ``.dat`` (MovieLens), ``.data`` (ML-100K), ``.txt`` (``user item`` per
    line, in order); each also with ``.gz`` or in a ``.zip``, of which ``archive.zip/name`` chooses
    one. A frame is a pandas or polars frame, or any with Arrow's C stream or the dataframe
    interchange protocol, or a dict of columns.

    ``options`` are those of `ReadingOptions`: user_column, item_column, time_column, title_column,
    header, columns, separator, encoding, skip_lines, time_format, where, drop_missing, min_actions
    and filter. The last two are those of `build_dataset`; by default a named data set has the
    paper's, and data of one's own ``"one-pass"`` with 5, except ``.txt``, which is not filtered.
    ``repeats`` says whether users may be recommended what they have met: see `Split.repeats`;
    a folder of `Dataset.save` keeps the setting that it was saved with unless another is given.
    Raises DataError, one line, for anything that cannot be found, read or used, and ConfigError for
    an option that there is not.
    """
    reading = ReadingOptions.of(options)
    dataset = _load(data, data_dir, reading, download, progress)
    return dataset if repeats == "auto" else replace(dataset, repeats=repeats)


load_dataset.__signature__ = Signature(  # type: ignore[attr-defined]  # so that help() shows all
    [p for p in signature(load_dataset).parameters.values() if p.name != "options"]
    + [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for f in fields(ReadingOptions)
    ],
    return_annotation=Dataset,
)


def _load(
    data: Any,
    data_dir: str | os.PathLike[str] | None,
    options: ReadingOptions,
    download: bool,
    progress: bool,
) -> Dataset:
    if is_frame(data):
        dataset = _finish(_frame_actions(data, options), "frame", FRAME, options, ["a frame"])
        emit_warnings(dataset, stacklevel=4)
        return dataset
    if not isinstance(data, (str, os.PathLike)):
        raise DataError(
            f"the data must be a name, a path or a frame, got {type(data).__name__}: columns of "
            "their own go through minisasrec.data.build_dataset"
        )
    if data_dir is not None and not at_home(Path(data_dir)).is_dir():
        raise DataError(f"data_dir (--data-dir) {data_dir} is not a folder")
    name = os.fspath(data)
    if name == "":
        raise DataError("the data has no name: give the path of a file, or the name of a data set")
    # whatever is in the files; and no permission, a name that is too long, a broken disk
    with reading(Path(name), advice="is it damaged, or of another format?"):
        if name in DATASETS:
            own = [o for o in options.given() if o not in ("min_actions", "filter")]
            if own:
                raise DataError(f"{', '.join(own)} is for files of one's own, not for {name!r}")
            spec = DATASETS[name]
            if spec.make is None:
                return _load_known(spec, data_dir, options, download, progress)
            _refuse_options(name, options)
            return spec.make()
        path, member = _inside(at_home(Path(name)))
        if not path.exists():
            raise _unknown(name)
        if (path / SAVED_META).is_file():
            _refuse_options(name, options)
            return Dataset.load(path)
        form, source, companion = _form_of_path(path, member)
        return _read(
            path.name if path.is_dir() else Path((member or path.name).removesuffix(".gz")).stem,
            form,
            replace(source, progress=progress),
            companion,
            options,
        )


def options_taken(data: Any) -> frozenset[str]:
    """The names of the `ReadingOptions` that mean something for a frame, a name or a path."""
    if is_frame(data):
        return IN_FRAMES
    if not isinstance(data, (str, os.PathLike)) or os.fspath(data) == "":
        return IN_TEXT  # `load_dataset` says what is wrong
    if os.fspath(data) in DATASETS:
        return frozenset({"min_actions", "filter"})
    with reading(Path(data), advice="is it damaged, or of another format?"):
        path, member = _inside(at_home(Path(data)))
        if not path.exists():
            return IN_TEXT
        if (path / SAVED_META).is_file():
            return frozenset()
        return TAKEN.get(_form_of_path(path, member)[0].read, IN_TEXT)


def _inside(path: Path) -> tuple[Path, str | None]:
    """``archive.zip/log.csv`` or ``book.xlsx/Sheet2`` -> the file, and what is chosen in it."""
    for parent in [] if path.exists() else path.parents:
        if parent.suffix.lower() in (".zip", ".xlsx") and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, None


def _frame_actions(frame: Any, options: ReadingOptions) -> Actions:
    refused = [o for o in options.given() if o not in IN_FRAMES]
    if refused:
        raise DataError(f"a frame takes no {', '.join(refused)}")
    return read_actions(FrameTable(frame), options)


def _refuse_options(name: str, options: ReadingOptions) -> None:
    if given := options.given():
        raise DataError(f"{name} is already prepared: {', '.join(given)} cannot be applied")


def _unknown(name: str) -> DataError:
    if os.sep in name or "/" in name or "." in name:
        return DataError(f"no file or folder {name}")
    close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ";"
    return UnknownDatasetError(
        f"no data set {name!r}{meant} the names are {', '.join(DATASETS)}, and the path of a file "
        "or folder works too"
    )


def _load_known(
    spec: DatasetSpec,
    data_dir: str | os.PathLike[str] | None,
    options: ReadingOptions,
    download: bool,
    progress: bool,
) -> Dataset:
    found = locate(spec, data_dir)
    if found is None:
        cache = downloads.cache_folder() / spec.name
        if not download:
            looked = ", ".join(str(place) for place in [*_data_places(spec, data_dir), cache])
            other = "; without --data-dir it is downloaded" if data_dir else ", or allow a download"
            raise DataError(
                f"{spec.name} is not in {looked}: get {spec.urls[0]} and put it in one of these"
                + other
            )
        downloads.download(spec.urls, cache / spec.file, spec.md5, progress)
        found = locate(spec, data_dir)
        if found is None:
            raise DataError(
                f"{cache / spec.file} holds none of {', '.join(_file_names(spec.forms))}: delete "
                "it to download it again"
            )
    form, source, companion = found
    source = replace(source, progress=progress)
    dataset = _read(spec.name, form, source, companion, options, spec)
    if not options.given() and form.counts is not None:
        _check_counts(spec, form, source, dataset)
    return dataset


def locate(
    spec: DatasetSpec, data_dir: str | os.PathLike[str] | None = None
) -> tuple[FileFormat, Source, Source | None] | None:
    """A public data set's form, its file and its file of titles; None where it is not here.

    Looked for in the user's folders first, then among earlier downloads.
    """
    places = [*_data_places(spec, data_dir), downloads.cache_folder() / spec.name]
    return _search(_with_archives(places, spec.archives), spec.forms)


def _data_places(spec: DatasetSpec, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The folders in which a user may have put the files."""
    told = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if not told:
        return []
    folder = at_home(Path(told))
    if not folder.is_dir():
        what = "data_dir" if data_dir is not None else DATA_DIR_VARIABLE
        raise DataError(f"{what} {folder} is not a folder")
    return [folder / spec.name, folder / spec.name / spec.name, folder]


def _with_archives(places: Iterable[Path], archives: Iterable[str]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield place
            for archive in archives:
                if (place / archive).is_file():
                    yield place / archive


def _search(
    places: Iterable[Path], forms: Iterable[FileFormat]
) -> tuple[FileFormat, Source, Source | None] | None:
    for place in places:
        for form in forms:
            if source := files.find(place, form.files):
                return form, source, files.find(place, form.companions)
    return None


def _file_names(forms: Iterable[FileFormat]) -> list[str]:
    return [name for form in forms for name in form.files]


FORMS_BY_SUFFIX = {
    ".dat": FileFormat((), readers.read_movielens, ("movies.dat",)),
    ".data": FileFormat((), readers.read_ml_100k, ("u.item",)),
    ".csv": FileFormat((), readers.read_table),
    ".tsv": FileFormat((), readers.read_table),
    ".inter": FileFormat((), readers.read_table, ("{stem}.item",)),
    ".parquet": FileFormat((), readers.read_parquet),
    ".xlsx": FileFormat((), readers.read_excel),
    ".json": FileFormat((), readers.read_json_lines),
    ".jsonl": FileFormat((), readers.read_json_lines),
    ".ndjson": FileFormat((), readers.read_json_lines),
    ".txt": FileFormat((), readers.read_pairs, filter="none"),
}
PLAIN = ("", ".log", ".tab")  # endings that do not say whether a file is a table or JSON lines
FRAME = FileFormat((), readers.read_parquet)  # of a frame only the filter counts
IN_FRAMES = frozenset(
    "user_column item_column time_column title_column time_format where drop_missing min_actions "
    "filter".split()
)
IN_RECORDS = IN_FRAMES | {"encoding", "skip_lines"}
IN_TEXT = frozenset(f.name for f in fields(ReadingOptions))
TEXT = (readers.read_movielens, readers.read_ml_100k, readers.read_table, readers.read_pairs)
TAKEN = {  # the options that mean something for a format
    readers.read_parquet: IN_FRAMES,
    readers.read_excel: IN_FRAMES | {"skip_lines"},
    readers.read_json_lines: IN_RECORDS,
}
NO_TABLE = re.compile(r"(?i)(readme|license|licence|copying|notice|changelog|authors|\.)")


def _form_of_path(
    path: Path, member: str | None = None
) -> tuple[FileFormat, Source, Source | None]:
    """How to read a file, folder or archive that is given by its path.

    A file goes by its ending, whatever else it is called: an `interactions.csv` of one's own is
    not Online Retail. Only in a folder or archive that is called like a data set, or like its
    download, are files known by their names; any other must hold one table.
    """
    if member is not None:
        return _form_of_file(Source(path, member), path)
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return _form_of_file(Source(path), path.parent)
    for spec in DATASETS.values():
        if path.name.lower() in (spec.name, f"{spec.name}.zip", spec.file):
            places = _with_archives([path, path / spec.name], spec.archives)
            if found := _search([path] if path.is_file() else places, spec.forms):
                return found
    if path.is_file():
        sources = [Source(path, member) for member in files.members(path)]
    else:
        sources = [Source(file) for file in sorted(path.iterdir()) if file.is_file()]
    tables = [
        source
        for source in sources
        if Path(source.name).suffix in FORMS_BY_SUFFIX and not NO_TABLE.match(source.name)
    ]
    titles = {name for source in tables for name in _companions(source)}
    tables = [source for source in tables if source.name not in titles]
    if len(tables) > 1:  # notes lie beside tables more often than logs of pairs do
        tables = [source for source in tables if not source.name.endswith(".txt")] or tables
    if not tables:
        there = files.some(source.member or source.path.name for source in sources) or "nothing"
        raise DataError(
            f"{path} holds no file whose ending is known ({', '.join(FORMS_BY_SUFFIX)}), but "
            f"{there}: give a file's path, or the name of a public data set and --data-dir "
            "(data_dir=)"
        )
    if len(tables) > 1:
        names = [source.member or source.path.name for source in tables]
        raise DataError(
            f"{path} holds more than one table ({files.some(names)}): give a file's path, such as "
            f"{path / names[0]}, or the name of a public data set and --data-dir (data_dir=)"
        )
    return _form_of_file(tables[0], path)


def _form_of_file(source: Source, folder: Path) -> tuple[FileFormat, Source, Source | None]:
    suffix = source.path.suffix if source.path.suffix.lower() == ".xlsx" else source.name
    ending = Path("x" + suffix.lower()).suffix
    form = FORMS_BY_SUFFIX.get(ending)
    if form is None:
        with source.open() as stream:
            head = stream.read(1024)
        if what := files.foreign(head):
            raise DataError(f"{source} is {what}")
        if ending in PLAIN:
            read = readers.read_json_lines if head.lstrip()[:1] == b"{" else readers.read_table
            return FileFormat((), read), source, None
        raise DataError(
            f"cannot tell the format of {source} by its name; known endings are "
            f"{', '.join(FORMS_BY_SUFFIX)} (each also with .gz) and .zip; for a file of a public "
            "data set give the data set's name and --data-dir (data_dir=)"
        )
    if form.read in TEXT and _holds_records(source):
        return FileFormat((), readers.read_json_lines), source, None
    names = tuple(name.format(stem=Path(source.name).stem) for name in form.companions)
    return form, source, files.find(folder, names) if names else None


def _holds_records(source: Source) -> bool:
    """Whether a file that is called a table has an object on each line: {"user": 1, ...}."""
    with source.open() as stream:
        head = stream.read(1024).removeprefix(codecs.BOM_UTF8)
    return re.match(rb"""\s*\{\s*(["'])[^"'\n]+\1\s*:""", head) is not None


def _companions(source: Source) -> tuple[str, ...]:
    """Names of the file of titles that may lie beside a file, by the file's ending."""
    form = FORMS_BY_SUFFIX[Path(source.name).suffix]
    return tuple(name.format(stem=Path(source.name).stem) for name in form.companions)


def _read(
    name: str,
    form: FileFormat,
    source: Source,
    companion: Source | None,
    options: ReadingOptions,
    spec: DatasetSpec | None = None,
) -> Dataset:
    """Read a source as its form says and put the data set together."""
    refused = [o for o in options.given() if o not in TAKEN.get(form.read, IN_TEXT)]
    if refused:
        raise DataError(f"{source}: files of this format take no {', '.join(refused)}")
    actions = form.read(source, companion, options)
    origin = source.path.name + (f" [{source.member}]" if source.member else "")
    about = [f"{spec.title}: {origin}", spec.licence] if spec else [origin]
    dataset = _finish(actions, name, form, options, about)
    if order := _order(dataset, form, spec):
        dataset = replace(dataset, source=f"{dataset.source}; {order}")
    if spec is None:  # what is odd about the public ones stands in the docs
        emit_warnings(dataset, stacklevel=5)
    return dataset


def _order(dataset: Dataset, form: FileFormat, spec: DatasetSpec | None) -> str | None:
    """What is known about the order of the actions, whatever their file is called.

    Of an order that is not known something may be said if the form is that of a public data set.
    """
    found, order = recognised(dataset)
    if found:
        return order if found is spec else f"{found.title}: {order}"
    for known in DATASETS.values():
        if known is spec or form in known.forms:
            return known.orders.get(ANY)
    return None


def recognised(dataset: Dataset) -> tuple[DatasetSpec | None, str]:
    """The public data set whose actions in a known order these are, whatever the file's name.

    With it, what is known about that order; None and "" for other data.
    """
    fingerprint = dataset.fingerprint()
    found = ((known, known.orders.get(fingerprint)) for known in DATASETS.values())
    return next(((known, order) for known, order in found if order), (None, ""))


def _finish(
    actions: Actions, name: str, form: FileFormat, options: ReadingOptions, about: Sequence[str]
) -> Dataset:
    """Filter, sort and number actions by the options, or else by the rule of their form."""
    filter, least = options.filter, options.min_actions
    if filter is None:
        filter = "one-pass" if least is not None and form.filter == "none" else form.filter
    least = form.min_actions if least is None else least
    rule = (
        "no filter" if filter == "none" or least <= 1 else f"{filter} filter, min_actions={least}"
    )
    source = "; ".join([about[0], rule, *about[1:]])
    return assemble(actions, name=name, source=source, min_actions=least, filter=filter)


def has_published_counts(dataset: Dataset) -> bool:
    """Whether these are the counts of the public data set of this name.

    A file of one's own may be called steam.csv, and of public data there are variants.
    """
    spec = DATASETS.get(dataset.name)
    return spec is not None and any(_has_counts(dataset, form) for form in spec.forms)


def _has_counts(dataset: Dataset, form: FileFormat) -> bool:
    if form.counts is None:
        return False
    seen = (dataset.num_users, dataset.num_items, dataset.num_actions)
    return all(want in (None, got) for want, got in zip(form.counts, seen, strict=True))


def _check_counts(spec: DatasetSpec, form: FileFormat, source: Source, dataset: Dataset) -> None:
    """Compare with the counts that a correct reading of this form gives."""
    assert form.counts is not None
    if _has_counts(dataset, form):
        return
    seen = (dataset.num_users, dataset.num_items, dataset.num_actions)
    kinds = ("users", "items", "actions")
    got = ", ".join(f"{n:,} {kind}" for n, kind in zip(seen, kinds, strict=True))
    want = ", ".join(
        f"{n:,} {kind}" for n, kind in zip(form.counts, kinds, strict=True) if n is not None
    )
    if form.fixed:
        raise DataError(
            f"{source} is not the whole {spec.title}: {got} instead of {want}; get {spec.urls[0]} "
            "again, or load the file by its path"
        )
    warnings.warn(
        f"{source} has {got}; the published {spec.title} has {want}: a variant, not comparable "
        "with the paper's row",
        DataWarning,
        stacklevel=5,
    )
