"""Stop strings: found wherever tokens cut the text, never shown in part."""

import random

import pytest

from tohum.errors import ConfigError
from tohum.generation.stops import StopStrings


def streamed(pieces: list[str], stops: list[str]) -> tuple[str, list[str], bool]:
    """(whole text, what went out piece by piece, whether a stop string was found)."""
    watch = StopStrings(stops)
    shown = [watch.push(piece) for piece in pieces] + [watch.flush()]
    return "".join(shown), shown, watch.found


def by_definition(text: str, stops: list[str]) -> tuple[str, bool]:
    """Letter by letter: the first end of any stop string, the longest of those that end there."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - len(max(ended, key=len))], True
    return text, False


def test_stops_cut_where_tokens_cross_their_borders():
    assert streamed(["The en", "d.\n", "\nNext"], ["\n\n"]) == ("The end.", ["The en", "d.", "", ""], True)


def test_stops_hold_back_only_what_may_become_one():
    assert streamed(["one", "\n", "two\n", "\n3"], ["\n\n"])[1] == ["one", "", "\ntwo", "", ""]


def test_stops_overlapping_with_their_own_beginning_are_found():
    assert streamed(["a", "a", "a", "b", "c"], ["aab"])[0] == "a"  # a matcher that starts over at "aaa" misses it
    assert streamed(list("abababac"), ["ababac"])[0] == "ab"


def test_stops_let_go_of_what_was_no_stop_string_at_the_end():
    assert streamed(["User", ":"], ["User: "]) == ("User:", ["", "", "User:"], False)


def test_stops_show_nothing_after_the_first_one():
    watch = StopStrings(["."])
    assert watch.push("a.b") == "a"
    assert watch.push("c") == ""
    assert watch.flush() == ""


def test_stops_equal_the_definition_for_every_way_of_cutting_a_text():
    random.seed(2)
    for _ in range(3000):
        text = "".join(random.choices("abc", k=random.randint(0, 14)))
        stops = ["".join(random.choices("abc", k=random.randint(1, 5))) for _ in range(random.randint(0, 3))]
        cuts = sorted(random.choices(range(len(text) + 1), k=random.randint(0, 8)))
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        wanted, found = by_definition(text, stops)
        whole, shown, ended = streamed(pieces, stops)
        assert (whole, ended) == (wanted, found), (pieces, stops)
        for count in range(len(shown)):  # whatever is out at any time is the beginning of the final text
            assert wanted.startswith("".join(shown[:count]))


def test_stops_refuse_an_empty_string():
    with pytest.raises(ConfigError, match="stop string is empty"):
        StopStrings(["a", ""])
