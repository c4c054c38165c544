"""Bodies that some parser may misread, made up from a seed."""

import json
from typing import NamedTuple

BOUNDARY = "xYzZy"
MODELS = ("ok", "no", "gpt-4", "openai/o1-mini", "\u043ek", "o\u00e9", "\U0001f600", " ok\\n")
TWINS = ("Model", "MODEL", "mOdel", "\uff4dodel", "mo\u2146el", "mode\u217c", "model\\u0000x")
STRANGERS = (
    "models",
    "mode",
    "model ",
    "model.name",
    "mode\u200bl",
    "messages",
    "fallbacks",
    "user",
    "",
)
VALUES = (
    "null",
    "true",
    "-0.0",
    "1e999",
    "9" * 400,
    "[]",
    '{"model":"no"}',
    '[{"model":"no","Model":1},"model"]',
    '{"a":{"model":{"model":"no"}}}',
    '"\\"model\\":\\"no\\""',
    '"\\u006dodel"',
    '"\\ud83d\\ude00"',
    "[" * 60 + "]" * 60,
)
BROKEN_VALUES = ("NaN", "-Infinity", "01", "'no'", '"\\ud800"', '"\t"', "1.", "[1,]", "/**/1")
SPACES = ("", "", "", " ", "\n", "\t\r\n")
BROKEN_SPACES = ("\u00a0", "\x0b", "\x00", "// c\n", "\ufeff")
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")


class Body(NamedTuple):
    """A body as a client sends it; `boundary` is "" for JSON."""

    boundary: str
    data: bytes
    path_model: str | None


def body(random):
    """Any body: some are plain, most have something that two parsers may read differently."""
    made = (_json if random.random() < 0.65 else _form)(random)
    if random.random() < 0.04:
        made = made._replace(data=_damaged(random, made.data))
    return made


