#!/usr/bin/env bash
# The Kubernetes manifests, as a cluster would get them: `tests/e2e/kubernetes.sh`.
#
# Renders the prod overlay, holds it against the schemas of Kubernetes and of the Prometheus operator, against checkov and
# against our own rules (tests/e2e/kubernetes/pod_security.py: Pod Security restricted, probes, network, termination), then lets
# podman play it and uses what comes up: the same user, root, capabilities, settings and secrets, in a network of its own.
#
# Limits: no cluster. What only one could prove (network policies being kept, spreading, the disruption budget) is checked as
# text. Needs kubectl, python3, npm; plays what tests/e2e/image.sh built. Where something is missing: `skipped: reason`.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/e2e/containers.sh
. "$here/containers.sh"

readonly image=localhost/collective:e2e
readonly given_token=e2e-kubernetes-root-token-3b8e2f1c7a90 given_password=e2e-kubernetes-redis-password-90bd14
# The oldest version whose clusters still get fixes somewhere, and the newest one the schemas know.
readonly versions="1.29 1.37"
tools=$root/target/e2e/kubernetes
work=$tools/work
redis=
played=

# Also what podman made of the Secret.
take_down() {
    podman play kube --down "$work/play.yaml" >/dev/null 2>&1 || true
    podman volume rm --force collective >/dev/null 2>&1 || true
    podman secret rm collective >/dev/null 2>&1 || true
}

cleanup() {
    # The shell's own remark about it would stand between the results.
    [ -z "$redis" ] || { kill -KILL "$redis" && wait "$redis" || true; } 2>/dev/null
    [ -z "$played" ] || take_down
    rm -rf "$work"
}
trap cleanup EXIT
rm -rf "$work"
mkdir -p "$work"

# unreachable LOG: an installation that failed because nobody could be reached is no fault of ours.
unreachable() { grep -qE 'ENOTFOUND|ECONN|ETIMEDOUT|ENETUNREACH|EAI_AGAIN|NewConnectionError|ConnectTimeout|Network is unreachable' "$1"; }

# install WHAT LOCK COMMAND...: once for each content of the lock file.
install() {
    local what=$1 lock=$2
    shift 2
    cmp -s "$lock" "$tools/$what.installed" && return 0
    if ! "$@" >"$work/install" 2>&1; then
        ! unreachable "$work/install" || skip "the packages of $what cannot be reached"
        fail "the packages of $what are installed" "$(tail -n 5 "$work/install")"
    fi
    cp "$lock" "$tools/$what.installed"
}

python_packages() { python3 -m venv "$tools/python" && "$tools/python/bin/pip" install --quiet -r "$here/kubernetes/requirements.txt"; }
node_packages() {
    cp "$here/kubernetes/package.json" "$here/kubernetes/package-lock.json" "$tools/"
    npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund
}

for tool in kubectl python3 node npm; do
    command -v "$tool" >/dev/null || skip "$tool is not installed, the manifests were not checked"
done
install python "$here/kubernetes/requirements.txt" python_packages
install node "$here/kubernetes/package-lock.json" node_packages

# --- On paper.
"$root/tools/prometheusrule" | diff -u "$root/deploy/kubernetes/overlays/prod/prometheusrule.yaml" - ||
    fail "the PrometheusRule holds the rules of deploy/prometheus/rules" "run make docs"
ok "the PrometheusRule holds the rules of deploy/prometheus/rules"
for overlay in base overlays/prod; do
    kubectl kustomize "$root/deploy/kubernetes/$overlay" >"$work/$(basename "$overlay").yaml" || fail "$overlay can be rendered"
