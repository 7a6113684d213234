"""Content that has to be of a type, and errors that name the key and what would be right.

What a struct may hold is said by its types; msgspec checks it. Its messages are turned here into
ones for whoever wrote the file: with the path of the key, the near one where it is unknown, and
what a text has to be like in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args

import msgspec
from msgspec import Meta, Struct

from mmbench.errors import SpecError, nearest

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_]*\Z")]
#: A metric, perhaps of another library, perhaps with options: ``wer(normalizer=english)``.
#: One that scores another output than the main one has its name in front: ``intensity.mae``.
MetricName = Annotated[str, Meta(pattern=r"^([a-z0-9]\w*\.)?[a-z0-9]\w*(:\w+)?(\(.*\))?\Z")]
#: A time axis, see `mmbench.models.clock`; empty where an output needs none.
Clock = Annotated[str, Meta(pattern=r"^(native:[a-z0-9][a-z0-9_]*|latent:[1-9][0-9]*|)\Z")]
#: A file's name, or a part of it.
PartOfName = Annotated[str, Meta(pattern=r"^[^/\\]*\Z")]
FolderName = Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9_]*)?\Z")]
#: What a text has to be like to match a pattern that does not list what it allows.
PATTERNS: dict[str, str] = {
    get_args(kind)[1].pattern: told
    for kind, told in (
        (Name, "a name of a-z, 0-9 and _, not beginning with _"),
        (
            MetricName,
            "a metric's name, such as 'wer', 'intensity.mae' or 'wer(normalizer=english)'",
        ),
        (Clock, "'native:MODALITY', or 'latent:L' with L steps, such as 'latent:16'"),
        (PartOfName, "a name without / and \\"),
        (FolderName, "a folder's name of a-z, 0-9 and _, not beginning with _"),
    )
}


def convert(content: Mapping[str, Any], kind: type[Any], where: str, schema: int) -> Any:
    """Return content as a struct.

    Args:
        content: As it was read.
        kind: The struct.
        where: Names the content in errors.
        schema: The newest that this version reads; content that names none is of it.

    Raises:
        SpecError: A key is unknown, a value impossible, or the schema newer.
    """
    own = content.get("schema", schema)
    if isinstance(own, int) and own > schema:
        raise SpecError(f"{where}: schema = {own} is newer than this mmbench reads ({schema})")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        message = _locate(content, kind, str(error))
        raise SpecError(f"{where}: {_explain(message, kind)}") from None


def _locate(content: Mapping[str, Any], kind: type[Any], message: str) -> str:
    """Put the keys of free tables into msgspec's message, which writes each as ``[...]``."""
    what, at, path = message.partition(" - at `$")
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", path):
        if index != "...":
            steps.append(int(index) if index else name)
            continue
        table: Any = content
        for step in steps:
            table = table[step]
        for key in table:
            alone = _alone(content, steps, key)
            # It is the one that is wrong if the message stays the same without the others.
            if _complaint(alone, kind) == message:
                content = alone
                steps.append(key)
                break
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f"{what}{at}{where}`" if at else message


def _alone(node: Any, steps: list[str | int], key: str) -> Any:
    """Return content without what stands beside a key of the table at the end of the steps."""
    if not steps:
        return {key: node[key]}
    step, inside = steps[0], _alone(node[steps[0]], steps[1:], key)
    if isinstance(node, Mapping):
        return {**node, step: inside}
    return [inside if at == step else item for at, item in enumerate(node)]


def _complaint(content: Mapping[str, Any], kind: type[Any]) -> str:
    try:
        msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def explain(error: msgspec.ValidationError, kind: Any, name: str) -> str:
    """Return what is wrong with a value that is not of a type: ``name: expected ...``."""
    what, at, path = str(error).partition(" - at `$")
    if not at:
        return _explain(what, kind).replace("the file", name, 1)
    told = _explain(f"{what} - at `${path}", kind)
    return told if told.startswith("unknown") else f"{name}{'' if told[0] == '[' else '.'}{told}"


