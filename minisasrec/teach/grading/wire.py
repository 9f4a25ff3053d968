"""Calls between two processes that exchange plain values: numbers, text, arrays, functions.

Nothing that is received runs: no pickle, no class of the other side, no comparison of its own. A
function is sent as a number; who gets it holds a stand-in (`Remote`) that calls back. Arrays and
lists that a call changes are changed on the caller's side, too, so that both see what they would
see in one process.

A message is 8 bytes with two lengths, a JSON text of the first, and bytes of arrays of the second.
"""

from __future__ import annotations

import builtins
import dataclasses
import json
import re
import struct
from collections.abc import Callable
from numbers import Real
from typing import IO, Any

import numpy as np

from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.teach.attempt import StandIn, is_compiled, is_stub, story

MOST = 64_000_000  # bytes of the arrays in a message
MOST_TEXT = 8_000_000  # bytes of everything else in it
DTYPE = re.compile(r"[<>|=]?(?:[biufc]\d{1,2}|[US]\d{1,6})")
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
Message = dict[str, Any]


class Closed(BaseException):
    """The other side has gone. No `Exception`: whoever calls a stand-in must not go on."""


class Unreadable(BaseException):
    """What came is no message of this kind."""


class TooLarge(Exception):
    """A value that is too large to be sent."""


class Opaque:
    """Stands for a value of the other side that is not plain. Its class has the value's name."""


class Raised(Exception):
    """An error of the other side, with its `story`."""

    def __init__(self, kind: str, text: str, story: str) -> None:
        super().__init__(text)
        self.kind, self.story = kind, story


