"""Failures the product is put through, with a secret wherever one could be told."""

import signal

from tests.e2e.leaks.product import until
from tests.e2e.leaks.world import ALIAS, ASKED, CHOSEN, MASTER, REQUEST, SECRETS, TEAM, config


def present_keys(world):
    """Keys of every kind, good and bad, in the places meant for them and in others."""
    key, chosen = world.made("minted key", key_alias=ALIAS), world.made("chosen key", key=CHOSEN)
    assert (world.chat(key, more=f"x-request-id: {REQUEST}\r\n"), world.chat(chosen)) == (200, 200)
    assert world.chat(key, ASKED) == 403
    assert world.chat(SECRETS["unknown key"]) == 401
    assert world.chat(key[:-1] + ("0" if key[-1] != "0" else "1")) == 401
    replace(world)
    once = "idempotency-key: made-once\r\n"
    assert world.made("key made once", more=once) == world.made("key made once", more=once)
    world.manage("/team/new", {"team_id": "t1", "team_alias": TEAM})
    users = world.made("user's key", "/user/new", user_id="u1")
    members = world.made("member's key", team_id="t1", user_id="u1")
    assert (world.chat(users), world.chat(members)) == (200, 200)
    return key


def replace(world):
    """A secret that ends at once and one that works on for a while; a key that is blocked."""
    old = world.made("key before")
    new = world.made("regenerated key", "/key/regenerate", key=old)
    newest = world.made("key after", "/key/regenerate", key=new, grace_period="1h")
    assert [world.chat(each) for each in (old, new, newest)] == [401, 200, 200]
    assert world.manage("/key/block", {"key": newest})[0] == 200
    assert (world.chat(new), world.chat(newest)) == (401, 401)


def misplace_keys(world, key):
    """Keys where a name, an id or a number should be, and in lines that nobody can read."""
    for name in (key, MASTER, f"openai/{key}", f" {key}"):
        assert {world.chat(key, name), world.chat(MASTER, name)} <= {400, 403}
    assert world.chat(CHOSEN, CHOSEN) in (400, 403)
    ask, bad = world.product.ask, SECRETS["malformed key"]
    post = "POST /v1/chat/completions HTTP/1.1\r\n"
    for line in (
        f"authorization: Bearer {bad}\0\r\n",
        f"authorization: Bearer {bad}{'x' * 9000}\r\n",
        f"authorization: Bearer {bad}\r\nauthorization: Bearer {key}\r\n",
        f"authorization: Basic {bad}\r\n",
        f"authorization: {bad}\r\n",
        f"authorization: Bearer {bad} {key}\r\n",
        f"authorization : Bearer {bad}\r\n",
        f"x-api-key: {bad}\r\napi-key: {key}\r\n",
        f"x-request-id: {bad}\r\n",
        f"authorization: Bearer {key}\r\nx-grantgate-min-revision: {bad}\r\n",
        f"{bad}\r\n",
    ):
        assert ask("a malformed line", post + line, b"{}")[0] in (0, 400, 401), line
        for port in world.product.internal_ports.values():
            ask("a malformed line", post + line, b"{}", port=port)
    for target in (
        f"/v1/models?api_key={bad}",
        f"/v1/models?team_id={key}",
        f"/v1/models?return_wildcard_routes={key}",
        f"/{bad}",
        f"/{key}",
        f"/v1/models/{key}",
        f"/v1/models#{bad}",
        f"/key/{key}",
    ):
        ask("a key in the URL", f"GET {target} HTTP/1.1\r\nauthorization: Bearer {key}\r\n")
    head = f"{post}authorization: Bearer {key}\r\n"
    # Of the public port alone: the others are aiohttp's, which repeats the line to its sender.
    assert ask("a malformed line", f"{head}expect: {bad}\r\n", b"{}")[0] == 417
    ask("a broken body", head, f'{{"model": "{bad}'.encode())
    ask("a broken body", head, f'{{"model": "fine", "{key}": 1, "{key}": }}'.encode())
    ask("another method", f"{key} / HTTP/1.1\r\n")
    wrong = {"model": "fine", "messages": [], "api_key": bad}
    world.product.call("/v1/chat/completions", key, wrong)


def fail_upstream(world, key):
    expected = {"fine": 200, "refusing": 502, "failing": 500, "escaping": 400}
    expected |= {"resetting": 502, "silent": 504, "tunnelled": 502}
    assert {name: world.chat(key, name) for name in expected} == expected
    world.chat(key, "halting")


