"""What a pattern matches, captures and shares with another."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.patterns import Pattern, fill, generic_instance, intersect, is_pattern

texts = st.text(alphabet="ab/*", max_size=7)
patterns = texts.filter(is_pattern)
names = st.text(alphabet="ab/", max_size=9)


def reads(text, name):
    """The plainest reading of a pattern: a regular expression with everything else escaped."""
    return re.fullmatch(".*".join(map(re.escape, text.split("*"))), name, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("text", "name", "captures"),
    [
        ("openai/*", "openai/gpt-4", ("gpt-4",)),
        ("openai/*", "openai/", ("",)),
        ("openai/*", "openai/a/b", ("a/b",)),
        ("openai/*", "OpenAI/gpt-4", None),
        ("openai/*", "xopenai/gpt-4", None),
        ("*-mini", "o1-mini", ("o1",)),
        ("*-mini", "o1-mini-2024", None),
        ("openai/gpt-3.5*", "openai/gpt-3x5-turbo", None),
        ("aa|openai/*", "openai/gpt-4", None),
        ("a*b*c", "a1b2b3c", ("1", "2b3")),
        ("a*a", "a", None),
        ("*", "", ("",)),
        ("a(b*", "a(bc", ("c",)),
        ("x*", "x\n", ("\n",)),
    ],
)
def test_only_the_star_is_special(text, name, captures):
    assert Pattern(text).captures(name) == captures


@given(patterns, names)
def test_matching_is_that_of_an_escaped_regular_expression(text, name):
    assert Pattern(text).matches(name) == reads(text, name)


@given(patterns, names)
def test_captures_put_back_give_the_name(text, name):
    captures = Pattern(text).captures(name)
    if captures is not None:
        assert fill(text, captures) == name


@given(patterns, patterns, names)
def test_an_intersection_matches_what_both_match(a, b, name):
    both = reads(a, name) and reads(b, name)
    shared = intersect(a, b)
    assert any(reads(text, name) for text in shared) == both


@given(patterns, patterns, names)
def test_a_generic_instance_stands_for_every_instance(general, special, name):
    if Pattern(general).matches(generic_instance(special)) and reads(special, name):
        assert reads(general, name)


def test_a_pattern_of_many_stars_is_matched_in_no_time():
    assert not Pattern("*a" * 100 + "b").matches("a" * 512)