class Remote(StandIn):
    """Stands for a function of the other side."""

    def __init__(self, peer: Peer, number: int, about: Message) -> None:
        self.peer, self.number = peer, number
        self.__name__ = self.__qualname__ = str(about.get("name"))[:100]
        self.stub = bool(about.get("stub"))
        self.compiled = bool(about.get("compiled"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call that function."""
        return self.peer.call(self.number, args, kwargs)


class Peer:
    """One end of the wire."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes], trusting: bool) -> None:
        """`trusting`: whether functions of the other side may raise any built-in error here."""
        self._reader, self._writer, self._trusting = reader, writer, trusting
        self._functions: list[Callable[..., Any]] = []
        self._models: list[tuple[int, SASRecConfig]] = []
        self._left = 0

    # Messages

    def send(self, message: Message) -> None:
        """Send one message; the values in it become plain. Raises `TooLarge` and `Closed`."""
        blobs = list[bytes]()
        text = json.dumps(self._plain(message, blobs, 0)).encode()
        size = sum(map(len, blobs))
        for length, most in ((len(text), MOST_TEXT), (size, MOST)):
            if length > most:
                raise TooLarge(f"{length / 1e6:,.0f} MB, more than {most / 1e6:.0f} MB")
        try:
            self._writer.write(b"".join([struct.pack("<II", len(text), size), text, *blobs]))
            self._writer.flush()
        except (OSError, ValueError):
            raise Closed from None

    def receive(self) -> Message:
        """The next message. Raises `Closed` at the end and `Unreadable` for anything else."""
        length, size = struct.unpack("<II", self._read(8))
        if length > MOST_TEXT or size > MOST:
            raise Unreadable
        text, blob = self._read(length), self._read(size)
        self._left = 2 * MOST  # many arrays may point to the same bytes
        try:
            message = self._value(json.loads(text), memoryview(blob))
            if isinstance(message, dict) and isinstance(message.get("do"), str):
                return message
        except (Exception, Unreadable):  # whatever was sent, it is not one of ours
            pass
        raise Unreadable

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                part = self._reader.read(count - len(found))
            except (OSError, ValueError):
                raise Closed from None
            if not part:
                raise Closed
            found += part
        return found

    # Calls

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the other side."""
        return self.ask({"do": "call", "function": number, "args": args, "kwargs": kwargs}, args)

    def ask(self, message: Message, args: tuple[Any, ...] = ()) -> Any:
        """Send a message and wait for what it returns; meanwhile answer calls."""
        self.send(message)
        while True:
            reply = self.receive()
            if reply["do"] == "call":
                self.reply(reply)
            elif reply["do"] == "return":
                for i, value in reply.get("changed") or ():
                    _change(args[i], value)
                return reply.get("value")
            elif reply["do"] == "raise":
                kind, text = str(reply.get("kind"))[:100], str(reply.get("text"))[:2000]
                known = getattr(builtins, kind, None)
                if self._trusting and isinstance(known, type) and issubclass(known, Exception):
                    raise known(text)
                raise Raised(kind, text, str(reply.get("story"))[:2000])
            else:
                raise Unreadable

    def reply(self, message: Message) -> None:
        """Do what a `call` asks for, and send what comes of it."""

        def call() -> Message:
            function = self._functions[message["function"]]
            args = message["args"]
            before = [_bytes(value) for value in args]
            value = function(*args, **message["kwargs"])
            changed = [
                (i, arg)
                for i, (arg, old) in enumerate(zip(args, before, strict=True))
                if _bytes(arg) != old
            ]
            return {"do": "return", "value": value, "changed": changed}

        self.answer(call)

    def answer(self, work: Callable[[], Message]) -> None:
        """Send what `work` gives, or the error that it raises."""
        try:
            self.send(work())
        except Closed:
            raise
        except BaseException as error:  # SystemExit, too: an answer may call exit()
            text = story(error)
            if isinstance(error, TooLarge):
                text = f"what your code returned is too large: {error}"
            kind = type(error).__name__
            self.send(
                {"do": "raise", "kind": kind, "text": str(error)[:2000], "story": text[:2000]}
            )

    # Values -> JSON and bytes, and back

    def _plain(self, value: Any, blobs: list[bytes], depth: int) -> Any:
        if depth > 50:
            raise TooLarge("lists in lists, more than 50 deep")
        if value is None or isinstance(value, bool | str):
            return str(value) if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, np.generic):
            return int(value)
        if isinstance(value, Real) and not isinstance(value, np.generic):
            return float(value)  # of a fraction, too
        if isinstance(value, list):
            return [self._plain(each, blobs, depth + 1) for each in value]
        if isinstance(value, dict) and all(type(key) is str for key in value):
            return {"dict": {k: self._plain(v, blobs, depth + 1) for k, v in value.items()}}
        return self._tagged(value, blobs, depth)

    def _tagged(self, value: Any, blobs: list[bytes], depth: int) -> Message:
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, tuple):
            return {"tuple": [self._plain(each, blobs, depth + 1) for each in value]}
        if isinstance(value, range | set | frozenset):
            return {"list": [self._plain(each, blobs, depth + 1) for each in value]}
        if isinstance(value, complex) and not isinstance(value, np.generic):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, np.ndarray | np.generic):
            array = np.ascontiguousarray(value).reshape(np.shape(value))
            if DTYPE.fullmatch(array.dtype.str):
                at = sum(map(len, blobs))
                blobs.append(array.tobytes())
                kind = "array" if isinstance(value, np.ndarray) else "scalar"
                return {kind: [array.dtype.str, list(array.shape), at]}
            if array.dtype == object and array.ndim:
                return {"objects": [self._plain(each, blobs, depth + 1) for each in array]}
        if isinstance(value, np.random.Generator):
            state = json.dumps(value.bit_generator.state, default=lambda a: a.tolist())
            return {"generator": state}
        if isinstance(value, SASRecConfig):
            return {"settings": dataclasses.asdict(value)}
        if isinstance(value, SASRec):
            self._models.append((value.num_items, value.config))
            return {
                "model": value.num_items,
                "settings": dataclasses.asdict(value.config),
                "state": self._plain(dict(value.state()), blobs, depth + 1),
            }
        if callable(value) and not isinstance(value, type):
            self._functions.append(value)
            about = {
                "name": getattr(value, "__name__", type(value).__name__),
                "stub": is_stub(value),
            }
            compiled = is_compiled(value)
            return {"function": len(self._functions) - 1, **about, "compiled": compiled}
        return {"opaque": type(value).__name__}

    def _value(self, plain: Any, blob: memoryview) -> Any:
        if isinstance(plain, list):
            return [self._value(each, blob) for each in plain]
        if not isinstance(plain, dict):
            return plain
        if "dict" in plain:
            return {str(key): self._value(each, blob) for key, each in plain["dict"].items()}
        if "ellipsis" in plain:
            return Ellipsis
        if "tuple" in plain:
            return tuple(self._value(each, blob) for each in plain["tuple"])
        if "list" in plain:
            return [self._value(each, blob) for each in plain["list"]]
        if "complex" in plain:
            return complex(*map(float, plain["complex"]))
        if "array" in plain:
            return self._array(plain["array"], blob)
        if "scalar" in plain:
            return self._array(plain["scalar"], blob)[()]
        if "objects" in plain:
            found = np.empty(len(plain["objects"]), object)
            found[:] = [self._value(each, blob) for each in plain["objects"]]
            return found
        if "generator" in plain:
            state = json.loads(plain["generator"])
            if state["bit_generator"] in GENERATORS:
                made = getattr(np.random, state["bit_generator"])(0)
                made.state = state
                return np.random.Generator(made)
        if "model" in plain:
            return self._model(plain, blob)
        if "settings" in plain:
            return SASRecConfig(**plain["settings"])
        if "function" in plain:
            return Remote(self, int(plain["function"]), plain)
        name = re.sub(r"\W", "", str(plain.get("opaque")))[:50] or "object"
        return type(name, (Opaque,), {})()

    def _array(self, parts: list[Any], blob: memoryview) -> np.ndarray:
        kind, shape, at = parts
        if not DTYPE.fullmatch(kind):
            raise Unreadable
        dtype, count = np.dtype(kind), 1
        for length in shape:
            count *= int(length)
        self._left -= count * dtype.itemsize
        if self._left < 0 or min(shape, default=0) < 0:
            raise Unreadable
        if not count:
            return np.zeros(shape, dtype)
        return np.frombuffer(blob, dtype, count, int(at)).reshape(shape).copy()

    def _model(self, plain: Message, blob: memoryview) -> Any:
        """A model with the weights that came, if it is of the size of one that was sent before."""
        num_items, config = int(plain["model"]), SASRecConfig(**plain["settings"])
        if not self._trusting and (num_items, config) not in self._models:
            return type("ModelOfOtherSettings", (Opaque,), {})()
        model = SASRec(num_items, config)
        for name, array in self._value(plain["state"], blob).items():
            target = dict(model.named_parameters())[name]
            target.data[:] = array  # not load_state: weights may be NaN here
        self._models.append((num_items, config))
        return model


def _bytes(value: Any) -> Any:
    """What tells whether a call has changed an argument; None for what a call cannot change."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, list):
        return [
            _bytes(each) if isinstance(each, np.ndarray | list) else repr(each) for each in value
        ]
    return None


def _change(argument: Any, value: Any) -> None:
    if isinstance(argument, np.ndarray) and isinstance(value, np.ndarray):
        if argument.shape == value.shape:
            argument[...] = value
    elif isinstance(argument, list) and isinstance(value, list):
        argument[:] = value
