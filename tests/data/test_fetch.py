"""Downloads from a server of our own that cuts, lies, and serves archives that lead elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _archives, _fetch, _load
from mmbench.errors import DataError, UsageError
from mmbench.spec import FileSpec, SourceSpec, TaskSpec

BLOCK = _fetch._BLOCK
CONTENT = bytes(range(256)) * 4000  # a mebibyte


class Server:
    """What is served under each path, and how badly.

    Attributes:
        files: Path -> content.
        cut: Path -> after so many bytes of each answer the connection is cut.
        ranges: Whether parts of files are served.
        asked: Each request: (path, the header Range).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.ranges = True
        self.asked: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        wanted = asked.headers.get("Range", "")
        self.asked.append((asked.path, wanted))
        content = self.files.get(asked.path)
        if content is None:
            asked.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.ranges else 0
        if start >= len(content) > 0:
            asked.send_error(416)
            return
        asked.send_response(206 if start else 200)
        asked.send_header("Content-Length", str(len(content) - start))
        asked.end_headers()
        body = content[start:]
        if asked.path in self.cut:
            body = body[: self.cut[asked.path]]
        asked.wfile.write(body)
        asked.wfile.flush()
        asked.close_connection = True

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMBENCH_FETCHED", str(tmp_path / "fetched"))
    return tmp_path / "fetched"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def serve(server: Server, name: str, content: bytes, **more: Any) -> FileSpec:
    server.files[f"/{name}"] = content
    return FileSpec(url=f"{server.address}/{name}", sha256=sha(content), **more)


def task(*files: FileSpec, **source: Any) -> TaskSpec:
    told = SourceSpec(licence="for tests", files=files, **source)
    return msgspec.structs.replace(catalog.task("mosi"), name="own", source=told)


def test_a_file_is_fetched_once_and_checked(server: Server, fetched: Path) -> None:
    told = task(serve(server, "a.bin", CONTENT), serve(server, "b%20c.bin", b"second"))
    assert not _fetch.state(told).whole
    seen: list[tuple[str, int, int]] = []
    folder = _fetch.fetch(told, watch=lambda *told: seen.append(told))
    assert folder == fetched / "own"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert (folder / "b c.bin").read_bytes() == b"second"
    assert ("a.bin", len(CONTENT), len(CONTENT)) in seen
    assert _fetch.state(told).whole
    asked = len(server.asked)
    _fetch.fetch(told)
    assert len(server.asked) == asked, "what is there is not asked for again"
    assert not list(fetched.rglob("*.part"))


def test_commands_without_data_find_what_was_fetched(server: Server, fetched: Path) -> None:
    told = task(serve(server, "mosi.npz", b"no such file really"))
    with pytest.raises(DataError, match="needs data of yours"):
        _load.source_digest(told)
    _fetch.fetch(told)
    assert _load.source_digest(told)
    assert not _load.needs_data(told)


def test_a_download_that_is_cut_goes_on_where_it_ended(server: Server, fetched: Path) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    server.cut["/a.bin"] = 5 * BLOCK + 1000  # what is no whole block is asked for again
    folder = _fetch.fetch(told)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [
        "", f"bytes={5 * BLOCK}-", f"bytes={10 * BLOCK}-", f"bytes={15 * BLOCK}-"
    ]  # fmt: skip


def test_what_is_there_of_a_download_is_kept_for_the_next_command(
    server: Server, fetched: Path
) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    server.cut["/a.bin"] = BLOCK
    with pytest.raises(DataError, match=r"327,680 bytes are kept, and the same command goes on"):
        _fetch.fetch(told)
    assert not (fetched / "own/a.bin").exists()
    server.cut.clear()
    server.asked.clear()
    _fetch.fetch(told)
    assert server.asked == [("/a.bin", f"bytes={5 * BLOCK}-")]
    assert (fetched / "own/a.bin").read_bytes() == CONTENT


def test_a_server_that_serves_no_parts_is_asked_from_the_start(
    server: Server, fetched: Path
) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    server.cut["/a.bin"] = 400_000
    server.ranges = False
    with pytest.raises(DataError, match="the connection failed"):
        _fetch.fetch(told)
    server.cut.clear()
    folder = _fetch.fetch(told)
    assert (folder / "a.bin").read_bytes() == CONTENT, "not the first part twice"


def test_wrong_bytes_are_refused_and_deleted(server: Server, fetched: Path) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    server.files["/a.bin"] = b"something else"
    with pytest.raises(DataError) as caught:
        _fetch.fetch(told)
    message = str(caught.value)
    assert sha(b"something else") in message
    assert f"expected {sha(CONTENT)}" in message
    assert "\n" not in message
    assert not list(fetched.rglob("a.bin*"))
    assert not _fetch.state(told).whole
    server.files["/a.bin"] = CONTENT
    _fetch.fetch(told)


