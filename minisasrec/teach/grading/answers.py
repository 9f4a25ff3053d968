"""The process that runs an answer: `python -m minisasrec.teach.grading.answers`.

First it prepares a notebook: its imports, functions and classes, which are the same for all
students. Then, for one exercise, it runs the student's cells, and calls what they define whenever
the judge asks. It knows no grader, and an answer that imports one is refused: graders hold right
answers. What an answer prints is dropped.

Where the system can fork (Linux), one prepared process serves a whole class: for each exercise it
makes a copy of itself, which runs the answer and ends. Elsewhere each answer gets a process that
is prepared for it.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from minisasrec import teach
from minisasrec.kernels.threads import threads
from minisasrec.teach.grading.cells import binds, definitions, needed_for, plain, uses
from minisasrec.teach.grading.confine import confine
from minisasrec.teach.grading.wire import Closed, Message, Peer

SUBREAPER = 36  # for prctl


GRADERS = ("minisasrec.teach.exercises.", "minisasrec.teach.grading.")
OF_GRADERS = ("check", "hint", "keep", "require")  # of `minisasrec.teach`, for notebooks


class NoGraders:
    """Stands first among what finds modules: refuses those that hold graders."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Raise `ImportError` for a grader, and leave any other module to the next finder."""
        if name.startswith(GRADERS):
            raise ImportError(f"an answer has to be your own; {name} belongs to the grader")


def without_graders() -> None:
    """From here on this process imports no grader, and `check` and the like do nothing."""
    for name in OF_GRADERS:
        setattr(teach, name, lambda *_, **__: None)
    sys.meta_path.insert(0, NoGraders())


def nobody_types(*_: Any) -> str:
    """Stands for `input` in an answer."""
    raise EOFError("nobody types while this is graded; take input() out of the cell")


class Shell:
    """Stands for Jupyter, `get_ipython()`, in an answer: takes every call and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Room:
    """The global names of a notebook, in which the student's cells run."""

    def __init__(self, cells: Sequence[str]) -> None:
        """Run what is quick and harmless in the `cells` of the notebook as handed out."""
        self.cells = list(cells)
        self.names: dict[str, Any] = {
            "__name__": "__main__",
            "display": print,
            "input": nobody_types,
            "get_ipython": Shell,
        }
        first = next((c for c in self.cells if "import " in c), "")  # imports, rng, backend
        for code in self.cells:
            for part in [plain(code)] if code is first else definitions(code):
                with suppress(Exception):  # what depends on more is run where it is needed
                    exec(compile(part, "<notebook>", "exec"), self.names)

    def provide(self, names: Set[str], before: int | None = None) -> None:
        """Run the cells (the first `before`) that give these names values, where they have none."""
        for i in needed_for(names - self.names.keys(), self.cells[:before]):
            with suppress(Exception):
                exec(compile(plain(self.cells[i]), "<notebook>", "exec"), self.names)

    def run(self, cells: Sequence[str], before: int, folder: Path) -> None:
        """Run the student's cells, each as a file, so that errors can show its lines."""
        own = set().union(*map(binds, cells))
        self.provide(set().union(*map(uses, cells)) - own, before)
        for i, code in enumerate(cells):
            file = folder / f"cell_{i + 1}.py"
            file.write_text(plain(code), encoding="utf-8", errors="replace")
            exec(compile(plain(code), str(file), "exec"), self.names)


def serve(peer: Peer, room: Room, confined: list[str]) -> None:
    """Answer the judge until it goes."""
    peer.send({"do": "ready", "confined": confined})
    with suppress(Closed):
        while True:
            message = peer.receive()
            if message["do"] == "run":
                peer.answer(lambda m=message: _run(room, m))  # type: ignore[misc]
            else:
                peer.reply(message)


def _run(room: Room, message: Message) -> Message:
    room.run(message["cells"], message["before"], Path.cwd())
    missing = [name for name in message["wanted"] if name not in room.names]
    if missing:
        raise NameError(f"name {missing[0]!r} is not defined when the cells have run")
    return {"do": "return", "value": {name: room.names[name] for name in message["wanted"]}}


def once() -> None:
    """Serve one exercise, over what was standard input and output."""
    read, write = os.dup(0), os.dup(1)
    _silence()
    with open(read, "rb") as reader, open(write, "wb") as writer:
        peer = Peer(reader, writer, trusting=True)
        start = peer.receive()
        room = Room(start["cells"])
        room.provide(set(start["needed"]))
        folder = Path(start["folder"])
        os.chdir(folder)
        serve(peer, room, confine(folder, start["memory"], start["seconds"]))


def forks(control: socket.socket) -> None:
    """Serve exercise after exercise, each in a copy of this process."""
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what answers start and leave comes to us
    _silence()
    # without a buffer: it would take in the byte that carries a file descriptor
    with control.makefile("rb", buffering=0) as reader, control.makefile("wb") as writer:
        peer = Peer(cast(IO[bytes], reader), writer, trusting=True)
        start = peer.receive()
        room = Room(start["cells"])
        room.provide(set(start["needed"]))
        peer.send({"do": "ready"})
        with suppress(Closed):
            while True:
                message = peer.receive()
                if message["do"] == "fork":
                    _, ancillary, _, _ = control.recvmsg(1, socket.CMSG_LEN(4))
                    numbers = array.array("i", ancillary[0][2])
                    child = os.fork()
                    if not child:
                        _child(numbers[0], control, start, room, Path(message["folder"]))
                    os.close(numbers[0])
                    peer.send({"do": "return", "value": child})
                else:
                    peer.send({"do": "return", "value": _end(int(message["process"]))})
        _end(0)


def _child(number: int, control: socket.socket, start: Message, room: Room, folder: Path) -> None:
    """The copy of the process: it ends here and never returns."""
    try:
        os.setsid()
        control.close()
        for other in range(3, 256):  # whatever it has from its parent
            if other != number:
                with suppress(OSError):
                    os.close(other)
        os.chdir(folder)
        held = confine(folder, start["memory"], start["seconds"])
        with open(number, "rb") as reader, open(os.dup(number), "wb") as writer:
            serve(Peer(reader, writer, trusting=True), room, held)
    finally:
        os._exit(0)


def _end(process: int) -> int:
    """End a copy of this process and all that it has started; its status (0: not by a fault)."""
    status = 0
    if process:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            status = os.waitpid(process, 0)[1]
    for _ in range(1000):  # what it left: now ours
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        if not children.split():
            break
        for child in map(int, children.split()):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    return status


def _silence() -> None:
    """Standard input, output and error lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.close(nowhere)


def main(argv: Sequence[str]) -> None:
    """`--forks NUMBER`: serve a class over that socket; else one exercise."""
    threads(1)
    without_graders()
    if argv:
        with socket.socket(fileno=int(argv[1])) as control:
            forks(control)
    else:
        once()


if __name__ == "__main__":
    main(sys.argv[1:])
