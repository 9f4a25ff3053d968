"""Changes of files: bits, bytes, pieces, odd values, nodes of JSON, what is packed inside."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

ODD_BYTES = (
    b"", b"\0", b"\r", b"\n", b"\r\n", b'"', b'""', b"'", b",", b"\t", b";", b"|", b"::", b"\\",
    b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b"\xc3", b"\xed\xa0\x80",
    "\u202e".encode(), "\u2028".encode(), b"-", b"+", b"NaN", b"inf", b"-inf", b"nan", b"NULL",
    b"None", b"true", b"[]", b"{}", b"[1, 2]", b'{"a": 1}', b"0", b"-1", b"-0", b"007", b"1e400",
    b"1e-400", b"0x10", b"1_000", b"9" * 20, b"9" * 5000, b"1." + b"0" * 400, b"2147483648",
    b"9223372036854775808", b"2024-02-30", b"0000-00-00", b"31.12.1999 24:00", b"9999-12-31",
    b"99999-01-01", b"12:61", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"sep=;\n", b"#", b"=1+1",
    b"[" * 2000, b"(" * 500, b"{'a':" * 200, b"a" * 70_000, b"," * 3000, b'"' * 999,
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 1.5, 1e308, float("nan"), float("inf"), -(2**31), 2**31, 2**63,
    2**64, 10**30, 10**400, "", "a", "1", "nan", "\0", "\ud800", "\x1b[2J", "x" * 3000, [], {},
    [[]], [None], [1, 2], ["a", 1], {"a": 1}, {"": {}}, [[[[1]]]], "../../x", "~nobody/x",
    "/dev/null", "F32", "numpy", "forbid", "leave-one-out", "time:2", list(range(50)),
)  # fmt: skip
NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def mutated(content: bytes, choose: random.Random, others: Sequence[bytes]) -> bytes:
    """`content` changed in one or a few ways; `others` are other files, for pieces of them."""
    if choose.random() < 0.5 and (inside := _inside(content, choose, others)) is not None:
        return inside
    for _ in range(choose.choice((1, 1, 1, 2, 3, 8))):
        content = _once(content, choose, others)
    return content


def _once(content: bytes, choose: random.Random, others: Sequence[bytes]) -> bytes:
    at = choose.randint(0, len(content))
    end = min(len(content), at + choose.choice((0, 1, 1, 2, 4, 8, 30, 200)))
    way = choose.randrange(11)
    if way == 0 and at < len(content):
        return content[:at] + bytes([content[at] ^ 1 << choose.randrange(8)]) + content[at + 1 :]
    if way == 1:
        return content[:at] + choose.randbytes(end - at) + content[end:]
    if way == 2:
        return content[:at] + content[end:]
    if way == 3:
        return content[:at]
    if way == 4:
        return content[:end] + content[at:end] * choose.choice((1, 2, 100)) + content[end:]
    if way == 5:
        other = choose.choice(others)
        start = choose.randint(0, len(other))
        return content[:at] + other[start : start + choose.choice((4, 50, 5000))] + content[end:]
    if way == 6:
        return content[:at] + choose.choice(ODD_BYTES) + content[at:]
    if way == 7 and (numbers := list(NUMBER.finditer(content))):
        one = choose.choice(numbers)
        return content[: one.start()] + choose.choice(ODD_BYTES) + content[one.end() :]
    if way == 8:  # a field of a line
        fields = re.split(rb"([,\t\n;|:])", content)
        fields[choose.randrange(len(fields))] = choose.choice(ODD_BYTES)
        return b"".join(fields)
    if way == 9:  # a line of its own
        rows = content.split(b"\n")
        rows.insert(choose.randint(0, len(rows)), choose.choice((*ODD_BYTES, rows[-1], rows[0])))
        return b"\n".join(rows)
    return content[:at] + choose.choice(ODD_BYTES) + content[end:]


def _inside(content: bytes, choose: random.Random, others: Sequence[bytes]) -> bytes | None:
    """The same for what is packed in `content`, or for a node of JSON in it; None if neither."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(mutated(gzip.decompress(content), choose, others), 1)
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        name = choose.choice(sorted(parts))
        parts[name] = mutated(parts[name], choose, others)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", choose.choice((0, 8, 8, 12, 14))) as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
        return stream.getvalue()
    if len(content) > 8 and content[8:9] == b"{":  # safetensors: the length of its JSON, and that
        (length,) = struct.unpack("<Q", content[:8])
        with suppress(ValueError):
            changed = changed_json(content[8 : 8 + length], choose)
            return struct.pack("<Q", len(changed)) + changed + content[8 + length :]
    with suppress(ValueError):
        return changed_json(content, choose)
    rows = content.split(b"\n")
    row = choose.randrange(len(rows))
    with suppress(ValueError):
        rows[row] = changed_json(rows[row], choose)
        return b"\n".join(rows)
    return None


def changed_json(content: bytes, choose: random.Random) -> bytes:
    """JSON with one node changed. ValueError if it is no JSON."""
    document = json.loads(content)
    places: list[tuple[Any, Any]] = []
    todo = [document] if isinstance(document, (dict, list)) else []
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(min(len(node), 5))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)) and node[key]:
                todo.append(node[key])
            elif isinstance(node[key], str) and node[key][:1] == "{":  # JSON as text in JSON
                with suppress(ValueError):
                    node[key] = changed_json(node[key].encode(), choose).decode()
    if not places:
        return json.dumps(choose.choice(ODD_VALUES)).encode()
    for _ in range(choose.choice((1, 1, 2))):
        node, key = choose.choice(places)
        way = choose.randrange(6)
        with suppress(KeyError, IndexError):
            if way == 0:
                del node[key]
            elif way == 1 and isinstance(node, dict):
                node[choose.choice(("", "x", "n", "ids", "data"))] = node.pop(key)
            elif way == 2 and isinstance(node[key], (int, float)):
                node[key] = node[key] * choose.choice((-1, 2, 0.5, 10**9)) + choose.choice((0, 1))
            elif way == 3 and isinstance(node, list):
                node.append(choose.choice(ODD_VALUES))
            else:
                node[key] = choose.choice(ODD_VALUES)
    return json.dumps(document).encode()
