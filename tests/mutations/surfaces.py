"""The bus, its accounts and proofs, the lease, and the database's TLS."""

from tests.mutations import Mutation

DELIVERY = "tests/service/test_delivery.py"

MUTATIONS = (
    Mutation(
        "services/policy/lease.py",
        "        if proof_began >= self._dropped_at:\n",
        "        if True:\n",
        "tests/unit/test_lease.py::"
        "test_a_proof_that_began_before_the_lease_was_given_up_does_not_bring_it_back",
    ),
    Mutation(
        "services/policy/feed.py",
        " or is_answer(message.headers)",
        "",
        f"{DELIVERY}::test_what_one_replica_has_jetstream_answer_is_no_change_to_another",
    ),
    Mutation(
        "services/keys/members.py",
        "record is None or record[1] == LEFT",
        "record is None",
        f"{DELIVERY}::test_a_replica_that_leaves_in_order_delays_no_write",
    ),
    Mutation(
        "services/dev/nats.conf",
        '              "policy.decide policy"\n',
        '              "policy.decide"\n',
        "tests/service/test_nats_permissions.py::"
        "test_each_service_may_subscribe_its_own_subjects_only",
    ),
    Mutation(
        "shared/nkey.py",
        "_checked(raw[:-2]) != raw",
        "not raw",
        "tests/service/test_nats_nkeys.py::"
        "test_what_is_no_seed_of_a_user_is_one_line_that_quotes_nothing_of_it",
    ),
    Mutation(
        "services/keys/mongo.py",
        'simplefilter("error", UserWarning)',
        'simplefilter("ignore", UserWarning)',
        "tests/contract/test_mongo_tls.py::"
        "test_an_address_without_the_tls_it_asks_for_is_one_line_without_the_password",
    ),
    Mutation(
        "services/keys/mongo.py",
        'in _UNVERIFIED and value.lower() != "false"',
        "in ()",
        "tests/contract/test_mongo_tls.py::"
        "test_an_address_without_the_tls_it_asks_for_is_one_line_without_the_password",
    ),
)
