"""Reads pickles that hold data and nothing else; whatever could run code is refused by its name.

A pickle is a program, and `pickle.load` runs it. Here a machine of our own reads its instructions
(`pickletools.genops`, which executes nothing) and knows only those that build plain values:
numbers, strings, bytes, lists, tuples, dicts, and numpy's arrays and scalars, as Python 2 and 3
and numpy 1 and 2 write them. numpy's own constructors are never called: from what they would be
given an array is made whose bytes have to be there, so that a pickle of a few bytes cannot ask for
a terabyte.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mmbench.errors import DataError

if TYPE_CHECKING:
    from mmbench.types import Array

#: How deep values may lie in one another.
DEEPEST = 50
#: More values than this are no data set but a trap.
MOST_VALUES = 20_000_000

#: What numpy's arrays and scalars are made by, in all versions of numpy.
_NAMES = {
    **{
        f"{module} {name}": name
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    },
    **{f"{module} _frombuffer": "_frombuffer" for module in ("numpy.core.numeric",
                                                           "numpy._core.numeric")},
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",  # how Python 3 writes bytes for Python 2,
    **{f"{module} bytes": "bytes" for module in ("__builtin__", "builtins")},  # and no bytes
}  # fmt: skip

#: Kinds of numpy's elements: truth values, whole numbers, numbers, bytes, text, and objects, which
#: have to be plain values again.
_KINDS = "biufcSUO"


class _RefusedError(Exception):
    """Why a pickle is not read."""


@dataclass(frozen=True)
class _Name:
    """One of `_NAMES`, where a pickle names it."""

    name: str


@dataclass
class _Dtype:
    """A type of elements, until its byte order is told."""

    code: str
    order: str = "|"

    def made(self) -> np.dtype[Any]:
        plain = np.dtype(self.code)
        if self.order == "<":
            return plain.newbyteorder("<")
        return plain.newbyteorder(">") if self.order == ">" else plain


@dataclass
class _Made:
    """An array, until its content is told: shape, type, and bytes or (of objects) a list."""

    shape: tuple[int, ...] = ()
    kind: _Dtype | None = None
    fortran: bool = False
    content: bytes | list[Any] = b""


def load(file: Path) -> Any:
    """Return what a pickle holds.

    Args:
        file: The pickle, of any protocol.

    Returns:
        Numbers, strings, bytes, None, lists, tuples, dicts, numpy arrays and numpy scalars; arrays
        of objects hold such values too.

    Raises:
        DataError: It cannot be read, is broken, or holds anything else: one line that says what.
    """
    try:
        with file.open("rb") as opened:
            return _plain(_Machine().run(opened))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except _RefusedError as refused:
        raise DataError(
            f"{file}: {refused}: only numpy arrays, lists, dicts, strings and numbers are read "
            f"from a pickle, since anything else could run code"
        ) from None
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{file}: is not a whole pickle: {why}") from None
    except MemoryError:
        raise DataError(f"{file}: asks for more memory than there is") from None


class _Machine:
    """The stack machine that a pickle is written for, with plain values only."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, opened: Any) -> Any:
        """Follow the instructions up to the one that ends them."""
        for step, (opcode, argument, _) in enumerate(pickletools.genops(opened)):
            name = opcode.name
            if step > MOST_VALUES:
                raise _RefusedError(f"has more than {MOST_VALUES:,} instructions")
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSHES:
                self.stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise _RefusedError(f"contains the instruction {name}, which data do not need")
        raise ValueError("it ends early")

    def marked(self) -> list[Any]:
        """Take off all that lies above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values


def _put(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _append(machine: _Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise _RefusedError(f"appends to a {type(target).__name__}")
    target.extend(values)


def _fill(machine: _Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict) or len(values) % 2:
        raise _RefusedError(f"sets items of a {type(target).__name__}")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | bytes | int | float | np.generic | None):
            raise _RefusedError(f"has a dict whose key is a {type(key).__name__}")
        target[key] = value


def _tuple(machine: _Machine, count: int) -> None:
    values = tuple(machine.stack[len(machine.stack) - count :])
    if len(values) < count:
        raise ValueError("a tuple lacks values")
    del machine.stack[len(machine.stack) - count :]
    machine.stack.append(values)


def _global(machine: _Machine, named: str) -> None:
    if named not in _NAMES:
        raise _RefusedError(f"names {named.replace(' ', '.')!r}, which is refused")
    machine.stack.append(_Name(_NAMES[named]))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    _global(machine, f"{module} {name}")


def _call(machine: _Machine, _: Any) -> None:
    """Do what numpy's constructors would, where one of them is called."""
    arguments, called = machine.stack.pop(), machine.stack.pop()
    if not isinstance(called, _Name) or not isinstance(arguments, tuple):
        raise _RefusedError(f"calls a {type(called).__name__}")
    machine.stack.append(_CALLS[called.name](*arguments))


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise _RefusedError(f"encodes as {coding!r}")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise _RefusedError("makes bytes of something")
    return b""


