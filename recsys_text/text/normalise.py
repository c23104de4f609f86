"""The one text of an item, from its fields. Knows the columns of the items table, no tokenizer and no model."""

import polars as pl

#: The order in which the fields are joined: a text that is cut loses its description first.
FIELDS = ("title", "category", "tags", "description")


def normalise(text: pl.Expr) -> pl.Expr:
    """NFKC, control characters and runs of white space to one space, trimmed."""
    return text.str.normalize("NFKC").str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars(" ")


def item_text(items: pl.DataFrame) -> pl.Series:
    """The text of each item: a line each for title, category, tags and description, as far as the last that has text.

    Args:
        items: has the columns `title`, `category`, `tags`, `description` of the items table.

    Returns:
        A Series `text`, one string per row, in the order of the rows; empty where no field has text. A field without
        text before one with text is an empty line, so that the place of a line says which field it is.
    """
    fields = [
        normalise((pl.col(name).list.join(" ") if name == "tags" else pl.col(name)).cast(pl.String).fill_null(""))
        for name in FIELDS
    ]
    return items.select(text=pl.concat_str(fields, separator="\n").str.strip_chars_end("\n")).to_series()
