"""How requests are read from a connection, answered, and the connection kept or ended."""

from tests.mutations import of_gateway

READER = "tests/unit/test_request_reader.py"
HARNESSES = "tests/parsers/test_harnesses.py"
FRAMING = "tests/service/test_gateway_framing.py"
STREAMING = "tests/service/test_gateway_streaming.py"
LOAD = "tests/service/test_gateway_load.py"
FLOODS = "tests/service/test_gateway_floods.py"
PUBLIC_TLS = "tests/service/test_public_tls.py"
GATEWAY = "tests/service/test_gateway.py"


MUTATIONS = (
    *of_gateway(
        "request_reader",
        (
            "if size > MAX_LINE or self._head_bytes > MAX_HEAD:",
            "if False:",
            f"{READER}::test_what_is_too_much_or_malformed_ends_the_reading",
        ),
        (
            "if len(self._headers) > MAX_HEADERS:",
            "if False:",
            f"{READER}::test_what_is_too_much_or_malformed_ends_the_reading",
        ),
        (
            "if len(self._target) > MAX_LINE:",
            "if False:",
            f"{READER}::test_what_is_too_much_or_malformed_ends_the_reading",
        ),
        (
            "if len(self.waiting) >= MAX_WAITING:",
            "if False:",
            f"{READER}::test_what_is_too_much_or_malformed_ends_the_reading",
        ),
        (
            'if self.is_chunked and self._parser.get_http_version() == "1.0":',
            "if False:",
            f"{READER}::test_what_is_too_much_or_malformed_ends_the_reading",
        ),
        (
            "if self._silent_bytes > MAX_HEAD:",
            "if False:",
            f"{READER}::test_a_chunks_extension_that_goes_on_and_on_ends_the_reading",
        ),
        (
            "if self.latest is not None or self.problem:",
            "if self.problem:",
            f"{READER}::test_a_trailer_is_no_header",
        ),
        (
            "            self.is_over = True\n",
            "            pass\n",
            f"{READER}::test_nothing_is_read_after_a_request_for_another_protocol",
        ),
        (
            "self.latest.is_broken = True",
            "self.latest.is_broken = False",
            f"{READER}::test_a_body_that_breaks_is_told_of",
        ),
        (
            '(version != "1.0" or not self._says_close())',
            "True",
            f"{READER}::test_a_connection_whose_client_says_close_is_not_kept",
        ),
        (
            "request.has_body = self.is_chunked or bool(self._length)",
            "request.has_body = bool(self._length)",
            f"{READER}::test_requests_are_read_with_their_bodies_in_order",
        ),
        (
            "            self._length = int(value)\n",
            "            self._length = min(int(value), 3)\n",
            f"{READER}::test_requests_are_read_with_their_bodies_in_order",
        ),
        (
            "self._target += piece",
            "self._target = piece",
            f"{HARNESSES}::test_no_bytes_break_a_promise",
        ),
    ),
    *of_gateway(
        "client",
        (
            "return request.keeps_alive and request.is_complete and not self._server.is_draining",
            "return request.keeps_alive and not self._server.is_draining",
            f"{FRAMING}::test_a_connection_whose_body_was_not_read_is_not_kept",
        ),
        (
            "return request.keeps_alive and request.is_complete and not self._server.is_draining",
            "return request.keeps_alive and request.is_complete",
            f"{STREAMING}::test_a_stop_keeps_the_connection_that_a_stream_has_promised",
        ),
        (
            "return request.keeps_alive and request.is_complete and not self._server.is_draining",
            "return request.is_complete and not self._server.is_draining",
            f"{FRAMING}::test_the_well_formed_request_these_tests_bend_is_served",
        ),
        (
            "limit = self._server.header_limit_s if self._is_header else self._server.idle_s",
            "limit = self._server.idle_s",
            f"{FRAMING}::test_a_header_that_does_not_end_is_closed",
        ),
        (
            "limit = self._server.header_limit_s if self._is_header else self._server.idle_s",
            "limit = self._server.header_limit_s if self._is_header else 1e9",
            f"{FLOODS}::test_row_49_idle_connections_end_at_their_limit",
        ),
        (
            "self._is_header = False\n        self._begun_at = self._loop.time()",
            "self._begun_at = self._loop.time()",
            f"{FRAMING}::test_a_used_connection_may_rest_longer_than_a_header_may_take",
        ),
        (
            "if self.task is None:\n            self._next()",
            "if self.task is None or reader.waiting:\n            self._next()",
            f"{FRAMING}::test_a_request_that_comes_while_another_is_answered_waits_its_turn",
        ),
        (
            "reader.waiting.popleft()",
            "reader.waiting.pop()",
            f"{FRAMING}::test_pipelined_requests_are_each_decided",
        ),
        (
            "elif now - self._stuck_at >= self._server.stall_s:",
            "elif False:",
            f"{LOAD}::test_row_31_a_client_that_takes_nothing_of_its_answer_is_cut_off",
        ),
        (
            "if self._server.count(address):",
            "if self._server.count(address) or address:",
            f"{LOAD}::test_row_50_an_address_has_so_many_connections_and_the_next_is_closed",
        ),
        (
            "        if self.task is not None:\n            self.task.cancel()\n",
            "",
            f"{STREAMING}::test_a_client_that_leaves_before_the_first_byte_closes_its_upstream",
        ),
    ),
    *of_gateway(
        "server",
        (
            "            connection.look(now)\n",
            "            _ = (connection, now)\n",
            f"{FRAMING}::test_a_header_that_does_not_end_is_closed",
        ),
        (
            "if count >= self._most_per_address:",
            "if False:",
            f"{LOAD}::test_row_50_an_address_has_so_many_connections_and_the_next_is_closed",
        ),
        (
            "server.drain(drain_s)",
            "server.drain(0.0)",
            f"{STREAMING}::test_a_stop_refuses_new_work_and_lets_streams_end",
        ),
        (
            "if not self.connections and not self.greeting:",
            "if not self.connections:",
            f"{PUBLIC_TLS}::test_what_has_begun_when_it_stops_is_answered",
        ),
    ),
    *of_gateway(
        "handshakes",
        (
            "ssl_handshake_timeout=self._server.header_limit_s",
            "ssl_handshake_timeout=None",
            f"{PUBLIC_TLS}::test_plain_http_and_silence_get_nothing_and_end_in_time",
        ),
        (
            "if address is None or server.count(address):",
            "if True:",
            f"{PUBLIC_TLS}::test_a_handshake_counts_as_a_connection_of_its_address",
        ),
        (
            "        self._end_handshake()\n",
            "",
            f"{PUBLIC_TLS}::test_a_handshake_counts_as_a_connection_of_its_address",
        ),
    ),
    *of_gateway(
        "uploads",
        (
            "size is None or size > _SMALL",
            "size is None",
            f"{FRAMING}::test_of_an_unknown_key_no_model_is_asked_about",
        ),
        (
            "    if request.size > limit:\n        raise too_large(limit)\n",
            "",
            f"{FRAMING}::test_a_body_over_the_limit_is_413_and_not_kept",
        ),
        (
            " and request.size <= limit:",
            ":",
            f"{FRAMING}::test_a_body_over_the_limit_is_413_and_not_kept",
        ),
        (
            "if request.is_broken:",
            "if False:",
            f"{FRAMING}::test_ambiguous_framing_is_refused_and_nothing_is_sent",
        ),
        (
            "asyncio.timeout_at(begun + timeout_s)",
            "asyncio.timeout_at(None)",
            f"{FRAMING}::test_a_body_that_does_not_end_is_408",
        ),
    ),
    *of_gateway(
        "api",
        (
            "headers.check_framing(inbound, request.method, has_body=request.has_body)",
            "pass",
            f"{FRAMING}::test_ambiguous_framing_is_refused_and_nothing_is_sent",
        ),
        (
            "if not request.is_spoken:",
            "if False:",
            f"{FRAMING}::test_another_http_version_is_refused_in_one_that_can_be_read",
        ),
        (
            "if isinstance(decision, Deny):",
            "if False:",
            f"{GATEWAY}::test_a_denied_request_reaches_nothing_and_is_told_why",
        ),
        (
            "if size is not None and size > limit:",
            "if False:",
            f"{FRAMING}::test_a_body_over_the_limit_is_413_and_not_kept",
        ),
        (
            "return not await comes_soon(",
            "return False and await comes_soon(",
            f"{FRAMING}::test_an_unknown_key_that_withholds_its_body_holds_no_place",
        ),
        (
            'if "expect" in inbound.fields or is_large(request):',
            "if False:",
            f"{FRAMING}::test_of_an_unknown_key_no_model_is_asked_about",
        ),
        (
            "if route.query_model is not None and route.query_model != body.model:",
            "if False:",
            f"{GATEWAY}::test_a_query_or_path_that_names_another_model_is_refused",
        ),
        (
            "Caller(self._admission.identify(headers.caller_key(inbound)), 0)",
            'Caller(b"", 0)',
            f"{GATEWAY}::test_management_without_a_key_is_401_and_not_forwarded",
        ),
        (
            "            self.load.enter_key(caller.key)\n",
            '            self.load.enter_key(b"")\n',
            f"{LOAD}::test_one_keys_limit_is_not_anothers",
        ),
    ),
)
