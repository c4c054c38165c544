"""Workers that create, use, block, unblock, move and delete keys, and edit teams and groups."""

import asyncio
import random
from contextlib import suppress

from tests.chaos.cluster import GATEWAYS

MODEL = "gpt-4"
WITH, WITHOUT = (MODEL, "gpt-4o"), ("gpt-4o",)
_CHANGES = ("block", "unblock", "block", "unblock", "move", "move", "team", "group", "group")
_PAUSE_S = 0.02
_AFTER_FAILURE_S = 0.1


class Worker:
    """The one writer of its keys, teams and groups, with a companion that uses keys all the time.

    What had an unknown outcome is given up: it may come true at any time, so it proves nothing.
    """

    def __init__(self, number, cluster, history, seed):
        self._name = f"w{number}"
        self._cluster = cluster
        self._history = history
        self._random = random.Random(f"{seed}-{number}")
        self._made = 0
        self.teams = set()
        """Those whose every change is known, none in doubt."""
        self.groups = set()
        self.keys = {}
        """Secret of every key that was ever made, by its name."""
        self._in_use = None

    async def run(self, stop):
        companion = asyncio.ensure_future(self._use_on(stop))
        try:
            while not stop.is_set():
                if not await self._round(stop):
                    await asyncio.sleep(_AFTER_FAILURE_S)
        finally:
            companion.cancel()
            with suppress(asyncio.CancelledError):
                await companion

    async def _round(self, stop):
        """One key's life; False when something was not done."""
        while len(self.teams) < 2:
            if not await self._make_team():
                return False
        if not self.groups and not await self._make_group():
            return False
        name = self._next("k")
        team = self._random.choice([None, *sorted(self.teams)])
        entries = (self._random.choice((MODEL, *self.groups)),)
        body = {"models": list(entries), **({"team_id": team} if team else {})}
        effects = {f"{name}.exists": True, f"{name}.blocked": False, f"{name}.team": team}
        effects[f"{name}.models"] = entries
        entry, answer = await self._write("create", effects, "/key/generate", body)
        if entry.outcome not in ("ok", "pending"):
            return False
        self.keys[name] = answer["key"]
        self._in_use = name
        await self._use(name)
        for _ in range(self._random.randint(2, 6)):
            if stop.is_set() or not await self._change(name):
                return False
            await self._use(name)
        done = await self._end(name)
        await self._use(name)
        return done

    async def _make_team(self):
        name = self._next("t")
        effects = {f"{name}.blocked": False, f"{name}.models": WITH}
        body = {"team_id": name, "models": list(WITH)}
        entry, _ = await self._write("team", effects, "/team/new", body)
        if entry.outcome in ("ok", "pending"):
            self.teams.add(name)
            return True
        return False

    async def _make_group(self):
        name = self._next("g")
        body = {"access_group": name, "model_names": list(WITH)}
        done = await self._known("group", {f"{name}.models": WITH}, "/access_group/new", body)
        if done:
            self.groups.add(name)
        return done

    async def _edit_group(self):
        """Give the group the model, or take it away."""
        (group,) = self.groups
        models = self._random.choice((WITH, WITHOUT))
        body, path = {"model_names": list(models)}, f"/access_group/{group}/update"
        effects = {f"{group}.models": models}
        done = await self._known("group edit", effects, path, body, method="PUT")
        if not done:
            self.groups.discard(group)
        return done

    async def _change(self, key):
        """One change of the key, a team or the group; False when it may not have happened."""
        kind = self._random.choice(_CHANGES)
        if kind == "group":
            return await self._edit_group()
        secret = self.keys[key]
        if kind in ("block", "unblock"):
            effects = {f"{key}.blocked": kind == "block"}
            return await self._known(kind, effects, f"/key/{kind}", {"key": secret})
        if kind == "move":
            team = self._random.choice(sorted(self.teams))
            body = {"key": secret, "team_id": team}
            return await self._known("move", {f"{key}.team": team}, "/key/update", body)
        team = self._random.choice(sorted(self.teams))
        if self._random.random() < 0.5:
            models = self._random.choice((WITH, WITHOUT))
            body = {"team_id": team, "models": list(models)}
            done = await self._known("models", {f"{team}.models": models}, "/team/update", body)
        else:
            verb = self._random.choice(("block", "unblock"))
            effects = {f"{team}.blocked": verb == "block"}
            done = await self._known(f"team {verb}", effects, f"/team/{verb}", {"team_id": team})
        if not done:
            self.teams.discard(team)
        return done

    async def _end(self, key):
        secret = self.keys[key]
        if self._random.random() < 0.5:
            body = {"key": secret}
            return await self._known("block", {f"{key}.blocked": True}, "/key/block", body)
        effects = {f"{key}.exists": False}
        return await self._known("delete", effects, "/key/delete", {"keys": [secret]})

    async def _known(self, what, effects, path, body, method="POST"):
        entry, _ = await self._write(what, effects, path, body, method)
        return entry.outcome in ("ok", "pending")

    async def _write(self, what, effects, path, body, method="POST"):
        gateway = self._random.choice(GATEWAYS)
        calling = self._cluster.call(path, body, gateway=gateway, method=method)
        return await self._history.write(what, effects, gateway, calling)

    async def _use(self, key):
        """At once at each gateway: the moment after an answer is the one that shows most."""
        await asyncio.gather(*(self._use_at(key, gateway) for gateway in GATEWAYS))

    async def _use_at(self, key, gateway):
        calling = self._cluster.chat(self.keys[key], gateway)
        await self._history.use(key, MODEL, gateway, calling)

    async def _use_on(self, stop):
        while not stop.is_set():
            await asyncio.sleep(_PAUSE_S)
            if self._in_use is not None:
                await self._use_at(self._in_use, self._random.choice(GATEWAYS))

    def _next(self, kind):
        self._made += 1
        return f"{self._name}{kind}{self._made}"


