"""Key secrets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.credentials import (
    Secret,
    holds_minted_key,
    is_digest,
    is_wellformed,
    key_name,
    masked,
    mint,
)


def minted(seed):
    return mint(random.Random(seed).choice)


@given(st.integers())
def test_a_minted_key_has_its_shape_and_passes_its_own_check(seed):
    secret = minted(seed).reveal()
    assert secret.startswith("sk-gg-")
    assert len(secret) == 6 + 32 + 6
    assert is_wellformed(secret)


@given(st.integers(), st.integers(6, 43), st.sampled_from("0Aaz9Z"))
def test_a_typo_in_a_minted_key_is_seen_without_a_look_up(seed, position, letter):
    secret = minted(seed).reveal()
    typo = secret[:position] + letter + secret[position + 1 :]
    assert is_wellformed(typo) == (typo == secret)


@pytest.mark.parametrize(
    ("secret", "fine"),
    [
        ("sk-1234", True),
        ("sk-" + "x" * 500, True),
        ("sk-", False),
        ("sk-" + "x" * 510, False),
        ("pk-1234", False),
        ("sk-a b", False),
        ("sk-a\n", False),
        ("sk-a\x00", False),
        ("sk-é", False),
        ("sk-gg-short", False),
        ("", False),
    ],
)
def test_a_custom_key_needs_its_prefix_and_printable_characters(secret, fine):
    assert is_wellformed(secret) == fine


def test_printing_a_secret_shows_nothing_of_it():
    secret = Secret("sk-abcdefghijkl")
    assert "abcdef" not in f"{secret} {secret!r} {[secret]}"
    assert key_name(secret) == "sk-...ijkl"


def test_a_text_keeps_of_the_keys_in_it_their_short_forms():
    key = "sk-a/key%with.all+kinds~of=characters!"
    for text in (f"no team '{key}'.", f"[{key!r}, {key!r}] are taken", f"/key/{key}", f"é{key}é"):
        assert masked(text) == text.replace(key, "sk-...ers!")
    for text in ("Keys start with 'sk-'.", "no model sk-learn", "sk-..."):
        assert masked(text) == text


def test_a_minted_key_is_found_anywhere_in_a_text_and_nothing_else_is_taken_for_one():
    key = minted(1).reveal()
    other = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert all(map(holds_minted_key, (key, f"openai/{key}", f" {key}x", f"{other} {key}")))
    assert not any(map(holds_minted_key, (other, key[:-1], "sk-chosen-by-hand-and-long", "")))


def test_a_digest_is_told_from_a_key():
    assert is_digest(Secret("sk-1").digest().hex())
    assert not is_digest("sk-" + "a" * 61)
    assert not is_digest("A" * 64)
