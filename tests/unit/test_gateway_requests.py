"""A request's body has one reading: what was checked is what any upstream parser reads."""

import json
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.errors import Rejected
from services.gateway.requests import ROUTING_MEMBERS, check_content_type, is_twin, read
from shared.decisions import trimmed

BOUNDARY = "xYzZy"


def read_json(text, path_model=None):
    data = text if isinstance(text, bytes) else text.encode()
    return read("", data, path_model)


def sent(body, upstream_model="up"):
    return b"".join(body.render(upstream_model).pieces)


def refusal(data, path_model=None, boundary=""):
    with pytest.raises(Rejected) as refused:
        read(boundary, data if isinstance(data, bytes) else data.encode(), path_model)
    return refused.value


def first_wins(pairs):
    return dict(reversed(pairs))


def every_reading(data):
    """The model as first-wins, last-wins and case-folding parsers find it."""
    pairs = json.loads(data, object_pairs_hook=list)
    folded = [value for name, value in pairs if name.casefold() == "model"]
    return {dict(pairs)["model"], first_wins(pairs)["model"], *folded}


def test_every_other_member_crosses_byte_for_byte():
    text = (
        '{"messages": [ {"role":"user" ,"content":"\\u00e9\\ud83d\\ude00"} ],"model":"a",'
        '"n":1e999,"seed":123456789012345678901234567890}'
    )
    body = read_json(text)
    assert body.model == "a"
    assert sent(body) == (
        b'{"messages":[ {"role":"user" ,"content":"\\u00e9\\ud83d\\ude00"} ],"model":"up",'
        b'"n":1e999,"seed":123456789012345678901234567890}'
    )


LARGE = "x" * 70_000


def test_a_large_body_that_needs_no_change_is_not_copied():
    data = f'{{ "model" : "a",  "messages":"{LARGE}" }}\n'.encode()
    body = read_json(data)
    assert body.render("a").pieces[0] is data
    for _ in range(2):
        assert sent(body) != data
    assert json.loads(sent(body)) == {"model": "up", "messages": LARGE}


@pytest.mark.parametrize(
    "members",
    [
        '"model":"a","api_base":"http://elsewhere"',
        '"model":"a","metadata":{"model":"b"}',
        '"model":"\\u0061"',
        '"model":" a"',
        '"m":"a"',
    ],
)
def test_a_large_body_in_which_anything_could_be_taken_for_its_model_is_written_anew(members):
    data = f'{{{members}, "messages":"{LARGE}"}}'.encode()
    came = sent(read_json(data, "a"), "a")
    assert came != data
    assert every_reading(came) == {"a"}
    assert b"elsewhere" not in came


def test_the_model_is_stripped_and_nothing_else():
    assert read_json('{"model": " gpt-4\\n"}').model == "gpt-4"
    assert read_json('{"model": "GPT/../x*"}').model == "GPT/../x*"


@pytest.mark.parametrize(
    "text",
    [
        '{"model":"ok","model":"no"}',
        '{"model":"ok","\\u006dodel":"no"}',
        '{"\\u006dodel":"ok","\\u006D\\u006F\\u0064\\u0065\\u006C":"no"}',
        '{"model":"ok","mod\\u0065l":"no"}',
        '{"model":"ok","Model":"no"}',
        '{"MODEL":"no","model":"ok"}',
        '{"model":"ok","\uff4dodel":"no"}',
        '{"model":"ok","mo\u2146el":"no"}',
        '{"model":"ok","tools":[{"model":"x"}],"model":"no"}',
        '{"Model":"no"}',
        '{"model":"ok","model\\u0000":"no"}',
        '{"MODEL\\u0000x":"no","model":"ok"}',
    ],
)
def test_two_members_that_could_both_be_the_model_are_refused(text):
    refused = refusal(text)
    assert (refused.status, refused.param) == (400, "model")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b'{"model":"a","x":[' + b"{}," * 2_000_000 + b'0],"y":{"model":1}}', None),
        (b'{"model":"a","x":[' + b"{}," * 2_000_000 + b'0],"y":"\\u006d"}', None),
        (b'{"model":"a","x":[' + b"{}," * 2_000_000 + b'0],"model":"b"}', 400),
        (b'{"mod\\u0065l":"a","x":[' + b"{}," * 2_000_000 + b"0]}", 400),
    ],
)
def test_a_large_body_costs_no_more_for_a_second_model_in_it(data, status):
    plain = data.replace(b'"y":{"model":1}', b'"y":{"ledom":1}').replace(b"u006", b"u016")

    def measured(body):
        began = time.process_time()
        found = None
        try:
            read("", body, None)
        except Rejected as rejected:
            found = rejected.status
        return time.process_time() - began, found

    seconds, found = measured(data)
    assert found == status
    assert seconds < 4 * min(measured(plain)[0] for _ in range(3)) + 0.05


