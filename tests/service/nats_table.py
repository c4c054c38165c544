"""Who may say and hear what on the bus: every cell is tried with the shipped configuration.

A cell is a service and a subject (with a queue group, for hearing). What is not in MAY_PUBLISH or
MAY_SUBSCRIBE has to be refused.
"""

_STREAMS = ("GRANTS", "SNAPSHOTS", "OTHER", "KV_grants", "OBJ_grants")
_OF_A_STREAM = (
    *("CREATE", "UPDATE", "INFO", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE", "SNAPSHOT"),
    *("RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"),
)
_SUBJECTS = (
    *("grants.epoch", "grants.change.1", "grants.member.r1", "grants.other"),
    *("snapshot.index", "snapshot.chunk.s1.0"),
    *("policy.report", "policy.applied.r1", "policy.decide", "policy.decide.any", "policy.other"),
    *("_INBOX_keys.abc.1", "_INBOX_policy.abc.1", "_INBOX_gateway.abc.1", "_INBOX.abc.1"),
)

TOLD = (
    *_SUBJECTS,
    *(f"$JS.API.STREAM.{action}.{name}" for name in _STREAMS for action in _OF_A_STREAM),
    *(f"changes.STREAM.{action}.{name}" for name in _STREAMS for action in _OF_A_STREAM),
    *(f"$JS.API.DIRECT.GET.{name}" for name in _STREAMS),
    *("$JS.API.DIRECT.GET.GRANTS.grants.change.1", "$JS.API.DIRECT.GET.SNAPSHOTS.snapshot.index"),
    *(f"$JS.API.CONSUMER.CREATE.{name}" for name in _STREAMS),
    *("$JS.API.CONSUMER.CREATE.GRANTS.c.grants.>", "$JS.API.CONSUMER.DURABLE.CREATE.GRANTS.c"),
    *("$JS.API.CONSUMER.MSG.NEXT.GRANTS.c", "$JS.API.CONSUMER.DELETE.GRANTS.c"),
    *("$JS.API.CONSUMER.NAMES.GRANTS", "$JS.API.CONSUMER.LIST.GRANTS"),
    *("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"),
    *("$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.CHANGES"),
    *("$JS.ACK.GRANTS.c.1.1.1.1.0", "$JS.FC.GRANTS.c.1"),
    *("$KV.grants.key", "$O.grants.C.chunk", "$SRV.PING"),
    *("$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING", "$SYS.REQ.USER.INFO"),
)
"""Subjects that each service tries to publish on."""

_WIDE = (
    *(">", "*", "grants.>", "grants.change.>", "grants.member.>", "snapshot.>", "policy.>"),
    *("policy.*", "policy.applied.>", "_INBOX.>", "_INBOX_keys.>", "_INBOX_policy.>"),
    *("_INBOX_gateway.>", "_INBOX_gateway.*.1", "_R_.>", "changes.>", "$JS.>", "$JS.API.>"),
    *("$JS.API.STREAM.MSG.GET.GRANTS", "$JS.API.DIRECT.GET.GRANTS", "$JS.EVENT.>", "$JS.ACK.>"),
    *("$KV.>", "$O.>", "$SYS.>", "$SRV.>"),
)
HEARD = tuple((subject, queue) for subject in (*_SUBJECTS, *_WIDE) for queue in ("", "policy", "q"))
"""Subjects, and queue groups, that each service tries to subscribe to."""

MAY_PUBLISH = {
    "keys": {
        *("grants.epoch", "grants.change.1", "policy.report"),
        *("snapshot.index", "snapshot.chunk.s1.0", "$JS.API.INFO"),
        *(f"$JS.API.STREAM.{action}.GRANTS" for action in ("CREATE", "UPDATE", "INFO", "MSG.GET")),
        *("$JS.API.STREAM.PURGE.GRANTS", "$JS.API.STREAM.DELETE.GRANTS"),
        *(f"$JS.API.STREAM.{action}.SNAPSHOTS" for action in ("CREATE", "UPDATE", "INFO")),
        *("$JS.API.STREAM.MSG.GET.SNAPSHOTS", "$JS.API.STREAM.PURGE.SNAPSHOTS"),
    },
    "policy": {
        *("grants.member.r1", "policy.applied.r1", "_INBOX_gateway.abc.1"),
        # Reads alone, each under JetStream's name and under that of the import it leads to.
        *(f"{at}.STREAM.INFO.GRANTS" for at in ("$JS.API", "changes")),
        *(f"{at}.STREAM.MSG.GET.GRANTS" for at in ("$JS.API", "changes")),
        *(f"{at}.STREAM.MSG.GET.SNAPSHOTS" for at in ("$JS.API", "changes")),
        *("$JS.API.DIRECT.GET.GRANTS", "$JS.API.DIRECT.GET.SNAPSHOTS"),
    },
    "gateway": {"policy.decide", "policy.decide.any"},
}

_ANY = ("", "policy", "q")
MAY_SUBSCRIBE = {
    user: {(subject, queue) for subject in allowed for queue in _ANY}
    for user, allowed in {
        "keys": ("policy.applied.>", "policy.applied.r1", "_INBOX_keys.>", "_INBOX_keys.abc.1"),
        "policy": (
            *("grants.change.>", "grants.change.1", "policy.decide.any", "policy.report"),
            *("_INBOX_policy.>", "_INBOX_policy.abc.1"),
        ),
        "gateway": (
            *("policy.applied.>", "policy.applied.r1", "_INBOX_gateway.>", "_INBOX_gateway.*.1"),
            "_INBOX_gateway.abc.1",
        ),
    }.items()
}
# As a member of the queue group alone: a plain subscription would read every question.
MAY_SUBSCRIBE["policy"].add(("policy.decide", "policy"))
