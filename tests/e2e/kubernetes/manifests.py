"""Where things stand in rendered manifests: the pod within a workload, its containers, the gateway and its settings.

Limits: the kinds that hold pods are listed; `unknown_workloads` finds others, so that none goes unchecked.
"""

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")


def template_of(document):
    """Metadata and specification of the pod within a workload, or None."""
    if document["kind"] == "Pod":
        return document
    if document["kind"] == "CronJob":
        return document["spec"]["jobTemplate"]["spec"]["template"]
    if document["kind"] in WORKLOADS:
        return document["spec"]["template"]
    return None


def pod_of(document):
    template = template_of(document)
    return template and template["spec"]


def unknown_workloads(documents):
    """Objects that hold containers where none of us looks."""

    def holds_containers(value):
        if isinstance(value, dict):
            return "containers" in value or any(map(holds_containers, value.values()))
        return isinstance(value, list) and any(map(holds_containers, value))

    return [document for document in documents if template_of(document) is None and holds_containers(document)]


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"] + pod.get("ephemeralContainers", [])


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def is_gateway(document):
    return document["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "collective"


def settings_of(documents, pod):
    """The variables that the first container gets from config maps and directly."""
    maps = {document["metadata"]["name"]: document.get("data", {}) for document in of_kind(documents, "ConfigMap")}
    found = {}
    for source in pod["containers"][0].get("envFrom", []):
        found.update(maps.get(source.get("configMapRef", {}).get("name"), {}))
    for variable in pod["containers"][0].get("env", []):
        found[variable["name"]] = variable.get("value", "")
    return found
