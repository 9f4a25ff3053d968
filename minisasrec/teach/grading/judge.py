"""The judge: runs the grader of an exercise on an answer that stands in another process.

`python -m minisasrec.teach.grading.judge` takes tasks from standard input and writes verdicts to
standard output, a JSON object a line each. Only what this package (and the instructor's file of
hidden cases) says runs here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisasrec.errors import ConfigError
from minisasrec.kernels.threads import threads
from minisasrec.teach.attempt import attempted
from minisasrec.teach.exercises import find, verdict
from minisasrec.teach.grading.answers import Room
from minisasrec.teach.grading.cells import Question, uses
from minisasrec.teach.grading.hidden import HiddenCase, read_hidden
from minisasrec.teach.grading.wire import Closed, Peer, Unreadable

PREPARE = 600  # seconds that a notebook's own cells may take
CAN_FORK = sys.platform == "linux"  # on macOS a copied process cannot use Apple's BLAS
KEPT = (  # settings of the environment that an answer's process gets; the others may be secrets
    "PATH PYTHON NUMBA_ MINISASREC_ SYSTEMROOT WINDIR COMSPEC TEMP TMP HOME USERPROFILE APPDATA "
    "LOCALAPPDATA LANG LC_ LD_LIBRARY_PATH DYLD_ VIRTUAL_ENV CONDA_ MPLCONFIGDIR XDG_CACHE_HOME"
).split()


@dataclass(frozen=True)
class Limits:
    """What an answer may take."""

    seconds: int = 60
    memory: int = 2_000_000_000  # bytes beyond what Python and the package need


@dataclass(frozen=True)
class Judgement:
    """What came of one answer. `result`: a grader's, or why there is none of it."""

    result: str
    text: str
    points: float
    seconds: float
    confined: tuple[str, ...] = ()


class Judge:
    """Grades answers to the exercises of one notebook after another."""

    def __init__(
        self, limits: Limits | None = None, hidden: Path | None = None, fork: bool = CAN_FORK
    ) -> None:
        self.limits = limits or Limits()
        self.hidden: dict[str, list[HiddenCase]] = read_hidden(hidden) if hidden else {}
        self._fork = fork
        self._prepared: Prepared | None = None
        self._room: tuple[tuple[str, ...], Room] | None = None

    def close(self) -> None:
        """End the prepared process."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None

    def grade(self, question: Question, cells: Sequence[str]) -> Judgement:
        """The judgement of an answer, given as the student's cells. Whatever it does, this returns.

        It takes as long as the limit at most, and what it takes to prepare the notebook.
        """
        with tempfile.TemporaryDirectory(prefix="answer-", ignore_cleanup_errors=True) as name:
            folder = Path(name).resolve()
            given = self._given(question)  # may train a model: not in the answer's time
            session = self._open(question, folder)
            began = time.perf_counter()
            clock = threading.Timer(self.limits.seconds, session.stop)
            clock.start()
            try:
                result, text, points = self._judge(question, cells, given, session.peer)
            except (Closed, Unreadable) as error:
                clock.cancel()
                result, text, points = "not yet", self._why(session, error), 0.0
            finally:
                clock.cancel()
                session.close()
            took = time.perf_counter() - began
            return Judgement(result, text, points, round(took, 2), session.confined)

    def _judge(
        self, question: Question, cells: Sequence[str], given: dict[str, Any], peer: Peer
    ) -> tuple[str, str, float]:
        wanted = list(question.wanted)

        def answered() -> Any:
            work = {"do": "run", "cells": list(cells), "before": question.before, "wanted": wanted}
            values = peer.ask(work)
            names = {name: values[name] for name in wanted}
            return eval(question.answer, dict(given), names)

        exercise = find(question.name)
        answer: list[Any] = []

        def grade(grader: Callable[[Any], str]) -> Any:
            def run(_: Any) -> str:
                if not answer:
                    answer.append(attempted(answered()))
                return grader(answer[0])

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return verdict(run, 0)

        seen = grade(exercise.grade)
        points = exercise.points if seen.result == "correct" else 0.0
        said = [seen.text]
        result = seen.result
        for case in self.hidden.get(question.name, []) if result != "not attempted" else ():
            found = grade(case.grade)
            if found.result == "correct":
                points += case.points
            else:
                result = "not yet"
                said.append(f"hidden case: {found.text}" if case.told else "a hidden case fails")
        return result, "; ".join(filter(None, said)), points

    def _given(self, question: Question) -> dict[str, Any]:
        """The names in the check that are the notebook's: from here, not from the answer."""
        needed = _needed(question)
        if not needed:
            return {}
        if self._room is None or self._room[0] != question.cells:
            self._room = question.cells, Room(question.cells)
        self._room[1].provide(needed, question.before)
        return self._room[1].names

    def _open(self, question: Question, folder: Path) -> Session:
        start = {
            "do": "start",
            "cells": list(question.cells),
            "needed": sorted(_needed(question)),
            "memory": self.limits.memory,
            "seconds": self.limits.seconds,
        }
        if not self._fork:
            return _one_process(start, folder)
        for attempt in (1, 2):
            if self._prepared is None or self._prepared.start != start:
                self.close()
                self._prepared = Prepared(start)
            try:
                return self._prepared.session(folder)
            except (Closed, Unreadable, OSError):  # an answer may have ended it
                self.close()
                if attempt == 2:
                    raise ConfigError("processes for answers cannot be started here") from None
        raise AssertionError

    def _why(self, session: Session, error: BaseException) -> str:
        if session.stopped:
            return f"stopped after {self.limits.seconds} seconds: does a loop never end?"
        if isinstance(error, Unreadable):
            return "your code interfered with the process that runs it"
        status = session.status()
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
            return f"your code crashed Python ({name})"
        if status >= 1 << 31:  # Windows
            return f"your code crashed Python (0x{status:08x})"
        return f"your code ended Python (exit code {status}) before it was checked"


