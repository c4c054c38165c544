"""How the workers of a service are started, watched, replaced and stopped."""

from tests.mutations import Mutation

FLEET = "tests/unit/test_fleet.py"
EXPOSITION = "tests/unit/test_exposition.py"
WORKERS = "tests/service/test_workers.py"

_ROLL = f"{FLEET}::test_workers_are_replaced_one_by_one_and_each_only_by_one_that_is_ready"
_ROLLED = f"{WORKERS}::test_nobody_notices_that_the_workers_are_replaced_one_by_one"
_STOPPED = f"{WORKERS}::test_a_stop_drains_the_streams_of_all_and_leaves_no_process"
_KILLED = f"{WORKERS}::test_a_worker_that_is_killed_takes_nothing_with_it_but_its_own"


def _of(module, *broken):
    return tuple(Mutation(f"shared/{module}.py", *each) for each in broken)


MUTATIONS = (
    *_of(
        "fleet",
        (
            "return all(e.is_ready for e in staying if e.generation == self._generation)",
            "return True",
            _ROLL,
        ),
        ("len(staying) == self.size == len(self.workers)", "len(staying) == self.size", _ROLL),
        (
            "sorted(old, key=lambda n: staying[n].is_ready)",
            "old",
            f"{FLEET}::test_a_second_roll_gives_up_what_the_first_had_not_finished",
        ),
        (
            "while not self.is_stopping and now",
            "while now",
            f"{FLEET}::test_all_are_asked_to_stop_and_none_is_started_again",
        ),
        (
            "now - worker.leaving_at >= self._grace_s",
            "False",
            f"{FLEET}::test_all_are_asked_to_stop_and_none_is_started_again",
        ),
        (
            "worker.missed >= MOST_MISSED",
            "False",
            f"{FLEET}::test_a_worker_that_answers_no_more_is_killed_and_started_again",
        ),
        (
            "worker.missed += worker.has_answered",
            "worker.missed += 1",
            f"{FLEET}::test_a_worker_that_has_not_begun_to_answer_is_not_silent",
        ),
        (
            "self._failures += 1",
            "pass",
            f"{FLEET}::test_pauses_grow_while_workers_do_not_live_long_and_end_when_one_did",
        ),
        (
            "            self._failures = 0\n",
            "            pass\n",
            f"{FLEET}::test_pauses_grow_while_workers_do_not_live_long_and_end_when_one_did",
        ),
    ),
    *_of(
        "exposition",
        (
            "                if line not in comments:\n                    comments.append(line)",
            "                comments.append(line)",
            f"{EXPOSITION}::test_each_sample_is_told_once_for_each_process_with_its_name",
        ),
        (
            'if character in "{ ")',
            'if character in " ")',
            f"{EXPOSITION}::test_each_sample_is_told_once_for_each_process_with_its_name",
        ),
    ),
    *_of(
        "workers",
        ("signal.SIGTERM if act is Act.TERMINATE else signal.SIGKILL", "signal.SIGKILL", _ROLLED),
        ("signal.SIGTERM if act is Act.TERMINATE else signal.SIGKILL", "signal.SIGKILL", _STOPPED),
        ("            ENDED.inc()\n", "", _KILLED),
        (
            "            self._signal(number, signal.SIGHUP)\n",
            "            pass\n",
            f"{WORKERS}::test_sighup_reaches_every_worker",
        ),
        (
            '            return\n        log.info("workers_replaced")',
            '        log.info("workers_replaced")',
            f"{WORKERS}::test_nothing_is_replaced_while_the_configuration_has_a_mistake",
        ),
        (
            "before_exec(parent, signal.SIGTERM)",
            "None",
            f"{WORKERS}::test_workers_of_a_parent_that_is_killed_drain_and_go",
        ),
        (
            "before_exec(parent, signal.SIGTERM)",
            "before_exec(parent, signal.SIGKILL)",
            f"{WORKERS}::test_workers_of_a_parent_that_is_killed_drain_and_go",
        ),
    ),
    *_of(
        "parent",
        ("        await asyncio.wait({running})\n", "        pass\n", _STOPPED),
        (
            "    service.check()\n",
            "",
            f"{WORKERS}::test_a_configuration_with_a_mistake_is_told_once_and_starts_nothing",
        ),
        (
            '("Content-Type", TOKEN_HEADER)',
            '("Content-Type",)',
            f"{WORKERS}::test_the_parent_has_the_rest_answered_by_a_worker",
        ),
    ),
)
