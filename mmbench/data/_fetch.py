"""Downloads the files that a task's TOML names, checked, into a folder of mmbench's own.

What is fetched lies in ``FETCHED/NAME/``, `FETCHED` being ``MMBENCH_FETCHED`` or the user's folder
for data, and `NAME` the TOML's ``source.folder``, or the task's name; tasks that name one folder
share it. Commands that are given no ``--data`` look there. A file counts as fetched when it has its
checksum (or, unpacked, when its mark says so). Downloads that were cut go on where they ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from mmbench.data import _archives
from mmbench.errors import DataError, UsageError
from mmbench.spec import FileSpec, TaskSpec

#: How often a download that was cut is taken up again before it is left for the next command.
ATTEMPTS = 5
#: Seconds that a server may be silent.
PATIENCE = 30
_BLOCK = 1 << 16
#: What is known of a fetched folder: file -> checksum of what was downloaded for it.
MARK = ".fetched.json"
#: The licences that the user has accepted: SHA-256 of the text -> the task it was shown for.
LICENCES = "licences.json"

#: How people write a checksum's name.
_SPELLED = {"sha256": "SHA-256", "md5": "MD5"}

#: Told (name of the file, bytes that are there, bytes in all or 0).
Watch = Callable[[str, int, int], None]


def home() -> Path:
    """Return the folder of fetched data: ``MMBENCH_FETCHED``, or the user's folder for data."""
    named = os.environ.get("MMBENCH_FETCHED")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("mmbench"))


def folder_of(task: TaskSpec, root: Path | None = None) -> Path:
    """Return where a task's files lie, or would lie."""
    return (root or home()) / (task.source.folder or task.name)


@dataclass(frozen=True)
class State:
    """What is there of a task's files.

    Attributes:
        task: Its name.
        folder: Where they lie, or would lie.
        there: How many of the files are fetched.
        files: How many there are.
        bytes: What the folder holds.
    """

    task: str
    folder: Path
    there: int
    files: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Whether nothing has to be fetched."""
        return self.there == self.files


def state(task: TaskSpec, root: Path | None = None) -> State:
    """Look at what is there of a task's files; nothing is asked of any server."""
    folder = folder_of(task, root)
    marks = _marks(folder)
    there = sum(marks.get(_name(file)) == file.checksum[1] for file in task.source.files)
    size = 0
    if folder.is_dir():
        size = sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file())
    return State(task.name, folder, there, len(task.source.files), size)


def fetched(task: TaskSpec) -> Path | None:
    """Return the folder of a task's fetched data; None unless all of it is there."""
    if not task.source.files:
        return None
    found = state(task)
    return found.folder if found.whole else None


def accepted(task: TaskSpec, root: Path | None = None) -> bool:
    """Whether the task's licence was accepted before; one without a licence needs no such thing."""
    return not task.source.licence or _licence(task) in _read(_licences(root))


def accept(task: TaskSpec, root: Path | None = None) -> None:
    """Remember that the task's licence was accepted."""
    path = _licences(root)
    _write(path, {**_read(path), _licence(task): task.name})


