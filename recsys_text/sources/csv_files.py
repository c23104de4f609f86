"""Read CSV files as batches of texts, in the dialect that each file is written in.

Arrow reads fast and forgives much: a file that ends within quotes loses its rows, a quote that begins a text takes the
lines up to the next one into it, a backslash stays in the text. So a file with quotes is first looked through strictly.
"""

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from recsys_text.errors import ContractError
from recsys_text.sources.arrow import plain_frame
from recsys_text.sources.boundary import refuse_utf_16
from recsys_text.sources.read import ROW_OFFENDER, ROW_RULE
from recsys_text.tables import NO_UTF_8, WRONG_WIDTH

#: Texts that stand for "no value" in a CSV file, which has no other way to say so.
NULLS = ("", "NULL", "null", "\\N", "NaN", "nan", "None", "<NA>", "N/A", "#N/A")
_BLOCK_BYTES = 1 << 23
SEPARATORS = ",;\t|"
_SHOWN = 500
_MOST_BYTES_OF_HEADER = 1 << 20
#: The first line of a file for Excel, which says what separates its values and is no part of the table.
_SAYS_SEPARATOR = re.compile(r'"?sep=(?P<separator>[^\r\n])"?[ ,;]*(?:\r\n|\r|\n)', re.IGNORECASE)

Open = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a CSV file is written: names of its columns, the lines before its rows, separator, how it quotes; and whether
    all of it is UTF-8.
    """

    names: list[str]
    header_lines: int
    separator: str
    quoting: "Quoting"
    is_unicode: bool


@dataclass(frozen=True, kw_only=True)
class Quoting:
    """How a text is written that holds a separator or a quote.

    quotes: whether quotes enclose it; otherwise they are letters as any other. escape: what stands before a quote
    within a text, None where it is doubled.
    """

    quotes: bool = True
    escape: str | None = None


class _Marked(io.RawIOBase):
    """A file in which each byte that is no UTF-8 is marked, so that it is a fault of the values that it is in."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder("utf-8")(_MARKING)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        text = self._decoder.decode(data, final=not data)
        # An empty answer is the end of the file, and a decoder may hold back all of what it was given.
        return text.encode() if text or not data else self.read(size)


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"{_MARK}{byte:02x}" for byte in error.object[error.start : error.end]), error.end


#: A code point that Unicode promises never to give to a character.
_MARK = "\ufdd0"
_MARKING = "recsys-text-mark"
codecs.register_error(_MARKING, _marked)


