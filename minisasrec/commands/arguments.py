"""The words of a command line, before tyro reads them: options that take several values.

    --items 12 7 99        as one list
    --items 12 --items 7   given twice, the values are put together
    --items -b1 --x7       ids may begin with a dash
    --items=-b1            the form that is never misread
    --items -- -b1 --k     after `--`, every word to the end is a value

A word that begins with a dash is a value unless it is an option of the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from minisasrec.border import at_home
from minisasrec.errors import ConfigError

GUARD = "="  # before each text value while tyro reads, so that none looks like an option


def gather(options: type[Any], arguments: Sequence[str]) -> list[str]:
    """`arguments` with the values of each list option together, behind one flag.

    `options` is the dataclass of the command. Values of text lists get a `GUARD` in front;
    `unguard` takes it away again.
    """
    lists = _lists(options)
    flags = _flags(options)
    rest: list[str] = []
    values: dict[str, list[str]] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        if flag not in lists:
            rest.append(word)
            if word == "--":
                rest += words
                break
            continue
        found = values.setdefault(flag, [])
        if equals:
            found.append(value)
        elif words and words[0] == "--":
            found += words[1:]
            words = []
        else:
            while words and not _is_option(words[0], flags):
                found.append(words.pop(0))
    for flag, found in values.items():
        rest += [flag, *((GUARD * lists[flag]) + value for value in found)]
    return rest


def unguard(options: Any) -> Any:
    """The same options without the guards of `gather`."""
    for flag, is_text in _lists(type(options)).items():
        name = flag[2:].replace("-", "_")
        if is_text and getattr(options, name):
            plain = tuple(value.removeprefix(GUARD) for value in getattr(options, name))
            object.__setattr__(options, name, plain)  # it is frozen, and nobody has seen it yet
    return options


def with_homes(options: Any, words: Sequence[str]) -> Any:
    """The same options with ``~`` in paths as `at_home` has it.

    Raises `ConfigError` for a path that is empty, as `--out "$OUT"` is where OUT is not set: it
    would be the folder that one is in. `words` are those of the command line.
    """
    said = [word.split("=")[-1] for word in words]
    unsaid = "" in said and not any(value and Path(value) == Path() for value in said)
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            with_homes(value, words)
        elif isinstance(value, Path):
            if unsaid and value == Path():
                positional = field.default is MISSING
                of = "the path of the " if positional else "--"
                raise ConfigError(
                    f"{of}{field.name.replace('_', '-')} is empty; give a path (. is the folder "
                    "that you are in)"
                )
            object.__setattr__(options, field.name, at_home(value))
    return options


def meant(message: str, options: type[Any]) -> str:
    """What to add to tyro's message about options that the command lacks: those that are like them.

    >>> from minisasrec.learn.config import TrainConfig
    >>> meant("Unrecognized options: --epohcs, 1", TrainConfig)
    '; did you mean --epochs?'
    """
    title, _, words = message.partition(":")
    if title != "Unrecognized options":
        return ""
    flags, found = _flags(options, hidden=False), list[str]()
    for word in words.split(", "):
        flag = word.strip().partition("=")[0].replace("_", "-")
        if models := _models_with(flag, options):
            return f"; {flag} goes with --model {' or '.join(models)}"
        if flag.startswith("--"):
            longer = sorted(other for other in flags if other.startswith(flag))
            found += get_close_matches(flag, sorted(flags), n=1, cutoff=0.75) or longer[:1]
    return f"; did you mean {', '.join(dict.fromkeys(found))}?" if found else ""


def _models_with(flag: str, options: type[Any]) -> list[str]:
    """The models that an option belongs to, if it is of other models than the one chosen."""
    from minisasrec.models import MODELS  # late: `class grade` has no use for it

    hints, marked = get_type_hints(options), get_type_hints(options, include_extras=True)
    sections = {
        field.name
        for field in fields(options)
        if _is_suppressed(marked[field.name]) and flag in _flags(hints[field.name]) - {"--help"}
    }
    return [name for name, (_, section) in MODELS.items() if section in sections]


def _is_option(word: str, flags: set[str]) -> bool:
    flag = word.partition("=")[0].replace("_", "-")
    return flag in flags or (word.startswith("--") and len(word) > 2 and _is_near(flag, flags))


def _is_near(flag: str, flags: set[str]) -> bool:
    """A mistyped option is better refused than taken for an item."""
    return bool(get_close_matches(flag, flags, n=1, cutoff=0.8))


def _flags(options: type[Any], hidden: bool = True) -> set[str]:
    """All options of a command, sections included; `hidden`: those of other models, too."""
    found = {"-h", "--help"}
    hints, marked = get_type_hints(options), get_type_hints(options, include_extras=True)
    for field in fields(options):
        if not hidden and _is_suppressed(marked[field.name]):
            continue
        flag = "--" + field.name.replace("_", "-")
        if is_dataclass(hints[field.name]):
            found |= _flags(hints[field.name], hidden)
        elif hints[field.name] is bool:
            found |= {flag, "--no-" + flag[2:]}
        else:
            found.add(flag)
    return found


def _is_suppressed(hint: Any) -> bool:
    from tyro.conf import Suppress  # late: tyro is slow to import

    return any(mark is Suppress for mark in getattr(hint, "__metadata__", ()))


def _lists(options: type[Any], outer: bool = True) -> dict[str, bool]:
    """The options of a command that take several values, and whether these get a guard.

    Those of a section get none: it checks its values when it is made, before `unguard`.
    """
    found: dict[str, bool] = {}
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            found |= _lists(hint, outer=False)  # type: ignore[arg-type]
        if get_origin(hint) is Annotated:  # a positional one has no flag
            continue
        for part in get_args(hint) if get_origin(hint) in _UNIONS else (hint,):
            if get_origin(part) is tuple:
                found["--" + field.name.replace("_", "-")] = outer and get_args(part)[0] is str
    return found


_UNIONS: tuple[Any, ...] = (Union, type(int | None))
