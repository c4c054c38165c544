"""MongoDB: the change log, whose insert is the commit, and the records projected from it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from bson.binary import Binary
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ReadPreference, ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from services.keys.errors import Unavailable
from services.keys.log import Entry
from services.keys.mongo import client_of
from services.keys.records import GroupRecord, KeyRecord, ModelRecord, TeamRecord, UserRecord
from services.keys.state import Write
from shared.catalogue import Deployment
from shared.changes import RetiredKey, Tombstone

# Journaled majority writes: without j=True a killed server lost acknowledged writes. The time is
# below the socket's, so that MongoDB itself says that a majority is missing.
_DURABLE = WriteConcern(w="majority", j=True, wtimeout=4000)
_CONFIRM_S = 2.0
_CONFIRM_PAUSE_S = 0.1
_PAGE = 1000
_PAGE_BYTES = 16 * 1024 * 1024
_DOWN = "the change log (MongoDB) does not answer; nothing is known to have been changed"
_UNCONFIRMED = "the change log's newest entry is not known to be on a majority (of MongoDB) yet"
_COLLECTIONS = {
    "key": "keys",
    "team": "teams",
    "user": "users",
    "group": "groups",
    "model": "models",
}


class Taken(Exception):
    """The revision is another replica's by now."""


class MongoStore:
    """The log in MongoDB. Every method raises Unavailable when MongoDB does not answer."""

    def __init__(self, database: "AsyncIOMotorDatabase[dict[str, Any]]") -> None:
        """Use this database; `prepare` makes its indexes."""
        self._database = database
        # What is not on a majority may be rolled back, and what a secondary lacks is not lost;
        # so nothing decides by either, whatever the URL says.
        self._changes = database.get_collection(
            "changes",
            write_concern=_DURABLE,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
        self._unconfirmed = self._changes.with_options(read_concern=ReadConcern("local"))

    @property
    def database_name(self) -> str:
        """The database the log is in."""
        return self._database.name

    async def prepare(self) -> None:
        """Make the indexes that the log's rules rest on."""
        try:
            await self._changes.create_index("rev", unique=True)
            await self._changes.create_index("op_id", unique=True)
            await self._database["keys"].create_index("doc.team_id")
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error

    async def claim_first(self) -> bool:
        """Whether no stream was ever begun for this log: true for one caller, once."""
        begun = self._database.get_collection("streams_begun", write_concern=_DURABLE)
        try:
            await begun.insert_one({"_id": "first"})
        except DuplicateKeyError:
            return False
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error
        return True

    async def append(self, entry: Entry, described: dict[str, Any]) -> None:
        """Commit: store the entry, journaled on a majority. Raises Taken when its rev exists.

        `described` are members for people who read the collection; nothing decides by them. When
        the answer is lost, or a majority late, the entry is looked for on a majority by `op_id`;
        when it is not there soon the outcome is not known and Unavailable is raised.
        """
        try:
            await self._changes.insert_one(_document(entry, described))
        except DuplicateKeyError as error:
            # A driver that sent the insert twice meets its own first copy here.
            if await self._has(entry):
                return
            raise Taken from error
        except PyMongoError as error:
            if not await self._is_confirmed(entry):
                raise Unavailable(_DOWN) from error

    async def append_all(self, entries: Sequence[Entry], described: dict[str, Any]) -> None:
        """Commit several in order, for an operator's repair; not all when this raises.

        Raises Taken when somebody else writes, Unavailable.
        """
        try:
            for at in range(0, len(entries), _PAGE):
                page = [_document(entry, described) for entry in entries[at : at + _PAGE]]
                await self._changes.insert_many(page, ordered=True)
        except BulkWriteError as error:
            if not error.details.get("writeErrors"):
                raise Unavailable(_UNCONFIRMED) from error
            raise Taken from error
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error

    async def set_aside(self, after: int) -> int:
        """Move the entries above a revision to `changes_set_aside`; says how many."""
        aside = self._database.get_collection("changes_set_aside", write_concern=_DURABLE)
        moved = 0
        try:
            while documents := [
                document
                async for document in self._changes.find({"rev": {"$gt": after}})
                .sort("rev", 1)
                .limit(_PAGE)
            ]:
                for document in documents:
                    await aside.replace_one({"_id": document["_id"]}, document, upsert=True)
                revs = [document["rev"] for document in documents]
                await self._changes.delete_many({"rev": {"$in": revs}})
                moved += len(documents)
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error
        return moved

    async def forget_projections(self) -> None:
        """Drop the queryable copies: they are made again from the log's start."""
        try:
            for name in (*_COLLECTIONS.values(), "projected"):
                await self._database.drop_collection(name)
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error

    async def _is_confirmed(self, entry: Entry) -> bool:
        """Whether a majority holds the entry soon: a replica set may take a moment more."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _CONFIRM_S
        while not await self._has(entry):
            if clock() >= deadline:
                return False
            await asyncio.sleep(_CONFIRM_PAUSE_S)
        return True

    async def _has(self, entry: Entry) -> bool:
        try:
            found = await self._changes.find_one({"op_id": entry.op_id})
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error
        return found is not None and found["rev"] == entry.rev

    async def after(self, rev: int, limit: int = _PAGE) -> list[Entry]:
        """The entries that follow `rev`, in order: at most `limit`, and of large ones fewer.

        At least two when there are two, so that a look from the head on sees what follows it.
        Only what a majority holds; Unavailable when the next one is there but not known to be on
        one: a new primary takes a moment, and nobody must take that for a log that was cut off.
        """
        try:
            found = await self._page(rev, limit)
            if not found and await self._unconfirmed.find_one({"rev": rev + 1}) is not None:
                # Perhaps only since the look before: another replica writes too.
                found = await self._page(rev, limit)
                if not found:
                    raise Unavailable(_UNCONFIRMED)
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error
        return found

    async def _page(self, rev: int, limit: int) -> list[Entry]:
        # A range and sort on our own indexed field; on _id some servers scan everything.
        cursor = self._changes.find({"rev": {"$gt": rev}}).sort("rev", 1).limit(limit)
        found, size = [], 0
        async for document in cursor:
            entry = _entry(document)
            found.append(entry)
            size += entry.size
            if size > _PAGE_BYTES and len(found) > 1:
                await cursor.close()
                break
        return found

    async def project(self, rev: int, writes: Iterable[Write]) -> None:
        """Bring the queryable copies up to a committed change; an older one changes nothing."""
        of_collection: dict[str, list[ReplaceOne[dict[str, Any]]]] = {}
        for write in writes:
            kind, record_id, document = _projection(write)
            replacement = {"_id": record_id, "rev": rev, **document}
            # With the stored rev newer the filter misses and the upsert meets the _id: old news.
            of_collection.setdefault(_COLLECTIONS[kind], []).append(
                ReplaceOne({"_id": record_id, "rev": {"$lt": rev}}, replacement, upsert=True)
            )
        try:
            for name, operations in of_collection.items():
                await self._write_each(name, operations)
            await self._database["projected"].update_one(
                {"_id": "head"}, {"$max": {"rev": rev}}, upsert=True
            )
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error

    async def _write_each(self, name: str, operations: list["ReplaceOne[dict[str, Any]]"]) -> None:
        collection = self._database[name]
        for operation in operations:
            try:
                await collection.bulk_write([operation], ordered=True)
            except PyMongoError as error:
                if "E11000" not in str(getattr(error, "details", error)):
                    raise

    async def projected(self) -> int:
        """The revision up to which the copies are known to be complete."""
        try:
            found = await self._database["projected"].find_one({"_id": "head"})
        except PyMongoError as error:
            raise Unavailable(_DOWN) from error
        return 0 if found is None else int(found["rev"])


def _document(entry: Entry, described: dict[str, Any]) -> dict[str, Any]:
    return {
        **described,
        "rev": entry.rev,
        "chain": Binary(entry.chain),
        "op_id": entry.op_id,
        "decision": Binary(entry.decision),
        "rest": Binary(entry.rest),
    }


def _entry(document: dict[str, Any]) -> Entry:
    return Entry(
        rev=document["rev"],
        chain=bytes(document["chain"]),
        op_id=document["op_id"],
        decision=bytes(document["decision"]),
        rest=bytes(document["rest"]),
    )


def _projection(write: Write) -> tuple[str, str, dict[str, Any]]:
    match write:
        case KeyRecord():
            doc = {**_plain(write.grant), **_plain(write.details)}
            doc.pop("id", None)
            return "key", write.grant.id.hex(), {"doc": doc}
        case RetiredKey():
            doc = {"retired": True, "successor": write.successor.hex(), "until": write.until}
            return "key", write.id.hex(), {"doc": doc}
        case TeamRecord():
            return "team", write.grant.id, {"doc": {**_plain(write.grant), **_plain(write.details)}}
        case UserRecord():
            return "user", write.grant.id, {"doc": {**_plain(write.grant), **_plain(write.details)}}
        case GroupRecord():
            doc = {**_plain(write.grant), **_plain(write.details)}
            return "group", write.grant.id, {"doc": doc}
        case ModelRecord():
            doc = {**_plain(write.grant), **_plain(write.details)}
            doc.pop("sealed", None)
            return "model", write.grant.id, {"doc": doc}
        case Deployment():
            return "model", write.id, {"doc": _plain(write)}
        case Tombstone(of=kind, id=record_id):
            name = record_id.hex() if isinstance(record_id, bytes) else record_id
            return kind, name, {"deleted": True}


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    fields.pop("kind", None)
    return fields


@asynccontextmanager
async def open_store(url: str, database: str) -> AsyncIterator[MongoStore]:
    """A store on this MongoDB; it need not be there yet. ConfigError for a bad address."""
    client = client_of(url)
    try:
        yield MongoStore(client[database])
    finally:
        client.close()
