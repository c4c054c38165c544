"""Every NATS address, and the functions that build one."""

STREAM = "GRANTS"
"""The JetStream stream that carries the change log to the policy replicas."""

STREAM_SUBJECTS = "grants.>"
EPOCH = "grants.epoch"
CHANGES = "grants.change.>"
MEMBERS = "grants.member.>"
APPLIED = "policy.applied.>"
SNAPSHOTS = "SNAPSHOTS"
"""The JetStream stream beside it that holds the newest whole tables."""

SNAPSHOT_SUBJECTS = "snapshot.>"
SNAPSHOT_INDEX = "snapshot.index"
"""Which snapshots are complete. One message: replacing it is what makes a snapshot count."""

SNAPSHOT_CHUNKS = "snapshot.chunk.>"
REPORT = "policy.report"
"""A keys replica asks every policy replica to say what it has applied."""

DECIDE = "policy.decide"
"""A batch of questions, for one policy replica (queue group)."""
DECIDE_ANY = "policy.decide.any"
"""The same, heard by every replica: the second try; the first leased answer wins."""
DECIDE_QUEUE = "policy"

_MEMBER_PREFIX = "grants.member."
_APPLIED_PREFIX = "policy.applied."


def change(rev: int) -> str:
    """The subject of the change with this revision; its own, so compaction never removes it."""
    return f"grants.change.{rev}"


def member(replica: str) -> str:
    """The subject of a policy replica's heartbeat, of which only the last matters."""
    return _MEMBER_PREFIX + replica


def applied(replica: str) -> str:
    """The core subject on which a policy replica says what it has applied."""
    return _APPLIED_PREFIX + replica


def snapshot_chunk(snapshot: str, number: int) -> str:
    """The subject of one piece of a snapshot."""
    return f"snapshot.chunk.{snapshot}.{number}"


def snapshot_chunks(snapshot: str) -> str:
    """All pieces of one snapshot."""
    return f"snapshot.chunk.{snapshot}.>"


def snapshot_of(subject: str) -> str:
    """The snapshot id in the subject of a piece."""
    return subject.split(".")[2]


def replica_of(subject: str) -> str:
    """The replica id in a member or applied subject."""
    return subject.removeprefix(_MEMBER_PREFIX).removeprefix(_APPLIED_PREFIX)
