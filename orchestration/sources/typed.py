"""Typed columns, as Parquet has them, in the types that the loader reads; and their values in Python.

Whatever stands in a column ends as a value: one that Python has none for costs nothing but its own form.
Knows nothing of files, of rows or of what a column means.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from orchestration.sources import json_lines


def plain(array: pa.Array) -> pa.Array:
    """A column without dictionaries, views, nested or extension types; UUIDs are text, zones are UTC.

    Text that is not UTF-8, which Parquet's readers do not look at, is binary, as it is from other files.
    """
    array = _unpacked(array)
    type_ = array.type
    if pa.types.is_nested(type_):
        return json_lines.text_array(python_values(array))
    if pa.types.is_string(type_):
        return array if _is_utf8(array) else array.cast(pa.binary())
    if pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        type_ = pa.binary()
    elif pa.types.is_float16(type_):
        type_ = pa.float32()  # Arrow can hardly reckon with halves
    elif pa.types.is_timestamp(type_) and type_.tz is not None:
        type_ = pa.timestamp(type_.unit, "UTC")  # the same instants, whatever the zone is called
    return array.cast(type_)


def _unpacked(array: pa.Array) -> pa.Array:
    """What an extension type, a dictionary or a view stands for."""
    type_ = array.type
    if isinstance(type_, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    if isinstance(type_, pa.BaseExtensionType):
        return _unpacked(array.storage)
    if pa.types.is_dictionary(type_):
        return _unpacked(array.dictionary_decode())
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return array.cast(pa.string())
    if pa.types.is_binary_view(type_):
        return array.cast(pa.binary())
    return array


def _is_utf8(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def python_values(array: pa.Array) -> list[Any]:
    """What ``to_pylist`` gives. A value that Python can't have, such as a time of the year 10000 or text
    that is not UTF-8, is what it is stored as: a number, bytes."""
    try:
        return list(array.to_pylist())
    except (OverflowError, ValueError, KeyError):  # KeyError: a zone that nobody knows
        return [_python_value(array.slice(n, 1)) for n in range(len(array))]


def _python_value(one: pa.Array) -> Any:
    try:
        return one.to_pylist()[0]
    except (OverflowError, ValueError, KeyError):
        return one.cast(_stored(one.type)).to_pylist()[0]


def _stored(type_: pa.DataType) -> pa.DataType:
    """The type with numbers for its times, and bytes for its texts."""
    inside = type_
    if pa.types.is_temporal(type_):
        inside = pa.int32() if type_.bit_width == 32 else pa.int64()
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        inside = pa.binary()
    elif pa.types.is_dictionary(type_):
        inside = _stored(type_.value_type)
    elif pa.types.is_map(type_):
        inside = pa.map_(_stored(type_.key_type), _stored(type_.item_type))
    elif pa.types.is_struct(type_):
        inside = pa.struct([(field.name, _stored(field.type)) for field in type_])
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        inside = pa.list_(_stored(type_.value_type))
    return inside