def _needed(question: Question) -> frozenset[str]:
    """The names in the check that the notebook itself has to give."""
    return uses(question.answer) - set(question.wanted)


# --- processes -----------------------------------------------------------------------------------


class Session:
    """A process that runs one answer, and the wire to it."""

    def __init__(self, peer: Peer, kill: Callable[[], None], ended: Callable[[], int]) -> None:
        self.peer, self._kill, self._ended = peer, kill, ended
        self.stopped = False
        self.confined: tuple[str, ...] = ()
        self._closed: int | None = None

    def stop(self) -> None:
        """The time is up."""
        self.stopped = True
        self._kill()

    def status(self) -> int:
        """The exit code; below 0: the signal that ended it."""
        if self._closed is None:
            self._closed = self._ended()
        return self._closed

    def close(self) -> None:
        """End the process."""
        self.status()


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k.upper().startswith(tuple(KEPT))}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **single, "MPLBACKEND": "agg"}


def _command() -> list[str]:
    return [sys.executable, "-m", "minisasrec.teach.grading.answers"]


def _one_process(start: dict[str, Any], folder: Path) -> Session:
    ours: socket.socket | None = None
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    if os.name == "posix":  # unlike a pipe, a socket can be shut while others hold its end
        ours, theirs = socket.socketpair()
        options = {"stdin": theirs, "stdout": theirs, "start_new_session": True}
    process = subprocess.Popen(_command(), **options, stderr=subprocess.DEVNULL, env=_environment())
    reader: Any = process.stdout
    writer: Any = process.stdin
    if ours is not None:
        theirs.close()
        reader, writer = ours.makefile("rb"), ours.makefile("wb")
    peer = Peer(reader, writer, trusting=False)

    def kill() -> None:
        if ours is not None:
            _kill_group(process.pid)
            _shut(ours)
        process.kill()

    def ended() -> int:
        try:
            status = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            status = -signal.SIGTERM
        kill()
        process.wait()
        _close(reader, writer, *([ours] if ours else []))
        return status

    session = Session(peer, kill, ended)
    clock = threading.Timer(PREPARE, kill)
    clock.start()
    try:
        peer.send({**start, "folder": str(folder)})
        session.confined = tuple(map(str, peer.receive().get("confined", ())))
    except (Closed, Unreadable):
        ended()
        raise ConfigError("a process for an answer cannot be started here") from None
    finally:
        clock.cancel()
    return session


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _close(*files: Any) -> None:
    for file in files:
        with suppress(OSError):
            file.close()


class Prepared:
    """A process that has run a notebook's imports and makes a copy of itself for each answer."""

    def __init__(self, start: dict[str, Any]) -> None:
        self.start = start
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._process = subprocess.Popen(
            [*_command(), "--forks", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=_environment(),
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(PREPARE)
        self._lock = threading.Lock()
        self._peer = Peer(ours.makefile("rb"), ours.makefile("wb"), trusting=False)
        self._peer.send(start)
        self._peer.receive()

    def session(self, folder: Path) -> Session:
        """A copy of the process, ready to run an answer in this folder."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            self._peer.send({"do": "fork", "folder": str(folder)})
            socket.send_fds(self._socket, [b"f"], [theirs.fileno()])
            child = int(self._peer.receive()["value"])
        reader, writer = ours.makefile("rb"), ours.makefile("wb")
        peer = Peer(reader, writer, trusting=False)

        def kill() -> None:
            _kill_group(child)
            _shut(ours)  # a process that it has started may hold the other end

        def ended() -> int:
            _close(reader, writer, ours)
            try:
                with self._lock:
                    status = int(self._peer.ask({"do": "end", "process": child}))
            except (Closed, Unreadable):  # the prepared process has gone, with all its copies
                return -signal.SIGKILL
            return os.waitstatus_to_exitcode(status)

        session = Session(peer, kill, ended)
        clock = threading.Timer(PREPARE, kill)
        clock.start()
        try:
            session.confined = tuple(map(str, peer.receive().get("confined", ())))
        finally:
            clock.cancel()
        return session

    def close(self) -> None:
        """End it, with all that answers have left."""
        _shut(self._socket)
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# --- as a program --------------------------------------------------------------------------------


def main() -> None:
    """Grade what comes on standard input until it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what an answer has started ends first
    threads(1)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a grader or a hidden case prints is no verdict
    settings = json.loads(sys.stdin.readline())
    hidden = settings.pop("hidden")
    fork = settings.pop("fork") and CAN_FORK
    judge = Judge(Limits(**settings), Path(hidden) if hidden else None, fork)
    try:
        for line in sys.stdin:
            task = json.loads(line)
            asked: Any = task["question"]
            asked |= {name: tuple(asked[name]) for name in ("wanted", "cells")}
            said = judge.grade(Question(**asked), task["cells"])
            print(json.dumps(said.__dict__), file=out, flush=True)
    finally:
        judge.close()


if __name__ == "__main__":
    main()
