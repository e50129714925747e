"""Rendered manifests against the rules we hold ourselves to: `kubectl kustomize ... | pod_security.py`.

Three sets: the restricted profile of the Pod Security Standards, field by field, because no admission controller is at hand
where this runs; what goes beyond it (read-only root, no token, resources, probes on the operator's port, default-deny network,
a disruption budget); and the arithmetic of termination. `--self-test` breaks each rule once on the same manifests and fails
if nobody notices: a checker that passes everything proves nothing.

Limits: the kinds this project ships (Deployment, StatefulSet, DaemonSet, Job, Pod); Linux containers only.
"""

import copy
import sys

import yaml

ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}
# What the end of the process may take when all of its own waiting is over.
END_SECONDS = 3
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
DEFAULTS = {"COLLECTIVE_DRAIN__DELAY": "0s", "COLLECTIVE_DRAIN__FINISH": "25s", "COLLECTIVE_DRAIN__FLUSH": "2s"}


def pod_of(document):
    """The pod specification within a workload, or None."""
    if document["kind"] == "Pod":
        return document["spec"]
    if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return document["spec"]["template"]["spec"]
    return None


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"] + pod.get("ephemeralContainers", [])


def restricted(pod):
    """Violations of the restricted profile."""
    own = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= ALLOWED_VOLUMES:
            yield f"volume {volume['name']} is of kind {kinds}"
    if own.get("sysctls"):
        yield "sysctls are set"
    for container in containers_of(pod):
        name, context = container["name"], container.get("securityContext", {})
        inherited = {**own, **context}
        if context.get("privileged"):
            yield f"{name} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may escalate its privileges"
        if inherited.get("runAsNonRoot") is not True:
            yield f"{name} may run as root (runAsNonRoot)"
        if inherited.get("runAsUser", 1) == 0:
            yield f"{name} runs as root (runAsUser)"
        if inherited.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        if inherited.get("procMount", "Default") != "Default":
            yield f"{name} has a proc mount of its own"
        capabilities = context.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield f"{name} keeps capabilities"
        if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
            yield f"{name} adds capabilities"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"{name} takes a port of the host"
        for probe in PROBES:
            if container.get(probe, {}).get("httpGet", {}).get("host"):
                yield f"{name}: {probe} names a host"


def beyond(pod):
    """Violations of what we ask of ourselves beyond the profile."""
    if pod.get("automountServiceAccountToken") is not False:
        yield "a service-account token is mounted"
    if pod.get("enableServiceLinks") is not False:
        yield "service links reach the environment"
    for container in containers_of(pod):
        name, context = container["name"], container.get("securityContext", {})
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write to its root"
        if {**pod.get("securityContext", {}), **context}.get("runAsUser", 0) < 10_000:
            yield f"{name} has no high numeric user"
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(resources.get(kind, {})):
                yield f"{name} has no {kind} of CPU and memory"
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"{name} gets a secret as a variable"


def probes(container):
    """Violations of the three probes of the gateway."""
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    if ports.get("ops") != 8081 or ports.get("http") != 8080:
        yield "the ports are not http 8080 and ops 8081"
    for probe, path in PROBES.items():
        get = container.get(probe, {}).get("httpGet", {})
        if (get.get("path"), get.get("port")) != (path, "ops"):
            yield f"{probe} does not ask for {path} on the operator's port"


