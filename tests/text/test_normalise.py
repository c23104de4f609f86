import polars as pl

from recsys_text.text.normalise import item_text


def _items(**columns: list) -> pl.DataFrame:
    fields = {"title": [""], "description": [None], "tags": [[]], "category": [None]} | columns
    return pl.DataFrame(
        fields,
        schema={"title": pl.String, "description": pl.String, "tags": pl.List(pl.String), "category": pl.String},
    )


def test_joins_the_fields_with_the_description_last():
    items = _items(title=["A title"], description=["what it is"], tags=[["x", "y"]], category=["news"])
    assert item_text(items).to_list() == ["A title\nnews\nx y\nwhat it is"]


def test_missing_fields_leave_no_trace():
    items = _items(title=["only", ""], description=[None, None], tags=[[], None], category=[None, None])
    assert item_text(items).to_list() == ["only", ""]


def test_the_place_of_a_line_says_which_field_it_is():
    items = _items(title=["", "two\nlines"], description=["what it is", None], tags=[[], ["x"]], category=[None, None])
    assert item_text(items).to_list() == ["\n\n\nwhat it is", "two lines\n\nx"]


def test_one_form_for_what_looks_the_same():
    wide = _items(title=["  ＦＡＣＣ\u3000ｃａｆｅ\u0301\x00\n１２ "])
    assert item_text(wide).to_list() == ["FACC café 12"]


def test_category_may_be_an_enumeration():
    items = _items(title=["a"], category=["news"]).with_columns(pl.col("category").cast(pl.Categorical))
    assert item_text(items).to_list() == ["a\nnews"]
