"""Each rule broken once: a sentence of the complaint, and what to do to the documents.

A checker that passes everything proves nothing, hence this. Limits: one way of breaking each rule, or the few that are known;
the rules themselves are in pod_rules.py and surroundings.py.
"""

import copy

from manifests import is_gateway, of_kind, pod_of, template_of

ANYWHERE = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"protocol": "TCP", "port": 443}]}


def template(change):
    return lambda documents: change(next(template_of(d) for d in documents if template_of(d) and is_gateway(d)))


def pod(change):
    return template(lambda found: change(found["spec"]))


def container(change):
    return pod(lambda spec: change(spec["containers"][0]))


def context(**fields):
    return container(lambda c: c["securityContext"].update(fields))


def pod_context(**fields):
    return pod(lambda p: p["securityContext"].update(fields))


def kind(name, change):
    return lambda documents: [change(d) for d in of_kind(documents, name)]


def without(name):
    return lambda documents: documents.__setitem__(slice(None), [d for d in documents if d["kind"] != name])


def policy(name, change):
    return kind("NetworkPolicy", lambda d: change(d["spec"]) if d["metadata"]["name"] == name else None)


def as_cron_job(documents):
    """The gateway's pod once more, every minute, as root."""
    found = copy.deepcopy(next(template_of(d) for d in documents if template_of(d) and is_gateway(d)))
    found["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] = False
    job = {"kind": "CronJob", "metadata": {"name": "broken"}, "spec": {"jobTemplate": {"spec": {"template": found}}}}
    documents.append(job)


def another_policy(documents):
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    documents.append({"kind": "NetworkPolicy", "metadata": {"name": "broken", "namespace": "collective"}, "spec": spec})


def hosts():
    """Every probe and hook by which the kubelet could be made to call somebody else."""
    yield "livenessProbe names a host", container(lambda c: c["livenessProbe"]["httpGet"].update(host="10.0.0.1"))
    socket = {"tcpSocket": {"port": 1, "host": "10.0.0.1"}}
    yield "readinessProbe names a host", container(lambda c: c.update(readinessProbe=socket))
    for hook in ("postStart", "preStop"):
        for way in ("httpGet", "tcpSocket"):
            handler = {hook: {way: {"port": 1, "host": "10.0.0.1"}}}
            yield f"{hook} names a host", container(lambda c, handler=handler: c.update(lifecycle=handler))


def of_pods():
    yield "hostNetwork is set", pod(lambda p: p.update(hostNetwork=True))
    yield "hostPID is set", pod(lambda p: p.update(hostPID=True))
    yield "hostIPC is set", pod(lambda p: p.update(hostIPC=True))
    yield "is of kind", pod(lambda p: p["volumes"].append({"name": "root", "hostPath": {"path": "/"}}))
    yield "sysctls", pod_context(sysctls=[{"name": "a", "value": "b"}])
    yield "the pod is not confined by AppArmor", pod_context(appArmorProfile={"type": "Unconfined"})
    yield "collective is not confined by AppArmor", context(appArmorProfile={"type": "Unconfined"})
    yield "asks for the AppArmor profile unconfined", template(
        lambda t: t["metadata"].setdefault("annotations", {}).update(
            {"container.apparmor.security.beta.kubernetes.io/collective": "unconfined"}
        )
    )
    yield "SELinux type spc_t", pod_context(seLinuxOptions={"type": "spc_t"})
    yield "SELinux user or role", context(seLinuxOptions={"user": "system_u"})
    yield "SELinux user or role", context(seLinuxOptions={"role": "sysadm_r"})
    yield "the pod is a process of a Windows host", pod_context(windowsOptions={"hostProcess": True})
    yield "collective is a process of a Windows host", context(windowsOptions={"hostProcess": True})
    yield "is privileged", context(privileged=True)
    yield "escalate", context(allowPrivilegeEscalation=True)
    yield "runAsNonRoot", context(runAsNonRoot=False)
    yield "CronJob/broken: collective may run as root", as_cron_job
    yield "which nobody looked at", lambda documents: documents.append(
        {"kind": "Rollout", "metadata": {"name": "broken"}, "spec": {"template": {"spec": {"containers": []}}}}
    )
    yield "runAsUser", context(runAsUser=0)
    yield "seccomp", pod(lambda p: p["securityContext"].pop("seccompProfile"))
    yield "proc mount", context(procMount="Unmasked")
    yield "keeps capabilities", context(capabilities={})
    yield "adds capabilities", context(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]})
    yield "port of the host", container(lambda c: c["ports"][0].update(hostPort=80))
    yield from hosts()
    yield "token is mounted", pod(lambda p: p.pop("automountServiceAccountToken"))
    yield "service links", pod(lambda p: p.pop("enableServiceLinks"))
    yield "write to its root", context(readOnlyRootFilesystem=False)
    yield "high numeric user", pod_context(runAsUser=1000)
    yield "has no limits", container(lambda c: c["resources"].pop("limits"))
    secret = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}
    yield "secret as a variable", container(lambda c: c.setdefault("env", []).append(secret))
    yield "the ports are not", container(lambda c: c["ports"][1].update(containerPort=9))
    yield "readinessProbe does not ask", container(lambda c: c["readinessProbe"]["httpGet"].update(port="http"))
    yield "not below the grace period", pod(lambda p: p.update(terminationGracePeriodSeconds=35))
    yield "not below the grace period", pod(lambda p: p.pop("terminationGracePeriodSeconds"))
    yield "before the readiness probe", container(lambda c: c["readinessProbe"].update(periodSeconds=10))
    yield "told of no Redis", container(lambda c: c.pop("envFrom"))
    yield "there are 0 gateways", without("Deployment")


