"""Compiled kernels on disk: whatever happens to their files, a command computes and ends well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minisasrec.kernels import cache, jit

KERNELS = """
import sys
from minisasrec.kernels import jit

@jit.kernel
def twice(x):
    return x + x

@jit.kernel
def six_times(x):
    return 3 * twice(x)
"""
MAIN = """
import sys
import own
print(own.six_times({"int": int, "float": float}[sys.argv[1]](7)))
if own.six_times.stats.cache_misses:
    print("compiled", file=sys.stderr)
"""
COMPILED = "compiled"


class Program:
    """A program with two kernels in a folder of its own, run in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "kept"
        folder.joinpath("own.py").write_text(KERNELS, encoding="utf-8")

    def start(self, kind: str = "int", before: str = "", **env: str) -> subprocess.Popen[str]:
        paths = [str(self.folder), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-c", before + MAIN, kind],
            env={
                **os.environ,
                "NUMBA_CACHE_DIR": str(self.kept),
                "PYTHONPATH": os.pathsep.join(paths),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, kind: str = "int", before: str = "", **env: str) -> list[str]:
        """Run it to its end; the lines on stderr."""
        process = self.start(kind, before, **env)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0 and float(out) == 42, (out, err)
        return err.splitlines()

    def files(self) -> list[Path]:
        return sorted(self.kept.glob("minisasrec/kernels-*/*.kernel"))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def damage_kept(program: Program, damage: object) -> None:
    for path in program.files():
        content = path.read_bytes()
        damaged = {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "one bit": content[:-50] + bytes([content[-50] ^ 4]) + content[-49:],
            "an error page": b"<!doctype html>" * 100,
        }
        path.write_bytes(damaged[str(damage)])


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "an error page"])
def test_damaged_files_are_made_again(program, damage):
    assert program.run() == [COMPILED]
    whole = {path: path.read_bytes()[:32] for path in program.files()}
    assert len(whole) == 2
    damage_kept(program, damage)
    note, last = program.run()
    assert note.startswith("note: damaged files of compiled kernels") and last == COMPILED
    assert set(program.files()) == whole.keys()
    assert program.run() == []  # mended: nothing is compiled and nothing said


def test_a_file_under_the_name_of_another_is_not_used(program):
    """A whole file that holds the code for other types would compute nonsense."""
    program.run("int")
    ints = program.files()
    program.run("float")
    floats = [path for path in program.files() if path not in ints]
    assert len(ints) == len(floats) == 2
    for one, other in zip(ints, floats, strict=True):
        shutil.copy(one, other)
    assert program.run("float")[-1] == COMPILED


@jit.kernel
def plus_one(x):
    return x + 1


def test_any_flipped_bit_is_noticed(monkeypatch, tmp_path):
    told: list[str] = []
    monkeypatch.setattr(cache, "_told", told.append)
    kept = cache.KernelCache(plus_one.py_func, tmp_path)
    assert plus_one(2) == 3
    (types,), target = plus_one.signatures[:1], plus_one.targetctx
    kept.save_overload(types, plus_one.overloads[types])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    loaded = kept.load_overload(types, target)
    assert loaded is not None and loaded.signature == plus_one.overloads[types].signature
    for place in np.random.default_rng(0).integers(len(whole) * 8, size=200).tolist():
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        assert kept.load_overload(types, target) is None, place
    assert len(told) == 200


def test_another_processor_has_files_of_its_own(program):
    assert program.run(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == [COMPILED]
    theirs = program.files()
    assert program.run() == [COMPILED]
    assert len(program.files()) == 2 * len(theirs)
    for other in ({}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}):
        assert program.run(**other) == []


def test_processes_that_compile_at_the_same_time(program):
    kinds = ["int", "float"] * 3
    started = [program.start(kind) for kind in kinds]
    for kind, process in zip(kinds, started, strict=True):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0 and float(out) == 42, (kind, out, err)
    for kind in ("int", "float"):
        assert program.run(kind) == []
    assert len(program.files()) == 4
    assert not list(program.kept.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are a matter of POSIX")
def test_a_full_disk(program):
    """The system itself refuses to write more than 1,000 bytes into a file."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    note, last = program.run(before=limit)
    assert f"cannot be kept in {program.kept}" in note and "(File too large)" in note
    assert last == COMPILED
    assert not program.files() and not list(program.kept.rglob("*.tmp"))


def test_a_folder_that_cannot_be_made(program):
    program.kept.write_text("a file where the folder should be")
    note, last = program.run()
    assert "cannot be kept in" in note and last == COMPILED


def test_a_filled_folder_that_cannot_be_written_is_read(program):
    """As a class finds it that shares the instructor's folder."""
    refuse = """
import errno, os, tempfile
def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")
tempfile.mkstemp = os.utime = os.mkdir = refuse
"""
    program.run("int")
    assert program.run("int", before=refuse) == []
    note, last = program.run("float", before=refuse)
    assert "(Read-only file system)" in note and last == COMPILED


def test_a_folder_that_vanishes_meanwhile_is_made_again(program):
    program.run("int", before=f"import shutil, own; shutil.rmtree({str(program.kept)!r}, True)\n")
    assert program.files()


def test_without_a_home_nothing_is_written_into_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jit.config, "CACHE_DIR", "")
    monkeypatch.setattr(jit.platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache/x"))
    assert jit._cache_folder() is None
    assert not list(tmp_path.iterdir())