def _dtype(code: Any, *_: Any) -> _Dtype:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if not isinstance(code, str) or len(code) > 16:
        raise _RefusedError("has an array whose type is not a plain one")
    if np.dtype(code).kind not in _KINDS:
        raise _RefusedError(f"has an array of the type {code!r}")
    return _Dtype(code)


def _scalar(kind: Any, content: Any = b"") -> Any:
    if not isinstance(kind, _Dtype) or kind.made().hasobject:
        raise _RefusedError("has a scalar that is not a plain one")
    return _array(_Made((), kind, False, _bytes(content)))[()]


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any = "C") -> _Made:
    if not isinstance(kind, _Dtype) or kind.made().hasobject:
        raise _RefusedError("has an array whose type is not a plain one")
    return _Made(_shape(shape), kind, order == "F", _bytes(content))


def _reconstruct(*_: Any) -> _Made:
    return _Made()


def _no_call(*_: Any) -> NoReturn:
    raise _RefusedError("makes an array of no content")


_CALLS: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "dtype": _dtype,
    "encode": _encode,
    "bytes": _no_bytes,
    "ndarray": _no_call,
}


def _build(machine: _Machine, _: Any) -> None:
    """Tell an array its content, or a type its byte order; nothing else has a state."""
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, _Made) and isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Dtype):
            raise _RefusedError("has an array whose type is not a plain one")
        target.shape, target.kind, target.fortran = _shape(shape), kind, bool(fortran)
        target.content = content if isinstance(content, list) else _bytes(content)
    elif isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) >= 5:
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("has an array of records")
        target.order = str(state[1])
    else:
        raise _RefusedError(f"sets the state of a {type(target).__name__}")


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or any(
        not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape
    ):
        raise _RefusedError("has an array whose shape is not one")
    return shape


def _bytes(content: Any) -> bytes:
    if isinstance(content, str):  # Python 2 wrote bytes as its strings
        return content.encode("latin-1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise _RefusedError("has an array whose content is not bytes")


def _pop(machine: _Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _dict(machine: _Machine, _: Any) -> None:
    values = machine.marked()
    machine.stack.append({})
    _fill(machine, values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine, [key, value])


_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": _pop,
    "POP_MARK": lambda m, _: m.marked(),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "LIST": lambda m, _: m.stack.append(m.marked()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "TUPLE1": lambda m, _: _tuple(m, 1),
    "TUPLE2": lambda m, _: _tuple(m, 2),
    "TUPLE3": lambda m, _: _tuple(m, 3),
    "DICT": _dict,
    "APPEND": lambda m, _: _append(m, [m.stack.pop()]),
    "APPENDS": lambda m, _: _append(m, m.marked()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, _: _fill(m, m.marked()),
    "MEMOIZE": lambda m, _: _put(m, None),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "BUILD": _build,
}

#: Instructions that lay their own argument on the stack.
_PUSHES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip


def _array(made: _Made) -> Array:
    if made.kind is None:
        raise _RefusedError("makes an array of no content")
    kind, count = made.kind.made(), math.prod(made.shape)
    if kind.hasobject:
        if not isinstance(made.content, list) or len(made.content) != count:
            raise _RefusedError("has an array of objects that are not there")
        array = np.empty(count, dtype=object)
        array[:] = made.content
        return array.reshape(made.shape, order="F" if made.fortran else "C")
    if not isinstance(made.content, bytes) or len(made.content) != count * kind.itemsize:
        raise _RefusedError(
            f"has an array of {count:,} elements and {len(made.content):,} bytes for them"
        )
    flat = np.frombuffer(made.content, dtype=kind) if count else np.empty(0, dtype=kind)
    return flat.reshape(made.shape, order="F" if made.fortran else "C")


@dataclass
class _Walk:
    """What was made of each value already: one that stands in many places is walked once."""

    done: dict[int, Any] = field(default_factory=dict)
    within: set[int] = field(default_factory=set)


def _plain(value: Any, walk: _Walk | None = None, depth: int = 0) -> Any:
    """Return a value with its arrays made, everything in it looked at."""
    if value is None or isinstance(value, str | bytes | bool | int | float | np.generic):
        return value
    if isinstance(value, bytearray):
        return bytes(value)
    walk = walk or _Walk()
    key = id(value)
    if key in walk.done:
        return walk.done[key][1]
    if depth > DEEPEST or key in walk.within:
        raise _RefusedError("holds itself, or lists in lists without end")
    walk.within.add(key)
    made: Any
    if isinstance(value, _Made):
        if isinstance(value.content, list):
            value.content = [_plain(item, walk, depth + 1) for item in value.content]
        made = _array(value)
    elif isinstance(value, list | tuple):
        items = [_plain(item, walk, depth + 1) for item in value]
        made = items if isinstance(value, list) else tuple(items)
    elif isinstance(value, dict):
        made = {key: _plain(item, walk, depth + 1) for key, item in value.items()}
    else:
        what = value.name if isinstance(value, _Name) else type(value).__name__
        raise _RefusedError(f"holds {what!r} as a value")
    walk.within.discard(key)
    walk.done[key] = (value, made)  # the value too: its id must stay its own
    return made