done
rendered=$work/prod.yaml
ok "base and prod are rendered: $(grep -c '^kind:' "$rendered") objects"
for version in $versions; do
    "$tools/python/bin/kubernetes-validate" --strict -k "$version" "$rendered" >"$work/said" 2>&1 ||
        fail "the manifests obey the schemas of Kubernetes $version" "$(grep -v '^INFO' "$work/said")"
    # A schema that accepts anything would pass, too.
    sed 's/readOnlyRootFilesystem/readOnlyRoot/' "$rendered" >"$work/broken.yaml"
    if "$tools/python/bin/kubernetes-validate" --strict -k "$version" "$work/broken.yaml" >/dev/null 2>&1; then
        fail "an unknown field is noticed by the schemas of Kubernetes $version"
    fi
done
ok "the manifests obey the schemas of Kubernetes $versions, strictly"
cp "$here/kubernetes/operator_schemas.mjs" "$tools/"
node "$tools/operator_schemas.mjs" <"$rendered" || fail "PodMonitor and PrometheusRule obey their schemas"
ok "PodMonitor and PrometheusRule obey their schemas"
"$tools/python/bin/python" "$here/kubernetes/pod_security.py" --self-test <"$rendered" || fail "our own rules are kept"
ok "our own rules are kept: restricted pods, probes, network, termination"
# What an operator may add, together: the same rules, and what each is there for.
mkdir "$work/more"
relative() { realpath --relative-to="$work/more" "$root/deploy/kubernetes/$1"; }
printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\ncomponents: [%s, %s]\n' \
    "$(relative overlays/prod)" "$(relative components/redis-tls)" "$(relative components/traces)" >"$work/more/kustomization.yaml"
kubectl kustomize "$work/more" >"$work/more.yaml" || fail "the components can be added"
for version in $versions; do
    "$tools/python/bin/kubernetes-validate" --strict -k "$version" "$work/more.yaml" >"$work/said" 2>&1 ||
        fail "the components obey the schemas of Kubernetes $version" "$(grep -v '^INFO' "$work/said")"
done
"$tools/python/bin/python" "$here/kubernetes/pod_security.py" --self-test <"$work/more.yaml" || fail "our own rules are kept with the components"
"$tools/python/bin/python" - "$work/more.yaml" <<'PYTHON' || fail "the components do what they say"
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
ok "TLS to Redis and a way out for traces can be added, under the same rules"
"$tools/python/bin/checkov" --file "$rendered" --framework kubernetes --skip-download --compact --quiet --output json >"$work/checkov" ||
    fail "checkov finds nothing" "$("$tools/python/bin/checkov" --file "$rendered" --framework kubernetes --skip-download --compact --quiet)"
"$tools/python/bin/python" - "$work/checkov" "$rendered" <<'PYTHON' || fail "every skip of checkov has its reason"
import json, re, sys
summary = json.load(open(sys.argv[1]))["summary"]
skips = re.findall(r"checkov\.io/skip\d+: ['\"]?(\w+)=(.*)", open(sys.argv[2]).read())
print("   ", summary["passed"], "checks passed,", summary["failed"], "failed,", summary["skipped"], "skipped")
for check, reason in skips:
    print("    skipped by us:", check, reason)
sys.exit(summary["failed"] or summary["passed"] < 50 or len(skips) != summary["skipped"] or any(len(r) < 30 for _, r in skips))
PYTHON
ok "checkov finds nothing, and every skip has its reason"

# --- In life: the same objects, with the image built here, secrets, one gateway, and the Redis of this test.
prepare_containers
"$root/tools/ensure" redis curl >/dev/null
have_image "$image" || { base_images && build service "$image" || fail "the image is built"; }
cat >"$work/kustomization.yaml" <<KUSTOMIZATION
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: collective
resources:
  - $(realpath --relative-to="$work" "$root/deploy/kubernetes/overlays/prod")
replicas:
  - name: collective
    count: 1
