import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from services.gateway.list_query import ListQuery, read_list_query
from services.keys.errors import InvalidRequest, WrongFields
from services.keys.json_body import BODY, read_object
from services.keys.reading import RESTRICTING, read_body, read_query
from services.keys.requests import (
    KeyBulkUpdate,
    KeyDelete,
    KeyGenerate,
    KeyListQuery,
    KeyUpdate,
)
from services.keys.team_requests import (
    MemberAdd,
    MemberBulkAdd,
    MemberUpdate,
    TeamModels,
    TeamNew,
    TeamUpdate,
)
from services.keys.user_requests import UserNew


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"max_budget": 0,}', "trailing comma at line 1, column 17"),
        ('{"models": ["a",\n ]}', "trailing comma at line 1, column 16"),
        ("{,}", "trailing comma at line 1, column 2"),
        ('{"models": ["a"], # why\n"b": 0}', "comment (JSON has none) at line 1, column 19"),
        ('{"a": 1 // why\n}', "comment (JSON has none) at line 1, column 9"),
        ('{\n  "a": 1, /* why */\n}', "comment (JSON has none) at line 2, column 11"),
        ('{"a": 1}\n# why', "comment (JSON has none) at line 2, column 1"),
        ("", "unexpected end of the body at line 1, column 1"),
        ('{"a": 1', "unexpected end of the body at line 1, column 8"),
        ('{"a', "a string that does not end at line 1, column 2"),
        ("{'a': 1}", "single quote (JSON takes double quotes) at line 1, column 2"),
        ('{"a": 1}\n{}', "something after the end of the object at line 2, column 1"),
        ('{"a": "x\ny"}', "a control character in a string"),
        ('{"a": "\\x"}', "an invalid escape in a string"),
        ("\ufeff{}", "byte order mark at line 1, column 1"),
        ('{"a" 1}', "unexpected '1' (expecting ':' delimiter) at line 1, column 6"),
    ],
)
def test_what_is_wrong_with_malformed_json_is_named_with_its_place(body, message):
    with pytest.raises(InvalidRequest) as caught:
        read_object(body.encode())
    assert message in caught.value.message
    assert caught.value.param == BODY


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"models": ["a"], "models": []}', "'models' occurs twice"),
        (b'{"metadata": {"a": 1, "a": 2}}', "'a' occurs twice"),
        (b'{"models": [], "\\u006dodels": ["a"]}', "'models' occurs twice"),
        (b'{"max_budget": NaN}', "NaN is not JSON"),
        (b'{"max_budget": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_a_body_with_two_readings_or_none_is_refused(body, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        read_object(body)
    assert caught.value.param == BODY


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"rpm_limit": 9223372036854775808}', "rpm_limit"),
        ('{"metadata": {"a": [0, -9223372036854775809]}}', "metadata.a[1]"),
        ('{"max_budget": 1e999}', "max_budget"),
        ('{"metadata": {"a\\u0000b": 1}}', "metadata"),
        ('{"metadata": {"\\ud800": 1}}', "metadata"),
        ('{"user_id": "\\ud800"}', "user_id"),
        ('{"metadata": ' + "[" * 60 + "]" * 60 + "}", "metadata" + "[0]" * 49),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_by_name(body, param):
    with pytest.raises(InvalidRequest) as caught:
        read_object(body.encode())
    assert caught.value.param == param


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"])), JSON, max_size=4))
def test_every_storable_object_is_read_as_it_is(value):
    assert read_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_parse_or_be_refused(body):
    try:
        read_object(body)
    except InvalidRequest as refused:
        assert refused.message  # noqa: PT017  either outcome is right


def test_absent_null_and_empty_are_three_things():
    request, _ = read_body({"metadata": None, "tags": []}, KeyUpdate)
    assert request.metadata is None
    assert request.tags == []
    assert request.models is UNSET


def test_an_empty_string_for_a_budget_is_null():
    request, _ = read_body({"max_budget": ""}, KeyGenerate)
    assert request.max_budget is None


