"""Where output goes: streams that are closed, full, narrow or of few letters, and hostile text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from minisasrec.terminal import HIDDEN, JOINERS, LONGEST, Patient, on_terminal, printable, say, show

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a shell and file numbers of POSIX")
RED, TITLE, TURNED = "\x1b[31m", "\x1b]0;owned\x07", "\u202egnp.exe"
SMALL = ("--min-actions", "1", "--d", "4", "--n", "5", "--blocks", "1", "--threads", "1")


def hidden(text: str) -> set[str]:
    """What a terminal would obey in `text`, apart from line ends."""
    found = {c for c in text if unicodedata.category(c) in HIDDEN and c not in JOINERS}
    return found - {"\n"}


# --- the functions ---------------------------------------------------------------------------


def test_every_character_that_is_not_shown_is_an_escape() -> None:
    every = "".join(map(chr, range(0x11000)))  # surrogates included
    shown = printable(every)
    assert not hidden(shown) and "\n" not in shown
    shown.encode("utf-8")  # no half of a pair is left
    for kept in ("Amélie", "頁", "कर्म", "می\u200cخواهم", "👩\u200d🚀", "a\u00a0b", "\\x1b"):
        assert printable(kept) == kept
    assert printable(f"{RED}red{TITLE}{TURNED}\r\n") == (
        r"\x1b[31mred\x1b]0;owned\x07\u202egnp.exe\r\n"
    )


@pytest.mark.parametrize("limit", [5, 6, 7, 40, 500])
def test_a_long_message_keeps_its_beginning_and_its_end(limit: int) -> None:
    long = printable("begin" + "x" * 10_000 + "end", limit)
    assert len(long) <= limit and " ... " in f" {long} "
    if limit >= 40:
        assert long.startswith("begin") and long.endswith("end")
    assert printable("x" * limit, limit) == "x" * limit


def test_say_and_show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say(f"error: {RED}" + "y" * 9999)
    show("one\ntwo", "three")
    out, err = capsys.readouterr()
    assert out == "one\\ntwo\nthree\n"
    assert err.startswith("error: \\x1b[31my") and len(err) == LONGEST + 1
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody hears this")
    assert not on_terminal()
    assert capsys.readouterr().out == ""


def test_a_stream_that_fails_is_not_tried_again() -> None:
    tried: list[str] = []

    class Full:
        encoding = "ascii"

        def write(self, text: str) -> int:
            tried.append(text)
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            raise OSError("no file")

    out = Patient(Full())  # type: ignore[arg-type]
    assert out.write("a") == 1 and out.write("bc") == 2
    out.writelines(["d", "e"])
    assert tried == ["a"] and isinstance(out.error, OSError) and out.error.errno == 28
    assert out.encoding == "ascii"


# --- the commands ----------------------------------------------------------------------------


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"minisasrec.{name}", *map(str, arguments)]


def run(
    arguments: Sequence[str], folder: Path, streams: str = "", **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command; `streams` is what a shell would have behind it, such as `2>&-`."""
    if streams:
        arguments = ["sh", "-c", f'exec "$@" {streams}', "sh", *arguments]
    environment = {**os.environ, **env}
    environment.pop("MINISASREC_DATA_DIR", None)
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A click log whose ids, titles, columns and file name are hostile."""
    name = "clicks.csv" if sys.platform == "win32" else f"clicks{RED}{TURNED}.csv"
    path = tmp_path_factory.mktemp("hostile") / name
    rng = np.random.default_rng(5)
    lines = [f"who{RED},what{TITLE},when,name"]
    for user in range(30):
        for t, item in enumerate(rng.permutation(12)[:8].tolist()):
            lines.append(f'u{user}{TITLE},i{item}{RED},{t},"Page {item} {TITLE}{TURNED}\nend"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def options(log: Path) -> list[str]:
    columns = f"who{RED}", f"what{TITLE}", "when", "name"
    named = zip(("user", "item", "time", "title"), columns, strict=True)
    return [word for name, column in named for word in (f"--{name}-column", column)]


def train(log: Path, out: str) -> list[str]:
    data = ("--dataset", str(log), *options(log))
    return command("train", *data, *SMALL, "--epochs", "2", "--eval-every", "1", "--out", out)


@pytest.fixture(scope="module")
def trained(log: Path) -> Path:
    done = run(train(log, f"run{RED}"), log.parent)
    assert done.returncode == 0, done.stderr.decode()
    (log.parent / "said").write_bytes(done.stdout + done.stderr)
    return log.parent / f"run{RED}"


def finished(folder: Path) -> bool:
    result = folder / "result.json"
    return result.is_file() and json.loads(result.read_text(encoding="utf-8"))["epochs"] == 2


@POSIX
def test_what_comes_from_data_is_shown_and_not_obeyed(log: Path, trained: Path) -> None:
    commands = {
        "train": (log.parent / "said").read_text(encoding="utf-8"),
        "train again": train(log, trained.name),
        "evaluate": command("evaluate", trained),
        "data": command("data", log, *options(log)),
        "user": command("recommend", trained, "--user", f"u3{TITLE}"),
        "items": command("recommend", trained, "--items", f"i3{RED}", f"i5{RED}"),
        "no user": command("recommend", trained, "--user", f"nobody{RED}"),
        "no run": command("evaluate", log.parent / f"missing{TITLE}"),
        "no column": command("data", log, *options(log)[2:], "--user-column", TURNED),
        "no option": command("data", log, f"--colour{RED}"),
        "no command": [sys.executable, "-m", "minisasrec", f"{RED}dance"],
        "no file": command("data", f"{RED}missing.csv"),
    }
    for name, arguments in commands.items():
        said = arguments
        if not isinstance(said, str):
            done = run(arguments, log.parent)
            said = (done.stdout + done.stderr).decode("utf-8")
            assert "Traceback" not in said, (name, said)
            if name.startswith("no ") or name.endswith("again"):
                assert done.returncode and not done.stdout and done.stderr.count(b"\n") == 1, name
        assert said.strip() and not hidden(said), (name, said)
        if name in ("train", "user", "items"):
            assert r"\x1b]0;owned\x07\u202egnp.exe\nend" in said, (name, said)


@POSIX
def test_an_error_is_one_line_of_limited_length(trained: Path) -> None:
    done = run(command("recommend", trained, "--user", "x" * 100_000), trained.parent)
    line = done.stderr.decode()
    assert done.returncode == 1 and line.count("\n") == 1 and len(line) <= LONGEST + 1


@POSIX
@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(log: Path, tmp_path: Path, streams: str) -> None:
    done = run(train(log, "run"), tmp_path, streams)
    assert done.returncode == 0 and finished(tmp_path / "run"), done.stderr.decode()
    for name in ("config.json", "history.jsonl", "result.json"):  # nothing was printed into a file
        for line in (tmp_path / "run" / name).read_text(encoding="utf-8").splitlines():
            assert "epoch  " not in line and "note:" not in line
    if ">&-" in streams.split():
        assert done.stdout == b""
    again = run(train(log, "run"), tmp_path, streams)  # the folder is taken
    assert again.returncode == 1 and again.stdout == b""
    assert b"Traceback" not in again.stderr
    assert bool(again.stderr) == ("2>&-" not in streams.split())


@POSIX
def test_an_unknown_command_with_standard_error_closed(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "minisasrec", "dance"], tmp_path, "2>&-")
    assert (done.returncode, done.stdout) == (2, b"")


@POSIX
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_has_gone_costs_no_work(log: Path, tmp_path: Path, name: str) -> None:
    """As with `| head -1`, even where each line is written at once."""
    reader, writer = os.pipe()
    os.close(reader)
    other = {"stdout": "stderr", "stderr": "stdout"}[name]
    with subprocess.Popen(
        train(log, "run"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        **{name: writer, other: subprocess.PIPE},  # type: ignore[call-overload]
    ) as process:
        os.close(writer)
        said = "".join(process.communicate(timeout=300)[name == "stdout"])
    assert finished(tmp_path / "run")
    assert process.returncode == (1 if name == "stdout" else 0)
    assert "Traceback" not in said and "error" not in said and "BrokenPipe" not in said


@POSIX
@pytest.mark.parametrize("arguments", [["minisasrec"], ["minisasrec.train", "--help"]])
def test_help_into_head(tmp_path: Path, arguments: list[str]) -> None:
    done = run([sys.executable, "-u", "-m", *arguments], tmp_path, "| head -1")
    assert done.stdout.count(b"\n") == 1 and done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output(log: Path, tmp_path: Path) -> None:
    done = run(train(log, "run"), tmp_path, "> /dev/full")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and finished(tmp_path / "run")
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], lines
    assert "No space left on device" in lines[-1]


def test_no_streams_at_all(log: Path, tmp_path: Path) -> None:
    """As under pythonw, in a command and in a program of one's own."""
    program = """
import sys
sys.stdout = sys.stderr = None
from minisasrec import train
from minisasrec.commands.cli import run_command
from minisasrec.learn.fit import fit
status = run_command(train.main, sys.argv[1:])
split = train.load_split(train.parse(sys.argv[1:]))
config = train.parse(sys.argv[1:])
fit(train.make_model(config, split), split, config)
sys.exit(status)
"""
    arguments = train(log, "run")[3:]
    done = run([sys.executable, "-c", program, *arguments], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert finished(tmp_path / "run")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_any_encoding(trained: Path, encoding: str) -> None:
    done = run(
        command("recommend", trained, "--user", f"u3{TITLE}"),
        trained.parent,
        PYTHONIOENCODING=encoding,
        LANG="C",
        LC_ALL="C",
    )
    assert done.returncode == 0 and "Page" in done.stdout.decode(encoding), done.stderr


@POSIX
@pytest.mark.parametrize("columns", [1, 12])
def test_a_narrow_terminal(log: Path, tmp_path: Path, columns: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    def on_a_terminal(arguments: list[str]) -> tuple[int, str]:
        terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 3, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment, stdin=end, stdout=end, stderr=end
        )
        os.close(end)
        guard = threading.Timer(120, process.kill)  # --help for one column never ended
        guard.start()
        said = b""
        try:
            while block := os.read(terminal, 65536):
                said += block
        except OSError:  # EIO: the other end is closed
            pass
        os.close(terminal)
        guard.cancel()
        return process.wait(timeout=300), said.decode("utf-8", "replace")

    status, said = on_a_terminal(train(log, "run"))
    assert status == 0 and finished(tmp_path / "run"), said
    assert "Page" in said and "\x1b]0;" not in said and RED not in said and "\u202e" not in said
    status, said = on_a_terminal(command("train", "--dataset", "bookshop", "--epoch", "3"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert status == 2 and plain.startswith("error: ") and "--epoch" in plain, said
    assert on_a_terminal(command("data", "--help"))[0] == 0
