"""What reading bytes that somebody else wrote, or that are damaged, may raise."""

import msgspec

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec's decoders let out: a text that is not UTF-8 is no DecodeError to them."""
