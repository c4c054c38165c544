"""True and false as query parameters say them: pydantic's words, which LiteLLM's clients send."""

_TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def read_flag(text: str) -> bool | None:
    """What a word in any letter case says; None when it is neither true nor false."""
    return _TRUTH.get(text.lower())