@pytest.mark.parametrize(
    "text",
    [
        '{"model":"ok","tools":[{"properties":{"model":{"type":"string"}}}]}',
        '{"model":"ok","messages":[{"content":"say \\"model\\": \\u006dodel"}]}',
        '{"\\u006dodel":"ok"}',
        '{"model":"ok","user":"a","user":"b"}',
        '{"model":"ok","models2":["no"],"modes":1,"yodel":2}',
        '{"model":"ok","n":' + "9" * 5000 + "}",
    ],
)
def test_one_model_is_read_alike_by_every_parser(text):
    body = read_json(text)
    assert body.model == "ok"
    assert every_reading(sent(body).replace(b"9" * 5000, b"9")) == {"up"}


@pytest.mark.parametrize("name", sorted(ROUTING_MEMBERS))
def test_a_member_that_would_route_is_dropped_and_its_neighbours_stay(name):
    body = read_json(json.dumps({"model": "m", name: "http://evil", "user": "u"}))
    assert json.loads(sent(body)) == {"model": "up", "user": "u"}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b'"model"', "object"),
        (b"null", "object"),
        (b'\xef\xbb\xbf{"model":"a"}', "JSON"),
        ('{"model":"a"}'.encode("utf-16"), "UTF-8"),
        ('{"model":"a"}'.encode("utf-16-le"), "JSON"),
        (b'{"model":"a","x":"\xff"}', "UTF-8"),
        (b'{"model":"a","x":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"model":"\\ud800"}', "JSON"),
        (b'{"model":"a","x":NaN}', "JSON"),
        (b'{"model":"a","x":Infinity}', "JSON"),
        (b'{"model":"a",}', "JSON"),
        (b'{"model":"a"} {}', "JSON"),
        (b'{"model":"a" /* c */}', "JSON"),
        (b'{"model":"a","x":"\x01"}', "JSON"),
        (b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        (b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        (b'{"model":"a",' + b",".join(b'"k%d":1' % i for i in range(2000)) + b"}", "members"),
    ],
)
def test_a_body_that_parsers_disagree_about_is_refused(data, word):
    refused = refusal(data)
    assert refused.status == 400
    assert word in refused.message


def test_a_syntax_error_is_placed_by_line_and_column():
    assert "line 3, column 1" in refusal('{\n"model": "a",\n}').message


def test_a_megabyte_of_name_is_passed_over():
    body = read_json('{"model":"a","' + "k" * 1_000_000 + '":1}')
    assert len(sent(body)) > 1_000_000


def test_a_name_that_would_grow_eighteenfold_is_not_written_out():
    name = "\ufdfa" * 100_000
    for end in ("", "\\u0000", "\\u0000x"):
        text = f'{{"model":"a","{name}{end}":1}}'
        tracemalloc.start()
        try:
            assert read_json(text).model == "a"
            assert tracemalloc.get_traced_memory()[1] < 8 * len(text.encode())
        finally:
            tracemalloc.stop()


def test_members_without_number_are_refused_before_they_are_kept():
    text = '{"model":"a",' + ",".join(f'"{number}":1' for number in range(200_000)) + "}"
    tracemalloc.start()
    try:
        assert "more than 1000 members" in refusal(text).message
        assert tracemalloc.get_traced_memory()[1] < 3 * len(text)  # bytes, and a text of them
    finally:
        tracemalloc.stop()