@pytest.mark.parametrize(
    ("body", "request_type", "problem"),
    [
        ({"models": "gpt-4"}, KeyGenerate, ("list_type", ("body", "models"))),
        ({"models": ["a", 1]}, KeyGenerate, ("string_type", ("body", "models", 1))),
        ({"aliases": []}, KeyGenerate, ("dict_type", ("body", "aliases"))),
        ({"blocked": "yes"}, KeyGenerate, ("bool_type", ("body", "blocked"))),
        ({"rpm_limit": "5"}, KeyGenerate, ("int_type", ("body", "rpm_limit"))),
        ({"max_budget": "x"}, KeyGenerate, ("float_type", ("body", "max_budget"))),
        ({"model_rpm_limit": {"a": "x"}}, KeyGenerate, ("int_type", ("body", "model_rpm_limit"))),
        ({"key_type": "root"}, KeyGenerate, ("literal_error", ("body", "key_type"))),
        ({}, TeamUpdate, ("missing", ("body", "team_id"))),
        ({"team_id": None}, TeamUpdate, ("string_type", ("body", "team_id"))),
        (
            {"members_with_roles": [{"user_id": "u"}]},
            TeamNew,
            ("missing", ("body", "members_with_roles", 0, "role")),
        ),
    ],
)
def test_a_wrong_type_is_told_in_pydantics_words(body, request_type, problem):
    with pytest.raises(WrongFields) as caught:
        read_body(body, request_type)
    (found,) = caught.value.problems
    assert (found.type, found.loc) == problem
    assert found.msg


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"size": "101"}, ("less_than_equal", ("query", "size"))),
        ({"page": "0"}, ("greater_than_equal", ("query", "page"))),
        ({"page": "x"}, ("int_type", ("query", "page"))),
        ({"sort_by": "secret"}, ("literal_error", ("query", "sort_by"))),
        ({"dangling": "maybe"}, ("bool_type", ("query", "dangling"))),
        ({"dangling": ""}, ("bool_type", ("query", "dangling"))),
    ],
)
def test_a_wrong_query_is_told_the_same_way(query, problem):
    with pytest.raises(WrongFields) as caught:
        read_query(query, KeyListQuery)
    (found,) = caught.value.problems
    assert (found.type, found.loc) == problem


def test_query_text_becomes_numbers_and_truth_values():
    query = read_query({"page": "2", "return_full_object": "true", "team_id": "7"}, KeyListQuery)
    assert (query.page, query.return_full_object, query.team_id) == (2, True, "7")


# Pydantic 2's words for a bool; its documentation lists them.
@pytest.mark.parametrize("word", ["true", "TRUE", "t", "yes", "y", "on", "1", "Yes"])
@pytest.mark.parametrize("opposite", ["false", "False", "f", "no", "n", "off", "0", "OFF"])
def test_a_flag_is_read_in_pydantics_words(word, opposite):
    query = read_query({"dangling": word, "substring_matching": opposite}, KeyListQuery)
    assert (query.dangling, query.substring_matching) == (True, False)
    names = ((word, "only_model_access_groups"), (opposite, "return_wildcard_routes"))
    listed = read_list_query((name, said) for said, name in names)
    assert listed == ListQuery(only_model_access_groups=True)


def test_an_unknown_field_is_ignored_with_a_warning():
    _, warnings = read_body({"foo": 1, "models": ["a"], "bar": 2}, KeyGenerate)
    assert warnings == ("unknown field 'bar' was ignored", "unknown field 'foo' was ignored")


