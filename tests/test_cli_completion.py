"""`minisasrec --completion SHELL`, asked as the shell asks it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minisasrec.__main__ import COMMANDS, main
from minisasrec.completion import SHELLS, completion

ASK = """
source {script}
COMP_WORDS=({words})
COMP_CWORD={last}
_tyro_minisasrec
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "minisasrec.bash"
    path.write_text(completion("bash", COMMANDS), encoding="utf-8")
    return path


def tab(script: Path, *words: str) -> set[str]:
    """What bash offers when TAB is pressed behind `minisasrec WORDS`."""
    if sys.platform == "win32" or shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    line = " ".join(shlex.quote(word) for word in ("minisasrec", *words))
    asked = ASK.format(script=shlex.quote(str(script)), words=line, last=len(words))
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert not done.stderr
    return set(done.stdout.split("\n")) - {""}


def test_commands(script: Path) -> None:
    assert tab(script, "") >= set(COMMANDS)
    assert tab(script, "re") == {"receipt", "recommend", "reproduce"}


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_every_command(script: Path, command: str) -> None:
    offered = tab(script, command, "--")
    if command == "class":  # each of its works has options of its own
        assert tab(script, "class", "") >= {"make", "grade", "doctor"}
        assert tab(script, "class", "grade", "--") >= {"--help", "--jobs", "--hidden"}
        offered |= {"--json", "--threads", "--backend"}
    assert offered >= {"--help", "--json", "--threads", "--backend"}
    assert all(word.startswith("--") and " " not in word for word in offered)


def test_values(script: Path) -> None:
    assert tab(script, "train", "--model", "gru") == {"gru4rec", "gru4rec+"}
    assert tab(script, "evaluate", "run", "--part", "") == {"valid", "test"}
    assert tab(script, "train", "--mod") == {"--model"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_the_shell(shell: str, tmp_path: Path) -> None:
    script = completion(shell, COMMANDS)
    for command in COMMANDS:
        assert f"'{command}'" in script
    assert {"bash": "complete -o default -F", "zsh": "#compdef", "fish": "complete --no-files"}[
        shell
    ] in script
    if shutil.which(shell) and sys.platform != "win32":
        (tmp_path / "script").write_text(script, encoding="utf-8")
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--completion"], "needs the name of a shell; choose one of bash, zsh, fish"),
        (["--completion=pwsh"], "--completion is 'pwsh'; choose one of"),
        (["--completion", "ksh"], "--completion is 'ksh'"),
    ],
)
def test_another_shell(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err
