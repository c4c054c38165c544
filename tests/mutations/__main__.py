"""Breaks the product on purpose, once for each promise: `python -m tests.mutations [WORD]`.

A test that passes whatever the code does shows nothing. Each line here is a change to a copy of the
tree, and the test that has to fail because of it; the same tests have to pass in the copy as it is.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("services", "shared", "tests", "pyproject.toml", "config.example.yaml")
FAILED = 1
"""pytest's exit status when tests failed; another one tells of a mistake in the mutation."""

GATEWAY = "tests/service/test_gateway.py"
FRAMING = "tests/service/test_gateway_framing.py"
HEADERS = "tests/unit/test_headers.py"
ADDRESSES = "tests/unit/test_addresses.py"
WHOLE = "tests/parsers/test_differential.py"


class Mutation(NamedTuple):
    """A way to break the product: `old`, found once in `file`, becomes `new`; `test` must fail."""

    file: str
    old: str
    new: str
    test: str


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
        "services/gateway/relay.py",
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
        "    for name in members.keys() & ROUTING_MEMBERS:\n        del members[name]\n",
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
)


def main() -> int:
    """Try every mutation, or those with the word given in their file or test; the exit status."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [each for each in MUTATIONS if word in each.file or word in each.test]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, symlinks=True)
            else:
                shutil.copy(ROOT / name, copy / name)
        whole, said = run(copy, sorted({each.test for each in chosen}))
        if whole:
            print(f"the tests do not pass as they are:\n{said}")
            return 1
        survivors = sum(not is_found(copy, each) for each in chosen)
    print(f"{len(chosen)} mutations, {survivors} not found by their test")
    return bool(survivors)


def is_found(copy: Path, mutation: Mutation) -> bool:
    """Break the copy, run the test, mend the copy; whether the test failed. Prints a line."""
    path = copy / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        print(f"NOT THERE ONCE  {mutation.file}: {mutation.old!r}")
        return False
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        status, said = run(copy, [mutation.test])
    finally:
        path.write_text(source)
    is_failed = status == FAILED and " failed" in said
    word = "found" if is_failed else "SURVIVED" if status == 0 else f"BROKEN ({status})"
    name = mutation.test.rpartition("/")[2]
    print(f"{word:<14}  {mutation.file}: {mutation.old.strip()[:60]!r}  {name}", flush=True)
    return is_failed


def run(copy: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit status in the copy, and what it said."""
    # A file that changes twice a second keeps its size and time: no compiled one may stand for it.
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout[-3000:]


if __name__ == "__main__":
    sys.exit(main())