def test_members_of_members_are_not_counted():
    messages = '[{"role":"user"},' + ",".join('{"a":":"}' for _ in range(70_000)) + "]"
    for end in ("", f',"b":{messages}'):
        assert messages.encode() in sent(read_json(f'{{"model":"a","messages":{messages}{end}}}'))
    broken = refusal(f'{{"model":"a","messages":{messages[:-1]}}}')
    assert "not valid JSON" in broken.message


@pytest.mark.parametrize("value", ["[]", '["a"]', "{}", "1", "true", "1e999"])
def test_a_model_that_is_no_string_is_refused(value):
    refused = refusal(f'{{"model":{value}}}')
    assert (refused.status, refused.message, refused.param) == (
        400,
        "'model' must be a string.",
        "model",
    )


@pytest.mark.parametrize("text", ["{}", '{"model":null}', '{"model":""}', '{"model":"  "}'])
def test_a_missing_model_is_named_as_what_is_missing(text):
    refused = refusal(text)
    assert (refused.status, refused.kind, refused.param) == (400, "invalid_request_error", "model")


def test_the_path_may_name_the_model_and_must_not_disagree():
    assert read_json("{}", "gpt-4").model == "gpt-4"
    assert read_json('{"model":"gpt-4"}', "gpt-4").model == "gpt-4"
    assert refusal('{"model":"gpt-4"}', "gpt-4o").status == 400


def test_a_form_from_a_path_gets_the_model_field():
    body = read(BOUNDARY, form(("prompt", None, b"x")), "whisper")
    assert parts_of(body) == [("model", None, b"up"), ("prompt", None, b"x")]


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.none(), max_size=8),
    st.text(min_size=1, max_size=30).filter(trimmed),
    st.text(min_size=1, max_size=30),
)
def test_the_decided_model_is_the_only_one_sent(others, model, upstream_model):
    others = {name: value for name, value in others.items() if not is_twin(name)}
    text = json.dumps({**others, "model": model})
    body = read_json(text)
    assert body.model == trimmed(model)
    out = sent(body, upstream_model)
    assert every_reading(out) == {upstream_model}
    assert msgspec.json.decode(out) == json.loads(out)


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_body_or_a_refusal(data):
    for boundary in ("", BOUNDARY):
        for body in (data, b'{"model":"a",' + data, b"--xYzZy\r\n" + data + b"\r\n--xYzZy--"):
            try:
                read(boundary, body, None)
            except Rejected as refused:
                assert refused.status == 400  # noqa: PT017


# Forms.


def form(*parts, boundary=BOUNDARY, before=b"", after=b"\r\n"):
    out = before
    for name, filename, value in parts:
        disposition = name if name.startswith("form-data") else f'form-data; name="{name}"'
        if filename is not None:
            disposition += f'; filename="{filename}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
        out += head.encode() + value + b"\r\n"
    return out + f"--{boundary}--".encode() + after


def parts_of(body, upstream_model="up"):
    """The sent form as a plain reader finds it."""
    rendered = body.render(upstream_model)
    data = b"".join(rendered.pieces)
    assert rendered.length == len(data)
    boundary = rendered.content_type.removeprefix("multipart/form-data; boundary=")
    found = []
    for piece in data.split(b"--" + boundary.encode())[1:-1]:
        head, _, value = piece[2:-2].partition(b"\r\n\r\n")
        text = head.decode()
        name = text.split('name="')[1].split('"')[0]
        filename = text.split('filename="')[1].split('"')[0] if "filename=" in text else None
        found.append((name, filename, value))
    return found


def test_a_form_is_encoded_anew_with_one_model_and_its_file_unchanged():
    sound = bytes(range(256)) * 40
    data = form(("file", "a \u00e9.wav", sound), ("model", None, b" whisper-1 "), ("n", None, b""))
    body = read(BOUNDARY, data, None)
    assert body.model == "whisper-1"
    assert parts_of(body) == [
        ("model", None, b"up"),
        ("file", "a \u00e9.wav", sound),
        ("n", None, b""),
    ]
    assert BOUNDARY.encode() not in b"".join(body.render("up").pieces)


