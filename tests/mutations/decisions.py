"""Who is let through, what is read of a request, and what crosses in either direction."""

from tests.mutations import Mutation

GATEWAY = "tests/service/test_gateway.py"
FRAMING = "tests/service/test_gateway_framing.py"
HEADERS = "tests/unit/test_headers.py"
ADDRESSES = "tests/unit/test_addresses.py"
WHOLE = "tests/parsers/test_differential.py"

MUTATIONS = (
    Mutation(
        "services/gateway/admission.py",
        "if not is_wellformed(key.reveal()):",
        "if False:",
        f"{GATEWAY}::test_a_key_with_a_bad_checksum_or_form_is_refused_without_asking",
    ),
    Mutation(
        "shared/credentials.py",
        "and _checksum(body) == secret[-_CHECK:]",
        "and bool(body)",
        "tests/unit/test_credentials.py::test_a_typo_in_a_minted_key_is_seen_without_a_look_up",
    ),
    Mutation(
        "shared/credentials.py",
        'return "Secret(***)"',
        'return f"Secret({self._value})"',
        "tests/unit/test_credentials.py::test_printing_a_secret_shows_nothing_of_it",
    ),
    Mutation(
        "services/gateway/streaming.py",
        'if upstream.secrets and coding not in ("", "identity"):',
        "if False:",
        f"{GATEWAY}::test_a_credential_in_a_compressed_error_is_not_repeated",
    ),
    Mutation(
        "services/gateway/streaming.py",
        "return found if reader.eof and not reader.unused_data else None",
        "return found",
        f"{GATEWAY}::test_a_credential_in_a_compressed_error_is_not_repeated",
    ),
    Mutation(
        "services/gateway/streaming.py",
        'body = body.replace(secret.encode("latin-1"), b"[redacted]")',
        "body = bytes(body)",
        f"{GATEWAY}::test_an_upstream_that_repeats_its_credential_is_not_repeated",
    ),
    Mutation(
        "services/gateway/tunnels.py",
        "    except ValueError:\n",
        "    except KeyError:\n",
        "tests/unit/test_tunnels.py",
    ),
    Mutation(
        "services/gateway/admission.py",
        'if "sk-" not in name:',
        "if name:",
        f"{GATEWAY}::test_a_key_in_the_place_of_a_name_is_refused_and_not_sent_to_policy",
    ),
    Mutation(
        "services/gateway/line.py",
        "found |= dict.fromkeys(forms)",
        "found |= dict.fromkeys(forms[:1])",
        "tests/unit/test_relay.py",
    ),
    Mutation(
        "services/gateway/telemetry.py",
        "return limited(warn, Limiter(max(1, per_s)), clock)",
        "return warn",
        f"{GATEWAY}::test_a_policy_that_stays_away_floods_no_log",
    ),
    Mutation(
        "services/gateway/relay.py",
        "if status in (401, 403, 407):",
        "if status == 407:",
        f"{GATEWAY}::test_an_upstream_that_refuses_our_credential_is_our_fault",
    ),
    Mutation(
        "services/gateway/relay.py",
        "if 300 <= status < 400:",
        "if 300 <= status < 300:",
        f"{GATEWAY}::test_a_redirect_is_neither_followed_nor_shown",
    ),
    Mutation(
        "services/gateway/headers.py",
        '        "retry-after",\n',
        '        "retry-after",\n        "set-cookie",\n',
        f"{GATEWAY}::test_upstream_cookies_and_internals_stay_there",
    ),
    Mutation(
        "services/gateway/headers.py",
        '    "idempotency-key",\n',
        '    "idempotency-key",\n    "openai-organization",\n    "cookie",\n',
        f"{GATEWAY}::test_only_allowed_headers_cross",
    ),
    Mutation(
        "services/gateway/headers.py",
        "if any(secret in value for _, value in kept):",
        "if False:",
        f"{GATEWAY}::test_an_upstream_that_repeats_its_credential_is_not_repeated",
    ),
    Mutation(
        "services/gateway/headers.py",
        'if "content-encoding" in fields:',
        "if False:",
        f"{FRAMING}::test_a_compressed_body_is_415_and_costs_nothing",
    ),
    Mutation(
        "services/gateway/headers.py",
        '"host" in inbound.repeated or not _HOST.fullmatch(host)',
        "not host",
        f"{FRAMING}::test_ambiguous_framing_is_refused_and_nothing_is_sent",
    ),
    Mutation(
        "services/gateway/requests.py",
        'if is_short and name != "model" and is_twin(name):',
        "if False:",
        f"{WHOLE}::test_every_parser_reads_the_decided_model_from_what_is_sent",
    ),
    Mutation(
        "services/gateway/requests.py",
        "    for name in dropped:\n        del members[name]\n",
        "",
        f"{GATEWAY}::test_routing_members_are_dropped_and_the_upstream_is_the_configured_one",
    ),
    Mutation(
        "services/gateway/answer_reader.py",
        'self.problem = "bytes outside an answer"',
        "self.chunks.append(data)",
        "tests/parsers/test_harnesses.py::test_no_bytes_break_a_promise",
    ),
    Mutation(
        "shared/addresses.py",
        "            return found.ipv4_mapped\n",
        "            return found\n",
        f"{ADDRESSES}::test_a_wrapping_makes_no_address_better",
    ),
    Mutation(
        "shared/addresses.py",
        "return _NUMBER.fullmatch(name) is not None",
        "return False",
        f"{ADDRESSES}::test_row_70_a_host_that_is_an_address_in_disguise_is_refused_as_it_is_written",
    ),
    Mutation(
        "services/gateway/headers.py",
        'if "upgrade" in fields:',
        "if False:",
        f"{FRAMING}::test_ambiguous_framing_is_refused_and_nothing_is_sent",
    ),
    Mutation(
        "services/gateway/headers.py",
        'if coding is not None and (coding.lower() != "chunked" or "content-length" in fields):',
        "if False:",
        f"{FRAMING}::test_ambiguous_framing_is_refused_and_nothing_is_sent",
    ),
    Mutation(
        "services/gateway/headers.py",
        "if name in seen:",
        "if False:",
        HEADERS,
    ),
    Mutation(
        "services/gateway/headers.py",
        'if expected is not None and expected.lower() != "100-continue":',
        "if False:",
        f"{FRAMING}::test_another_expectation_is_417",
    ),
    Mutation(
        "services/gateway/headers.py",
        "if _VALUE.fullmatch(value):",
        "if True:",
        HEADERS,
    ),
    Mutation(
        "services/gateway/headers.py",
        "    _drop_connection_listed(inbound)\n    return",
        "    return",
        HEADERS,
    ),
    Mutation(
        "shared/addresses.py",
        "return not any(found in network for network in _NOT_PUBLIC_4)",
        "return True",
        f"{ADDRESSES}::test_row_70_what_is_not_of_the_internet_is_not_public",
    ),
    Mutation(
        "shared/patterns.py",
        "not name.startswith(self.prefix) or ",
        "",
        "tests/unit/test_patterns.py",
    ),
    Mutation(
        "shared/http.py",
        'if token is not None and token.is_told(request.headers.get(header, "")):',
        'if token is None or token.is_told(request.headers.get(header, "")):',
        "tests/service/test_http.py",
    ),
    Mutation(
        "services/gateway/member_names.py",
        'if len(data) <= _FEW_NAMES or data.count(b":") <= _FEW_NAMES:',
        "if True:",
        "tests/unit/test_gateway_requests.py"
        "::test_members_without_number_are_refused_before_they_are_kept",
    ),
    Mutation(
        "services/gateway/requests.py",
        'if len(head) > len("model"):',
        "if False:",
        "tests/unit/test_gateway_requests.py"
        "::test_a_name_that_would_grow_eighteenfold_is_not_written_out",
    ),
)
