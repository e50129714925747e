"""What a receiver printed of a retried call, judged: `told.py FILE PARENT`, the id of the caller's span.

The receiver prints each span with its attributes and events. Limits: the form is that of the version in requirements.txt.
"""

import re
import sys

text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], encoding="utf-8").read())
spans = []
for part in re.split(r"^Span #\d+$", text, flags=re.M)[1:]:
    head, _, events = part.split("ResourceSpans #")[0].partition("Events:")
    fields = dict(re.findall(r"^ +([A-Z][A-Za-z ]+?) *: (\S.*)$", head, flags=re.M))
    facts = dict(re.findall(r"-> ([a-z_.]+): \w+\((.*)\)$", head, flags=re.M))
    told = [
        (name, dict(re.findall(r"-> ([a-z_.]+): \w+\((.*)\)$", body, flags=re.M)))
        for name, body in re.findall(r"-> Name: (\S+)\n(.*?)(?=SpanEvent #|\Z)", events, flags=re.S)
    ]
    spans.append((fields, facts, told))

(request,) = [span for span in spans if span[0].get("Parent ID") == sys.argv[2]]
fields, facts, _ = request
assert fields["Name"] == "GET /v1/keys/{key}" and fields["Kind"] == "SPAN_KIND_SERVER", fields
assert facts["http.response.status_code"] == "200" and facts["http.route"] == "/v1/keys/{key}", facts
(operation,) = [span for span in spans if span[0].get("Parent ID") == fields["ID"]]
fields, facts, events = operation
assert fields["Name"].startswith("GET ") and fields["Kind"] == "SPAN_KIND_CLIENT", fields
assert facts["db.system.name"] == "redis" and facts["collective.outcome"] == "executed", facts
attempts = [facts for name, facts in events if name == "attempt"]
assert len(attempts) >= 2 and attempts[-1]["collective.attempt.verdict"] == "ok", events
assert attempts[0]["collective.attempt.verdict"] != "ok", events
assert [facts["collective.attempt.number"] for facts in attempts] == [str(n + 1) for n in range(len(attempts))], events
assert any(name == "retry" and facts["collective.retry.decision"] == "retried" for name, facts in events), events
assert "a-secret-key" not in text, "the key is in a span"
print("   ", len(attempts), "attempts, of which the last", attempts[-1]["collective.attempt.verdict"])
