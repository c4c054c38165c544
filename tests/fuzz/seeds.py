"""Records for generated calls to be about, and the values that name them."""

LEAD = "sk-of-an-internal-user-who-leads"
"""The virtual key that calls: of an internal user who is an admin of the team `led`."""

SPARE = 6
"""Records that are made to be deleted, of each kind."""


async def sow(call, upstream):
    """Make the records by `call(method, path, body)`; the values that name them.

    `upstream` is the address of the models that are made.
    """
    post = "POST"
    params = {"model": "openai/x", "api_key": "sk-upstream", "api_base": upstream}
    for user in ("lead", "carol", "dave"):
        body = {"user_id": user, "user_role": "internal_user", "auto_create_key": False}
        await call(post, "/user/new", body)
    members = [{"role": "admin", "user_id": "lead"}, {"role": "user", "user_id": "carol"}]
    await call(post, "/team/new", {"team_id": "led", "members_with_roles": members})
    await call(post, "/team/new", {"team_id": "other"})
    await call(post, "/key/generate", {"key": LEAD, "user_id": "lead"})
    for key, place in (
        ("sk-of-lead-number-1", {"user_id": "lead", "key_alias": "of-lead"}),
        ("sk-in-led-number-1", {"team_id": "led", "user_id": "carol"}),
        ("sk-of-nobody-at-all", {}),
    ):
        await call(post, "/key/generate", {"key": key, **place})
    await _model(call, "stored", params)
    await call(post, "/access_group/new", {"access_group": "made", "model_names": ["stored"]})
    kept = await call(post, "/v1/access_group", {"access_group_name": "kept"})
    unified = await _spares(call, params)
    anywhere = _anywhere(kept["access_group_id"])
    return {"anywhere": {**anywhere, "litellm_params": [params]}, "in": _in(unified, params)}


async def _model(call, name, params):
    body = {"model_name": name, "litellm_params": params, "model_info": {"id": f"id-of-{name}"}}
    await call("POST", "/model/new", body)


async def _spares(call, params):
    """Records to be deleted; the ids of the unified groups among them."""
    unified = []
    for n in range(SPARE):
        for use in ("delete", "regenerate", "rename"):
            await call(
                "POST", "/key/generate", {"key": f"sk-spare-to-{use}-{n}", "user_id": "lead"}
            )
        await call("POST", "/team/new", {"team_id": f"team-{n}"})
        await call("POST", "/user/new", {"user_id": f"user-{n}", "auto_create_key": False})
        member = {"role": "user", "user_id": f"member-{n}"}
        await call("POST", "/team/member_add", {"team_id": "led", "member": member})
        await _model(call, f"spare-{n}", params)
        group = {"access_group": f"group-{n}", "model_names": ["stored"]}
        await call("POST", "/access_group/new", group)
        made = await call("POST", "/v1/access_group", {"access_group_name": f"unified-{n}"})
        unified.append(made["access_group_id"])
    return unified


def _anywhere(unified):
    """By the name of a field, values that are right in whatever call it is."""
    return {
        "key": ["sk-of-lead-number-1", "sk-in-led-number-1", "sk-of-nobody-at-all"],
        "key_alias": [None],
        "team_id": ["led", "other"],
        "user_id": ["lead", "carol", None],
        "model_id": ["id-of-stored"],
        "litellm_model_id": ["id-of-stored"],
        "access_group": ["made"],
        "access_group_id": [unified],
        "access_group_ids": [[unified], []],
        "models": [["gpt-4"], ["stored", "openai/*"], [], ["!gpt-4"]],
        "allowed_models": [["gpt-4"], None, []],
        "access_model_names": [["gpt-4"], []],
        "model_name": ["stored"],
        "model_names": [["stored"]],
        "model_ids": [None, []],
        "duration": ["30d", None],
        "budget_duration": ["30d", None],
        "rotation_interval": ["30d", None],
        "temp_budget_expiry": [None],
        "grace_period": ["1h", None],
        "aliases": [{"mine": "gpt-4"}, {}],
        "model_aliases": [{"ours": "gpt-4"}],
        "allowed_routes": [["llm_api_routes"], []],
        "members_with_roles": [[{"role": "admin", "user_id": "lead"}]],
        "member": [{"role": "user", "user_id": "dave"}, [{"role": "user", "user_id": "carol"}]],
        "members": [[{"role": "user", "user_id": "dave"}]],
        "team_member_permissions": [["/key/info", "/key/generate"], []],
        "model_info": [{"id": "id-of-stored"}],
        "model": ["gpt-4"],
        "wait": ["1", "0"],
        "page": ["1"],
    }


