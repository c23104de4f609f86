"""Which Arrow schemas a view may have, and the plain form in which it is kept. Knows no backend."""

from typing import Any

import pyarrow as pa

from feature_store.errors import InvalidInput

#: A list's strings are kept once for all rows, and each row holds their numbers: ids repeat from user to user.
CODED = pa.dictionary(pa.int32(), pa.string())


def portable_schema(schema: Any) -> Any:
    """The schema in which a view is kept: strings and lists with 32-bit offsets, lists of strings coded, no metadata.

    Frames of other libraries come with large, view or dictionary types; keeping one form lets parts that were
    written by different libraries stand in one version. The first column is the key.

    Raises InvalidInput when there is no column, the key is neither string nor int64, or a name
    occurs twice.
    """
    if len(schema) == 0 or len(set(schema.names)) != len(schema):
        raise InvalidInput(f"a view needs columns with different names, the key first; got {schema.names}")
    fields = [field.with_type(_portable(field.type)).remove_metadata() for field in schema]
    if not (pa.types.is_string(fields[0].type) or pa.types.is_int64(fields[0].type)):
        raise InvalidInput(
            f"the first column is the key and must be string or int64; '{fields[0].name}' is {fields[0].type}"
        )
    return pa.schema(fields)


def portable_array(array: Any, kind: Any) -> Any:
    """The array in its portable type. Raises pyarrow.ArrowInvalid where it is too long for 32-bit offsets."""
    if is_coded(kind) and not is_coded(array.type):
        array = array.cast(_uncoded(kind))  # Arrow codes plain strings only, not views of them
    return array.cast(kind)


def is_coded(kind: Any) -> bool:
    """True for lists, or lists of lists, of coded strings."""
    while is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_dictionary(kind))


def is_list(kind: Any) -> bool:
    """True for lists of any length and of a fixed one."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def dictionary_of(array: Any) -> Any:
    """What the codes of an array of coded lists stand for."""
    while not pa.types.is_dictionary(array.type):
        array = array.values
    return array.dictionary


def _uncoded(kind: Any) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_uncoded(kind.value_type), kind.list_size)
    return pa.list_(_uncoded(kind.value_type)) if pa.types.is_list(kind) else pa.string()


def _portable(kind: Any) -> Any:
    types = pa.types
    if types.is_dictionary(kind):
        return _portable(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_fixed_size_list(kind):
        return pa.list_(_portable_values(kind), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(_portable_values(kind))
    return kind


def _portable_values(kind: Any) -> Any:
    # Arrow libraries disagree on the name of a list's values, and equal schemas must compare equal.
    values = _portable(kind.value_type)
    return pa.field("item", CODED if pa.types.is_string(values) else values, nullable=kind.value_field.nullable)