def fetch(task: TaskSpec, root: Path | None = None, watch: Watch | None = None) -> Path:
    """Download, check and unpack all files of a task that are not there yet.

    Args:
        task: Its TOML names the files.
        root: The folder of fetched data; `home` if not given.
        watch: Told how far a download is.

    Returns:
        The folder.

    Raises:
        UsageError: The task names no file.
        DataError: A download failed, has the wrong content, or its archive is refused; what was
            fetched before stays, and of a cut download what is there.
    """
    if not task.source.files:
        raise UsageError(
            f"task {task.name!r} names no files to fetch"
            + (f": see {task.source.url}" if task.source.url else "")
            + "; --data names the folder of data that you have"
        )
    folder = folder_of(task, root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from None
    for file in task.source.files:
        name = _name(file)
        if _marks(folder).get(name) == file.checksum[1]:
            continue
        path = _download(file, folder / name, watch)
        if file.unpack:
            _archives.unpack(path, _inside(folder, file.unpack))
            path.unlink()
        _write(folder / MARK, {**_marks(folder), name: file.checksum[1]})
    return folder


def remove(task: TaskSpec, root: Path | None = None) -> int:
    """Delete a task's fetched folder; return the bytes that it held.

    Raises:
        DataError: It is not there, holds what was not fetched by mmbench, or cannot be deleted.
    """
    found = state(task, root)
    if not found.folder.is_dir():
        raise DataError(f"{found.folder}: there is no such folder: nothing of {task.name} is here")
    if not (found.folder / MARK).is_file() and any(
        not path.name.endswith(".part") for path in found.folder.iterdir()
    ):
        raise DataError(f"{found.folder}: was not fetched by mmbench: delete it yourself")
    try:
        shutil.rmtree(found.folder)
    except OSError as error:
        raise DataError(f"{found.folder}: cannot be deleted: {error.strerror or error}") from None
    return found.bytes


# --- one file ------------------------------------------------------------------------------------


def _name(file: FileSpec) -> str:
    return file.name or unquote(PurePosixPath(urlsplit(file.url).path).name)


def _inside(folder: Path, told: str) -> Path:
    path = PurePosixPath(told)
    if path.is_absolute() or ".." in path.parts or "\\" in told:
        raise DataError(f"{told!r}: leads out of the folder {folder}")
    return folder / path


def _download(file: FileSpec, target: Path, watch: Watch | None) -> Path:
    """Download one file by pooch, which checks it; what was cut is resumed."""
    import pooch
    import requests

    _inside(target.parent, target.name)
    if urlsplit(file.url).scheme not in ("http", "https"):
        raise DataError(f"{file.url}: expected an address that begins with http:// or https://")
    pooch.get_logger().setLevel(logging.ERROR)
    part = target.with_name(f"{target.name}.part")
    kind, expected = file.checksum

    def resumed(url: str, output: Any, _: Any) -> None:
        _resume(url, part, target.name, watch)
        shutil.copyfile(part, output)

    try:
        pooch.retrieve(
            file.url, f"{kind}:{expected}", target.name, target.parent, downloader=resumed
        )
    except requests.RequestException as error:
        raise DataError(f"{file.url}: cannot be fetched: {_why(error, part)}") from None
    except ValueError:  # pooch: the content is not what it should be
        got = _checksum(part, kind) if part.is_file() else "nothing"
        part.unlink(missing_ok=True)
        raise DataError(
            f"{file.url}: has the {_SPELLED[kind]} {got}, expected {expected}: it is not the file "
            f"that the task names; it was deleted"
        ) from None
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from None
    part.unlink(missing_ok=True)
    return target


def _why(error: Any, part: Path) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    there = part.stat().st_size if part.is_file() else 0
    kept = f"; {there:,} bytes are kept, and the same command goes on from there" if there else ""
    return f"the connection failed ({type(error).__name__}){kept}"


def _resume(url: str, part: Path, name: str, watch: Watch | None) -> None:
    """Fetch into `part`, going on behind what it holds already, whatever cuts the connection."""
    import requests

    for attempt in range(ATTEMPTS):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _attempt(url, part, before, name, watch)
            return
        except requests.HTTPError:
            raise  # the server has answered: asking again will not help
        except requests.RequestException:
            # A connection that gave something is worth another one, at once.
            gave = part.is_file() and part.stat().st_size > before
            if attempt == ATTEMPTS - 1 or not gave:
                raise


def _attempt(url: str, part: Path, before: int, name: str, watch: Watch | None) -> None:
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={before}-"} if before else {})
    with requests.get(url, headers=headers, stream=True, timeout=PATIENCE) as response:
        if response.status_code == 416:  # nothing lies behind what is there: it is whole, or wrong
            return
        response.raise_for_status()
        if response.status_code != 206:
            before = 0  # the server sends all of it
        length = response.headers.get("Content-Length", "")
        total = before + int(length) if length.isdecimal() else 0
        there = before
        with part.open("ab" if before else "wb") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                there += len(block)
                if watch is not None:
                    watch(name, there, total)
        if total and there < total:
            raise requests.ConnectionError(f"{there} of {total} bytes came")


def _checksum(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


# --- what is remembered --------------------------------------------------------------------------


def _marks(folder: Path) -> dict[str, str]:
    return _read(folder / MARK)


def _licences(root: Path | None) -> Path:
    return (root or home()) / LICENCES


def _licence(task: TaskSpec) -> str:
    # Of one set of files, whichever task asks for them: another set under the same terms is shown.
    what = task.source.folder or task.name
    return hashlib.sha256(f"{what}\0{task.source.licence}".encode()).hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, content: dict[str, str]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
