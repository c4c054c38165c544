"""Which tests show that an attack or a bad input does no harm: a line for each, with their names.

`test_attacks.py` checks that every test named here exists.
"""

SHOWN_BY = {
    "no policy reachable": ["test_without_policy_nothing_is_forwarded"],
    "policy answers with the wrong shape": ["test_an_answer_of_the_wrong_shape_admits_nothing"],
    "an answer older than was asked for": ["test_an_answer_older_than_the_floor_is_no_answer"],
    "upstream down, silent or broken off": [
        "test_an_unreachable_upstream_is_502",
        "test_a_silent_upstream_is_504",
        "test_an_upstream_that_breaks_off_before_a_whole_answer_is_502",
    ],
    "upstream dies in the middle of a stream": [
        "test_an_upstream_that_dies_mid_stream_is_an_error_and_no_end"
    ],
    "client leaves": ["test_a_client_that_leaves_closes_its_upstream_within_a_second"],
    "client reads slowly": ["test_slow_readers_slow_their_upstream_and_hold_no_memory"],
    "events cut anywhere": ["test_a_stream_cut_anywhere_arrives_unchanged"],
    "lengths, codings and headers that two readers take differently": [
        "test_ambiguous_framing_is_refused_and_nothing_is_sent",
        "test_framing_that_others_read_differently_is_refused",
    ],
    "an upstream's framing that two readers take differently": [
        "test_what_two_readers_could_take_differently_is_refused",
        "test_bytes_after_an_answer_never_reach_the_next_caller",
        "test_no_bytes_break_a_promise",
    ],
    "trailers": ["test_trailers_never_become_headers"],
    "pipelining": ["test_pipelined_requests_are_each_decided"],
    "a body before its key is known": ["test_an_unknown_key_is_refused_before_its_body_is_read"],
    "an unusual expectation": ["test_another_expectation_is_417"],
    "odd methods": ["test_a_wrong_method_is_405"],
    "other versions of HTTP": ["test_another_http_version_is_refused_in_one_that_can_be_read"],
    "odd spellings of a path": [
        "test_an_odd_spelling_is_no_route",
        "test_the_upstream_path_is_the_canonical_one_or_nothing",
        "test_any_other_path_is_not_found_and_never_proxied",
    ],
    "a model or a key in the query": [
        "test_a_query_that_could_route_is_refused",
        "test_a_key_in_the_url_is_refused",
        "test_a_model_in_the_query_does_not_replace_the_checked_one",
    ],
    "headers named by Connection": [
        "test_a_header_named_by_connection_is_dropped_and_ours_cannot_be"
    ],
    "headers that would route or pretend": ["test_only_the_allowed_headers_reach_an_upstream"],
    "values that could split a header": ["test_no_value_that_could_split_a_header_crosses"],
    "headers that do not end": [
        "test_a_header_that_does_not_end_is_closed",
        "test_a_slow_connection_holds_no_other_up",
    ],
    "bodies that do not end": ["test_a_body_that_does_not_end_is_408"],
    "bodies over the limit": ["test_a_body_over_the_limit_is_413_and_not_kept"],
    "compressed bodies": ["test_a_compressed_body_is_415_and_costs_nothing"],
    "compressed answers": ["test_a_compressed_answer_passes_as_it_is"],
    "redirects": ["test_a_redirect_is_neither_followed_nor_shown"],
    "an upstream's cookies": ["test_upstream_cookies_and_internals_stay_there"],
    "two models in a body": [
        "test_two_members_that_could_both_be_the_model_are_refused",
        "test_every_parser_reads_the_decided_model_from_what_is_sent",
    ],
    "two models in a form": ["test_a_form_that_parsers_read_differently_is_refused"],
    "another content type": [
        "test_another_content_type_is_415",
        "test_json_under_another_type_is_415",
    ],
    "encodings, depth and numbers": [
        "test_a_body_that_parsers_disagree_about_is_refused",
        "test_a_megabyte_of_name_is_passed_over",
    ],
    "names that are nearly the granted one": [
        "test_a_name_that_is_not_the_granted_one_is_refused",
        "test_a_pattern_covers_what_it_says_and_no_more",
        "test_a_narrow_wildcard_is_carved_out_of_a_wide_one",
    ],
    "members that would route": [
        "test_a_member_that_would_route_is_dropped_and_its_neighbours_stay",
        "test_an_address_in_the_body_changes_neither_the_upstream_nor_its_credential",
        "test_fallbacks_of_the_client_lead_to_no_model_that_was_not_decided_on",
    ],
    "an alias that widens a grant": [
        "test_a_teams_alias_is_checked_by_its_target",
        "test_a_keys_alias_is_checked_by_its_target",
    ],
    "a route around the decision": [
        "test_no_route_passes_through_undecided",
        "test_an_admission_cannot_be_made_without_a_decision",
    ],
    "any sequence of changes": [
        "test_a_random_walk_is_decided_as_an_independent_reading_of_the_rules_says"
    ],
    "a credential on the wrong side": [
        "test_an_upstream_that_repeats_its_credential_is_not_repeated",
        "test_a_credential_in_a_compressed_error_is_not_repeated",
        "test_an_upstream_that_refuses_our_credential_is_our_fault",
        "test_a_credential_never_goes_to_the_address_that_replaced_its_own",
    ],
    "a malformed credential": [
        "test_a_malformed_credential_is_refused_and_in_no_log",
        "test_a_malformed_credential_is_in_no_answer_and_in_no_log",
        "test_a_key_in_the_wrong_place_is_repeated_nowhere",
    ],
    "secrets in logs, arguments and output": [
        "test_no_secret_reaches_a_log",
        "test_no_secret_is_ever_an_argument",
        "test_printing_a_secret_shows_nothing_of_it",
        "test_a_refusal_of_a_key_shows_neither_the_key_nor_its_digest",
    ],
    "a key with a typo": ["test_a_key_with_a_bad_checksum_or_form_is_refused_without_asking"],
    "management with another key, or none": [
        "test_management_needs_the_master_key",
        "test_no_route_opens_to_a_missing_or_doubtful_credential",
        "test_is_refused",
    ],
    "a service that speaks for another": [
        "test_each_service_may_publish_its_own_subjects_only",
        "test_each_service_may_subscribe_its_own_subjects_only",
        "test_no_service_can_answer_under_anothers_inbox_prefix",
        "test_internal_routes_show_themselves_to_the_token_alone",
    ],
    "more connections than an address may have": [
        "test_row_50_an_address_has_so_many_connections_and_the_next_is_closed"
    ],
    "a stored model's address in a private network": [
        "test_row_70_what_is_not_of_the_internet_is_not_public",
        "test_row_70_a_host_that_is_an_address_in_disguise_is_refused_as_it_is_written",
        "test_row_70_a_model_made_at_run_time_leads_to_no_address_of_ours",
        "test_row_70_a_stored_upstream_at_an_address_of_ours_is_not_connected_to",
        "test_row_70_a_name_that_turns_private_is_refused_at_its_next_connection",
        "test_row_70_of_a_names_addresses_only_those_in_reach_are_tried",
        "test_row_70_the_checked_address_is_connected_to_and_tls_proves_the_name",
        "test_row_70_a_stored_model_reaches_no_address_of_ours_through_the_gateway",
    ],
    "a log that is flooded": [
        "test_row_66_a_flood_of_unknown_keys_is_a_few_lines_with_a_count",
        "test_a_policy_that_stays_away_floods_no_log",
    ],
    "a hostile configuration file": [
        "test_each_mistake_is_one_line_that_names_file_path_and_cure",
        "test_whatever_the_file_holds_is_read_or_refused_in_one_line",
    ],
}

NOT_SHOWN = {
    "a process without file descriptors": "no test",
    "thousands of idle connections at once": "the cap for an address is shown with two",
    "secrets in metrics, messages on the bus and data files, swept after every failure": "no test",
    "the time that a look-up of a key takes": "no test; it is by digest",
    "valid traffic's times under a flood of unknown keys": "not measured",
}
"""What no test shows, and why."""
