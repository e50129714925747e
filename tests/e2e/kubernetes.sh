#!/usr/bin/env bash
# The Kubernetes manifests, as a cluster would get them: `tests/e2e/kubernetes.sh`.
#
# Renders the prod overlay, holds it against the schemas of Kubernetes and of the Prometheus operator, against checkov and
# against our own rules (tests/e2e/kubernetes/pod_security.py: Pod Security restricted, probes, network, termination). Then
# kubernetes/play.sh lets podman play it and uses what comes up.
#
# Limits: no cluster. What only one could prove (network policies being kept, spreading, the disruption budget) is checked as
# text. Nothing is rendered without kubectl, which tools/ensure brings; the rest is left out part by part, each with
# `skipped: reason`, and the exit code is 77 then.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place kubernetes
# The oldest version whose clusters still get fixes somewhere, and the newest one the schemas know.
export PYTHONDONTWRITEBYTECODE=1 # beside the sources it would be
readonly versions="1.29 1.37"
suite=$PWD/tests/e2e/kubernetes
python=$place/venv/bin/python
rendered=$work/prod.yaml

render() { kubectl kustomize "$1" >"$2" || fail "$1 can be rendered"; }

# obeys FILE: the schemas of every version, strictly.
obeys() {
    local version
    for version in $versions; do
        "$place/venv/bin/kubernetes-validate" --strict -k "$version" "$1" >"$work/said" 2>&1 ||
            fail "the manifests obey the schemas of Kubernetes $version" "$(grep -v '^INFO' "$work/said")"
        # A schema that accepts anything would pass, too.
        sed 's/readOnlyRootFilesystem/readOnlyRoot/' "$1" >"$work/broken.yaml"
        if "$place/venv/bin/kubernetes-validate" --strict -k "$version" "$work/broken.yaml" >/dev/null 2>&1; then
            fail "an unknown field is noticed by the schemas of Kubernetes $version"
        fi
    done
}

# What an operator may add, together: the same rules, and what each is there for.
components() {
    "$python" "$suite/pod_security.py" --self-test <"$work/more.yaml" || fail "our own rules are kept with the components"
    "$python" - "$work/more.yaml" <<'PYTHON' || fail "the components do what they say"
import sys, yaml
documents = [document for document in yaml.safe_load_all(open(sys.argv[1])) if document]
one = lambda kind, start: next(d for d in documents if d["kind"] == kind and d["metadata"]["name"].startswith(start))
settings, pod = one("ConfigMap", "collective")["data"], one("Deployment", "collective")["spec"]["template"]["spec"]
assert settings["COLLECTIVE_REDIS__URL"].startswith("rediss://"), settings
assert settings["COLLECTIVE_REDIS__ALLOW_INSECURE"] == "false", settings
mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
assert settings["COLLECTIVE_REDIS__TLS__CA_FILE"].rsplit("/", 1)[0] in mounts, mounts
assert "/run/secrets/collective" in mounts, mounts
policy = one("NetworkPolicy", "collective-traces")
(rule,) = policy["spec"]["egress"]
assert settings["COLLECTIVE_TRACES__ENDPOINT"].endswith(":%d" % rule["ports"][0]["port"]), settings
assert policy["metadata"]["namespace"] == "collective", policy
PYTHON
}

asks_checkov() {
    local checkov=("$place/venv/bin/checkov" --file "$rendered" --framework kubernetes --skip-download --compact --quiet)
    "${checkov[@]}" --output json >"$work/checkov" || fail "checkov finds nothing" "$("${checkov[@]}")"
    "$python" - "$work/checkov" "$rendered" <<'PYTHON' || fail "every skip of checkov has its reason"
import json, re, sys
summary = json.load(open(sys.argv[1]))["summary"]
skips = re.findall(r"checkov\.io/skip\d+: ['\"]?(\w+)=(.*)", open(sys.argv[2]).read())
print("   ", summary["passed"], "checks passed,", summary["failed"], "failed,", summary["skipped"], "skipped")
for check, reason in skips:
    print("    skipped by us:", check, reason)
sys.exit(summary["failed"] or summary["passed"] < 50 or len(skips) != summary["skipped"] or any(len(r) < 30 for _, r in skips))
PYTHON
    ok "checkov finds nothing, and every skip has its reason"
    checkov=("$place/venv/bin/checkov" --file Dockerfile --framework dockerfile --skip-download --compact --quiet)
    "${checkov[@]}" --output json >"$work/checkov-dockerfile" || fail "checkov finds nothing in the Dockerfile" "$("${checkov[@]}")"
    "$python" - "$work/checkov-dockerfile" <<'PYTHON' || fail "checkov looks at the Dockerfile" "$(cat "$work/checkov-dockerfile")"
import json, sys
summary = json.load(open(sys.argv[1]))["summary"]
print("   ", summary["passed"], "checks passed,", summary["failed"], "failed,", summary["skipped"], "skipped")
sys.exit(summary["failed"] or summary["skipped"] or summary["passed"] < 10)
PYTHON
    ok "checkov finds nothing in the Dockerfile"
}

checks_in_python() {
    has_python || { left_out "$no_python, schemas of Kubernetes, our own rules and checkov were not asked"; return 0; }
    install_python_packages "$suite/requirements.txt" || return 0
    obeys "$rendered"
    ok "the manifests obey the schemas of Kubernetes $versions, strictly"
    "$python" "$suite/pod_security.py" --self-test <"$rendered" || fail "our own rules are kept"
    ok "our own rules are kept: restricted pods, probes, network, termination"
    obeys "$work/more.yaml"
    components
    ok "TLS to Redis and a way out for traces can be added, under the same rules"
    asks_checkov
}

checks_in_node() {
    has_node || { left_out "$no_node, PodMonitor and PrometheusRule were not held against their schemas"; return 0; }
    install_node_packages tests/e2e/kubernetes || return 0
    node "$place/test/operator_schemas.mjs" <"$rendered" || fail "PodMonitor and PrometheusRule obey their schemas"
    ok "PodMonitor and PrometheusRule obey their schemas"
}

tools/prometheusrule | diff -u deploy/kubernetes/overlays/prod/prometheusrule.yaml - ||
    fail "the PrometheusRule holds the rules of deploy/prometheus/rules" "run make docs"
ok "the PrometheusRule holds the rules of deploy/prometheus/rules"
ensure kubectl || skip "there is no kubectl, the manifests were neither rendered nor checked nor played"
render deploy/kubernetes/base "$work/base.yaml"
render deploy/kubernetes/overlays/prod "$rendered"
mkdir "$work/more"
relative() { realpath --relative-to="$work/more" "deploy/kubernetes/$1"; }
printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\ncomponents: [%s, %s]\n' \
    "$(relative overlays/prod)" "$(relative components/redis-tls)" "$(relative components/traces)" >"$work/more/kustomization.yaml"
render "$work/more" "$work/more.yaml"
ok "base, prod and the components are rendered: $(grep -c '^kind:' "$rendered") objects in prod"
checks_in_python
checks_in_node
status=0
"$suite/play.sh" || status=$?
case $status in
0) ok "podman plays the manifests, and what comes up serves" ;;
"$could_not_run") left_out "podman did not play the manifests, the reason stands above" ;;
*) fail "podman plays the manifests, and what comes up serves" ;;
esac
finish "kubernetes: $passed checks passed"
