"""JSON files that say their schema and their own checksum; written whole or not at all.

`finite` is for JSON that is printed: what has no number there is null.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmbench.errors import NewerError, StoreError

#: A struct with the fields ``schema`` and ``checksum``, the SHA-256 of it without one.
S = TypeVar("S", bound=msgspec.Struct)


def read(
    path: Path,
    kind: type[S],
    schema: int,
    hint: str = "",
    decode: Callable[[bytes], S] | None = None,
) -> S:
    """Read a sealed file and hold it against its checksum.

    Args:
        path: Where it is.
        kind: What it holds.
        schema: The newest schema that this version reads.
        hint: What works where it is damaged.
        decode: Reads a text that is as `encode` wrote it, where there is a faster way.

    Raises:
        NewerError: It is from a newer mmbench.
        StoreError: It cannot be read, or is damaged.
    """
    hint = f": {hint}" if hint else ""
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device might never end
            raise StoreError(f"{path}: cannot be read: it is no file")
        text = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        found = decode(text) if decode is not None else msgspec.json.decode(text, type=kind)
        if _untouched(text, getattr(found, "checksum", "")) and 0 < _schema(found) <= schema:
            return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # what is wrong, or only laid out otherwise, is said below
    return _read_slowly(path, text, kind, schema, hint)


def _untouched(text: bytes, checksum: str) -> bool:
    """Whether a text is byte by byte what `encode` made of the content that has this checksum.

    Then nothing has to be encoded once more to know that it is whole.
    """
    if len(checksum) != 64 or b'\n "schema": ' not in text:
        return False
    blank = text.replace(b'"checksum": "%b"' % checksum.encode(), b'"checksum": ""')
    return hashlib.sha256(blank).hexdigest() == checksum


def _schema(held: msgspec.Struct) -> int:
    return int(getattr(held, "schema", 0))


def _read_slowly(path: Path, text: bytes, kind: type[S], schema: int, hint: str) -> S:
    """Read a file however it is laid out, and say what is wrong with it."""
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"{path}: is not valid JSON ({error}): the file is damaged{hint}"
        ) from None
    found = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise StoreError(f"{path}: is no {kind.__name__.lower()} of mmbench: 'schema' is missing")
    if found > schema:
        raise NewerError(
            f"{path}: schema {str(found)[:9]} is newer than this mmbench reads ({schema}): "
            f"upgrade it"
        )
    try:
        held = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise StoreError(f"{path}: {error}{hint}") from None
    # Over the content as it stands, not as it was read: a field that a later version adds must
    # not change the checksum of a file that was written without it.
    if _checksum(content) != content.get("checksum"):
        raise StoreError(f"{path}: does not match its checksum: it was edited or damaged{hint}")
    return held


def seal(held: S) -> S:
    """Return a struct with its checksum."""
    content = msgspec.json.decode(msgspec.json.encode(held))
    return msgspec.structs.replace(held, checksum=_checksum(content))


def encode(content: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """Return the text of a file: sorted, and indented for whoever looks into it."""
    return msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1) + b"\n"


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Says what a killed process left; a name may be as long as the file system allows.
    name = os.fsencode(path.name.lstrip("."))[:100].decode(errors="ignore")
    handle, temporary = tempfile.mkstemp(prefix=f".writing-{name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(encode({**content, "checksum": ""})).hexdigest()


def finite(content: Any) -> Any:
    """Return JSON content in which a number that is none is null."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
