"""The running product with the secrets in it, and with marks that show what is searched."""

import hashlib
import json

import yaml

# Characters in them are written otherwise in JSON, in a URL and in Python's repr.
MASTER = 'sk-sweep/master+"key"-uPq4Zr81kV'
CHOSEN = 'sk-chosen/by+"hand"-Hc27mWd0sL'
SECRETS = {
    "master key": MASTER,
    "chosen key": CHOSEN,
    "unknown key": "sk-unknown/to+all-Yt53bXe9oN",
    "malformed key": "sk-malformed/by+far-Ja64vRf2iM",
    "internal token": "internal/token+of-the-sweep-Gs18",
    "snapshot token": "snapshot/token+of-the-sweep-Kd39",
    "salt key": "salt/key+of-the-sweep-Ow75nBq3",
    "credential of the file": 'file/credential+"of"-sweep-Zl06',
    "header of the file": 'header/of+"the"-file-sweep-Nk92',
    "credential of a stored model": 'stored/credential+"of"-sweep-Ux41',
    "credential of a refused model": "refused/credential+of-sweep-Ib57",
    "password of the proxy": "proxy-password-of-the-sweep-Ce20",
    "password in a wrong setting": "wrong-password-of-the-sweep-Qi63",
    # Of NATS's own documentation: it has to be a real one.
    "seed of an nkey": "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "planted": "planted/by+the-test-itself-Ev83",
}
ASKED = "canary-model-that-is-asked-for"
ALIAS = "canary-alias-of-a-key"
TEAM = "canary-alias-of-a-team"
REQUEST = "canary-id-of-a-request"
VARIABLE = "canary-of-the-environment"
MODULE = "services."
METRIC = "process_cpu_seconds_total"
STARTED = '"event": "started"'
EPOCH = "first_rev"
_CANARIES = (ASKED, ALIAS, TEAM, REQUEST, VARIABLE, MODULE, METRIC, STARTED, EPOCH)
CANARIES = {f"canary: {text}": text for text in _CANARIES}
"""What is no secret, and known to pass by: where it should be and is not, nothing is searched."""

FAULTS = ("fine", "refusing", "failing", "escaping", "resetting", "halting", "silent")

DIGEST = "digest of the minted key"
"""What stands for the key everywhere, and yet in no log and in nothing that a process shows."""


def made_for(name):
    """The one kind of answer in which this key may be shown; it is searched for all others."""
    return f"answer to whoever makes the {name}"


def environ(folder, proxy_port):
    return {
        "GRANTGATE_CONFIG": str(folder / "config.yaml"),
        "GRANTGATE_MASTER_KEY": MASTER,
        "GRANTGATE_INTERNAL_TOKEN": SECRETS["internal token"],
        "GRANTGATE_SNAPSHOT_TOKEN": SECRETS["snapshot token"],
        "GRANTGATE_SALT_KEY": SECRETS["salt key"],
        "GRANTGATE_ALLOW_PRIVATE_UPSTREAMS": "127.0.0.0/8",
        "GRANTGATE_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "0.3",
        "GRANTGATE_SNAPSHOT_EVERY": "2",
        "GRANTGATE_DRAIN_S": "1",
        "GRANTGATE_LEASE_S": "1.5",
        "GRANTGATE_MARGIN_S": "0.3",
        "GRANTGATE_LOG_LEVEL": "debug",
        "SWEEP_CREDENTIAL": SECRETS["credential of the file"],
        "SWEEP_CANARY": VARIABLE,
        "https_proxy": f"http://me:{SECRETS['password of the proxy']}@127.0.0.1:{proxy_port}",
        "no_proxy": "127.0.0.1",
    }


def config(port, **wrong):
    """A model for each way to fail; `wrong` are parameters that no model has."""
    params = {
        "api_base": f"http://127.0.0.1:{port}/v1",
        "api_key": "os.environ/SWEEP_CREDENTIAL",
        "extra_headers": {"x-extra": SECRETS["header of the file"]},
        **wrong,
    }
    tunnelled = params | {"model": "openai/fine", "api_base": "https://upstream.invalid/v1"}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", **params}}
        for name in FAULTS
    ]
    models.append({"model_name": "tunnelled", "litellm_params": tunnelled})
    return yaml.safe_dump({"model_list": models})


class World:
    """The running product with what the test knows of it."""

    def __init__(self, folder, product, upstream, overheard):
        self.folder, self.product = folder, product
        self.upstream, self.overheard = upstream, overheard
        self.secrets = SECRETS | CANARIES
        self.shown = []
        """What was looked at, by its kind, besides what the parts keep themselves."""

    def chat(self, key, model="fine", **more):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        return self.product.call("/v1/chat/completions", key, body, **more)[0]

    def manage(self, path, body=None, key=MASTER):
        return self.product.call(path, key, body)

    def made(self, name, path="/key/generate", more="", **fields):
        """A new key, from now on one of the secrets."""
        body = {"models": [*FAULTS, "stored", "tunnelled"], **fields}
        what = made_for(name).removeprefix("answer to ")
        status, content = self.product.call(path, MASTER, body, what=what, more=more)
        assert status in (200, 202), content
        key = json.loads(content)["key"]
        self.secrets[name] = key.removeprefix("sk-gg-")
        if name == "minted key":
            self.secrets[DIGEST] = hashlib.sha256(key.encode()).hexdigest()
        return key

    def look_at_processes(self):
        for part in self.product.parts.values():
            if part.is_running:
                self.shown += part.shows()
