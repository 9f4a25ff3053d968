"""Every command of the how-to pages runs, in order, in one folder for each page.

A block of a page is run by bash:

    ```bash                                      run
    ```bash not-run: downloads 6 MB              shown, not run; a reason must follow

`shop.csv`, the file that the pages call yours, is there (`make_shop`); so is all that earlier
blocks of the page wrote. A PowerShell block is a twin of the bash block before it: it must call the
same commands with the same options.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Pages whose commands run here, with the optional libraries that they need. A page that has bash
# blocks stands in one of the two.
HOW_TO: dict[str, tuple[str, ...]] = {
    "datasets.md": (),
    "exchange.md": (),
    "explore.md": (),
    "recommend.md": (),
    "reliability.md": (),
    "splits.md": (),
    "tune.md": ("optuna",),
    "your-data.md": (),
}
NOT_HOW_TO = {
    "contributing.md": "sets up a clone; `.ci/run` is these commands",
    "getting-started.md": "installs; `.ci/run` does that in a fresh environment",
    "index.md": "the README's first command; `.ci/run` does that with a wheel",
    "instructors.md": "a clone with git, and the folder of a class",
    "performance.md": "benchmarks: hours of them, and figures of one machine",
    "reproduce.md": "tables of the paper; tests/test_reproduce.py has small ones",
    "results.md": "days of training",
    "tuning.md": "a record of what was tried: days of training",
}

FENCE = re.compile(
    r"^```(?P<language>bash|powershell)(?P<info>[^\n]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NOT_RUN = re.compile(r" not-run: \S.*")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    info: str
    code: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language == "bash" and not self.info.strip()


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(m["language"], m["info"], m["code"], text.count("\n", 0, m.start()) + 2)
        for m in FENCE.finditer(text)
    ]


def make_shop(path: Path) -> None:
    """The log of an invented shop: 200 clients, each buys 12 of 150 products, each product once.

    Products stand in rings of ten. Who has bought one mostly buys the next one of its ring.
    """
    rng = np.random.default_rng(5)
    lines = ["client,product,bought_at,name"]
    for client in range(200):
        bought = [int(rng.integers(150))]
        while len(bought) < 12:
            following = bought[-1] // 10 * 10 + (bought[-1] + 1) % 10
            if rng.random() > 0.8 or following in bought:
                following = int(rng.choice(np.setdiff1d(np.arange(150), bought)))
            bought.append(following)
        for day, product in enumerate(bought, start=1):
            at = f"2024-05-{day:02d} {rng.integers(24):02d}:00:00"
            lines.append(f"c{client},p{product},{at},Product {product} of ring {product // 10}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_programs(folder: Path) -> None:
    """`python`, `python3` and `minisasrec` of this environment, whatever the PATH of the test."""
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name, words in {
        "python": python,
        "python3": python,
        "minisasrec": f"{python} -m minisasrec",
    }.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)


@pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="the blocks are for bash"
)
@pytest.mark.parametrize("page", HOW_TO)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    for library in HOW_TO[page]:
        pytest.importorskip(library, reason=f"{library} is not installed")
    folder = tmp_path / "here"
    folder.mkdir()
    make_shop(folder / "shop.csv")
    make_programs(tmp_path / "bin")
    env = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
    }
    env.pop("MINISASREC_DATA_DIR", None)  # a reader has none
    for block in blocks(page):
        if not block.runs:
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        assert done.returncode == 0, f"{page}, line {block.line}:\n{block.code}\n{done.stderr}"


def test_every_page_with_commands_is_known() -> None:
    with_commands = {p.name for p in DOCS.glob("*.md") if blocks(p.name)}
    assert set(HOW_TO) <= with_commands, "a page of HOW_TO has no commands, or is not there"
    assert not HOW_TO.keys() & NOT_HOW_TO.keys()
    assert with_commands == set(HOW_TO) | NOT_HOW_TO.keys(), "name the page in HOW_TO"


@pytest.mark.parametrize("page", HOW_TO)
def test_what_is_not_run_has_a_reason(page: str, record_property: pytest.RecordProperty) -> None:
    shell = [block for block in blocks(page) if block.language == "bash"]
    for block in shell:
        assert block.runs or NOT_RUN.fullmatch(block.info), f"{page}, line {block.line}: no reason"
    left_out = [block for block in shell if not block.runs]
    record_property("not run", len(left_out))
    print(f"{page}: {len(shell)} blocks, {len(left_out)} not run")  # `pytest -rP` shows it
    assert any(block.runs for block in shell), "nothing of this page is run"


def commands(code: str) -> list[list[str]]:
    """For each command of this package in a block: its name and its options, without values."""
    found = []
    joined = re.sub(r"[\\`]\n", " ", code)
    for line in re.split(r"\n|&&|;|\|", joined):
        if match := re.search(r"\bminisasrec[ .](?P<rest>\w.*)", line):
            name, *words = match["rest"].split()
            found.append([name, *(word for word in words if word.startswith("--"))])
    return found


@pytest.mark.parametrize("page", HOW_TO)
def test_a_block_for_powershell_has_the_options_of_its_twin(page: str) -> None:
    before: Block | None = None
    for block in blocks(page):
        if block.language == "powershell":
            assert before is not None and before.language == "bash", f"{page}, line {block.line}"
            assert commands(block.code) == commands(before.code), f"{page}, line {block.line}"
        before = block


def test_twins_are_told_apart() -> None:
    bash = "python -m minisasrec.train --epochs 2 \\\n  --out a && minisasrec similar a --k 3\n"
    shell = "python -m minisasrec.train --epochs 9 `\n  --out b; minisasrec similar b --k 4\n"
    assert commands(bash) == commands(shell) == [["train", "--epochs", "--out"], ["similar", "--k"]]
    assert commands(bash) != commands(shell.replace("--k", "--n"))
