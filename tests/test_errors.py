"""Lists of names in messages."""

from creche.errors import listed


def test_many_and_long_names_are_cut() -> None:
    assert listed([]) == ""
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(1003)), 2) == "0, 1 and 1,001 more"
    assert listed(["abcdef"], max_length=3) == "abc…"
