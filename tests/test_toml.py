import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import recsys_text
from recsys_text.toml import dumps

# Lone surrogates are no Unicode, so no TOML file can hold them.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    texts
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False)
    | st.just('a\x7fb\n\t"\\')
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_is_read_back(settings: dict[str, Any]) -> None:
    again = tomllib.loads(dumps(settings))
    assert again == settings
    assert repr(again) == repr(sort_like(settings, again)), "1 is not 1.0, and true is not 1"


def sort_like(value: Any, like: Any) -> Any:
    """The same value with the keys of its tables in the order of `like`: tables come after what is plain."""
    if isinstance(value, dict):
        return {key: sort_like(value[key], like[key]) for key in like}
    if isinstance(value, list):
        return [sort_like(one, other) for one, other in zip(value, like, strict=True)]
    return value


def test_the_template_as_a_person_would_write_it() -> None:
    template = (Path(recsys_text.__file__).parent / "template.toml").read_text()
    written = dumps(tomllib.loads(template))
    assert tomllib.loads(written) == tomllib.loads(template)
    assert '[project]\nname = "shop"\n' in written
    assert "\n[sources.items]\n" in written
    assert "\n[sources]\n" not in written
