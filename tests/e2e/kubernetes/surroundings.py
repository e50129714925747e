"""What stands around the pods: who may speak to whom, how many may be gone at once, what is reachable and what is watched.

The network is compared as a whole. Every rule of every policy becomes edges (pod, direction, peer, port), and they must be those
written here and no others: one rule too many, in whichever policy, opens what all the others close. Limits: policies are text
here; that they are kept is the cluster's network plugin's affair.
"""

import json

from manifests import is_gateway, of_kind, pod_of, settings_of

GATEWAY, REDIS = "app.kubernetes.io/name=collective", "app.kubernetes.io/name=redis"
PROMETHEUS = "app.kubernetes.io/name=prometheus in kubernetes.io/metadata.name=monitoring"
DNS = "k8s-app=kube-dns in kubernetes.io/metadata.name=kube-system"
COLLECTOR = "app.kubernetes.io/name=opentelemetry-collector in kubernetes.io/metadata.name=observability"
EDGES = {
    (GATEWAY, "from", "anybody", "TCP 8080"),
    (GATEWAY, "from", PROMETHEUS, "TCP 8081"),
    (GATEWAY, "to", REDIS, "TCP 6379"),
    (GATEWAY, "to", DNS, "UDP 53"),
    (GATEWAY, "to", DNS, "TCP 53"),
    (REDIS, "from", GATEWAY, "TCP 6379"),
}
# With the component `traces`, that is where spans are sent at all.
TRACES = {(GATEWAY, "to", COLLECTOR, "TCP 4318")}


def selected(selector):
    """A selector as text; one that this does not know to the last field reads like nothing that is documented."""
    labels = selector.get("matchLabels", {})
    if set(selector) - {"matchLabels"}:
        return json.dumps(selector, sort_keys=True)
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "every"


def peer_of(peer):
    if not peer or set(peer) - {"podSelector", "namespaceSelector"}:
        return json.dumps(peer, sort_keys=True)
    pods = selected(peer.get("podSelector", {}))
    return f"{pods} in {selected(peer['namespaceSelector'])}" if "namespaceSelector" in peer else pods


def port_of(port):
    more = f"-{port['endPort']}" if "endPort" in port else ""
    return f"{port.get('protocol', 'TCP')} {port.get('port', 'every')}{more}"


def edges(policies):
    """All that is let through, as (pod, direction, peer, port)."""
    found = set()
    for policy in policies:
        spec = policy["spec"]
        types = spec.get("policyTypes", ["Ingress", "Egress"])
        for direction, rules, kind in (("from", "ingress", "Ingress"), ("to", "egress", "Egress")):
            for rule in spec.get(rules) or [] if kind in types else []:
                peers = [peer_of(peer) for peer in rule.get(direction) or []] or ["anybody"]
                ports = [port_of(port) for port in rule.get("ports") or []] or ["every port"]
                found |= {(selected(spec.get("podSelector", {})), direction, peer, port) for peer in peers for port in ports}
    return found


def network(documents):
    policies = of_kind(documents, "NetworkPolicy")
    if not any(
        policy["spec"].get("podSelector") == {}
        and set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
        for policy in policies
    ):
        yield "no network policy denies everything by default"
    gateways = [document for document in documents if pod_of(document) and is_gateway(document)]
    homes = {gateway["metadata"].get("namespace") for gateway in gateways}
    for policy in policies:
        if {policy["metadata"].get("namespace")} != homes:
            yield f"network policy {policy['metadata']['name']} is not in the gateway's namespace, where alone it would be kept"
    sends = any(settings_of(documents, pod_of(gateway)).get("COLLECTIVE_TRACES__ENDPOINT") for gateway in gateways)
    documented, found = EDGES | (TRACES if sends else set()), edges(policies)
    for pod, direction, peer, port in sorted(found - documented):
        yield f"the network lets through what nobody documented: {pod} {direction} {peer}, {port}"
    for pod, direction, peer, port in sorted(documented - found):
        yield f"the network keeps out what is needed: {pod} {direction} {peer}, {port}"


def number(value, of):
    """A count or a share of a disruption budget, as a count; shares are rounded up as the cluster does."""
    return -(-int(value[:-1]) * of // 100) if str(value).endswith("%") else int(value)


def disruption(documents):
    budgets = of_kind(documents, "PodDisruptionBudget")
    for gateway in (d for d in of_kind(documents, "Deployment") if is_gateway(d)):
        replicas, labels = gateway["spec"].get("replicas", 1), gateway["spec"]["template"]["metadata"]["labels"]
        own = [b for b in budgets if b["spec"].get("selector", {}).get("matchLabels", {}).items() <= labels.items()]
        if not own:
            yield "there is no disruption budget for the gateway"
        for spec in (budget["spec"] for budget in own):
            away = replicas - number(spec.get("minAvailable", 0), replicas)
            if "maxUnavailable" in spec:
                away = number(spec["maxUnavailable"], replicas)
            if away < 1:
                yield "the disruption budget lets no gateway go, so that no node can be drained"
            if away >= replicas:
                yield "the disruption budget lets every gateway go at once"


def reachable(documents):
    for service in of_kind(documents, "Service"):
        if any(port.get("targetPort") in ("ops", 8081) for port in service["spec"]["ports"]):
            yield f"service {service['metadata']['name']} leads to the operator's port"
        if service["spec"].get("type", "ClusterIP") != "ClusterIP" or service["spec"].get("externalIPs"):
            yield f"service {service['metadata']['name']} is reachable from outside of the cluster"
    for namespace in of_kind(documents, "Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace does not enforce the restricted profile"


def watched(documents):
    """Violations of what alerts and dashboard select by: they know one job, `collective`."""
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(documents, "Deployment") if is_gateway(d)]
    for monitor in of_kind(documents, "PodMonitor"):
        label = monitor["spec"].get("jobLabel")
        for labels in pods:
            if labels.get(label) != "collective":
                yield f"PodMonitor/{monitor['metadata']['name']}: the job is not called collective but {labels.get(label)}"


def around(documents):
    for rules in (network, disruption, reachable, watched):
        yield from rules(documents)