def test_a_form_drops_the_members_that_would_route():
    body = read(BOUNDARY, form(("model", None, b"m"), ("api_base", None, b"http://evil")), None)
    assert parts_of(body) == [("model", None, b"up")]


OK = ("model", None, b"ok")


@pytest.mark.parametrize(
    "data",
    [
        form(OK, ("model", None, b"no")),
        form(OK, ("Model", None, b"no")),
        form(OK, (" model", None, b"no")),
        form(OK, ("\uff4dodel", None, b"no")),
        form(("model", "m.txt", b"ok")),
        form(("form-data; name=model", None, b"ok")),
        form(OK, ("form-data; name*=UTF-8''model", None, b"no")),
        form(OK, ('form-data; name="x"; name="model"', None, b"no")),
        form(OK, ("form-data; name=\"x\"; name*=UTF-8''model", None, b"no")),
        form(OK, ('form-data; name="x\\"; name=\\"model"', None, b"no")),
        form(OK, ('form-data; NAME="model"', None, b"no")),
        form(OK, ("form-data", None, b"no")),
        form(OK, ('attachment; name="model"', None, b"no")),
        form(OK, ("_charset_", None, b"utf-7")),
        form(OK, ("=?utf-8?q?model?=", None, b"no")),
        form(OK, before=b"preamble\r\n"),
        form(OK, after=b"\r\nepilogue"),
        form(OK, after=b"x"),
        form(OK)[:-4],
        form(OK).replace(b"\r\n", b"\n"),
        form(OK, boundary="other"),
        b"",
        form(),
        form(("model", None, b"\xff")),
        form(("model", None, b"")),
        form(("prompt", None, b"no model")),
        (
            b'--xYzZy\r\nContent-Disposition: form-data; name="model"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\nb2s=\r\n--xYzZy--"
        ),
        (
            b'--xYzZy\r\nContent-Disposition: form-data; name="model"\r\n'
            b"Content-Type: text/plain; charset=utf-7\r\n\r\nok\r\n--xYzZy--"
        ),
        (
            b'--xYzZy\r\nContent-Disposition: form-data; name="x"\r\n'
            b"Content-Type: multipart/mixed; boundary=q\r\n\r\nok\r\n--xYzZy--"
        ),
        (
            b'--xYzZy\r\nContent-Disposition: form-data; name="x"\r\n'
            b'Content-Disposition: form-data; name="model"\r\n\r\nok\r\n--xYzZy--'
        ),
        b'--xYzZy\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nok\r\n--xYzZy--',
        b"--xYzZy\r\n\r\nok\r\n--xYzZy--",
        b'--xYzZy \r\nContent-Disposition: form-data; name="model"\r\n\r\nok\r\n--xYzZy--',
        form(*[(f"p{i}", None, b"") for i in range(300)], OK),
    ],
)
def test_a_form_that_parsers_read_differently_is_refused(data):
    assert refusal(data, boundary=BOUNDARY).status == 400


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("json", None),
        ("json", ""),
        ("json", "text/plain"),
        ("json", "application/json; charset=utf-16"),
        ("json", "application/json; charset=utf-8; charset=utf-16"),
        ("json", "application/json, text/plain"),
        ("json", "application/jsonp"),
        ("json", "multipart/form-data; boundary=x"),
        ("multipart", None),
        ("multipart", "application/json"),
        ("multipart", "multipart/form-data"),
        ("multipart", "multipart/form-data; boundary="),
        ("multipart", "multipart/form-data; boundary=a; boundary=b"),
        ("multipart", "multipart/form-data; boundary=a; charset=utf-7"),
        ("multipart", 'multipart/form-data; boundary="a b "'),
        ("multipart", "multipart/form-data; boundary=" + "b" * 71),
        ("multipart", "multipart/mixed; boundary=a"),
    ],
)
def test_another_content_type_is_415(kind, content_type):
    with pytest.raises(Rejected) as refused:
        check_content_type(kind, content_type)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
)
def test_json_is_json_with_or_without_its_charset(content_type):
    assert check_content_type("json", content_type) == ""


def test_a_boundary_may_be_quoted():
    assert check_content_type("multipart", 'multipart/form-data; boundary="a b"') == "a b"
