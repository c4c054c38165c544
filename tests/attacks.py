"""What shows that an attack, a bad input or a fault does no harm: a row for each, and where.

A name is a test's; `chaos:` is one of `make chaos`'s nemeses, `benchmark:` a module of benchmarks.
`test_attacks.py` checks that everything named here exists.
"""

ROWS = {
    1: (
        "a revocation that returned, at every replica",
        [
            "test_a_revoked_key_is_refused_by_whoever_answers_after_the_barrier",
            "test_nobody_answers_from_before_a_revocation_that_returned",
            "test_each_wrong_barrier_is_found",
        ],
    ),
    2: (
        "keys dies after its commit",
        [
            "test_keys_killed_at_any_step_has_put_a_write_in_force_or_not_acknowledged_it",
            "chaos: kill keys",
        ],
    ),
    3: (
        "keys dies before its commit",
        ["test_keys_killed_at_any_step_has_put_a_write_in_force_or_not_acknowledged_it"],
    ),
    4: (
        "the database dies under acknowledged changes",
        ["test_kill_9_of_the_database_loses_no_acknowledged_change", "chaos: kill the database"],
    ),
    5: (
        "NATS dies",
        [
            "test_without_the_bus_a_write_is_pending_and_in_force_once_it_is_back",
            "chaos: kill nats",
        ],
    ),
    6: (
        "NATS comes back with an empty disk",
        [
            "test_a_wiped_stream_is_filled_again_and_answers_resume",
            "test_a_lost_nats_store_is_rebuilt_without_a_hand",
            "chaos: wipe the stream's store",
        ],
    ),
    7: (
        "the stream is purged or deleted",
        [
            "test_a_deleted_stream_never_lets_a_write_pass_early",
            "chaos: purge the stream",
            "chaos: delete the stream",
        ],
    ),
    8: (
        "NATS stands still",
        [
            "test_a_bus_that_goes_away_while_a_write_waits_costs_it_the_wait_and_no_more",
            "chaos: freeze nats",
        ],
    ),
    9: (
        "a policy stands still beyond its lease",
        [
            "test_a_write_waits_for_a_frozen_replica_until_its_lease_has_run_out",
            "chaos: freeze a policy",
        ],
    ),
    10: (
        "a policy dies and starts during writes",
        [
            "test_no_replica_answers_before_the_stream_is_complete",
            "test_a_restart_lets_nobody_answer_from_before_a_revocation_that_returned",
            "chaos: kill a policy",
        ],
    ),
    11: (
        "a policy starts while changes stream in",
        [
            "test_a_replica_that_starts_late_reads_everything_before_it_answers",
            "test_two_thousand_changes_a_second_are_folded_without_missing_a_lease",
        ],
    ),
    12: (
        "changes twice, out of order, or lost",
        [
            "test_duplicates_reordering_and_loss_leave_a_prefix_of_the_log",
            "test_every_promise_holds_in_every_simulated_history",
        ],
    ),
    13: (
        "a publication that times out and is stored",
        ["test_the_stream_holds_the_log_in_order_whatever_arrives_late", "chaos: freeze nats"],
    ),
    14: (
        "a duplicate that NATS does not know any more",
        ["test_duplicates_reordering_and_loss_leave_a_prefix_of_the_log"],
    ),
    15: (
        "an older database",
        [
            "test_a_restored_backup_is_found_with_the_revocations_it_lost",
            "test_a_log_that_is_behind_the_stream_stops_writes",
            "chaos: restore an older database",
        ],
    ),
    16: (
        "two keys commit at once",
        [
            "test_two_replicas_that_write_at_once_make_one_gapless_log",
            "test_concurrent_writes_of_two_replicas_make_one_log_and_every_answer_holds",
        ],
    ),
    17: (
        "an insert whose answer is lost",
        [
            "test_the_same_operation_stored_twice_is_one_change",
            "chaos: reset every link to the database",
        ],
    ),
    18: ("a policy whose loop is blocked", ["chaos: block a policy's loop"]),
    19: (
        "keys and the database are gone",
        [
            "test_no_request_fails_while_keys_and_the_database_are_gone",
            "test_a_replica_starts_from_its_own_copy_when_the_bus_has_none",
        ],
    ),
    20: (
        "a policy cut off from NATS",
        [
            "test_no_revocation_is_undone_and_no_change_lost_while_parts_die",
            "chaos: cut a policy off",
        ],
    ),
    21: ("clocks that jump an hour", ["chaos: clocks an hour ahead", "chaos: clocks an hour back"]),
    22: (
        "a change that cannot be read, or is too large",
        [
            "test_what_is_no_record_is_told_as_unreadable",
            "test_a_record_that_cannot_be_read_is_not_answered_for_and_others_are",
            "test_with_a_bus_too_small_for_a_change_nothing_is_written_and_the_cure_is_told",
            "test_what_mongodb_would_not_take_is_refused_before_the_commit",
        ],
    ),
    23: ("a cold start with a million keys", ["benchmark: cold_start"]),
    24: ("no policy reachable", ["test_without_policy_nothing_is_forwarded"]),
    25: (
        "a policy that does not answer",
        [
            "test_with_nobody_to_answer_a_question_fails_within_its_deadline",
            "chaos: half-open to a policy",
            "chaos: a policy is not heard",
        ],
    ),
    26: (
        "a policy that answers with the wrong shape",
        [
            "test_an_answer_of_the_wrong_shape_admits_nothing",
            "test_an_answer_older_than_the_floor_is_no_answer",
        ],
    ),
    27: (
        "an upstream down, silent or broken off",
        [
            "test_an_unreachable_upstream_is_502",
            "test_a_silent_upstream_is_504",
            "test_an_upstream_that_breaks_off_before_a_whole_answer_is_502",
        ],
    ),
    28: (
        "an upstream that stalls in the middle",
        [
            "test_an_upstream_that_stalls_in_the_middle_times_out",
            "test_an_upstream_that_dies_mid_stream_is_an_error_and_no_end",
        ],
    ),
    29: (
        "an upstream that dies in the middle of a stream",
        [
            "test_an_upstream_that_dies_mid_stream_is_an_error_and_no_end",
            "test_an_answer_that_ends_early_at_any_byte_is_never_a_success",
        ],
    ),
    30: ("a client that leaves", ["test_a_client_that_leaves_closes_its_upstream_within_a_second"]),
    31: (
        "a client that reads slowly, or not at all",
        [
            "test_slow_readers_slow_their_upstream_and_hold_no_memory",
            "test_row_31_a_client_that_takes_nothing_of_its_answer_is_cut_off",
            "test_row_31_a_client_that_takes_nothing_of_a_whole_last_answer_is_cut_off",
        ],
    ),
    32: (
        "a stop with streams in flight",
        [
            "test_a_stop_refuses_new_work_and_lets_streams_end",
            "test_a_stop_cuts_streams_off_at_its_limit",
            "test_a_rolling_restart_under_load_loses_nothing",
        ],
    ),
    33: ("events cut anywhere", ["test_a_stream_cut_anywhere_arrives_unchanged"]),
    34: (
        "no file descriptors left",
        ["test_row_34_a_gateway_without_descriptors_lives_and_recovers"],
    ),
    35: (
        "lengths and codings that two readers take differently",
        [
            "test_ambiguous_framing_is_refused_and_nothing_is_sent",
            "test_framing_that_others_read_differently_is_refused",
            "test_what_two_readers_could_take_differently_is_refused",
            "test_bytes_after_an_answer_never_reach_the_next_caller",
            "test_two_other_parsers_find_the_requests_that_are_answered",
            "test_no_bytes_break_a_promise",
            "test_what_a_search_once_found_is_tried_again",
        ],
    ),
    36: ("a coding before chunked", ["test_ambiguous_framing_is_refused_and_nothing_is_sent"]),
    37: ("trailers", ["test_trailers_never_become_headers"]),
    38: (
        "pipelining",
        [
            "test_pipelined_requests_are_each_decided",
            "test_a_request_that_comes_while_another_is_answered_waits_its_turn",
        ],
    ),
    39: (
        "an upgrade with a request in its body",
        [
            "test_ambiguous_framing_is_refused_and_nothing_is_sent",
            "test_framing_that_others_read_differently_is_refused",
        ],
    ),
    40: (
        "a body before its key is known",
        [
            "test_an_unknown_key_is_refused_before_its_body_is_read",
            "test_of_an_unknown_key_no_model_is_asked_about",
            "test_an_unknown_key_that_withholds_its_body_holds_no_place",
            "test_a_connection_whose_body_was_not_read_is_not_kept",
            "test_another_expectation_is_417",
        ],
    ),
    41: (
        "odd forms of a target, odd methods",
        [
            "test_a_target_in_another_form_is_malformed",
            "test_a_wrong_method_is_405",
            "test_ambiguous_framing_is_refused_and_nothing_is_sent",
        ],
    ),
    42: (
        "Host twice, not at all, or with more in it",
        [
            "test_ambiguous_framing_is_refused_and_nothing_is_sent",
            "test_framing_that_others_read_differently_is_refused",
        ],
    ),
    43: (
        "other versions of HTTP",
        [
            "test_another_http_version_is_refused_in_one_that_can_be_read",
            "test_ambiguous_framing_is_refused_and_nothing_is_sent",
        ],
    ),
    44: (
        "odd spellings of a path",
        [
            "test_an_odd_spelling_is_no_route",
            "test_the_upstream_path_is_the_canonical_one_or_nothing",
            "test_any_other_path_is_not_found_and_never_proxied",
            "test_an_escaped_letter_is_the_same_route_with_the_same_check",
        ],
    ),
    45: (
        "a model or a key in the query",
        [
            "test_a_query_that_could_route_is_refused",
            "test_a_key_in_the_url_is_refused",
            "test_a_model_in_the_query_does_not_replace_the_checked_one",
        ],
    ),
    46: (
        "headers named by Connection",
        ["test_a_header_named_by_connection_is_dropped_and_ours_cannot_be"],
    ),
    47: (
        "headers that would route or pretend",
        ["test_only_the_allowed_headers_reach_an_upstream"],
    ),
    48: ("values that could split a header", ["test_no_value_that_could_split_a_header_crosses"]),
    49: (
        "slow headers, slow bodies, idle connections",
        [
            "test_row_49_headers_that_come_a_byte_at_a_time_end_at_their_limit",
            "test_row_49_bodies_that_come_slowly_end_at_their_limit",
            "test_row_49_idle_connections_end_at_their_limit",
            "test_a_header_that_does_not_end_is_closed",
            "test_a_slow_connection_holds_no_other_up",
            "test_a_body_that_does_not_end_is_408",
        ],
    ),
    50: (
        "thousands of connections of one address",
        [
            "test_row_50_two_thousand_idle_connections_of_one_address_leave_room_for_others",
            "test_row_50_an_address_has_so_many_connections_and_the_next_is_closed",
        ],
    ),
    51: ("bodies over the limit", ["test_a_body_over_the_limit_is_413_and_not_kept"]),
    52: (
        "packed bodies",
        [
            "test_row_52_a_packed_body_is_415_and_costs_no_time",
            "test_row_52_the_refusal_of_a_packed_body_waits_for_none_of_it",
            "test_a_compressed_body_is_415_and_costs_nothing",
        ],
    ),
    53: ("packed answers", ["test_a_compressed_answer_passes_as_it_is"]),
    54: ("redirects", ["test_a_redirect_is_neither_followed_nor_shown"]),
    55: (
        "an upstream's cookies",
        [
            "test_row_55_what_an_upstream_sets_for_one_tenant_no_other_sees_or_sends",
            "test_upstream_cookies_and_internals_stay_there",
        ],
    ),
    56: (
        "two models in a body",
        [
            "test_two_members_that_could_both_be_the_model_are_refused",
            "test_every_parser_reads_the_decided_model_from_what_is_sent",
        ],
    ),
    57: ("two models in a form", ["test_a_form_that_parsers_read_differently_is_refused"]),
    58: (
        "another content type",
        ["test_another_content_type_is_415", "test_json_under_another_type_is_415"],
    ),
    59: (
        "encodings and numbers",
        [
            "test_a_body_that_parsers_disagree_about_is_refused",
            "test_no_bytes_are_more_than_a_body_or_a_refusal",
        ],
    ),
    60: (
        "depth and size of JSON",
        [
            "test_a_body_that_parsers_disagree_about_is_refused",
            "test_a_megabyte_of_name_is_passed_over",
            "test_members_without_number_are_refused_before_they_are_kept",
            "test_a_name_that_would_grow_eighteenfold_is_not_written_out",
        ],
    ),
    61: (
        "names that are nearly the granted one",
        [
            "test_a_name_that_is_not_the_granted_one_is_refused",
            "test_a_pattern_covers_what_it_says_and_no_more",
            "test_a_narrow_wildcard_is_carved_out_of_a_wide_one",
        ],
    ),
    62: (
        "members that would route",
        [
            "test_a_member_that_would_route_is_dropped_and_its_neighbours_stay",
            "test_an_address_in_the_body_changes_neither_the_upstream_nor_its_credential",
            "test_fallbacks_of_the_client_lead_to_no_model_that_was_not_decided_on",
        ],
    ),
    63: (
        "an alias that widens a grant",
        [
            "test_a_teams_alias_is_checked_by_its_target",
            "test_a_keys_alias_is_checked_by_its_target",
            "test_the_alias_is_asked_about_and_its_target_dispatched",
        ],
    ),
    64: (
        "a change between decision and dispatch",
        ["test_row_64_what_was_decided_is_what_is_sent_whatever_happens_between"],
    ),
    65: (
        "a credential on the wrong side",
        [
            "test_an_upstream_that_repeats_its_credential_is_not_repeated",
            "test_a_credential_in_a_compressed_error_is_not_repeated",
            "test_an_upstream_that_refuses_our_credential_is_our_fault",
            "test_a_credential_never_goes_to_the_address_that_replaced_its_own",
        ],
    ),
    66: (
        "a malformed credential",
        [
            "test_a_malformed_credential_is_refused_and_in_no_log",
            "test_a_malformed_credential_is_in_no_answer_and_in_no_log",
            "test_a_key_in_the_wrong_place_is_repeated_nowhere",
            "test_row_66_a_flood_of_unknown_keys_is_a_few_lines_with_a_count",
            "test_a_policy_that_stays_away_floods_no_log",
        ],
    ),
    67: (
        "secrets in logs, arguments and output",
        [
            "test_no_secret_reaches_a_log",
            "test_no_secret_is_ever_an_argument",
            "test_printing_a_secret_shows_nothing_of_it",
            "test_a_refusal_of_a_key_shows_neither_the_key_nor_its_digest",
            "test_no_secret_is_written",
            "test_full_objects_have_the_digest_and_no_secret",
            "test_no_failure_brings_a_secret_where_it_does_not_belong",
            "test_a_key_in_the_place_of_a_name_is_refused_and_not_sent_to_policy",
        ],
    ),
    68: (
        "the time that a look-up of a key takes",
        [
            "test_row_68_unknown_and_revoked_keys_are_told_the_same_by_the_same_lines",
            "test_row_68_unknown_and_revoked_keys_take_the_same_time",
            "test_row_68_no_secret_is_compared_as_text_where_keys_are_decided_on",
        ],
    ),
    69: (
        "a key with a typo",
        [
            "test_a_key_with_a_bad_checksum_or_form_is_refused_without_asking",
            "test_a_typo_in_a_minted_key_is_seen_without_a_look_up",
        ],
    ),
    70: (
        "a stored model's address in a private network",
        [
            "test_row_70_what_is_not_of_the_internet_is_not_public",
            "test_row_70_a_host_that_is_an_address_in_disguise_is_refused_as_it_is_written",
            "test_row_70_a_model_made_at_run_time_leads_to_no_address_of_ours",
            "test_row_70_a_stored_upstream_at_an_address_of_ours_is_not_connected_to",
            "test_row_70_a_name_that_turns_private_is_refused_at_its_next_connection",
            "test_row_70_of_a_names_addresses_only_those_in_reach_are_tried",
            "test_row_70_the_checked_address_is_connected_to_and_tls_proves_the_name",
            "test_row_70_a_stored_model_reaches_no_address_of_ours_through_the_gateway",
        ],
    ),
    71: (
        "management with another key, or none",
        [
            "test_management_needs_the_master_key",
            "test_no_route_opens_to_a_missing_or_doubtful_credential",
            "test_is_refused",
            "test_a_weak_or_malformed_master_key_is_refused_without_showing_it",
        ],
    ),
    72: (
        "a hostile configuration file",
        [
            "test_each_mistake_is_one_line_that_names_file_path_and_cure",
            "test_whatever_the_file_holds_is_read_or_refused_in_one_line",
        ],
    ),
}
"""By number, as in the matrix of attacks and faults that the project keeps."""

BESIDES = {
    "a route around the decision": [
        "test_no_route_passes_through_undecided",
        "test_an_admission_cannot_be_made_without_a_decision",
    ],
    "any sequence of changes": [
        "test_a_random_walk_is_decided_as_an_independent_reading_of_the_rules_says"
    ],
    "a service that speaks for another": [
        "test_each_service_may_publish_its_own_subjects_only",
        "test_each_service_may_subscribe_its_own_subjects_only",
        "test_no_service_can_answer_under_anothers_inbox_prefix",
        "test_no_answer_that_policy_asks_for_is_stored_as_what_it_may_not_publish",
        "test_what_one_replica_has_jetstream_answer_is_no_change_to_another",
        "test_internal_routes_answer_the_token_alone",
        "test_nothing_internal_answers_without_its_token",
        "test_every_route_of_policy_but_health_and_metrics_wants_its_token",
    ],
}
"""What has no number."""

NOT_SHOWN = {
    65: "an answer below 400 passes as it comes: a credential in its body is not looked for",
}
"""What of a row no test shows."""
