"""How numbers, ages, sizes and titles are written."""

from recsys_text.service.explore.texts import age, number, short, signed, size


def test_numbers_are_written_for_people():
    assert [age(seconds) for seconds in (0, 59.9, 60, 7260, 90000, 3 * 86400)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h 1 min",
        "1 d 1 h",
        "3 d 0 h",
    ]
    assert [size(count) for count in (0, 999, 1000, 1_250_000, 3 * 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "3000.0 TB",
    ]
    assert [number(value) for value in (0.12345, -1.5, None, float("nan"))] == ["0.1235", "−1.5000", "–", "–"]
    assert (signed(-0.5), signed(0.25)) == ("−0.50", "+0.25")
    assert (short("x" * 120), len(short("x" * 121)), short("x" * 121)[-1]) == ("x" * 120, 120, "…")
