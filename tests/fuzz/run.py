"""One run of schemathesis, in a process of its own, against a gateway."""

import asyncio
import json
import os
from collections import Counter, defaultdict

from tests.parts import BIN, ROOT

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)


class Outcome:
    """How a run ended: its report, and how often each call was answered with each status."""

    def __init__(self, code, report, answers):
        self.code = code
        self.report = report
        self.answers = answers

    def never_done(self, calls):
        """The calls that were never carried out."""
        return [
            call for call in calls if not any(200 <= status < 300 for status in self.answers[call])
        ]


async def run(folder, url, key, known, *options):
    """Call everything `/openapi.json` of `url` describes, with `key`; `known` is `seeds.sow`'s."""
    values, answers = folder / "known.json", folder / "answers.jsonl"
    values.write_text(json.dumps(known))
    answers.unlink(missing_ok=True)
    command = [
        str(BIN / "schemathesis"),
        *("run", f"{url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--checks", ",".join(CHECKS)),
        *("--warnings", "off", "--no-color", "--continue-on-failure"),
        *options,
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "GRANTGATE_FUZZ_KNOWN": str(values),
            "GRANTGATE_FUZZ_ANSWERS": str(answers),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    report, _ = await process.communicate()
    found = defaultdict(Counter)
    for line in answers.read_text().splitlines() if answers.exists() else ():
        label, status = json.loads(line)
        found[label][status] += 1
    return Outcome(process.returncode, report.decode(), found)