def _unmarked(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows without their marked values; such a row says so, and shows the bytes in question."""
    marked = {name: pl.col(name).str.contains(_MARK, literal=True).fill_null(False) for name in frame.columns}
    shown = [
        pl.when(mark).then(pl.col(name).str.slice(0, _SHOWN).str.replace_all(_MARK, "\\x", literal=True))
        for name, mark in marked.items()
    ]
    return frame.with_columns(
        *(pl.when(~mark).then(name).alias(name) for name, mark in marked.items()),
        pl.when(pl.any_horizontal(*marked.values())).then(pl.lit(NO_UTF_8)).alias(ROW_RULE),
        pl.coalesce(shown).alias(ROW_OFFENDER),
    )


def read_csv(
    opened: Open, shown: str, wanted: Collection[str], *, separator: str | None, nulls: Collection[str] | None
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Batches of the wanted columns as texts, each with the names of all columns; the first batch has no rows.

    `opened` opens the file anew. Raises ContractError for a file that is none of text with columns, ends within quotes,
    or repeats a wanted column.
    """
    dialect = _dialect(opened, shown, wanted, separator)
    columns = [name for name in dict.fromkeys(dialect.names) if name in wanted]
    for name in columns:
        if dialect.names.count(name) > 1:
            raise ContractError(f"{shown} has {dialect.names.count(name)} columns '{name}'; rename one of them")
    yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), dialect.names
    odd: list[str] = []
    places = {name: f"{dialect.names.index(name)}" for name in columns}

    def kept(row: Any) -> str:
        odd.append(row.text[:_SHOWN].replace(_MARK, "\\x"))
        return "skip"

    with opened() as raw:
        reader = pa.csv.open_csv(
            raw if dialect.is_unicode else _Marked(raw),
            read_options=pa.csv.ReadOptions(
                block_size=_BLOCK_BYTES,
                column_names=[str(place) for place in range(len(dialect.names))],
                skip_rows=dialect.header_lines,
                use_threads=False,
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=dialect.separator,
                newlines_in_values=True,
                quote_char='"' if dialect.quoting.quotes else False,
                escape_char=dialect.quoting.escape or False,
                invalid_row_handler=kept,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(places.values(), pa.string()),
                include_columns=list(places.values()),
                null_values=list(NULLS if nulls is None else nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            frame = plain_frame(pa.Table.from_batches([batch]).rename_columns(columns))
            yield frame if dialect.is_unicode or not columns else _unmarked(frame), dialect.names
    if odd:
        blank = pl.DataFrame({name: pl.Series(name, [None] * len(odd), pl.String) for name in columns})
        told = [pl.lit(WRONG_WIDTH).alias(ROW_RULE), pl.Series(ROW_OFFENDER, odd)]
        yield blank.with_columns(told), dialect.names


def _dialect(opened: Open, shown: str, wanted: Collection[str], separator: str | None) -> Dialect:
    with opened() as raw:
        start = raw.read(_MOST_BYTES_OF_HEADER)
    refuse_utf_16(start, shown)
    mark = "utf-8-sig" if start[:3] == b"\xef\xbb\xbf" else "utf-8"
    text = start.decode(mark, errors="replace")
    if not text.strip():
        raise ContractError(f"{shown} is empty: it has no line with the names of the columns")
    said = _SAYS_SEPARATOR.match(text)
    if said is not None:
        text, separator = text[said.end() :], separator or said["separator"]
    before = 0 if said is None else 1
    if separator is None:
        separator = max(SEPARATORS, key=lambda sign: _fits(_header(text, sign)[0], wanted))
    names, lines = _header(text, separator)
    quoting, is_unicode = _looked_through(opened, shown, separator, mark, before)
    return Dialect(
        names=[name.strip() for name in names],
        header_lines=before + lines,
        separator=separator,
        quoting=quoting,
        is_unicode=is_unicode,
    )


def _header(text: str, separator: str) -> tuple[list[str], int]:
    """The first row that is not blank, and the number of lines up to its end."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    with _any_length():
        row = next((row for row in reader if row), [])
    return row, reader.line_num


def _fits(names: list[str], wanted: Collection[str]) -> tuple[int, int]:
    return sum(name.strip() in wanted for name in names), len(names)


def _looked_through(opened: Open, shown: str, separator: str, encoding: str, before: int) -> tuple[Quoting, bool]:
    """How the file quotes, and whether it is UTF-8; so many lines are `before` its table.

    Raises ContractError where no way to quote reads it.
    """
    quotes, backslash, last, is_unicode = 0, False, b"", True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened() as raw:
        while block := raw.read(_BLOCK_BYTES):
            quotes += block.count(b'"')
            backslash = backslash or b'\\"' in last + block
            last = block[-1:]
            is_unicode = is_unicode and _decodes(decoder, block, final=False)
    is_unicode = is_unicode and _decodes(decoder, b"", final=True)
    if not quotes:
        return Quoting(), is_unicode
    ways = [Quoting(), *([Quoting(escape="\\")] if backslash else [])]
    if separator == "\t":
        ways.append(Quoting(quotes=False))  # what tabs separate is often not quoted at all
    # Where the quotes pair, a row of another width is that row's fault.
    pair = quotes % 2 == 0 and not backslash
    faults = []
    for way in ways:
        fault = _fault(opened, separator, encoding, way, before, widths=not pair or way != ways[0])
        if fault is None:
            return way, is_unicode
        faults.append(fault)
    raise ContractError(f"{shown} {faults[0]}")


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _fault(opened: Open, separator: str, encoding: str, way: Quoting, before: int, *, widths: bool) -> str | None:
    """What is wrong with the file if it quotes in this way, None for nothing.

    before: lines that are no part of the table. widths: whether each row must have as many values as the first.
    """
    with opened() as raw, io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="") as text, _any_length():
        reader = csv.reader(
            islice(text, before, None),
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if way.quotes else csv.QUOTE_NONE,
            escapechar=way.escape,
            doublequote=way.escape is None,
            strict=True,
        )
        width, line = 0, before + 1
        try:
            for row in reader:
                width = width or len(row)
                if widths and row and len(row) != width:
                    return f"line {line} has {len(row)} values, not {width}: its quotes do not pair"
                line = before + reader.line_num + 1
        except csv.Error as error:
            if "unexpected end" in str(error):
                return f"ends within the quotes that begin at line {line}; close them, or double each quote in a text"
            return f"line {line} has a quote within quotes ({error}); double it, or write a backslash before it"
    return None


@contextmanager
def _any_length() -> Iterator[None]:
    """Lets the csv module read values of any length, which it refuses beyond 128 KiB."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