def test_a_part_that_has_nothing_to_do_with_the_file_is_found_out(
    server: Server, fetched: Path
) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    (fetched / "own").mkdir(parents=True)
    (fetched / "own/a.bin.part").write_bytes(b"x" * (len(CONTENT) + 10))
    with pytest.raises(DataError, match="it is not the file that the task names; it was deleted"):
        _fetch.fetch(told)
    _fetch.fetch(told)
    assert (fetched / "own/a.bin").read_bytes() == CONTENT


def test_a_server_that_says_no_or_nothing_is_one_line(server: Server, fetched: Path) -> None:
    gone = task(FileSpec(url=f"{server.address}/none", sha256="0" * 64))
    with pytest.raises(DataError, match="the server answers 404 Not Found"):
        _fetch.fetch(gone)
    assert len(server.asked) == 1, "an answer is not asked for again"
    port = server.http.server_port
    server.stop()
    silent = task(FileSpec(url=f"http://127.0.0.1:{port}/x", sha256="0" * 64))
    with pytest.raises(DataError, match="the connection failed"):
        _fetch.fetch(silent)


def test_other_addresses_and_tasks_without_files_are_refused(fetched: Path) -> None:
    for url in ("file:///etc/passwd", "ftp://x.org/a", "/etc/passwd"):
        with pytest.raises(DataError, match="begins with http"):
            _fetch.fetch(task(FileSpec(url=url, sha256="0" * 64)))
    with pytest.raises(UsageError, match=r"names no files to fetch.*--data names"):
        _fetch.fetch(task())


def test_tasks_may_share_a_folder(server: Server, fetched: Path) -> None:
    file = serve(server, "a.bin", CONTENT)
    one = task(file, folder="shared_data")
    two = msgspec.structs.replace(one, name="other")
    _fetch.fetch(one)
    assert _fetch.state(two).whole
    assert _fetch.fetched(two) == fetched / "shared_data"


def test_files_to_fetch_are_no_part_of_a_tasks_digest() -> None:
    file = FileSpec(url="http://x.org/a", sha256="0" * 64)
    assert task(file).digest("small") == task().digest("small")


def test_licences_are_remembered(fetched: Path) -> None:
    told = task(FileSpec(url="http://x.org/a", sha256="0" * 64))
    assert not _fetch.accepted(told)
    _fetch.accept(told)
    assert _fetch.accepted(told)
    source = msgspec.structs.replace(told.source, licence="another")
    assert not _fetch.accepted(msgspec.structs.replace(told, source=source))
    assert not _fetch.accepted(msgspec.structs.replace(told, name="other")), "other files"


