"""Options that take several values, as a shell hands them over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from minisasrec.commands.cli import read_options
from minisasrec.data.__main__ import DataConfig
from minisasrec.errors import ConfigError
from minisasrec.receipt import ReceiptConfig
from minisasrec.reproduce import ReproduceConfig
from minisasrec.train import parse
from minisasrec.tune import TuneConfig


@dataclass(frozen=True)
class Section:
    """A section."""

    threads: int | None = None
    """Threads."""
    where: tuple[str, ...] = ()
    """Conditions."""


@dataclass(frozen=True)
class Options:
    """A command with lists."""

    run: str
    """A positional one."""
    items: tuple[str, ...] = ()
    """Free text."""
    seeds: tuple[int, ...] = (0,)
    """Numbers."""
    part: tuple[Literal["sampled", "full"], ...] | None = None
    """Words of a list."""
    k: int = 10
    """One number."""
    json: bool = False
    """A switch."""
    section: Section = field(default_factory=Section)
    """A section."""


def read(*arguments: str) -> Options:
    return read_options(Options, "test", arguments)


@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        (("R", "--items", "a", "b"), ("a", "b")),
        (("--items", "a", "--k", "3", "R", "--items", "b"), ("a", "b")),
        (("R", "--items", "-b1", "-b2"), ("-b1", "-b2")),
        (("R", "--items", "-b1", "--k", "2"), ("-b1",)),
        (("R", "--items=-b1", "--items=-b2"), ("-b1", "-b2")),
        (("--items=-b1", "R"), ("-b1",)),  # with = there is one value, so R is the run
        (("R", "--items", "--", "-b1", "--k"), ("-b1", "--k")),
        (("R", "--items", "--xQz_", "-", "=x", "a=b"), ("--xQz_", "-", "=x", "a=b")),
        (("R", "--items=--k"), ("--k",)),
        (("R", "--items", "a", "--threads", "2", "--json"), ("a",)),
        (("R", "--items", "a", "--no-json"), ("a",)),
        (("R", "--items", ""), ("",)),
        (("R",), ()),
    ],
)
def test_values_of_a_list(arguments: tuple[str, ...], items: tuple[str, ...]) -> None:
    options = read(*arguments)
    assert options.items == items and options.run == "R"


def test_lists_of_other_kinds_are_put_together_too() -> None:
    options = read("R", "--seeds", "1", "2", "--part=full", "--seeds=3", "--part", "sampled")
    assert options.seeds == (1, 2, 3) and options.part == ("full", "sampled")


def test_lists_of_a_section() -> None:
    options = read("R", "--where", "a=1", "--items", "x", "--where=b>2", "--where", "c=-3", "d!=4")
    assert options.section.where == ("a=1", "b>2", "c=-3", "d!=4") and options.items == ("x",)


def test_conditions_on_the_rows_add_up_in_every_command() -> None:
    given = ("--where", "event=purchase", "--where", "rating>=4")
    assert parse(["--dataset", "x.csv", *given]).columns.where == ("event=purchase", "rating>=4")
    for command in (DataConfig, ReproduceConfig, TuneConfig):
        read_in = read_options(command, "test", ["x", *given])
        assert read_in.columns.where == ("event=purchase", "rating>=4")


@pytest.mark.parametrize("wrong", [("--itms", "a"), ("--items", "a", "--thread", "2"), ("--k",)])
def test_a_mistyped_option_is_no_value(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        read("R", *wrong)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--epohcs", "1"), "--epohcs, 1; did you mean --epochs?"),
        (("--drop_uot=.2",), "did you mean --dropout?"),
        (("--epohcs", "1", "--threds", "1"), "did you mean --epochs, --threads?"),
        (("--user", "visitor", "--item", "p"), "did you mean --user-column, --item-column?"),
        (("--zzzz", "1"), "Unrecognized options: --zzzz, 1"),
        (("--row-l3", "1"), "Unrecognized options: --row-l3, 1"),  # --row-l2 is one of bpr
        (("--row-l2", "1"), "; --row-l2 goes with --model bpr or fmc or fpmc or transrec"),
        (("--days", "3"), "Unrecognized options: --days, 3; --days goes with --model recentpop"),
    ],
)
def test_a_mistyped_option_gets_the_one_that_is_meant(
    arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(["--dataset", "bookshop", *arguments])
    assert str(caught.value).endswith(says)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", ""], "--out is empty; give a path"),
        (["--out="], "--out is empty; give a path"),
        (["--resume", "--out", ""], "--out is empty; give a path"),
        (["--data-dir", "", "--out", "x"], "--data-dir is empty; give a path"),
    ],
)
def test_a_path_that_is_empty_is_not_the_folder_one_is_in(words: list[str], said: str) -> None:
    """As `--out "$OUT"` is, where OUT is not set."""
    with pytest.raises(ConfigError) as caught:
        parse(words)
    assert str(caught.value).startswith(said)
    assert parse(["--out", ".", "--dataset", "bookshop"]).out == Path()
    with pytest.raises(ConfigError, match="the path of the run is empty"):
        read_options(ReceiptConfig, "receipt", [""])


def test_so_it_is_in_every_command() -> None:
    with pytest.raises(ConfigError, match="--item, a; did you mean --items?"):
        read("R", "--item", "a")
