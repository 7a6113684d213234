"""What pins pretrained weights that a model's TOML names: their content, not their name."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from mmbench.errors import SpecError

#: What a network and its tokenizer are read from.
_READ = (".safetensors", ".json", ".txt", ".model")


def digest(named: str) -> str:
    """Return what the weights in a folder, or of a published model in the cache, really are.

    Args:
        named: A folder, or a published model's name.

    Returns:
        A folder: SHA-256 over the files that are read from it. A published model: the commit that
        the cache holds; empty where it holds none yet.

    Raises:
        SpecError: A file of the folder cannot be read.
    """
    folder = Path(named)
    return _of_folder(folder) if folder.is_dir() else _commit(named)


def _of_folder(folder: Path) -> str:
    whole = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _READ and path.is_file():
                stat = path.stat()
                content = _of_file(path.resolve(), stat.st_size, stat.st_mtime_ns)
                whole.update(f"{path.name} {content}\n".encode())
    except OSError as error:
        why = error.strerror or error
        raise SpecError(f"weights {folder}: cannot be read: {why}") from None
    return whole.hexdigest()


@cache
def _of_file(path: Path, size: int, changed: int) -> str:
    del size, changed  # part of the key: gigabytes are read once for all seeds
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _commit(name: str) -> str:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        return ""
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # neither a folder nor a name: the encoder says so
        return ""
    return Path(found).parent.name if isinstance(found, str) else ""
