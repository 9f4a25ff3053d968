"""`minisasrec NAME ...` runs `python -m minisasrec.NAME ...`; `--completion` is for the shell."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from minisasrec.terminal import ended, say, streams

COMMANDS = {
    "train": "train a model; with no arguments, on the data set that comes with the package",
    "tune": "search settings that validate best; needs optuna",
    "evaluate": "measure a trained model: HR@k, NDCG@k and MRR, sampled and over all items",
    "datasets": "list the public data sets; show, download, verify or clear one",
    "data": "print what a data set holds: counts, source, warnings, fingerprint",
    "recommend": "recommend items to users of a trained model, or to a sequence of items",
    "similar": "items that a trained model finds like others",
    "receipt": "fingerprints of a run's data, settings, code, machine and weights, to compare",
    "explore": "write a trained SASRec as one web page to play with, which says why",
    "explain": "explain an op: formula, shapes, paper section, source, tests, notebooks",
    "class": "teach a class: make the students' copy, grade what comes back, doctor a machine",
    "reproduce": "run the paper's experiments and set the results beside its tables",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the command line) begins with; 2 if there is none."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name.partition("=")[0] == "--completion":
        from minisasrec.commands.cli import run_command
        from minisasrec.completion import completion

        _, equals, value = name.partition("=")
        shell = value if equals else " ".join(arguments[1:])
        return run_command(lambda _: print(completion(shell, COMMANDS)), [])
    if name not in COMMANDS:
        with streams() as out:
            return ended(out, _about(name))
    # Exactly what `python -m minisasrec.NAME` does, so that the two can never differ.
    sys.argv = [f"minisasrec {name}", *arguments[1:]]
    runpy.run_module(f"minisasrec.{name}", run_name="__main__", alter_sys=True)
    return 0


def _about(name: str) -> int:
    """Print what the option `name` asks for; returns the exit code."""
    if name in ("-h", "--help"):
        print("usage: minisasrec COMMAND [OPTIONS]     (the options: minisasrec COMMAND --help)\n")
        for command, line in COMMANDS.items():
            print(f"  {command:10} {line}")
        print("\n  --version             the version\n  --completion SHELL    a script that")
        print("                        completes commands and options: bash, zsh or fish")
    elif name == "--version":
        from minisasrec import __version__

        print(f"minisasrec {__version__}")
    else:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        say(f"minisasrec: no command {name!r}; {hint}choose one of: {', '.join(COMMANDS)}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
