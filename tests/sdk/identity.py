"""Microsoft's azure-identity as an oracle: which request for a token it sends in which environment.

Standard input is a JSON list of cases. Each has the environment, the class of the credential and
its arguments. One token is fetched for each case, in order; whoever records the requests compares.
"""

import json
import os
import sys

import azure.identity

SCOPE = "https://cognitiveservices.azure.com/.default"


def fetch(case):
    os.environ.update(case["env"])
    kind = getattr(azure.identity, case["credential"])
    # Without retries: a refusal shall be seen at once.
    credential = kind(**case["arguments"], retry_total=0)
    token = credential.get_token(SCOPE).token
    for name in case["env"]:
        del os.environ[name]
    return token


for case in json.load(sys.stdin):
    assert fetch(case).startswith("sim-token-"), case["name"]
    print("ok", case["name"], flush=True)
