"""What a grader asks of an answer: was it tried, does it keep its arguments, what did it raise?"""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1]
LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


class Wrong(Exception):
    """Raised by a grader: what is wrong with an answer, for which input, what was expected."""


class NotAttempted(Exception):
    """Raised where an answer is still as it was handed out; its text names the part."""


def attempted(answer: Any, inside: bool = False) -> Any:
    """`answer` itself, with functions wrapped so that an empty body counts as no attempt.

    Raises `NotAttempted` for `...` and None, and at its first call for a function with no body but
    `...` or `pass`; its text names a function that another one has returned (`inside`). A function
    that does something and returns nothing lacks a `return`, which is `Wrong`.
    """
    if answer is None or answer is Ellipsis:
        raise NotAttempted
    if isinstance(answer, tuple):
        return tuple(attempted(each, inside) for each in answer)
    if not (inspect.isroutine(answer) or isinstance(answer, StandIn) or is_compiled(answer)):
        return answer
    name = getattr(answer, "__name__", "your function")

    @functools.wraps(answer)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_stub(answer):
            raise NotAttempted(name if inside else "")
        result = answer(*args, **kwargs)
        if result is None:
            raise Wrong(f"{name} returns nothing; the result goes behind `return`")
        if isinstance(result, tuple) and any(each is None for each in result):
            raise Wrong(f"{name} returns None as one of its {len(result)} results")
        return attempted(result, inside=True)

    return call


def is_stub(function: Any) -> bool:
    """Whether the body of a function is `...`, `pass`, `return None` or a docstring alone.

    >>> def later(x): ...
    >>> is_stub(later), is_stub(abs), is_stub(lambda x: x)
    (True, False, False)
    """
    if isinstance(function, StandIn):
        return function.stub
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    if code is None:
        return False
    plumbing = {"RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_VALUE"}
    return all(
        step.opname in plumbing
        or (step.opname in ("LOAD_CONST", "RETURN_CONST") and step.argval in (None, ...))
        for step in dis.get_instructions(code)
    )


class StandIn:
    """A function of another process: what that process says of it."""

    stub = compiled = False


def is_compiled(function: Any) -> bool:
    """Whether Numba has compiled a function, or one that its code names: a kernel in a wrapper.

    No attribute of a plain function makes it so.
    """
    if isinstance(function, StandIn):
        return function.compiled
    if "numba" not in sys.modules:  # there is none in a browser
        return False
    from numba.extending import is_jitted

    named = [function]
    if inspect.isfunction(function):
        named += [function.__globals__.get(name) for name in function.__code__.co_names]
    return any(is_jitted(each) or type(each).__module__.startswith("numba.") for each in named)


def untouched(answer: Callable[..., Any], **given: Any) -> Any:
    """The answer for copies of what is `given`, by position. `Wrong` if it changes one of them."""
    copies = {name: _copy(value) for name, value in given.items()}
    result = answer(*copies.values())
    for name, value in given.items():
        if isinstance(value, np.ndarray) and not _same(copies[name], value):
            raise Wrong(
                f"your function changes {name}, which it was given; make a new array instead "
                "(x = x * 2, not x *= 2)"
            )
        if isinstance(value, list | dict) and not _same(copies[name], value):
            raise Wrong(f"your function changes {name}, which it was given; work on a copy")
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(each) for each in value]
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def _same(got: Any, value: Any) -> bool:
    if isinstance(value, list):
        return len(got) == len(value) and all(map(_same, got, value))
    if isinstance(value, dict):
        return got.keys() == value.keys() and all(_same(got[key], value[key]) for key in value)
    return bool(np.array_equal(got, value))


# --- errors of an answer, in one line ------------------------------------------------------------


def story(error: BaseException) -> str:
    """One line about an error that an answer raised: its type, its text, the line of the answer."""
    if hasattr(error, "story"):  # it was told where it was raised, in another process
        return str(error.story)
    kind, text = type(error).__name__, str(error)
    if type(error).__module__.startswith("numba."):
        return f"Numba cannot compile your function: {_numba(text)}"
    if isinstance(error, SyntaxError) and error.text:
        return f"Python cannot read your cell: {error.msg} (at: {error.text.strip()[:100]})"
    first = (text.splitlines() or [""])[0]
    return f"your code raised {kind}: {first}".rstrip(": .") + _where(error)


def _where(error: BaseException) -> str:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*LIBRARIES, str(PACKAGE), "<")):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f" (at: {line[:100]})" if line else ""
    return ""


NUMBA = (  # what its long messages say somewhere, the most telling first
    r"NameError: .*",
    r"Untyped global name .*",
    r"Cannot unify .*",
    r"Unknown attribute .*",
    r"Use of unsupported NumPy function .*",
    r"Unsupported .*",
    r"No implementation of function .*",
    r"Cannot determine Numba type of .*",
    r"No conversion from .*",
    r"Invalid use of .*",
    r".*not support.*",
)


def _numba(text: str) -> str:
    """What is wrong and in which line, from some forty lines of Numba's."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    said = next(
        (m.group() for want in NUMBA for line in lines if (m := re.search(want, line))),
        next((line for line in lines if not line.startswith("Failed in")), text[:200]),
    )
    code = [line.removesuffix("<source elided>").strip() for line in lines]
    marks = [i for i, line in enumerate(code) if set(line) == {"^"} and i]
    at = f" (at: {code[marks[-1] - 1][:100]})" if marks else ""
    return said.rstrip(":. ") + at
