"""The script behind `minisasrec --completion SHELL`: TAB completes commands, options and values.

tyro writes it, from the same classes that read the options.
"""

from __future__ import annotations

import functools
import io
import operator
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from typing import Annotated, Any

from minisasrec.commands.cli import errors_in_one_line
from minisasrec.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")


def completion(shell: str, commands: Mapping[str, str]) -> str:
    """The script that completes `commands` (name: what it does) in a shell.

    Raises `ConfigError` for a shell that it cannot be written for.
    """
    import tyro

    if shell not in SHELLS:
        asked = f"--completion is {shell!r}" if shell else "--completion needs the name of a shell"
        raise ConfigError(
            f"{asked}; choose one of {', '.join(SHELLS)} (PowerShell: see docs/getting-started.md)"
        )
    parts = [
        Annotated[options, tyro.conf.subcommand(name, description=line, **default)]
        for name, line in commands.items()
        for options, default in [_options(name)]
    ]
    every: Any = functools.reduce(operator.or_, parts)
    said = io.StringIO()
    try:
        with errors_in_one_line(), redirect_stdout(said):
            tyro.cli(
                every,
                prog="minisasrec",
                args=["--tyro-print-completion", shell],
                config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit:  # tyro ends the program when the script is printed
        return _mended(said.getvalue().rstrip())
    raise AssertionError("tyro went on after it had printed the script")


def _mended(script: str) -> str:
    """What tyro wrote, without two flaws.

    A help text of several lines would give a completion for each of them, and bash would complete
    no file where a run or a table is asked for.
    """
    lines = [
        line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC = ") else line
        for line in script.splitlines()
    ]
    return "\n".join(lines).replace("\ncomplete -F ", "\ncomplete -o default -F ")


def _options(name: str) -> tuple[type[Any], dict[str, Any]]:
    """The class of a command's options, and the default where it is not the class's."""
    if name == "train":
        from minisasrec.learn.config import preset
        from minisasrec.train import offered_options

        default = offered_options(preset("bookshop"))
        return type(default), {"default": default}
    module = import_module("minisasrec." + ("data.__main__" if name == "data" else name))
    return getattr(module, f"{name.capitalize()}Config"), {}
