"""multipart/form-data, read strictly and written anew.

Whatever parsers are known to read differently (preambles, unquoted or encoded names, transfer
encodings, nested parts) is refused, so what was read is all there is to read.
"""

import re
import secrets
from collections.abc import Sequence

import msgspec

from services.gateway.errors import Rejected

MAX_PARTS = 256
MAX_PART_HEAD = 8192
"""Bytes in the header lines of one part."""

_TYPE = re.compile(
    r"multipart/form-data[ \t]*;[ \t]*boundary="
    r"(?:\"([0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?])\"|([0-9A-Za-z'+_\-.]{1,70}))",
    re.IGNORECASE,
)
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_PARAMETER = re.compile(
    r"[ \t]*;[ \t]*(?:(name|filename)=\"([^\"\\\x00-\x1f\x7f]*)\""
    r"|(filename\*)=(UTF-8''[0-9A-Za-z%!#$&+\-.^_`|~]+))"
)
_PLAIN_TYPE = re.compile(
    r'text/plain(?:[ \t]*;[ \t]*charset="?(?:utf-8|us-ascii)"?)?', re.IGNORECASE
)
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


class Part(msgspec.Struct, frozen=True, gc=False):
    """One field. `value` is a view into the body it was read from, or bytes of its own."""

    name: str
    value: bytes | memoryview
    filename: str | None = None
    encoded_filename: str | None = None
    content_type: str | None = None


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart/form-data type that has exactly one and nothing else."""
    found = _TYPE.fullmatch(content_type)
    return found and (found[1] or found[2])


def parse(data: bytes, boundary: str) -> list[Part]:
    """Every part, in order. Raises Rejected (400) for anything but the plain form."""
    opening = b"--" + boundary.encode()
    delimiter = b"\r\n" + opening
    if not data.startswith(opening + b"\r\n"):
        raise _malformed(because="it does not begin with its boundary")
    view = memoryview(data)
    parts: list[Part] = []
    at = len(opening)
    while data[at : at + 2] == b"\r\n":
        if len(parts) == MAX_PARTS:
            raise _malformed(because=f"it has more than {MAX_PARTS} parts")
        begin = at + 2
        head = data.find(b"\r\n\r\n", begin, begin + MAX_PART_HEAD)
        end = data.find(delimiter, head + 2) if head >= 0 else -1
        if end < 0 or end < head + 4:
            raise _malformed(because="a part does not end")
        parts.append(_part(data[begin:head], view[head + 4 : end]))
        at = end + len(delimiter)
    if data[at:] not in (b"--", b"--\r\n"):
        raise _malformed(because="it does not end with its boundary")
    return parts


def _part(head: bytes, value: memoryview) -> Part:
    fields = _head_fields(head)
    disposition = fields.get("content-disposition")
    if disposition is None:
        raise _malformed(because="a part has no Content-Disposition")
    names = _disposition(disposition)
    encoding = fields.get("content-transfer-encoding", "binary").lower()
    content_type = fields.get("content-type")
    if encoding not in _PLAIN_ENCODINGS:
        raise _malformed(because="a part has a transfer encoding")
    if content_type is not None and (
        not content_type.isascii() or content_type.lower().startswith("multipart/")
    ):
        raise _malformed(because="a part has a content type that is not served")
    return Part(names["name"], value, names.get("filename"), names.get("filename*"), content_type)


def _head_fields(head: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise _malformed(because="a part's header is not UTF-8") from None
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None or found[1].lower() in fields:
            raise _malformed(because="a part's header is malformed or given twice")
        fields[found[1].lower()] = found[2].rstrip()
    return fields


def _disposition(value: str) -> dict[str, str]:
    """`name`, `filename` and `filename*`, each quoted where it must be and given once."""
    names: dict[str, str] = {}
    at = len("form-data")
    if value[:at].lower() != "form-data":
        raise _malformed(because="a part is not form-data")
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None or (found[1] or found[3]) in names:
            raise _malformed(because='a part must be named as name="...", once and quoted')
        names[found[1] or found[3]] = found[2] if found[1] else found[4]
        at = found.end()
    name = names.get("name")
    # A mail parser decodes `=?utf-8?q?model?=`.
    if not name or name == "_charset_" or "=?" in name:
        raise _malformed(because="a part has no usable name")
    return names


def plain_text(part: Part) -> str:
    """The text of a field that is no file. Raises Rejected (400)."""
    is_file = part.filename is not None or part.encoded_filename is not None
    if is_file or not (part.content_type is None or _PLAIN_TYPE.fullmatch(part.content_type)):
        raise Rejected(400, f"'{part.name}' must be a plain text field.", param=part.name)
    try:
        return str(part.value, "utf-8")
    except UnicodeDecodeError:
        raise Rejected(400, f"'{part.name}' is not UTF-8.", param=part.name) from None


def text_part(name: str, text: str) -> Part:
    """A plain text field."""
    return Part(name, text.encode())


def encode(parts: Sequence[Part]) -> tuple[list[bytes | memoryview], str]:
    """The pieces of a body with these parts, values uncopied, and its content type.

    The boundary is drawn anew from 128 random bits, so no value can contain it on purpose.
    """
    boundary = secrets.token_hex(16)
    pieces: list[bytes | memoryview] = []
    lead = f"--{boundary}\r\n"
    for part in parts:
        pieces += ((lead + _head(part)).encode(), part.value)
        lead = f"\r\n--{boundary}\r\n"
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    return pieces, f"multipart/form-data; boundary={boundary}"


def _head(part: Part) -> str:
    head = f'Content-Disposition: form-data; name="{part.name}"'
    if part.filename is not None:
        head += f'; filename="{part.filename}"'
    if part.encoded_filename is not None:
        head += f"; filename*={part.encoded_filename}"
    if part.content_type is not None:
        head += f"\r\nContent-Type: {part.content_type}"
    return head + "\r\n\r\n"


def _malformed(*, because: str) -> Rejected:
    return Rejected(400, f"The form cannot be read: {because}.")