images:
  - name: registry.example.com/collective
    newName: ${image%:*}
    newTag: ${image#*:}
secretGenerator:
  - name: collective
    options:
      disableNameSuffixHash: true
    literals:
      - root-token=$given_token
      - redis-password=$given_password
patches:
  - patch: '[{"op": "replace", "path": "/data/COLLECTIVE_REDIS__URL", "value": "redis://127.0.0.1:6379"}]'
    target:
      kind: ConfigMap
  # Words for people in a cluster; podman reads them as a wish to publish, which a network of its own has no use for.
  - patch: '[{"op": "remove", "path": "/spec/template/spec/containers/0/ports"}]'
    target:
      kind: Deployment
KUSTOMIZATION
kubectl kustomize "$work" >"$work/play.yaml" || fail "the test's overlay can be rendered"
take_down
played=yes
podman play kube --network none "$work/play.yaml" >"$work/played" 2>&1 || fail "podman plays the manifests" "$(cat "$work/played")"
container=$(podman ps --all --format '{{.Names}}' | grep 'collective.*-collective$' | head -n 1)
[ -n "$container" ] || fail "podman plays the gateway" "$(cat "$work/played")" "$(podman ps --all)"
process=$(podman inspect --format '{{.State.Pid}}' "$container")
inside() { nsenter --target "$process" --net "$@"; }
# The secrets as they are mounted: podman before 4.4 mounts the base64 text, later ones and clusters what it stands for.
mounted() { cat "/proc/$process/root/run/secrets/collective/$1"; }
token=$(mounted root-token) redis_password=$(mounted redis-password)
for value in "$token" "$redis_password"; do
    case $value in
    "$given_token" | "$given_password" | "$(printf %s "$given_token" | base64 -w 0)" | "$(printf %s "$given_password" | base64 -w 0)") ;;
    *) fail "the secrets are mounted" ;;
    esac
done
printf 'user default off\nuser collective on >%s ~* &* +@all\n' "$redis_password" >"$work/users.acl"
# Not through `inside`: the process to end must be Redis and not a shell around it.
nsenter --target "$process" --net redis-server --port 6379 --bind 127.0.0.1 --save '' --dir "$work" --logfile "$work/redis.log" --daemonize no \
    --aclfile "$work/users.acl" &
redis=$!
probe() { inside curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:8081$1"; }
unready() { [ "$(inside curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8081/readyz)" = 503 ]; }
for path in /startupz /livez /readyz; do
    within 20 probe "$path" || fail "the probe $path succeeds" "$(podman logs --tail 20 "$container" 2>&1)"
done
ok "podman plays the manifests, and the three probes of the operator's port succeed"
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$process/status" | cut -f 1; }
[ "$(field Uid)" = 65532 ] && [ "$(field CapBnd)" = 0000000000000000 ] && [ "$(field NoNewPrivs)" = 1 ] ||
    fail "it runs as 65532, without capabilities or a way to them" "$(field Uid) $(field CapBnd) $(field NoNewPrivs)"
[ "$(podman inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$container")" = true ] || fail "its root is read-only"
ok "it runs as 65532, without capabilities or a way to them, on a read-only root"
signed_in() { inside curl --silent --max-time 2 http://127.0.0.1:8081/status | grep -qE '"reachable": *true'; }
within 20 signed_in || fail "it reaches Redis with the mounted password" "$(podman logs --tail 20 "$container" 2>&1)"
inside "$here/smoke.sh" http://127.0.0.1:8080 "$token" http://127.0.0.1:8081 || fail "the smoke suite passes in the pod"
ok "the smoke suite passes in the pod"
began=$SECONDS
podman stop --time 45 "$container" >/dev/null &
stopping=$!
within 5 unready || fail "told to stop, the pod turns unready while it still serves"
inside "$here/smoke.sh" http://127.0.0.1:8080 "$token" >/dev/null || fail "unready is not deaf: callers are served during drain.delay"
wait "$stopping"
took=$((SECONDS - began))
code=$(podman inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] && [ "$took" -ge 4 ] && [ "$took" -lt 20 ] || fail "it drains for drain.delay and exits 0" "exit code $code after $took s"
ok "told to stop it turns unready, serves on for drain.delay, and exits 0 after $took s"
echo "kubernetes: $passed checks passed"
