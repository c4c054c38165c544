"""Who may call what, told a second time from the documentation; and a random walk to compare.

Nothing here is imported from the services: the two readings of the rules are independent.
"""

from fnmatch import fnmatchcase
from random import Random

from tests.e2e.stack import MASTER_KEY

UPSTREAM_OF = {
    "gpt-3.5-turbo": "gpt-3.5-turbo",
    "gpt-4": "fake",
    "gpt-4o": "gpt-4o",
    "azure-gpt-3.5": "gpt-35-turbo",
    "fireworks-llama-v3-70b-instruct": "accounts/fireworks/models/llama-v3-70b-instruct",
}
GROUPS_OF = {
    "gpt-4": {"beta-models"},
    "fireworks-llama-v3-70b-instruct": {"beta-models"},
    "openai/*": {"default-models"},
    "openai/o1-*": {"restricted-models"},
}
WALK_GROUP = "walk-group"
SENTINELS = ("all-team-models", "all-proxy-models", "no-default-models")
ENTRIES = (
    *UPSTREAM_OF,
    *("gpt-4", "gpt-4o", "openai/o1-mini", "openai/*", "openai/o1-*", "gpt-*", "*-mini"),
    *("beta-models", "default-models", "restricted-models", WALK_GROUP),
    *("all-proxy-models", "*", "no-default-models"),
    *("!gpt-4", "!OPENAI/o1-*", "!restricted-models", "!beta-models", "!gpt-4*"),
)
ASKED = (
    *UPSTREAM_OF,
    *("openai/gpt-4", "openai/o1-mini", "openai/O1-mini", "openai/openai/o1-mini", "GPT-4"),
    *("nothing", "fast", "slow"),
)
ALIASED = ("gpt-4", "gpt-4o", "openai/o1-mini", "nothing")


class Rules:
    """Keys and teams as they should be. Keys: dicts by secret; teams: dicts by id."""

    def __init__(self):
        self.keys = {}
        self.teams = {}
        self.grouped = set()

    def expected(self, secret, model):
        """The reason of the refusal, or the upstream's name of the model."""
        key = self.keys.get(secret)
        if key is None:
            return "key_unknown", None
        team = self.teams[key["team"]] if key["team"] else None
        for whose, record in (("key", key), ("team", team)):
            if record and record["blocked"]:
                return f"{whose}_blocked", None
        if team:
            model = team["aliases"].get(model, model)
        model = key["aliases"].get(model, model)
        if not team and "all-team-models" in key["models"]:
            return "key_model_not_allowed", None
        for whose, entries in lists_of(key, team):
            if not self.covers(entries, model):
                return f"{whose}_model_not_allowed", None
        served_by = serving(model)
        if served_by is None:
            return "model_unknown", None
        return None, UPSTREAM_OF.get(served_by, model.removeprefix("openai/"))

    def covers(self, entries, model):
        groups = self.groups(model)
        denied = [entry[1:] for entry in entries if entry.startswith("!")]
        allowed = [entry for entry in entries if not entry.startswith("!")]
        for entry in denied:
            if entry in groups or matches(entry.casefold(), model.casefold()):
                return False
        if not allowed or {"*", "all-proxy-models", "all-team-models"} & set(allowed):
            return True
        return any(
            entry not in SENTINELS and (entry in groups or matches(entry, model))
            for entry in allowed
        )

    def groups(self, model):
        served_by = serving(model)
        own = {WALK_GROUP} if served_by in self.grouped else set()
        return own | GROUPS_OF.get(served_by, set())


def lists_of(key, team):
    """Every list that must pass, in the order in which they are asked."""
    yield "key", key["models"]
    if team:
        yield "team", team["models"]
        if key["is_member"] and team["member"] is not None:
            yield "member", team["member"]


def matches(pattern, name):
    """`*` is any run of characters, all else itself: no entry here has another wildcard."""
    return fnmatchcase(name, pattern)


def serving(model):
    """The model name of the deployment that serves this name."""
    if model in UPSTREAM_OF:
        return model
    if model.casefold() in UPSTREAM_OF:
        return None
    for pattern in ("openai/o1-*", "openai/*"):  # the more specific first
        prefix = pattern[:-1]
        if model.casefold().startswith(prefix):
            is_doubled = model.casefold()[len(prefix) :].startswith(prefix)
            return pattern if model.startswith(prefix) and not is_doubled else None
    return None


def closed(before, left):
    """A list that lost an entry: losing its last model opens nothing, a denial closes nothing."""
    if any(not entry.startswith("!") for entry in left):
        return left
    was_open = all(entry.startswith("!") for entry in before)
    return ["all-proxy-models" if was_open else "no-default-models", *left]


