"""Rendered manifests against the rules we hold ourselves to: `kubectl kustomize ... | pod_security.py`.

pod_rules.py says what a pod may be, surroundings.py what stands around it; each violation is printed with the object it is in.
`--self-test` breaks each rule on the same manifests (breakages.py) and fails if nobody notices.

Limits: the kinds listed in manifests.py; another one that holds containers is a violation.
"""

import copy
import sys

import yaml

from breakages import breakages
from manifests import is_gateway, settings_of, template_of, unknown_workloads
from pod_rules import beyond, probes, restricted, termination
from surroundings import around


def violations(documents):
    """Everything that is wrong, each with the object it is in."""
    gateways = 0
    for document in documents:
        template = template_of(document)
        if template is None:
            continue
        pod = template["spec"]
        found = [*restricted(template), *beyond(pod)]
        if is_gateway(document):
            gateways += 1
            settings = settings_of(documents, pod)
            found += [*probes(pod["containers"][0]), *termination(pod, settings)]
            if not settings.get("COLLECTIVE_REDIS__URL"):
                found.append("the gateway is told of no Redis")
        yield from (f"{document['kind']}/{document['metadata']['name']}: {text}" for text in found)
    if gateways != 1:
        yield f"there are {gateways} gateways"
    for document in unknown_workloads(documents):
        yield f"{document['kind']}/{document['metadata']['name']} holds containers, which nobody looked at"
    yield from around(documents)


def self_test(documents):
    """How many breakages were noticed; the others by their sentences."""
    missed, noticed = [], 0
    for sentence, do in breakages():
        broken = copy.deepcopy(documents)
        do(broken)
        if any(sentence in text for text in violations(broken)):
            noticed += 1
        else:
            missed.append(sentence)
    return noticed, missed


def main():
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    found = list(violations(documents))
    for text in found:
        print(f"violation: {text}")
    if "--self-test" in sys.argv[1:]:
        noticed, missed = self_test(documents)
        for sentence in missed:
            print(f"violation: nobody notices when this is broken: {sentence}")
        found += missed
        print(f"{noticed} broken rules were noticed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
