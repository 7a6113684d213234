"""TFRecord files without TensorFlow: records by their lengths and checksums, examples by protobuf.

A file is records end to end (https://www.tensorflow.org/tutorials/load_data/tfrecord): the length
as 8 bytes, its masked CRC-32C as 4, the content, its masked CRC-32C as 4, all little-endian. The
content is a ``tf.train.Example`` or a ``tf.train.SequenceExample``: features by name, and lists of
features by name, one for each step. google-crc32c computes the checksums and protobuf decodes; what
the messages are is told here, as TensorFlow's ``example.proto`` and ``feature.proto`` tell it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmbench.errors import DataError, MissingExtraError

_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
#: What is added to a rotated checksum, so that one of data that hold checksums stays one.
_MASK = 0xA282EAD8
_AGAIN = "copy the file again from its source"


@dataclass(frozen=True)
class Example:
    """One record.

    Attributes:
        features: Name -> numbers [n] (int64 or float32), or a list of bytes.
        lists: Name -> the same for each step; empty for a plain ``Example``.
    """

    features: dict[str, Any]
    lists: dict[str, list[Any]]


def masked(content: bytes) -> int:
    """Return the masked CRC-32C of bytes."""
    crc = int(_crc32c().value(content))
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def places(file: Path) -> list[int]:
    """Return where each record begins, in bytes; lengths are checked, contents are not read.

    Raises:
        DataError: The file cannot be read, is no TFRecord or is cut off: its record is named, from
            0.
        MissingExtraError: google-crc32c is not installed.
    """
    found: list[int] = []
    try:
        size = file.stat().st_size
        place = 0
        with file.open("rb") as opened:
            while place < size:
                opened.seek(place)
                found.append(place)
                where = f"{file}: record {len(found) - 1}"
                place += _HEAD.size + _length(opened, size - place, where) + _CRC.size
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    return found


def read(file: Path, place: int, where: str) -> bytes:
    """Return the content of the record that begins at a place.

    Args:
        file: The TFRecord file.
        place: Of `places`.
        where: What to call it in an error.

    Raises:
        DataError: It cannot be read, or a checksum is wrong.
        MissingExtraError: google-crc32c is not installed.
    """
    try:
        with file.open("rb") as opened:
            opened.seek(place)
            content = opened.read(_length(opened, file.stat().st_size - place, where))
            crc = opened.read(_CRC.size)
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from None
    if masked(content) != _CRC.unpack(crc)[0]:
        raise DataError(f"{where}: its content has a wrong checksum: {_AGAIN}")
    return content


def _length(opened: BinaryIO, left: int, where: str) -> int:
    """Read the head of a record: how long its content is."""
    head = opened.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise DataError(f"{where}: is cut off: {_AGAIN}")
    length, crc = _HEAD.unpack(head)
    if masked(head[:8]) != crc:
        raise DataError(
            f"{where}: its length has a wrong checksum: it is no TFRecord, or broken: {_AGAIN}"
        )
    if length > left - _HEAD.size - _CRC.size:
        raise DataError(f"{where}: is cut off: it promises {length:,} bytes: {_AGAIN}")
    return int(length)


def example(content: bytes, where: str) -> Example:
    """Decode a record.

    Args:
        content: An ``Example`` or a ``SequenceExample``.
        where: What to call it in an error.

    Raises:
        DataError: It is neither.
        MissingExtraError: protobuf is not installed.
    """
    kind, error = _messages()
    try:
        found = kind.FromString(content)
    except error as wrong:
        raise DataError(f"{where}: is no tf.train.Example: {wrong}") from None
    return Example(
        {name: _value(feature) for name, feature in found.context.feature.items()},
        {
            name: [_value(feature) for feature in steps.feature]
            for name, steps in found.feature_lists.feature_list.items()
        },
    )


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    if kind == "float_list":
        return np.array(feature.float_list.value, dtype=np.float32)
    if kind == "int64_list":
        return np.array(feature.int64_list.value, dtype=np.int64)
    return list(feature.bytes_list.value)


# --- libraries -----------------------------------------------------------------------------------


@cache
def _crc32c() -> Any:
    try:
        import google_crc32c
    except ModuleNotFoundError:
        raise MissingExtraError("google-crc32c, which checks TFRecords,", "media") from None
    return google_crc32c


@cache
def _messages() -> tuple[Any, type[Exception]]:
    """Return the class of a ``SequenceExample``, and what protobuf raises.

    Its ``context`` has the number and the type of an ``Example``'s ``features``, so that it reads
    both.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
    except ModuleNotFoundError:
        raise MissingExtraError("protobuf, which decodes TFRecords,", "media") from None
    file = descriptor_pb2.FileDescriptorProto(
        name="mmbench/example.proto", package="mmbench.tensorflow", syntax="proto3"
    )
    kinds = {"bytes": "TYPE_BYTES", "float": "TYPE_FLOAT", "int64": "TYPE_INT64"}
    for name, kind in kinds.items():
        _message(file, f"{name.capitalize()}List", ("value", 1, kind, "LABEL_REPEATED"))
    feature = _message(
        file,
        "Feature",
        *((f"{name}_list", k, f"{name.capitalize()}List", "") for k, name in enumerate(kinds, 1)),
    )
    feature.oneof_decl.add(name="kind")
    for one in feature.field:
        one.oneof_index = 0
    _message(file, "FeatureList", ("feature", 1, "Feature", "LABEL_REPEATED"))
    _map(_message(file, "Features"), "feature", "Feature")
    _map(_message(file, "FeatureLists"), "feature_list", "FeatureList")
    _message(file, "SequenceExample", ("context", 1, "Features", ""),
             ("feature_lists", 2, "FeatureLists", ""))  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{file.package}.SequenceExample")
    return message_factory.GetMessageClass(found), message.DecodeError


def _message(file: Any, name: str, *fields: tuple[str, int, str, str]) -> Any:
    """Add a message of (name, number, type, label) to a file's description."""
    made = file.message_type.add(name=name)
    for field in fields:
        _field(made, *field)
    return made


def _field(made: Any, name: str, number: int, kind: str, label: str) -> None:
    told = made.field.add(name=name, number=number)
    told.label = told.Label.Value(label or "LABEL_OPTIONAL")
    if kind.startswith("TYPE_"):
        told.type = told.Type.Value(kind)
    else:
        told.type = told.TYPE_MESSAGE
        told.type_name = f".mmbench.tensorflow.{kind}"


def _map(made: Any, name: str, kind: str) -> None:
    """Add a map from texts to messages: a repeated message of keys and values."""
    entry = made.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _field(entry, "key", 1, "TYPE_STRING", "")
    _field(entry, "value", 2, kind, "")
    _field(made, name, 1, f"{made.name}.{entry.name}", "LABEL_REPEATED")
