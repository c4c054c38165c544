"""Runs in LiteLLM's own environment: carries out its client's calls, one line of JSON each.

A line in is `["keys.generate", {arguments}]`, a line out `{"answer"}` or `{"raised", "says"}`.
"""

import inspect
import json
import os
import sys

from litellm.proxy.client import Client, UsersManagementClient


def main():
    url, key = os.environ["LITELLM_PROXY_URL"], os.environ["LITELLM_PROXY_API_KEY"]
    client = Client(base_url=url, api_key=key)
    client.users = UsersManagementClient(base_url=url, api_key=key)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        resource, method = name.split(".")
        try:
            answer = getattr(getattr(client, resource), method)(**arguments)
            out = {"answer": list(answer) if inspect.isgenerator(answer) else answer}
        except Exception as error:  # noqa: BLE001 - which one it is, is the test's to judge
            out = {"raised": type(error).__name__, "says": str(error)}
        sys.stdout.write(json.dumps(out) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
