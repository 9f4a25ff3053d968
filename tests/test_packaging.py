"""What a reader meets before any mathematics: the command, the import, the files of a release."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, requires, version
from importlib.resources import files
from pathlib import Path

import pytest

import minisasrec
from minisasrec.__main__ import COMMANDS, main

HEAVY = ("numba", "pandas", "matplotlib", "pooch", "torch", "tqdm", "tyro", "safetensors")
ROOT = Path(__file__).parents[1]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=120)


def test_import_loads_no_heavy_library() -> None:
    code = f"import sys, minisasrec; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = run("-c", code)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_version_is_written_once() -> None:
    assert version("minisasrec") == minisasrec.__version__
    assert f"## {minisasrec.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {minisasrec.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_torch_is_no_dependency_of_the_package() -> None:
    runtime = [r for r in requires("minisasrec") or [] if "extra ==" not in r]
    assert runtime and not any(r.startswith("torch") for r in runtime)


def test_the_installed_command_is_main() -> None:
    (script,) = [e for e in entry_points(group="console_scripts") if e.name == "minisasrec"]
    assert script.load() is main


def test_type_information_is_installed() -> None:
    assert files("minisasrec").joinpath("py.typed").is_file()


def test_help_lists_each_command_that_exists_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line[:2] == "  " and line[2] not in " -"]
    assert listed == list(COMMANDS)
    assert "train" in listed


def test_no_arguments_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    expected = capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out == expected


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minisasrec {minisasrec.__version__}\n"


def test_an_unknown_command_is_one_line_and_status_2() -> None:
    done = run("-m", "minisasrec", "trian")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "'trian'" in line and all(name in line for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_command_is_its_module(name: str) -> None:
    command, module = run("-m", "minisasrec", name, "--help"), run("-m", f"minisasrec.{name}", "-h")
    assert command.returncode == module.returncode == 0
    # all but the usage line, which shows how the program was called
    assert command.stdout.splitlines()[1:] == module.stdout.splitlines()[1:] != []
