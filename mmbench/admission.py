"""What is let in of a record that a stranger wrote: names that are names, and text of one line.

A record is read by boards, figures and sites that print what stands in it. So it is looked at once,
where it is read: a field that becomes part of a path, or heads a column, has to be a name; what is
computed with has to be of its type; and all other text becomes one line of bounded length, in which
what a terminal would obey can be seen and does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from mmbench.errors import StoreError
from mmbench.spec import TaskSpec, TuningSpec

if TYPE_CHECKING:
    from mmbench.record import Record

#: Characters of a name at most; a folder's may have 255 bytes.
LONGEST_NAME = 120
STATUSES = ("finished", "diverged", "leak")
#: No split has so many items.
MOST_ITEMS = 10**12
#: Characters of other text at most.
LONGEST = 500

#: Parts of a record that are text for people.
_TEXTS = ("family", "summary", "reason", "reproduce", "provenance", "data")
#: In JSON: what is escaped or no ASCII, or a long text.
_SUSPECT = re.compile(rb'[\\\x7f-\xff]|"[^"]{%d}' % LONGEST)
#: What a terminal obeys, and what turns the direction of writing.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
#: Blanks that do not part words.
_BLANKS = "\u00a0\u2007\u202f"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class _Model(Struct):
    """What is read of a model's definition beside its digest."""

    tuning: TuningSpec | None = None


class _Definition(Struct):
    task: TaskSpec | None = None
    model: _Model = field(default_factory=_Model)
    limit: int | None = None
    late: bool = False
    branches: list[str] = field(default_factory=list)
    signature: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)


class _Provenance(Struct):
    mmbench: str = ""
    commit: str = ""
    python: str = ""
    platform: str = ""
    cpu: str | None = ""
    device: str = ""
    started: str = ""
    threads: int | None = None
    cores: int | None = None
    plugins: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    rescored: dict[str, Any] = field(default_factory=dict)
    external: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)


class _Defined(Struct):
    definition: _Definition


class _Shape(Struct):
    """The other parts of a record that its own type leaves open."""

    provenance: _Provenance
    cost: dict[str, float | bool | None]


class Admission:
    """Lets records in; one for many looks once at the definitions that they share."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        # Held, so that no other definition comes to lie where one lay.
        self._good: dict[int, dict[str, Any]] = {}

    def __call__(self, path: Path, record: Record) -> Record:
        """Return a record in which nothing can do harm where it is printed or made a path of.

        The definition stays as it is, since digests are over it.

        Args:
            path: Where it was read from, for errors.
            record: As it was read.

        Raises:
            StoreError: A name is none, or something is of another type than it is used as.
        """
        for key in ("task", "model", "budget", "identity"):
            _check_name(path, key, getattr(record, key))
        if record.seed < 0:
            raise StoreError(f"{path}: seed {record.seed}: expected 0 or more")
        for name in record.files:
            _check_name(path, "files", name)
        if record.status not in STATUSES:
            raise StoreError(
                f"{path}: status {line(record.status, 40)!r}: expected {', '.join(STATUSES)}"
            )
        for split, scores in record.scores.items():
            for name in (split, *scores):
                _check_text(path, "scores", name)
            for name, got in scores.items():
                _check_text(path, f"scores.{split}.{name}.signature", got.signature, LONGEST)
            if not all(0 <= got.n < MOST_ITEMS for got in scores.values()):
                raise StoreError(f"{path}: scores.{split}: n is no number of items")
        _check_shape(path, {"provenance": record.provenance, "cost": record.cost}, _Shape)
        if id(record.definition) not in self._good:
            _check_shape(path, {"definition": record.definition}, _Defined)
            self._good[id(record.definition)] = record.definition
        changed: dict[str, Any] = {}
        if not all(map(_is_plain, texts := [getattr(record, key) for key in _TEXTS])):
            changed = dict(zip(_TEXTS, map(clean, texts), strict=True))
        if None in record.cost.values():  # not known, which is as good as not there
            changed["cost"] = {k: value for k, value in record.cost.items() if value is not None}
        return msgspec.structs.replace(record, **changed) if changed else record


def _check_shape(path: Path, content: dict[str, Any], kind: type[Struct]) -> None:
    try:
        msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise StoreError(f"{path}: {line(str(error))}") from None


def is_name(text: str) -> bool:
    """Whether a text can be a folder's name and stand in a table: letters, digits, _ . + -."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def line(text: str, longest: int = LONGEST) -> str:
    r"""Return a text as one line: white space is a blank, what is no sign can be seen.

    >>> line("a\n b\x1b[2J")
    'a b\\x1b[2J'
    >>> line("x" * 20, 10)
    'xxxxxxx...'
    """
    if not text.isprintable():
        blanks = (" " if sign.isspace() else sign for sign in text[: 4 * longest])
        text = " ".join("".join(s if s.isprintable() else _seen(s) for s in blanks).split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def visible(text: str, longest: int = 2 * LONGEST) -> str:
    r"""Return a text in which all that is no sign can be seen; its blanks stay as they are.

    >>> visible("3\u00a03/4\n\x07") == "3\u00a03/4\\n\\x07"
    True
    """
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    if text.isprintable():
        return text
    return "".join(s if s.isprintable() or s in _BLANKS else _seen(s) for s in text)


def is_id(text: str) -> bool:
    """Whether an item can be called so: a line of bounded length that no terminal would obey."""
    return len(text) <= LONGEST and (text.isprintable() or _OBEYED.search(text) is None)


def clean(content: Any) -> Any:
    """Return JSON content in which every text is one line."""
    if isinstance(content, str):
        return line(content)
    if isinstance(content, Mapping):
        return {line(key): clean(value) for key, value in content.items()}
    if isinstance(content, list):
        return [clean(value) for value in content]
    return content


def _is_plain(content: Any) -> bool:
    """Whether no text in it can need cleaning; a quick look, for thousands of records."""
    return _SUSPECT.search(msgspec.json.encode(content)) is None


def _seen(sign: str) -> str:
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def _check_name(path: Path, key: str, text: str) -> None:
    if not is_name(text):
        raise StoreError(
            f"{path}: {key} {line(text, 40)!r} is no name: expected at most {LONGEST_NAME} "
            f"letters, digits and _ . + -"
        )


def _check_text(path: Path, key: str, text: str, longest: int = LONGEST_NAME) -> None:
    if not text or len(text) > longest or not text.isprintable():
        raise StoreError(
            f"{path}: {key}: {line(text, 40)!r}: expected one line of at most {longest} signs"
        )