def _explain(message: str, kind: Any) -> str:
    """Turn msgspec's message into one that names the key first and offers the near one."""
    what, _, path = message.partition(" - at `")
    key = path.rstrip("`").removeprefix("$").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        name = unknown[1]
        known = _paths(kind)
        near = nearest(name, known)
        full = f"{key}.{name}" if key else name
        if near:
            return f"unknown key {full!r}: did you mean {_like(near, known, key)!r}?"
        tables = [part for part in _at(kind, key) if _is_struct(part)]
        names = [item.encode_name for part in tables for item in msgspec.structs.fields(part)]
        return f"unknown key {full!r}: known here: {', '.join(names) or 'none'}"
    invalid = re.fullmatch(r"Invalid enum value '?(.*?)'?", what)
    if invalid:
        values = [str(v) for part in _at(kind, key) for v in getattr(part, "__args__", ())]
        near = nearest(invalid[1], values)
        offer = f"did you mean {near!r}? " if near else ""
        listed = ", ".join(values)
        return f"{key or 'the file'}: {invalid[1]!r} is none of its values: {offer}known: {listed}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        full = f"{key}.{missing[1]}" if key else missing[1]
        return f"the key {full!r} is missing"
    unlike = re.fullmatch(r"Expected `str` matching regex '(.*)'", what, flags=re.S)
    if unlike:
        pattern = unlike[1].replace("\\\\", "\\")  # msgspec writes it as Python would
        return f"{key or 'the file'}: expected {PATTERNS.get(pattern) or _listed(pattern)}"
    return f"{key or 'the file'}: {what[0].lower()}{what[1:]}"


def _listed(pattern: str) -> str:
    """Say what a pattern allows.

    >>> _listed("^(best|last)$"), _listed("^x+$")
    ("'best' or 'last'", 'a text like ^x+$')
    """
    values = re.fullmatch(r"\^\(([\w|]+)\)(\$|\\Z)", pattern)
    if not values:
        return f"a text like {pattern}"
    *before, last = map(repr, values[1].split("|"))
    return f"{', '.join(before)} or {last}" if before else last


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _at(kind: Any, path: str) -> list[Any]:
    """Return the types that may stand at a path such as ``recipe.stages[0].name``."""
    found = _alternatives(kind)
    for step in re.findall(r"[^.\[\]]+", path):
        following: list[Any] = []
        for part in found:
            if _is_struct(part):
                fields = msgspec.structs.fields(part)
                following += [f.type for f in fields if f.encode_name == step]
            else:  # a table of one's own names, or a list
                following += list(getattr(part, "__args__", ()))[-2:]
        found = [inner for part in following for inner in _alternatives(part)]
    return found


def _alternatives(kind: Any) -> list[Any]:
    """Unfold unions, and what carries metadata."""
    if hasattr(kind, "__metadata__"):
        return _alternatives(kind.__origin__)
    if isinstance(kind, UnionType) or getattr(kind, "__origin__", None) is Union:
        return [inner for part in kind.__args__ for inner in _alternatives(part)]
    return [kind]


def _like(name: str, known: Mapping[str, list[str]], key: str) -> str:
    """Return the path of a key: in the same table, else in the table nearest to the top."""
    table = re.sub(r"\[(\d+)\]", r".\1", key)
    here = f"{table}.{name}" if table else name
    if any(_alike(path, here) for path in known[name]):
        return here
    return min(known[name], key=lambda path: path.count("."))


def _alike(pattern: str, path: str) -> bool:
    """Whether a path is one of those that ``0`` (any element) and ``*`` (any name) stand for."""
    parts, own = pattern.split("."), path.split(".")
    return len(parts) == len(own) and all(
        part == step or part == "*" or (part == "0" and step.isdigit())
        for part, step in zip(parts, own, strict=True)
    )


def _paths(kind: Any, above: str = "", seen: frozenset[Any] = frozenset()) -> dict[str, list[str]]:
    """Collect the keys of a struct and of all structs inside it: name -> paths, as --set has them.

    The first element of a list stands for all, and ``*`` for a name of one's own.
    """
    found: dict[str, list[str]] = {}

    def add(more: Mapping[str, list[str]]) -> None:
        for name, paths in more.items():
            found.setdefault(name, []).extend(paths)

    if isinstance(kind, type) and issubclass(kind, Struct):
        if kind in seen:
            return found
        for item in msgspec.structs.fields(kind):
            path = f"{above}.{item.encode_name}" if above else item.encode_name
            add({item.encode_name: [path]})
            add(_paths(item.type, path, seen | {kind}))
        return found
    of: Any = getattr(kind, "__origin__", None)
    inside = "0" if of in (list, tuple) else "*" if of is dict else ""
    for part in getattr(kind, "__args__", ()):
        add(_paths(part, f"{above}.{inside}" if inside else above, seen))
    return found
