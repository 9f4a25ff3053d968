"""Downloads from servers on this machine, of which most do something wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Host, hosts

from minisasrec.data import DataWarning, downloads
from minisasrec.data.downloads import PINS, Part
from minisasrec.errors import DataError

Serve = Callable[..., Host]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with hosts() as start:
        yield start


BODY = bytes(range(256)) * 1000
MD5 = hashlib.md5(BODY).hexdigest()


def get(host: Host, path: Path, md5: str | None = MD5) -> Path:
    return downloads.download([host.url], path, md5, progress=False)


def part(path: Path, host: Host) -> Path:
    return Part.of(path, host.url).path


def test_a_download_is_checked_and_leaves_nothing_else(tmp_path: Path, serve: Serve) -> None:
    path = get(serve(BODY), tmp_path / "new" / "file")
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, serve: Serve) -> None:
    host = serve(BODY, break_after=12 * downloads.BLOCK)
    assert get(host, tmp_path / "file").read_bytes() == BODY
    assert host.asked == [None, "bytes=98304-", "bytes=196608-"]


def test_the_next_call_goes_on(tmp_path: Path, serve: Serve) -> None:
    host = serve(BODY, break_after=6 * downloads.BLOCK + 10)
    with pytest.raises(
        DataError, match="the connection broke off; what came is kept, so try again"
    ):
        get(host, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    host.break_after = None
    assert get(host, tmp_path / "file").read_bytes() == BODY
    assert host.asked[-1] == f"bytes={3 * (6 * downloads.BLOCK + 10)}-"


def test_a_server_without_ranges_starts_anew(tmp_path: Path, serve: Serve) -> None:
    host = serve(BODY, ranges=False)
    part(tmp_path / "file", host).write_bytes(BODY[:1000])
    assert get(host, tmp_path / "file").read_bytes() == BODY
    assert host.asked == ["bytes=1000-"]


@pytest.mark.parametrize("left", [BODY, BODY + b"more"], ids=["complete", "too long"])
def test_what_is_left_may_be_all_or_too_much(tmp_path: Path, serve: Serve, left: bytes) -> None:
    host = serve(BODY)
    part(tmp_path / "file", host).write_bytes(left)
    assert get(host, tmp_path / "file").read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_the_next_call_starts_anew(
    tmp_path: Path, serve: Serve
) -> None:
    host = serve(BODY)
    part(tmp_path / "file", host).write_bytes(b"another file's start")
    with pytest.raises(DataError, match="MD5 hash of downloaded file .* does not match") as caught:
        get(host, tmp_path / "file")
    assert "\n" not in str(caught.value) and not (tmp_path / "file").exists()
    assert get(host, tmp_path / "file").read_bytes() == BODY


def test_the_second_address_serves_when_the_first_does_not(tmp_path: Path, serve: Serve) -> None:
    gone, good = serve(BODY, status=404), serve(BODY)
    path = downloads.download([gone.url, good.url], tmp_path / "file", None, progress=False)
    assert path.read_bytes() == BODY
    with pytest.raises(DataError, match=r"\(the server answered 404\)"):
        get(gone, tmp_path / "other")


# --- servers that send something else --------------------------------------------------------


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("ratings.dat", "1::2::3::4\n" * 1000)
    return made.getvalue()


GOOD = {"a.zip": zipped(), "a.json.gz": gzip.compress(BODY), "a.csv": b"user,item\n1,2\n"}
PAGE = b"\n <!DOCTYPE HTML><html><body>Please log in</body></html>"
FLIPPED = bytearray(GOOD["a.json.gz"])
FLIPPED[len(FLIPPED) // 2] ^= 1
BAD = [
    ("a.zip", PAGE, "a web page instead"),
    ("a.json.gz", PAGE, "a web page instead"),
    ("a.csv", PAGE, "a web page instead"),
    ("a.csv", b"\xef\xbb\xbf<html lang=en>", "a web page instead"),
    ("a.csv", b"", "an empty file"),
    ("a.csv", b"PK\3\4\0\0\0", "something that is no text"),
    ("a.zip", b"quota exceeded", "no whole .zip file"),
    ("a.zip", GOOD["a.zip"][:-30], "no whole .zip file"),
    ("a.json.gz", b"quota exceeded", "no whole .gz file"),
    ("a.json.gz", GOOD["a.json.gz"][:-9], "no whole .gz file"),
    ("a.json.gz", bytes(FLIPPED), "no whole .gz file"),
]


@pytest.mark.parametrize(("name", "sent", "said"), BAD)
def test_another_content_never_gets_the_name_and_the_mirror_is_tried(
    tmp_path: Path, serve: Serve, name: str, sent: bytes, said: str
) -> None:
    bad, good = serve(sent, headers={"ETag": '"1"'}), serve(GOOD[name])
    with pytest.raises(DataError, match=f"the server sent {said}") as caught:
        downloads.download([bad.url], tmp_path / name, None, progress=False)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    path = downloads.download([bad.url, good.url], tmp_path / name, None, progress=False)
    assert path.read_bytes() == GOOD[name]
    assert {p.name for p in tmp_path.iterdir()} == {name, PINS}


@pytest.mark.parametrize(
    "span",
    [
        "bytes 0-255999/256000",
        "bytes 90000-255999/256000",
        "bytes 1000-255999/255999",
        "bytes 1000-9999/256000",
        "pages 1-2",
        "",
    ],
)
def test_a_rest_that_starts_elsewhere_is_not_appended(
    tmp_path: Path, serve: Serve, span: str
) -> None:
    liar = serve(BODY, headers={"Content-Range": span})
    part(tmp_path / "file", liar).write_bytes(BODY[:1000])
    assert get(liar, tmp_path / "file").read_bytes() == BODY
    assert liar.asked == ["bytes=1000-", None]


def test_a_part_that_nobody_asked_for(tmp_path: Path, serve: Serve) -> None:
    liar = serve(BODY, status=206, headers={"Content-Range": "bytes 0-9/256000"})
    with pytest.raises(DataError, match="asked for bytes from 0 on"):
        get(liar, tmp_path / "file", None)
    assert not (tmp_path / "file").exists()


def test_a_body_shorter_than_announced_is_asked_for_again(tmp_path: Path, serve: Serve) -> None:
    host = serve(BODY, break_after=1000)
    with pytest.raises(DataError, match="the connection broke off"):
        get(host, tmp_path / "file", None)
    assert not (tmp_path / "file").exists()


def test_a_file_that_changed_meanwhile_is_sent_from_its_start(tmp_path: Path, serve: Serve) -> None:
    """Without a checksum nobody would notice that two versions were put together."""
    host = serve(BODY, headers={"ETag": '"one"'}, break_after=50_000)
    with pytest.raises(DataError, match="broke off"):
        get(host, tmp_path / "file", None)
    assert host.asked == [None, "bytes=50000-", "bytes=100000-"]
    host.body, host.headers, host.break_after = BODY[::-1], {"ETag": '"two"'}, None
    assert get(host, tmp_path / "file", None).read_bytes() == BODY[::-1]
    assert host.heard[-1]["If-Range"] == '"one"' and host.asked[-1] == "bytes=150000-"


def test_without_mark_and_checksum_nothing_is_continued(tmp_path: Path, serve: Serve) -> None:
    host = serve(BODY)
    part(tmp_path / "file", host).write_bytes(b"of whom knows what")
    assert get(host, tmp_path / "file", None).read_bytes() == BODY
    assert host.asked == [None]


def test_mirrors_do_not_share_a_part(tmp_path: Path, serve: Serve) -> None:
    one, other = serve(BODY[::-1], break_after=100), serve(BODY)
    path = downloads.download([one.url, other.url], tmp_path / "file", MD5, progress=False)
    assert path.read_bytes() == BODY and other.asked == [None]


# --- servers that are slow -------------------------------------------------------------------


def drip(file: Any, body: bytes) -> None:
    for i in range(200):
        file.write(body[i : i + 1])
        file.flush()
        time.sleep(0.05)


def silence(file: Any, body: bytes) -> None:
    file.write(body[:10])
    file.flush()
    time.sleep(3)


@pytest.mark.parametrize(
    ("write", "limits", "said"),
    [
        (drip, {"WINDOW": 0.2}, "too slowly"),
        (drip, {"WHOLE": 0.2}, "it took too long"),
        (silence, {"SILENT": 0.2}, "did not answer in time"),
    ],
)
def test_a_slow_server_is_left(
    tmp_path: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    write: Any,
    limits: dict[str, float],
    said: str,
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(downloads, name, value)
    slow, good = serve(BODY, write=write), serve(BODY)
    start = time.monotonic()
    path = downloads.download([slow.url, good.url], tmp_path / "file", MD5, progress=False)
    assert path.read_bytes() == BODY and time.monotonic() - start < 5
    with pytest.raises(DataError, match=said):
        get(slow, tmp_path / "other")


# --- what is on the disk ---------------------------------------------------------------------


def links(to: Path, at: Path) -> None:
    try:
        at.symlink_to(to)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")


@pytest.mark.parametrize("md5", [MD5, None])
def test_links_under_the_names_of_parts_are_not_followed(
    tmp_path: Path, serve: Serve, md5: str | None
) -> None:
    host = serve(BODY, headers={"ETag": '"1"'})
    mine = tmp_path / "thesis.txt"
    mine.write_bytes(BODY[:100])
    made = Part.of(tmp_path / "file", host.url)
    for name in (made.path, made.note, tmp_path / PINS):
        links(mine, name)
    assert get(host, tmp_path / "file", md5).read_bytes() == BODY
    assert mine.read_bytes() == BODY[:100]


def test_a_first_download_is_remembered_and_another_one_told(tmp_path: Path, serve: Serve) -> None:
    host, path = serve(GOOD["a.csv"]), tmp_path / "a.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get(host, path, None)
        path.unlink()
        get(host, path, None)
    pinned = json.loads((tmp_path / PINS).read_text())
    assert pinned == {"a.csv": hashlib.sha256(GOOD["a.csv"]).hexdigest()}
    host.body += b"3,4\n"
    path.unlink()
    with pytest.warns(DataWarning, match="a.csv is another file than the one downloaded first"):
        get(host, path, None)
    assert json.loads((tmp_path / PINS).read_text()) == pinned
    get(serve(b"x\n"), tmp_path / "b.csv", None)
    assert json.loads((tmp_path / PINS).read_text()).keys() == {"a.csv", "b.csv"}
    (tmp_path / PINS).write_text("[broken")
    path.unlink()
    get(host, path, None)
    assert json.loads((tmp_path / PINS).read_text()).keys() == {"a.csv"}


def test_two_programs_do_not_write_into_one_part(tmp_path: Path, serve: Serve) -> None:
    def slowly(file: Any, body: bytes) -> None:
        for i in range(0, len(body), 32_000):
            file.write(body[i : i + 32_000])
            file.flush()
            time.sleep(0.05)

    host = serve(BODY, write=slowly, headers={"ETag": '"1"'})
    program = (
        "import sys; from pathlib import Path; from minisasrec.data.downloads import download\n"
        "download([sys.argv[1]], Path(sys.argv[2]), None, False)"
    )
    command = [sys.executable, "-c", program, host.url, str(tmp_path / "file")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    assert (tmp_path / "file").read_bytes() == BODY and host.asked == [None]
    assert {p.name for p in tmp_path.iterdir()} == {"file", PINS}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="cannot write .*file: ") as caught:
        get(serve(BODY), tmp_path / "taken" / "file")
    assert "\n" not in str(caught.value)