def test_only_what_was_fetched_is_removed(server: Server, fetched: Path) -> None:
    told = task(serve(server, "a.bin", CONTENT))
    with pytest.raises(DataError, match="there is no such folder"):
        _fetch.remove(told)
    (fetched / "own").mkdir(parents=True)
    (fetched / "own/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="was not fetched by mmbench"):
        _fetch.remove(told)
    (fetched / "own/mine.txt").unlink()
    _fetch.fetch(told)
    assert _fetch.remove(told) >= len(CONTENT)
    assert not (fetched / "own").exists()


# --- archives ------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members:
            told = zipfile.ZipInfo(name)
            told.external_attr = mode << 16
            file.writestr(told, content)
    return out.getvalue()


def tarred(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "",
           mode: str = "w:gz") -> bytes:  # fmt: skip
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:  # type: ignore[call-overload]
        for name, content in members:
            told = tarfile.TarInfo(name)
            told.type, told.linkname, told.size = kind, link, len(content)
            file.addfile(told, io.BytesIO(content))
    return out.getvalue()


GOOD = (("one/a.txt", b"A" * 5000), ("b.txt", b"B"))


@pytest.mark.parametrize(
    ("name", "content", "files"),
    [
        ("x.zip", zipped(*GOOD), {"one/a.txt": b"A" * 5000, "b.txt": b"B"}),
        ("x.tar.gz", tarred(*GOOD), {"one/a.txt": b"A" * 5000, "b.txt": b"B"}),
        ("x.tar", tarred(*GOOD, mode="w"), {"one/a.txt": b"A" * 5000, "b.txt": b"B"}),
        ("x.tar.xz", tarred(*GOOD, mode="w:xz"), {"one/a.txt": b"A" * 5000, "b.txt": b"B"}),
        ("images.gz", gzip.compress(b"idx" * 900), {"images": b"idx" * 900}),
    ],
    ids=["zip", "gzipped tar", "tar", "xz", "gz"],
)
def test_archives_are_unpacked_into_their_folder(
    server: Server, fetched: Path, name: str, content: bytes, files: dict[str, bytes]
) -> None:
    told = task(serve(server, name, content, unpack="inside"))
    folder = _fetch.fetch(told)
    assert {
        str(path.relative_to(folder / "inside")): path.read_bytes()
        for path in (folder / "inside").rglob("*")
        if path.is_file()
    } == files
    assert not (folder / name).exists()
    assert _fetch.state(told).whole


LINK = stat.S_IFLNK | 0o777
RANDOM = (("a.bin", np.random.default_rng(0).bytes(300_000)), *GOOD)


def spoiled(content: bytes, place: int | None = None) -> bytes:
    """Turn the bits of one byte around, in the middle if no place is named."""
    changed = bytearray(content)
    changed[len(content) // 2 if place is None else place] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.zip", zipped(("ok.txt", b"1"), ("../evil.txt", b"2")), "'../evil.txt' leads out"),
        ("x.zip", zipped(("a/../../evil.txt", b"2")), "leads out of the folder"),
        ("x.zip", zipped(("/tmp/evil.txt", b"2")), "'/tmp/evil.txt' is no path inside"),
        ("x.zip", zipped(("C:/evil.txt", b"2")), "is no path inside"),
        ("x.zip", zipped(("..\\evil.txt", b"2")), "is no path inside"),
        ("x.zip", zipped(("evil", b"/etc/passwd"), mode=LINK), "'evil' is a link or a device"),
        ("x.zip", zipped(("ok.txt", b"1"), ("./ok.txt", b"2")), "stands there twice"),
        ("x.tgz", tarred(("ok.txt", b"1"), ("../evil.txt", b"2")), "'../evil.txt' leads out"),
        ("x.tgz", tarred(("/tmp/evil.txt", b"2")), "is no path inside"),
        ("x.tgz", tarred(("evil", b""), kind=tarfile.SYMTYPE, link="/etc"), "is a link"),
        ("x.tgz", tarred(("evil", b""), kind=tarfile.LNKTYPE, link="../x"), "is a link"),
        ("x.tgz", tarred(("evil", b""), kind=tarfile.CHRTYPE), "is a link or a device"),
        ("x.tgz", tarred(("evil", b""), kind=tarfile.FIFOTYPE), "is a link or a device"),
        ("x.tgz", tarred(("ok.txt", b"1"))[:40], "x.tgz: is not a whole archive"),
        ("x.gz", gzip.compress(bytes(range(256)) * 9)[:200], "is not a whole archive"),
        ("x.zip", zipped(*GOOD)[:-30], "x.zip: is not a whole archive: it cannot be read as what"),
        ("x.txt", b"hello", "expected a .zip, a .tar"),
        ("x.tar.xz", spoiled(tarred(*RANDOM, mode="w:xz")), "is not a whole archive"),
        ("x.tar.bz2", spoiled(tarred(*RANDOM, mode="w:bz2")), "is not a whole archive"),
        ("x.tar.gz", spoiled(tarred(*RANDOM), -6), "is not a whole archive: CRC check failed"),
        ("x.tar.bz2", tarred(*RANDOM, mode="w:bz2")[:100], "x.tar.bz2: is not a whole archive"),
    ],
    ids=range(21),
)  # fmt: skip
def test_an_archive_that_leads_elsewhere_writes_nothing(
    server: Server, fetched: Path, name: str, content: bytes, says: str
) -> None:
    told = task(serve(server, name, content, unpack="inside"))
    with pytest.raises(DataError) as caught:
        _fetch.fetch(told)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    written = {path.name for path in fetched.rglob("*") if path.is_file()}
    assert written <= {name}, "nothing but the archive itself"
    assert not list(fetched.parent.rglob("evil*"))
    assert not Path("/tmp/evil.txt").exists()
    assert not _fetch.state(told).whole


def test_a_member_that_breaks_its_checksum_is_found(tmp_path: Path) -> None:
    content = bytearray(zipped(("a.txt", b"A" * 5000)))
    content[200] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match="is not a whole archive"):
        _archives.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_is_written_through_a_link_that_lies_there(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(("one/a.txt", b"evil")))
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/one").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="would be written through the link"):
        _archives.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_archive_too_large_for_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: Callable[[Any], Any] = lambda _: type("Usage", (), {"free": 4000})  # noqa: E731
    monkeypatch.setattr(_archives.shutil, "disk_usage", full)
    (tmp_path / "x.zip").write_bytes(zipped(*GOOD))
    with pytest.raises(DataError, match="has room for"):
        _archives.unpack(tmp_path / "x.zip", tmp_path / "out")
    (tmp_path / "y.gz").write_bytes(gzip.compress(bytes(10**7)))  # ten kilobytes hold ten megabytes
    with pytest.raises(DataError, match="than there is room for"):
        _archives.unpack(tmp_path / "y.gz", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