def seconds(text):
    """A duration of the configuration: 250ms, 5s, 2m."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    raise ValueError(f"{text} is no duration")


def termination(pod, settings):
    """Violations of the arithmetic: the program ends before it is killed, and is left before it closes."""
    delay, finish, flush = (seconds(settings.get(key, default)) for key, default in DEFAULTS.items())
    grace = pod.get("terminationGracePeriodSeconds", 30)
    if delay + finish + flush + END_SECONDS >= grace:
        yield f"drain.delay {delay} + finish {finish} + flush {flush} + {END_SECONDS} is not below the grace period {grace}"
    probe = pod["containers"][0].get("readinessProbe", {})
    notice = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
    if delay < notice:
        yield f"drain.delay {delay} ends before the readiness probe has noticed ({notice} s)"


def around(documents):
    """Violations of what stands around the pods."""
    of_kind = lambda kind: [document for document in documents if document["kind"] == kind]
    policies = of_kind("NetworkPolicy")
    nobody = [policy for policy in policies if policy["spec"].get("podSelector") == {}]
    if not any(
        set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
        for policy in nobody
    ):
        yield "no network policy denies everything by default"
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            if not rule.get("to") or not rule.get("ports"):
                yield f"network policy {policy['metadata']['name']} lets traffic out to anywhere"
        for rule in policy["spec"].get("ingress", []):
            ports = {port["port"] for port in rule.get("ports", [])}
            if not ports or (not rule.get("from") and ports != {8080}):
                yield f"network policy {policy['metadata']['name']} lets anybody in to {ports or 'every port'}"
    if not of_kind("PodDisruptionBudget"):
        yield "there is no disruption budget"
    for service in of_kind("Service"):
        if any(port.get("targetPort") in ("ops", 8081) for port in service["spec"]["ports"]):
            yield f"service {service['metadata']['name']} leads to the operator's port"
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"service {service['metadata']['name']} is reachable from outside of the cluster"
    for namespace in of_kind("Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace does not enforce the restricted profile"


def watched(documents):
    """Violations of what alerts and dashboard select by: they know one job, `collective`."""
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == "Deployment" and is_gateway(d)]
    for monitor in (document for document in documents if document["kind"] == "PodMonitor"):
        label = monitor["spec"].get("jobLabel")
        for labels in pods:
            if labels.get(label) != "collective":
                yield f"PodMonitor/{monitor['metadata']['name']}: the job is not called collective but {labels.get(label)}"


def settings_of(documents, pod):
    """The variables that the first container gets from config maps and directly."""
    maps = {document["metadata"]["name"]: document.get("data", {}) for document in documents if document["kind"] == "ConfigMap"}
    found = {}
    for source in pod["containers"][0].get("envFrom", []):
        found.update(maps.get(source.get("configMapRef", {}).get("name"), {}))
    for variable in pod["containers"][0].get("env", []):
        found[variable["name"]] = variable.get("value", "")
    return found


def is_gateway(document):
    return document["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "collective"


def violations(documents):
    """Everything that is wrong, each with the object it is in."""
    gateways = 0
    for document in documents:
        pod = pod_of(document)
        if pod is None:
            continue
        found = [*restricted(pod), *beyond(pod)]
        if is_gateway(document):
            gateways += 1
            settings = settings_of(documents, pod)
            found += [*probes(pod["containers"][0]), *termination(pod, settings)]
            if not settings.get("COLLECTIVE_REDIS__URL"):
                found.append("the gateway is told of no Redis")
        yield from (f"{document['kind']}/{document['metadata']['name']}: {text}" for text in found)
    if gateways != 1:
        yield f"there are {gateways} gateways"
    yield from around(documents)
    yield from watched(documents)


def breakages():
    """Each rule broken once: a sentence of the complaint, and what to do to the gateway's deployment or to all documents."""

    def pod(change):
        return lambda documents: change(next(pod_of(d) for d in documents if pod_of(d) and is_gateway(d)))

    def container(change):
        return pod(lambda spec: change(spec["containers"][0]))

    def context(**fields):
        return container(lambda c: c["securityContext"].update(fields))

    def kind(name, change):
        return lambda documents: [change(d) for d in documents if d["kind"] == name]

    def without(name):
        return lambda documents: documents.__setitem__(slice(None), [d for d in documents if d["kind"] != name])

    yield "hostNetwork is set", pod(lambda p: p.update(hostNetwork=True))
    yield "hostPID is set", pod(lambda p: p.update(hostPID=True))
    yield "is of kind", pod(lambda p: p["volumes"].append({"name": "root", "hostPath": {"path": "/"}}))
    yield "sysctls", pod(lambda p: p["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]))
    yield "is privileged", context(privileged=True)
    yield "escalate", context(allowPrivilegeEscalation=True)
    yield "runAsNonRoot", context(runAsNonRoot=False)
    yield "runAsUser", context(runAsUser=0)
    yield "seccomp", pod(lambda p: p["securityContext"].pop("seccompProfile"))
    yield "proc mount", context(procMount="Unmasked")
    yield "keeps capabilities", context(capabilities={})
    yield "adds capabilities", context(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]})
    yield "port of the host", container(lambda c: c["ports"][0].update(hostPort=80))
    yield "names a host", container(lambda c: c["livenessProbe"]["httpGet"].update(host="10.0.0.1"))
    yield "token is mounted", pod(lambda p: p.pop("automountServiceAccountToken"))
    yield "service links", pod(lambda p: p.pop("enableServiceLinks"))
    yield "write to its root", context(readOnlyRootFilesystem=False)
    yield "high numeric user", pod(lambda p: p["securityContext"].update(runAsUser=1000))
    yield "has no limits", container(lambda c: c["resources"].pop("limits"))
    yield "secret as a variable", container(
        lambda c: c.setdefault("env", []).append({"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}})
    )
    yield "the ports are not", container(lambda c: c["ports"][1].update(containerPort=9))
    yield "readinessProbe does not ask", container(lambda c: c["readinessProbe"]["httpGet"].update(port="http"))
    yield "not below the grace period", pod(lambda p: p.update(terminationGracePeriodSeconds=35))
    yield "not below the grace period", pod(lambda p: p.pop("terminationGracePeriodSeconds"))
    yield "before the readiness probe", container(lambda c: c["readinessProbe"].update(periodSeconds=10))
    yield "told of no Redis", container(lambda c: c.pop("envFrom"))
    yield "denies everything", without("NetworkPolicy")
    yield "out to anywhere", kind("NetworkPolicy", lambda d: [rule.pop("to") for rule in d["spec"].get("egress", [])])
    yield "lets anybody in", kind("NetworkPolicy", lambda d: [rule.pop("from", 0) for rule in d["spec"].get("ingress", [])])
    yield "no disruption budget", without("PodDisruptionBudget")
    yield "leads to the operator's port", kind("Service", lambda d: d["spec"]["ports"][0].update(targetPort="ops"))
    yield "outside of the cluster", kind("Service", lambda d: d["spec"].update(type="LoadBalancer"))
    yield "does not enforce", kind("Namespace", lambda d: d["metadata"].pop("labels"))
    yield "job is not called", kind("PodMonitor", lambda d: d["spec"].pop("jobLabel"))
    yield "there are 0 gateways", without("Deployment")


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