@pytest.mark.parametrize(
    ("field", "request_type", "intended"),
    [
        ("Models", KeyGenerate, "models"),
        ("MODELS", TeamNew, "models"),
        ("model", KeyGenerate, "models"),
        ("modles", KeyGenerate, "models"),
        ("allowed_models", KeyGenerate, "models"),
        ("access_groups", TeamNew, "models"),
        ("teamId", KeyGenerate, "team_id"),
        ("team-id", KeyUpdate, "team_id"),
        ("team", KeyGenerate, "team_id"),
        ("durations", KeyGenerate, "duration"),
        ("expires_in", KeyGenerate, "duration"),
        ("block", KeyUpdate, "blocked"),
        ("allowed_route", KeyGenerate, "allowed_routes"),
        ("alias", KeyGenerate, "aliases"),
        ("model_alias", TeamNew, "model_aliases"),
        ("aliases", TeamNew, "model_aliases"),
        ("model_aliases", KeyGenerate, "aliases"),
        ("key", KeyDelete, "keys"),
        ("model", TeamModels, "models"),
        ("userId", KeyGenerate, "user_id"),
        ("userid", KeyGenerate, "user_id"),
        ("user", KeyGenerate, "user_id"),
        ("userid", KeyUpdate, "user_id"),
        ("keytype", KeyGenerate, "key_type"),
        ("keyType", KeyUpdate, "key_type"),
        ("expires", KeyGenerate, "duration"),
        ("expires", UserNew, "duration"),
        ("models", MemberAdd, "allowed_models"),
        ("model", MemberBulkAdd, "allowed_models"),
        ("models", MemberUpdate, "allowed_models"),
    ],
)
def test_a_near_miss_of_a_restricting_field_is_refused(field, request_type, intended):
    with pytest.raises(InvalidRequest, match=f"did you mean '{intended}'") as caught:
        read_body({field: ["x"]}, request_type)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("body", "request_type", "where"),
    [
        ({"member": {"allowed_models": ["x"]}}, MemberAdd, "member.allowed_models"),
        ({"member": [{}, {"models": ["x"]}]}, MemberAdd, "member[1].models"),
        ({"members": [{"userId": "x"}]}, MemberBulkAdd, "members[0].userId"),
        ({"members_with_roles": [{"models": ["x"]}]}, TeamNew, "members_with_roles[0].models"),
        ({"keys": [{"key": "x"}, {"model": "x"}]}, KeyBulkUpdate, "keys[1].model"),
        ({"keys": [{"models": ["x"]}]}, KeyBulkUpdate, "keys[0].models"),
        ({"keys": [{"blockd": True}]}, KeyBulkUpdate, "keys[0].blockd"),
        ({"keys": [{"teamid": "x"}]}, KeyBulkUpdate, "keys[0].teamid"),
    ],
)
def test_what_would_restrict_is_refused_inside_an_object_that_does_not_have_it(
    body, request_type, where
):
    with pytest.raises(InvalidRequest, match="unknown field") as caught:
        read_body(body, request_type)
    assert caught.value.param == where
    assert where in caught.value.message


def test_another_unknown_field_inside_an_object_is_ignored_with_a_warning_that_has_its_path():
    body = {"team_id": "t", "member": [{"role": "user", "user_id": "u", "nick": "x"}]}
    assert read_body(body, MemberAdd)[1] == ("unknown field 'member[0].nick' was ignored",)
    body = {"keys": [{"key": "a", "tags": []}, {"key": "b", "spend": 1}]}
    assert read_body(body, KeyBulkUpdate)[1] == ("unknown field 'keys[1].spend' was ignored",)


def test_a_row_with_its_user_and_its_end_can_be_sent_back_as_an_update():
    _, warnings = read_body({"key": "k", "user": {"user_id": "u"}, "expires": "x"}, KeyUpdate)
    assert warnings == ("unknown field 'expires' was ignored", "unknown field 'user' was ignored")


@pytest.mark.parametrize("request_type", [KeyUpdate, TeamNew, TeamUpdate])
def test_rows_can_be_sent_back(request_type):
    rows = (
        "token token_id key_name expires created_at created_by updated_at updated_by status"
        " litellm_budget_table budget_reset_at team_memberships spend"
    )
    sent = dict.fromkeys(rows.split(), None) | {"team_id": "t"}
    read_body(sent, request_type)


@given(st.sampled_from(sorted(RESTRICTING & set(KeyGenerate.__struct_fields__))), st.data())
def test_no_single_slip_in_a_restricting_name_is_ignored(field, data):
    at = data.draw(st.integers(0, len(field) - 1))
    kind = data.draw(st.sampled_from(["drop", "double", "upper"]))
    slip = {
        "drop": field[:at] + field[at + 1 :],
        "double": field[:at] + field[at] + field[at:],
        "upper": field[:at] + field[at].upper() + field[at + 1 :],
    }[kind]
    if slip == field or slip in KeyGenerate.__struct_fields__ or len(slip) < 3:
        return
    with pytest.raises(InvalidRequest):
        read_body({slip: "x"}, KeyGenerate)