async def look_at_everything(cluster, history, workers):
    """Read back every key that was ever made, and use each once more at each gateway.

    A write that returns 200 comes first: from then on every earlier change is in force.
    """
    effects = {"last.exists": True, "last.blocked": False, "last.team": None}
    calling = cluster.call("/key/generate", {"models": [MODEL]})
    entry, _ = await history.write("last", effects, "gateway0", calling)
    assert entry.outcome == "ok", f"no write succeeds after everything was healed: {entry}"
    limit = asyncio.Semaphore(16)

    async def look(worker, name):
        async with limit:
            secret = worker.keys[name]
            gateway = random.choice(GATEWAYS)
            answer = await cluster.call("/key/info", {"key": secret}, gateway=gateway, method="GET")
            if answer.status == 404:
                history.look({f"{name}.exists": False})
            elif answer.status == 200:
                info = answer.body["info"]
                team = info["team_id"]
                found = {f"{name}.exists": True, f"{name}.blocked": bool(info["blocked"])}
                found[f"{name}.models"] = tuple(info["models"])
                history.look({**found, f"{name}.team": team})
            else:
                history.undocumented.append(f"key/info in the end: {answer}")
            await worker._use(name)

    async def look_at_team(name):
        answer = await cluster.call("/team/info", {"team_id": name}, method="GET")
        if answer.status != 200:
            history.undocumented.append(f"team/info in the end: {answer}")
            return
        info = answer.body["team_info"]
        found = {f"{name}.blocked": bool(info["blocked"]), f"{name}.models": tuple(info["models"])}
        history.look(found)

    async def look_at_group(name):
        answer = await cluster.call(f"/access_group/{name}/info", {}, method="GET")
        if answer.status != 200:
            history.undocumented.append(f"access_group/info in the end: {answer}")
            return
        history.look({f"{name}.models": tuple(answer.body["model_names"])})

    await asyncio.gather(
        *(look(worker, name) for worker in workers for name in worker.keys),
        *(look_at_group(name) for worker in workers for name in worker.groups),
        *(look_at_team(name) for worker in workers for name in worker.teams),
    )