def _damaged(random, data):
    """With some bytes changed, lost or doubled."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(4):
            case 0:
                changed[at:at] = bytes([random.randrange(256)])
            case 1:
                del changed[at : at + random.randint(1, 8)]
            case 2:
                changed[at:at] = changed[: random.randint(1, 40)]
            case _:
                changed[at : at + 1] = random.choice((b'"', b"\\", b"\r\n", b"{", b"}", b"\x00"))
    return bytes(changed)


def _json(random):
    is_wild = random.random() < 0.35
    members = [_member(random, "model")] if random.random() < 0.9 else []
    for _ in range(random.randint(0, 4)):
        names = STRANGERS
        if is_wild and random.random() < 0.3:
            names = (*TWINS, "model")
        members.append(_member(random, random.choice(names)))
    random.shuffle(members)
    text = "{" + ",".join(members) + random.choice(("}", "}", "}", "}", "}\n"))
    if is_wild and random.random() < 0.1:
        text = random.choice((text + "{}", text[:-1] + ",}", "[" + text + "]", text * 2, text[1:]))
    encoding = "utf-8"
    if is_wild and random.random() < 0.08:
        encoding = random.choice(ENCODINGS)
    data = text.encode(encoding, "replace" if encoding == "cp1252" else "strict")
    return Body("", data, random.choice((None, None, None, None, "ok")))


def _member(random, name):
    value = random.choice(VALUES)
    if name == "model" or random.random() < 0.3:
        value = _spelled(random, random.choice(MODELS))
    spaces = SPACES
    if random.random() < 0.02:
        value, spaces = random.choice(BROKEN_VALUES), (*SPACES, *BROKEN_SPACES)
    around = [random.choice(spaces) for _ in range(4)]
    return "{0}{name}{1}:{2}{value}{3}".format(*around, name=_spelled(random, name), value=value)


def _spelled(random, text):
    """As a JSON string, some of its characters escaped in one of the ways JSON has."""
    share = random.choice((0, 0, 0, 0.3, 1))
    out = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":  # an escape that stands in the name itself
            width = 6 if text[at + 1] == "u" else 2
            out.append(text[at : at + width])
            at += width
            continue
        if random.random() < share:
            units = char.encode("utf-16-be").hex()
            form = random.choice((str.lower, str.upper))
            char = "".join("\\u" + form(units[i : i + 4]) for i in range(0, len(units), 4))
        elif char == "/" and random.random() < 0.3:
            char = "\\/"
        out.append(char)
        at += 1
    return '"' + "".join(out) + '"'


HEADS = (
    'form-data; name="{name}"',
    'form-data; name="{name}"',
    'form-data; name="{name}"',
    'form-data; name="{name}"; filename="a.wav"',
    "form-data; name=\"{name}\"; filename*=UTF-8''a%20b",
    'Form-Data;name="{name}"',
)
BROKEN_HEADS = (
    "form-data; name={name}",
    "form-data; name*=UTF-8''{name}",
    'form-data; name="x"; name="{name}"',
    "form-data; name=\"x\"; name*=UTF-8''{name}",
    'form-data; name*0="mo"; name*1="del"',
    'form-data; filename="; name="{name}"; x=""; name="x"',
    'form-data; NAME="{name}"',
    'form-data; name="=?utf-8?q?{name}?="',
    'form-data; name="mo\\del"',
    'form-data; name="%6dodel"',
    'attachment; name="{name}"',
)
EXTRA_LINES = ("Content-Type: text/plain", "Content-Type: audio/wav", "X-Other: 1")
BROKEN_LINES = (
    "Content-Transfer-Encoding: base64",
    "Content-Type: multipart/mixed; boundary=q",
    "Content-Type: text/plain; charset=utf-7",
    'Content-Disposition: form-data; name="model"',
    " folded",
    "Content-Disposition : form-data",
)


def _form(random):
    is_wild = random.random() < 0.4
    parts = [_part(random, "model", is_file=False)] if random.random() < 0.9 else []
    for _ in range(random.randint(0, 3)):
        names = ("file", "prompt", "models", "n", "user[]")
        if is_wild and random.random() < 0.3:
            names = ("Model", "model", " model", "\uff4dodel", "_charset_")
        parts.append(_part(random, random.choice(names), is_file=random.random() < 0.3))
    if is_wild and random.random() < 0.5:
        parts.append(_part(random, "model", is_file=False, is_broken=True))
    random.shuffle(parts)
    out = b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts)
    before, after = b"", random.choice((b"", b"\r\n"))
    if is_wild and random.random() < 0.15:
        before = random.choice((b"preamble\r\n", b"\r\n", b'--x\r\n\r\n{"model":"no"}\r\n'))
        after = random.choice((b"x", b"\r\nepilogue", b"\r\n--" + BOUNDARY.encode()))
    out = before + out + f"--{BOUNDARY}--".encode() + after
    if is_wild and random.random() < 0.05:
        out = out.replace(b"\r\n", random.choice((b"\n", b"\r", b"\n\r\n")))
    return Body(BOUNDARY, out, random.choice((None, None, None, None, "ok")))


def _part(random, name, *, is_file, is_broken=False):
    heads, lines = HEADS[:3], EXTRA_LINES[:1]
    if is_file:
        heads, lines = HEADS, EXTRA_LINES
    if is_broken:
        heads, lines = (*HEADS, *BROKEN_HEADS), (*EXTRA_LINES, *BROKEN_LINES)
    head = ["Content-Disposition: " + random.choice(heads).format(name=name)]
    if random.random() < (0.5 if is_broken else 0.15):
        head.append(random.choice(lines))
    values = [model.encode() for model in MODELS]
    if is_file or random.random() < 0.1:
        values = [
            random.randbytes(30),
            f"\r\n--{BOUNDARY}x".encode(),
            b'Content-Disposition: form-data; name="model"\r\n\r\nno',
            b"",
            f"\n--{BOUNDARY}\n".encode(),
            json.dumps({"model": "no"}).encode(),
        ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + random.choice(values)
