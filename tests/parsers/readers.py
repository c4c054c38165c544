"""Parsers that upstreams have, or what they do: each tells every model it could take from a body.

A reader raises `Unreadable` for bytes that it refuses.
"""

import base64
import email.policy
import json
import shutil
import subprocess
import unicodedata
from contextlib import contextmanager

import aiohttp
import msgspec


class Unreadable(Exception):
    """This parser takes the bytes for no body at all."""


def _pairs(data):
    try:
        pairs = json.loads(data, object_pairs_hook=list, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    if not isinstance(pairs, list) or not all(isinstance(each, tuple) for each in pairs):
        raise Unreadable
    return pairs


def last_wins(data):
    return [dict(_pairs(data)).get("model")]


def first_wins(data):
    return [dict(reversed(_pairs(data))).get("model")]


def every_twin(data):
    """Each member that any folding of names takes for `model`: Go's, NFKC, a C string's."""
    names = [
        (unicodedata.normalize("NFKC", name.partition("\0")[0]).casefold(), value)
        for name, value in _pairs(data)
    ]
    return [value for name, value in names if name == "model"]


def go(data):
    """encoding/json: the last member whose name is `model` under simple case folding."""
    found = [value for name, value in _pairs(data) if name.lower() == "model"]
    return found[-1:]


class _OnlyModel(msgspec.Struct):
    model: str


def msgspec_struct(data):
    try:
        return [msgspec.json.decode(data, type=_OnlyModel).model]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable from error


def msgspec_dict(data):
    try:
        return [msgspec.json.decode(data)["model"]]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable from error


JSON_READERS = {
    reader.__name__: reader
    for reader in (last_wins, first_wins, every_twin, go, msgspec_struct, msgspec_dict)
}


def python_email(data, content_type):
    """The standard library's mail parser, as cgi and many frameworks' ancestors read forms."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + data, policy=email.policy.HTTP)
    if message.defects or not message.is_multipart():
        raise Unreadable
    return [
        part.get_payload(decode=True).decode()
        for part in message.iter_parts()
        if part.get_param("name", header="content-disposition") == "model"
    ]


class _Arrived:
    """A stream of which everything has arrived, as far as aiohttp's reader asks."""

    def __init__(self, data):
        self._data = data

    def unread_data(self, data):
        self._data = data + self._data

    def at_eof(self):
        return not self._data

    async def read(self, size):
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    async def readline(self, **_limits):
        end = self._data.find(b"\n") + 1
        return await self.read(end or len(self._data))


async def _with_aiohttp(data, content_type):
    reader = aiohttp.MultipartReader({"Content-Type": content_type}, _Arrived(data))
    found = []
    while (part := await reader.next()) is not None:
        value = await part.read()
        if part.name == "model":
            found.append(value.decode())
    return found


def aiohttp_form(data, content_type):
    """aiohttp's own reader of forms."""
    reading = _with_aiohttp(data, content_type)
    try:
        reading.send(None)  # nothing is waited for, so one step is all of it
    except StopIteration as done:
        return done.value
    except (ValueError, AssertionError) as error:
        raise Unreadable from error
    finally:
        reading.close()
    raise AssertionError


def case_blind(data, content_type):
    """A plain split at the boundary, and every part that any folding takes for `model`."""
    boundary = content_type.partition("boundary=")[2]
    found = []
    for piece in data.split(f"--{boundary}".encode())[1:-1]:
        head, _, value = piece[2:-2].partition(b"\r\n\r\n")
        name = head.decode().partition('name="')[2].partition('"')[0]
        if unicodedata.normalize("NFKC", name.strip()).casefold() == "model":
            found.append(value.decode())
    return found


FORM_READERS = {reader.__name__: reader for reader in (python_email, aiohttp_form, case_blind)}

_NODE = """
const lines = require('readline').createInterface({input: process.stdin});
(async () => {
  for await (const line of lines) {
    const [type, data] = JSON.parse(line);
    const bytes = Buffer.from(data, 'base64');
    let found = null;
    try {
      if (type === '') {
        const text = new TextDecoder('utf-8', {fatal: true}).decode(bytes);
        found = [JSON.parse(text).model];
      } else {
        const form = await new Response(bytes, {headers: {'content-type': type}}).formData();
        found = form.getAll('model');
      }
    } catch { }
    process.stdout.write(JSON.stringify(found) + '\\n');
  }
})();
"""


class Node:
    """A `node` that reads JSON with JSON.parse and forms as fetch does, in batches."""

    def __init__(self, process):
        self._process = process

    def read(self, bodies):
        """For each (content type or "", bytes) the models found, or None for an unreadable one."""
        lines = [json.dumps([kind, base64.b64encode(data).decode()]) for kind, data in bodies]
        self._process.stdin.write("\n".join(lines) + "\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in lines]


@contextmanager
def node():
    """A running `node`, or None on a machine without it."""
    command = shutil.which("node")
    if command is None:
        yield None
        return
    with subprocess.Popen(
        [command, "-e", _NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Node(process)
        finally:
            process.stdin.close()
            process.wait(10)