def manage(world, key):
    """Calls that are refused and calls that are not, with secrets in every field that could."""
    call = world.manage
    for path in ("/key/info", "/key/list?return_full_object=true", "/model/info", "/v2/model/info"):
        for caller in (MASTER, key, SECRETS["unknown key"]):
            call(path, key=caller)
    for path in ("/key/info?key=", "/key/list?key_hash=", "/model/info?litellm_model_id="):
        call(path + key)
    for path in ("/user/info?user_id=", "/team/info?team_id=", "/user/list?user_ids="):
        call(path + key)
    named = world.made("deleted key", key_alias="deleted")
    call("/key/update", {"key": named, "metadata": {"a": 1}})
    call("/key/update", {"key": SECRETS["unknown key"], "metadata": {"a": 1}})
    call("/key/update", {"key": named, "no_such_field": named})
    call("/key/generate", {"key": CHOSEN})
    call("/key/generate", {"key": named, "models": "no list"})
    call("/key/generate", {"key": named, "team_id": named})
    call("/key/generate", {"models": [named], "aliases": {named: named}})
    call("/key/delete", {"keys": [named, SECRETS["unknown key"]]})
    call("/key/block", {"key": SECRETS["malformed key"]}, key=key)
    call("/user/new", {"user_id": "u2", "no_such_field": MASTER})
    store_models(world, key)


def store_models(world, key):
    base = f"http://127.0.0.1:{world.upstream.port}/v1"
    params = {"model": "openai/failing", "api_base": base}
    params["api_key"] = SECRETS["credential of a stored model"]
    new = {"model_name": "stored", "litellm_params": params, "model_info": {"id": "stored-1"}}
    assert world.manage("/model/new", new)[0] == 200
    assert world.chat(key, "stored") == 500
    world.manage("/model/info?litellm_model_id=stored-1")
    bad = SECRETS["credential of a refused model"]
    for wrong in (
        {"api_key": [bad]},
        {"api_key": bad + " x"},
        {"api_base": f"http://me:{bad}@127.0.0.1/v1"},
        {"api_base": bad},
        {"model": f"nobody/{bad}" + "x" * 600},
        {"extra_headers": {"x-y": bad + "\r\n"}},
        {"timeout": bad},
    ):
        refused = {"model_name": "refused", "litellm_params": params | {"api_key": bad} | wrong}
        assert world.manage("/model/new", refused)[0] >= 400, wrong
    path = "/internal/upstream?id=stored-1&version=1"
    port = world.product.internal_ports["keys"]
    token = f"x-grantgate-internal-token: {SECRETS['internal token']}\r\n"
    world.product.call(path, MASTER, port=port, more=token)
    world.product.call(path, MASTER, port=port, what="a stranger's", more=token.replace("-Gs", ""))


def reload(world):
    """A file with mistakes that stand at secrets, and the right one again."""
    file, port = world.folder / "config.yaml", world.upstream.port
    good, bad = file.read_text(), SECRETS["credential of the file"]
    gateway = world.product.parts["gateway"]

    def told(times):
        return gateway.said("configuration_refused") >= times

    for number, text in enumerate(
        (
            config(port, api_key=[bad]),
            config(port, api_base=f"http://me:{bad}@127.0.0.1/v1"),
            config(port, api_key=bad + " x"),
            good + f"\ngrantgate:\n  body_timeout_s: {SECRETS['salt key']}\n",
            good + f"\ngrantgate:\n  no_such_setting: {SECRETS['salt key']}\n",
            good + f"\n  - [{SECRETS['salt key']}",
        ),
        1,
    ):
        file.write_text(text)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda n=number: told(n), f"mistake {number} to be told")
    file.write_text(good)


def expire(world):
    short = world.made("expiring key", duration="1s")
    until(lambda: world.chat(short) == 401, "the key to expire")


def break_down(world, key):
    """Servers that go and come, services that are killed."""
    product = world.product
    until(lambda: product.parts["keys"].said("snapshot_written"), "a snapshot to copy")
    product.parts["nats"].end()
    until(lambda: world.chat(key) == 503, "a refusal without NATS")
    world.made("key without NATS")
    product.server("nats")
    product.until_ready()
    until(lambda: world.chat(key) == 200, "answers with NATS")
    product.parts["mongo"].end()
    world.chat(key)
    assert world.manage("/key/generate", {"models": ["fine"], "key": CHOSEN + "2"})[0] >= 400
    product.server("mongo")
    for name in ("keys", "policy", "gateway"):
        product.parts[name].end(signal.SIGKILL)
        world.chat(key)
        product.parts[name].start()
    product.until_ready()
    until(lambda: world.chat(key) == 200, "answers after the kills")
    again = {"models": ["fine"]}
    world.product.call("/key/generate", MASTER, again, more="idempotency-key: made-once\r\n")
