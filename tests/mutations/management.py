"""Who may make which management call, and what they may not get by it."""

from tests.mutations import Mutation

_ROLES = "tests/service/test_roles_api.py"
_SEEN = "tests/service/test_seen_by_role_api.py"
_ESCALATION = "tests/service/test_escalation_api.py"
_REFUSED = f"{_ESCALATION}::test_is_refused"


def _of_keys(module: str, *broken: tuple[str, str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(f"services/keys/{module}.py", *each) for each in broken)


MUTATIONS = (
    *_of_keys(
        "roles",
        ('"POST /key/block": _LEADERS', '"POST /key/block": _OWN_KEYS', _ROLES),
        ('"POST /team/model/add": _ADMINS_ONLY', '"POST /team/model/add": _LEADERS', _ROLES),
        ('"GET /user/list": _ADMINS_READ', '"GET /user/list": _ADMINS_ONLY', _ROLES),
        (
            "_TEAM_KEYS = Rule(team_admin=_LED, user=_only(Scope.PERMITTED))",
            "_TEAM_KEYS = Rule(team_admin=_LED)",
            _SEEN,
        ),
        ("_SEE_TEAMS = _only(Scope.MEMBER, Scope.SELF)", "_SEE_TEAMS = _ANY", _SEEN),
        (
            "_MODEL_INFO = Rule(viewer=_ANY, user=_SELF,",
            "_MODEL_INFO = Rule(viewer=_ANY, user=_ANY,",
            _SEEN,
        ),
    ),
    *_of_keys(
        "permits",
        ("        _check_owner(state, caller, old, new)\n", "", f"{_REFUSED}[out of the team]"),
        ("        _check_end(caller, old, new)\n", "", _REFUSED),
        ("        check_models_given(state, caller, new)\n", "", _REFUSED),
        ("    _check_routes(caller, old, new)\n", "", _REFUSED),
        (
            "return acts and (not is_shown or user_id == caller.user_id)",
            "return acts",
            "tests/service/test_acting_for_users_api.py",
        ),
    ),
    *_of_keys(
        "key_lists",
        ("        *_list_of_maker(caller, team, new),\n", "", _REFUSED),
        (
            '        limits.append(("the calling key\'s team", of_team))\n',
            "",
            f"{_REFUSED}[more than the calling key's team]",
        ),
        (
            "        if member is not None:\n            limits.append(",
            "        if False:\n            limits.append(",
            f"{_REFUSED}[more than the calling key's user in its team]",
        ),
    ),
    *_of_keys(
        "giving",
        (
            "    if before and not after and not names_something(models):\n",
            "    if False:\n",
            "tests/unit/test_groups.py::test_a_key_or_team_that_loses_its_last_group_does_not_open",
        ),
        (
            "    if groups and not names_something(entries):\n",
            "    if False:\n",
            "tests/unit/test_giving.py::test_groups_alone_are_all_of_a_list",
        ),
    ),
    *_of_keys(
        "team_members",
        (
            "        if Scope.ANY not in ctx.caller.scopes:\n",
            "        if False:\n",
            f"{_REFUSED}[every user for the leader's team]",
        ),
        (
            "        if role_in(team, user_id) is None:\n",
            "        if True:\n",
            "tests/unit/test_team_members.py",
        ),
    ),
    *_of_keys(
        "user_management",
        ("    _check_own(ctx, old, request)\n", "", f"{_REFUSED}[a role]"),
        (
            "            _check_once(user, users)\n",
            "",
            "tests/unit/test_user_management.py",
        ),
    ),
    *_of_keys(
        "once",
        (
            "(caller, call.encode(), key.encode())",
            "(call.encode(), key.encode())",
            "tests/service/test_once_api.py::test_the_name_is_the_callers_and_the_calls_own",
        ),
    ),
    *_of_keys(
        "errors",
        (
            "self.message = masked(message)",
            "self.message = message",
            "tests/unit/test_named_fields.py",
        ),
    ),
    *_of_keys(
        "access_groups",
        (
            "    _check_not_declared(group, gone)\n",
            "",
            "tests/unit/test_groups.py::test_a_declared_group_is_extended_and_not_shrunk",
        ),
    ),
    *_of_keys(
        "key_rotation",
        (
            "ends = min(older.until, until)",
            "ends = until",
            "tests/unit/test_key_rotation.py::test_older_secrets_stand_for_the_newest_key_and_never_longer_than_before",
        ),
    ),
)
