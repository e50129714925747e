"""What a pod may be: the restricted profile of the Pod Security Standards field by field, and what goes beyond it.

The profile is written out because no admission controller is at hand where this runs. Beyond it: read-only root, no token,
resources, the three probes on the operator's port, and the arithmetic of termination. Limits: Linux containers.
"""

from manifests import containers_of

ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
APPARMOR_TYPES = {"RuntimeDefault", "Localhost"}
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
# What the end of the process may take when all of its own waiting is over.
END_SECONDS = 3
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
DEFAULTS = {"COLLECTIVE_DRAIN__DELAY": "0s", "COLLECTIVE_DRAIN__FINISH": "25s", "COLLECTIVE_DRAIN__FLUSH": "2s"}


def restricted(template):
    """Violations of the restricted profile."""
    pod = template["spec"]
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
    for name, profile in template["metadata"].get("annotations", {}).items():
        if name.startswith(APPARMOR_ANNOTATION) and profile != "runtime/default" and not profile.startswith("localhost/"):
            yield f"the annotation {name} asks for the AppArmor profile {profile}"
    yield from confinement("the pod", own)
    for container in containers_of(pod):
        yield from confinement(container["name"], container.get("securityContext", {}))
        yield from privileges(container, own)
        yield from ways_to_the_host(container)


def confinement(name, context):
    """AppArmor, SELinux and Windows: not asked for, or asked for within what the profile allows."""
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in APPARMOR_TYPES:
        yield f"{name} is not confined by AppArmor"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type") not in SELINUX_TYPES:
        yield f"{name} has the SELinux type {selinux['type']}"
    if selinux.get("user") or selinux.get("role"):
        yield f"{name} has an SELinux user or role"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name} is a process of a Windows host"


def privileges(container, pod_context):
    name, context = container["name"], container.get("securityContext", {})
    inherited = {**pod_context, **context}
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


def ways_to_the_host(container):
    """Ports of the host, and probes or hooks that make the kubelet call somebody else."""
    name = container["name"]
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"{name} takes a port of the host"
    asked = {probe: container.get(probe, {}) for probe in PROBES} | container.get("lifecycle", {})
    for what, handler in asked.items():
        for way in ("httpGet", "tcpSocket"):
            if handler.get(way, {}).get("host"):
                yield f"{name}: {what} names a host"


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
