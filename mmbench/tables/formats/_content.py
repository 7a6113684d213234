"""What a file holds, as bytes and as text; whatever is wrong with it is one line that names it."""

from __future__ import annotations

from pathlib import Path

from mmbench.errors import DataError


def bytes_of(path: Path) -> bytes:
    """Return a file's bytes, without the mark that some editors put in front of UTF-8.

    Raises:
        DataError: It is missing, a folder, unreadable, or empty.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder: name a file in it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content or content.isspace():
        raise DataError(f"{path}: is empty")
    return content


def text_of(path: Path) -> str:
    """Return a file's text.

    Raises:
        DataError: As for `bytes_of`, or a line is not UTF-8.
    """
    content = bytes_of(path)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = line_of(content, error.start)
        raise DataError(f"{path}:{line}: {not_utf8(error)}") from None


def line_of(content: bytes, offset: int) -> int:
    """Return the number of the line, from 1, that a byte stands in."""
    return content.count(b"\n", 0, offset) + 1


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say which byte is no UTF-8, and what would help."""
    byte = error.object[error.start]
    return f"is not UTF-8 text (byte 0x{byte:02x}): save the file as UTF-8"