def _in(unified, params):
    """By call and field, the values a call must have to be carried out."""
    n = range(SPARE)
    keys = {"team_id": ["led"], "user_id": [None]}
    own = {"user_id": ["lead"], "team_id": [None]}
    key = {"key": ["sk-of-lead-number-1", "sk-in-led-number-1"]}
    member = {"team_id": ["led"], "user_id": ["carol"]}
    team = {"team_id": ["led"]}
    model = {"model_name": ["made"], "litellm_params": [params], "model_info": [{}]}
    return {
        "POST /key/generate": {"key": [None], **own},
        "POST /key/service-account/generate": {"key": [None], **keys},
        "POST /key/update": {**key, "team_id": [None], "user_id": ["lead"]},
        "POST /key/bulk_update": {"keys": [[{"key": "sk-of-nobody-at-all"}, {"key": "gone"}]]},
        "POST /key/delete": {"keys": [[f"sk-spare-to-delete-{i}"] for i in n], "key_aliases": [[]]},
        "POST /key/block": {"key": ["sk-in-led-number-1"]},
        "POST /key/unblock": {"key": ["sk-in-led-number-1"]},
        "POST /key/regenerate": {
            "key": [f"sk-spare-to-regenerate-{i}" for i in n],
            "new_key": [None],
            "new_master_key": [None],
            "team_id": [None],
            "user_id": ["lead"],
        },
        "POST /key/{key}/regenerate": {
            "key": [f"sk-spare-to-rename-{i}" for i in n],
            "new_key": [None],
            "new_master_key": [None],
            "team_id": [None],
            "user_id": ["lead"],
        },
        "POST /v2/key/info": {"keys": [["sk-of-lead-number-1"], ["sk-in-led-number-1", "gone"]]},
        "GET /key/info": key,
        "POST /team/new": {"team_id": [None]},
        "POST /team/update": {"team_id": ["other"]},
        "PATCH /team/{team_id}": {"team_id": ["other"]},
        "POST /team/delete": {"team_ids": [[f"team-{i}"] for i in n]},
        "POST /team/block": {"team_id": ["other"]},
        "POST /team/unblock": team,
        "POST /team/model/add": {**team, "models": [["gpt-4"]]},
        "POST /team/model/delete": {**team, "models": [["gpt-4"]]},
        "POST /team/member_add": {
            **team,
            "member": [{"role": "user", "user_id": f"new-{i}"} for i in range(100)],
        },
        "POST /team/bulk_member_add": {**team, "members": [[{"role": "user", "user_id": "dave"}]]},
        "POST /team/member_update": {**member, "role": ["user"]},
        "POST /team/member_delete": {**team, "user_id": [f"member-{i}" for i in n]},
        "POST /team/permissions_update": {**team, "team_member_permissions": [["/key/info"]]},
        "GET /team/permissions_list": team,
        "GET /team/info": {**team, "key_limit": ["1"]},
        "POST /user/new": {"user_id": [None], "key": [None], "teams": [["other"]]},
        "POST /user/update": {"user_id": ["lead"]},
        "POST /user/bulk_update": {"users": [[{"user_id": "carol", "user_alias": "x"}]]},
        "POST /user/delete": {"user_ids": [[f"user-{i}"] for i in n]},
        "GET /user/info": {"user_id": ["lead"]},
        "GET /v2/user/info": {"user_id": ["lead"]},
        "POST /access_group/new": {"access_group": ["new-1", "new-2"], "model_names": [["stored"]]},
        "PUT /access_group/{access_group}/update": {"model_names": [["stored"]]},
        "DELETE /access_group/{access_group}/delete": {
            "access_group": [f"group-{i}" for i in n],
        },
        "POST /v1/access_group": {"access_group_name": ["new-1", "new-2"]},
        "DELETE /v1/access_group/{access_group_id}": {"access_group_id": unified},
        "POST /model/new": model,
        "POST /model/update": {"model_info": [{"id": "id-of-stored"}]},
        "POST /model/delete": {"id": [f"id-of-spare-{i}" for i in n]},
        "POST /model/block": {"model_id": ["id-of-stored"]},
        "POST /model/unblock": {"model_id": ["id-of-stored"]},
        "GET /v1/models/{model_id}": {"model_id": ["gpt-4"]},
        "GET /models/{model_id}": {"model_id": ["gpt-4"]},
    }
