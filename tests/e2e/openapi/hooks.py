"""Mends generated requests that would test the clock, the generator or earlier requests, and not the service."""

import itertools
import re

import schemathesis

# Shorter, and the answer is a truthful 503 or 504: how busy this machine is would decide.
SHORTEST_MS = 9000
used = itertools.count()
FENCE = re.compile("[A-Za-z0-9._~-]+;[0-9]{1,19}")


def positive(case):
    return case.meta is None or case.meta.generation.mode.name == "POSITIVE"


def whole(value):
    """To JSON Schema 5.0 is an integer; here it is a mistake, which the suite tries."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    timeout = str(headers.get("X-Request-Timeout-Ms", ""))
    if timeout.isdigit() and 0 < int(timeout) < SHORTEST_MS:
        headers["X-Request-Timeout-Ms"] = str(SHORTEST_MS + int(timeout))
    # A key names one request: with another body it is refused, rightly.
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and key.isascii() and key.isprintable() and 0 < len(key) < 200 and not set(key) & {" ", '"'}:
        headers["Idempotency-Key"] = f"{key}-{next(used)}"
    # The generator stops short of this pattern.
    if "Collective-Fence" in headers and positive(case) and not FENCE.fullmatch(headers["Collective-Fence"]):
        headers["Collective-Fence"] = "jobs;1"
    if case.media_type == "application/json" and isinstance(case.body, (list, dict)):
        case.body = whole(case.body)
