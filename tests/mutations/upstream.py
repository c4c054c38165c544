"""How an upstream's answer is read, passed on, and its connection kept or ended."""

from tests.mutations import of_gateway

STREAMING = "tests/service/test_gateway_streaming.py"
WIRE = "tests/service/test_wire.py"
REACH = "tests/service/test_upstream_reach.py"
EXCHANGE = "tests/unit/test_exchange.py"


MUTATIONS = (
    *of_gateway(
        "exchange",
        (
            "keeps_alive=self._reader.keeps_alive and self.is_sent",
            "keeps_alive=self._reader.keeps_alive",
            f"{EXCHANGE}::test_a_connection_that_was_not_sent_all_of_a_request_is_not_kept",
        ),
        (
            "        if cleanly:\n            self._reader.end()\n",
            "        self._reader.end()\n",
            f"{EXCHANGE}::test_a_body_to_the_end_of_the_connection_is_not_ended_by_a_reset",
        ),
        (
            "if self._reader.is_complete:\n            self._progress()",
            "self.is_open = False\n        if self._reader.has_head:\n            self._progress()",
            f"{WIRE}::test_an_answer_that_ends_early_at_any_byte_is_never_a_success",
        ),
        (
            "        elif reader.size > _HIGH:\n            self._carrier.pause()\n",
            "",
            f"{WIRE}::test_a_slow_reader_pauses_the_upstream",
        ),
        (
            "            self._sink = None\n            self._carrier.pause()\n",
            "            self._sink = None\n",
            f"{EXCHANGE}::test_a_full_sink_gets_nothing_and_the_upstream_is_not_read_until_it_has_room",
        ),
        (
            'self.fail(TimeoutError("the answer took too long in all"))',
            "self._wake()",
            f"{EXCHANGE}::test_the_time_in_all_ends_a_stream_that_goes_on",
        ),
    ),
    *of_gateway(
        "wire",
        (
            "        else:\n            self.discard()\n",
            "",
            f"{WIRE}::test_bytes_on_an_idle_connection_end_it",
        ),
        (
            "reusable = keeps_alive and not self._paused and self.is_usable",
            "reusable = not self._paused and self.is_usable",
            f"{EXCHANGE}::test_a_connection_that_is_to_end_or_has_more_to_say_is_not_kept",
        ),
        (
            "            self.discard()\n            raise\n",
            "            raise\n",
            f"{WIRE}::test_a_cancelled_caller_closes_its_upstream_at_once",
        ),
    ),
    *of_gateway(
        "upstream_tls",
        (
            "self._above.connection_lost(exc or self._problem)",
            "self._above.connection_lost(exc)",
            f"{WIRE}::test_a_body_to_the_end_of_a_tls_connection_is_whole_only_with_its_close",
        ),
        (
            "context.minimum_version = ssl.TLSVersion.TLSv1_2",
            "context.check_hostname = False",
            f"{WIRE}::test_a_trusted_certificate_is_accepted_for_its_own_name_alone",
        ),
    ),
    *of_gateway(
        "answer_reader",
        (
            "if self.status > _LAST:",
            "if False:",
            f"{WIRE}::test_what_two_readers_could_take_differently_is_refused",
        ),
        (
            "is_odd = self.status in _NO_BODY and (self._is_chunked or bool(self.content_length))",
            "is_odd = False",
            f"{WIRE}::test_a_body_where_none_may_be_never_reaches_the_next_caller",
        ),
        (
            'elif lowered == b"transfer-encoding" and value.strip().lower() != b"chunked":',
            "elif False:",
            f"{WIRE}::test_what_two_readers_could_take_differently_is_refused",
        ),
        (
            "if self.has_head or self.problem:",
            "if self.problem:",
            f"{WIRE}::test_trailers_never_become_headers",
        ),
    ),
    *of_gateway(
        "lookups",
        (
            "        if asked.running < _AT_ONCE:\n",
            "        if True:\n",
            f"{REACH}::test_a_name_nobody_answers_for_is_not_asked_about_by_each_who_wants_it",
        ),
        (
            "        if asked.again is None:\n",
            "        if True:\n",
            f"{REACH}::test_a_name_nobody_answers_for_is_not_asked_about_by_each_who_wants_it",
        ),
        (
            "            elif not asked.running:\n",
            "            else:\n",
            f"{REACH}::test_the_first_of_two_look_ups_that_finds_some_answers_all_who_wait",
        ),
        (
            "                asked.answer.exception()  # seen, also when everybody has left\n",
            "                pass\n",
            f"{REACH}::test_a_look_up_that_fails_when_everybody_has_left_troubles_nobody",
        ),
    ),
    *of_gateway(
        "dialer",
        (
            "happy_eyeballs_delay=_NEXT_S",
            "happy_eyeballs_delay=None",
            f"{REACH}::test_an_address_that_is_silent_holds_up_no_other",
        ),
        (
            "self._permitted.permits(target.host, each)",
            "each",
            f"{REACH}::test_row_70_a_name_that_turns_private_is_refused_at_its_next_connection",
        ),
    ),
    *of_gateway(
        "streaming",
        (
            "        self.closes = True\n\n\nasync def pass_on(",
            '        self._request.client.write(b"0\\r\\n\\r\\n")\n\n\nasync def pass_on(',
            f"{STREAMING}::test_an_upstream_that_dies_mid_stream_is_an_error_and_no_end",
        ),
        (
            "(not self._tail or self._tail.endswith(_EVENT_ENDS))",
            "True",
            f"{STREAMING}::test_half_an_event_is_not_made_whole_by_an_error",
        ),
        (
            "        request.client.reset()\n",
            "        pass\n",
            f"{STREAMING}::test_to_an_old_client_a_body_that_breaks_off_ends_in_a_reset",
        ),
    ),
)