class Walk:
    """A random walk of management operations and requests over a running stack."""

    def __init__(self, stack, seed):
        self.stack = stack
        self.random = Random(seed)
        self.rules = Rules()
        self.secrets = ["sk-never-made-by-anybody"]
        self.disagreements = []
        self.counts = {"done": 0, "refused": 0, "allowed": 0, "denied": 0}

    def begin(self):
        body = {"access_group": WALK_GROUP, "model_names": ["gpt-4o"]}
        self.stack.manage("/access_group/new", body)
        self.rules.grouped = {"gpt-4o"}

    def end(self):
        for team in list(self.rules.teams):
            self.delete_team(team)
        if self.rules.keys:
            self.stack.manage("/key/delete", {"keys": list(self.rules.keys)})
        self._group("DELETE", "delete", None)

    def _group(self, method, what, body):
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        path = f"/access_group/{WALK_GROUP}/{what}"
        answer = self.stack.http.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text

    def step(self):
        """One operation, then two requests compared with the rules."""
        self.operate()
        for _ in range(2):
            asked = ASKED if self.random.random() < 0.5 else tuple(UPSTREAM_OF)
            known = list(self.rules.keys)
            if not known or self.random.random() < 0.1:
                known = self.secrets[-16:]
            self.compare(self.random.choice(known), self.random.choice(asked))

    def compare(self, secret, model):
        expected = self.rules.expected(secret, model)
        answer = self.stack.chat(secret, model)
        upstream = None
        if answer.status_code == 200:
            upstream = answer.json()["grantgate_demo"]["model"]
        found = answer.headers.get("x-grantgate-reason"), upstream
        self.counts["allowed" if upstream else "denied"] += 1
        if found != expected:
            key = self.rules.keys.get(secret)
            team = self.rules.teams.get(key["team"]) if key else None
            self.disagreements.append((model, found, expected, key, team))

    def operate(self):
        chosen = self.random.random()
        if not self.rules.keys or (chosen < 0.25 and len(self.rules.keys) < 12):
            self.make_key()
        elif chosen < 0.35 and len(self.rules.teams) < 4:
            self.make_team()
        elif chosen < 0.7:
            self.change_key()
        elif chosen < 0.95 and self.rules.teams:
            self.change_team()
        else:
            self.regroup()

    def did(self, path, body):
        """Carry out an operation; None when it is refused, which must change nothing."""
        answer = self.stack.call(path, body)
        assert answer.status_code in (200, 400), (path, body, answer.text)
        self.counts["done" if answer.status_code == 200 else "refused"] += 1
        return answer.json() if answer.status_code == 200 else None

    def entries(self, *, for_key=False):
        pool = (*ENTRIES, "all-team-models") if for_key else ENTRIES
        return self.random.sample(sorted(set(pool)), self.random.choice((0, 0, 1, 2, 3, 4)))

    def aliases(self):
        names = self.random.choice(((), (), ("fast",), ("fast", "slow")))
        return {name: self.random.choice(ALIASED) for name in names}

    def make_key(self):
        team = self.random.choice([None, *self.rules.teams])
        models, aliases = self.entries(for_key=True), self.aliases()
        body = {"models": models, "aliases": aliases}
        is_member = team is not None and self.random.random() < 0.4
        if team:
            body["team_id"] = team
        if is_member:
            body["user_id"] = self.rules.teams[team]["user"]
        made = self.did("/key/generate", body)
        if made:
            self.secrets.append(made["key"])
            self.rules.keys[made["key"]] = {
                "models": models,
                "aliases": aliases,
                "team": team,
                "is_member": is_member,
                "blocked": False,
            }

    def make_team(self):
        models, aliases = self.entries(), self.aliases()
        made = self.did("/team/new", {"models": models, "model_aliases": aliases})
        if made is None:
            return
        team, user = made["team_id"], f"walker-{self.random.randrange(10**9)}"
        self.rules.teams[team] = {
            "models": models,
            "aliases": aliases,
            "user": user,
            "member": None,
            "blocked": False,
        }
        member = {"team_id": team, "member": {"role": "user", "user_id": user}}
        self.stack.manage("/team/member_add", member)

    def change_key(self):
        secret = self.random.choice(list(self.rules.keys))
        key = self.rules.keys[secret]
        what = self.random.randrange(8)
        if what == 0:
            self.stack.manage("/key/delete", {"keys": [secret]})
            del self.rules.keys[secret]
        elif key["blocked"] or what == 1:
            self.stack.manage("/key/unblock" if key["blocked"] else "/key/block", {"key": secret})
            key["blocked"] = not key["blocked"]
        else:
            models = self.entries(for_key=True)
            if self.did("/key/update", {"key": secret, "models": models}):
                key["models"] = models

    def change_team(self):
        team_id = self.random.choice(list(self.rules.teams))
        team = self.rules.teams[team_id]
        what = self.random.randrange(12)
        if what == 0:
            self.delete_team(team_id)
        elif team["blocked"] or what == 1:
            path = "/team/unblock" if team["blocked"] else "/team/block"
            self.stack.manage(path, {"team_id": team_id})
            team["blocked"] = not team["blocked"]
        elif what <= 6 and team["models"]:
            gone = self.random.choice(team["models"])
            if self.did("/team/model/delete", {"team_id": team_id, "models": [gone]}):
                left = [entry for entry in team["models"] if entry != gone]
                team["models"] = closed(team["models"], left)
        elif what <= 9:
            allowed = self.random.choice((None, self.entries()))
            body = {"team_id": team_id, "user_id": team["user"], "allowed_models": allowed}
            if self.did("/team/member_update", body):
                team["member"] = allowed
        else:
            models = self.entries()
            if self.did("/team/update", {"team_id": team_id, "models": models}):
                team["models"] = models

    def delete_team(self, team_id):
        self.stack.manage("/team/delete", {"team_ids": [team_id]})
        del self.rules.teams[team_id]
        self.rules.keys = {s: k for s, k in self.rules.keys.items() if k["team"] != team_id}

    def regroup(self):
        names = self.random.sample(sorted(UPSTREAM_OF), self.random.randint(1, 3))
        self._group("PUT", "update", {"model_names": names})
        self.rules.grouped = set(names)