def of_surroundings():
    opened = "lets through what nobody documented: app.kubernetes.io/name=collective to"
    yield "denies everything", without("NetworkPolicy")
    yield "denies everything", policy("default-deny", lambda s: s.update(policyTypes=["Ingress"]))
    yield f"{opened} anybody, TCP 6379", policy("collective", lambda s: s["egress"][0].pop("to"))
    yield ", every port", policy("collective", lambda s: s["egress"][0].pop("ports"))
    yield '"0.0.0.0/0"', policy("collective", lambda s: s["egress"].append(ANYWHERE))
    yield f"{opened} every", policy("collective", lambda s: s["egress"][0].update(to=[{"podSelector": {}}]))
    everyone = [{"namespaceSelector": {}, "podSelector": {}}]
    yield f"{opened} every in every", policy("collective", lambda s: s["egress"][0].update(to=everyone))
    yield "TCP 6379-65535", policy("collective", lambda s: s["egress"][0]["ports"][0].update(endPort=65535))
    yield "every to anybody, every port", another_policy
    yield "from anybody, TCP 8081", policy("collective", lambda s: s["ingress"][1].pop("from"))
    yield "name=redis from anybody", policy("redis", lambda s: s["ingress"][0].pop("from"))
    yield "name=redis to anybody", policy("redis", lambda s: s.update(egress=[{}]))
    yield "keeps out what is needed", policy("collective", lambda s: s["egress"].pop())
    yield "not in the gateway's namespace", kind("NetworkPolicy", lambda d: d["metadata"].update(namespace="default"))
    yield "no disruption budget", without("PodDisruptionBudget")
    yield "no disruption budget", kind("PodDisruptionBudget", lambda d: d["spec"].update(selector={"matchLabels": {"a": "b"}}))
    for none in (0, "0%"):
        yield "lets no gateway go", kind("PodDisruptionBudget", lambda d, none=none: d["spec"].update(maxUnavailable=none))
    yield "lets every gateway go", kind("PodDisruptionBudget", lambda d: d["spec"].update(maxUnavailable="100%"))
    yield "leads to the operator's port", kind("Service", lambda d: d["spec"]["ports"][0].update(targetPort="ops"))
    yield "outside of the cluster", kind("Service", lambda d: d["spec"].update(type="LoadBalancer"))
    yield "outside of the cluster", kind("Service", lambda d: d["spec"].update(externalIPs=["192.0.2.1"]))
    yield "does not enforce", kind("Namespace", lambda d: d["metadata"].pop("labels"))
    yield "job is not called", kind("PodMonitor", lambda d: d["spec"].pop("jobLabel"))


def breakages():
    yield from of_pods()
    yield from of_surroundings()
