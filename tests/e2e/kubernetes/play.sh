#!/usr/bin/env bash
# The Kubernetes manifests in life: `tests/e2e/kubernetes/play.sh`, the second half of tests/e2e/kubernetes.sh.
#
# podman plays the prod overlay: the same user, root, capabilities, settings and secrets as a cluster would give, in a network of
# its own, with the image of this checkout and a Redis that knows the users of deploy/redis and no others. Then it is used.
#
# Limits: one gateway of the three, and podman's idea of a cluster: it keeps no policy and asks no probe. Engines and images: see
# containers.sh. Where something is missing: `skipped: reason`, and exit code 77.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/e2e/containers.sh
. "$here/containers.sh"

readonly given_token=e2e-kubernetes-root-token-3b8e2f1c7a90 given_password=e2e-kubernetes-redis-password-90bd14
work=$root/target/e2e/kubernetes/play
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

prepare_containers
need redis curl kubectl
base_images
build service "$image" || fail "the image is built"
# The same objects, with the image built here, secrets, one gateway, and the Redis of this test.
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
# The users as they are shipped, the gateway's with the hash of its password in place of the zeros.
hash=$(printf %s "$redis_password" | sha256sum | cut -c 1-64)
sed "/^user collective /s/#0\{64\}/#$hash/" "$root/deploy/redis/users.acl" >"$work/users.acl"
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
root_is_read_only "$process" || fail "its root is read-only" "$(root_mount "$process")"
ok "it runs as 65532, without capabilities or a way to them, on a read-only root"
# It was there before its Redis, so the breaker is open at first. One lane of it may be closed while the other is not, and Redis is
# reachable by then.
calm_inside() { inside curl --silent --max-time 2 http://127.0.0.1:8081/status | grep -q '^{"status":"pass"'; }
within 20 calm_inside || fail "it reaches Redis with the mounted password" "$(podman logs --tail 20 "$container" 2>&1)"
denied() { inside redis-cli --no-auth-warning --user collective --pass "$redis_password" CONFIG GET dir 2>&1; }
case $(denied) in NOPERM*) ;; *) fail "Redis gives it what the list of deploy/redis gives and no more" "$(denied)" ;; esac
ok "it signs in to Redis as the user of deploy/redis/users.acl, who may not do everything"
inside "$here/smoke.sh" http://127.0.0.1:8080 "$token" http://127.0.0.1:8081 || fail "the smoke suite passes in the pod"
ok "the smoke suite passes in the pod"
began=$SECONDS
podman stop --time 45 "$container" >/dev/null &
stopping=$!
within 15 unready || fail "told to stop, the pod turns unready while it still serves"
# One call: it must be over before the five seconds are, however busy this machine is.
answered=$(inside curl --silent --max-time 3 --output /dev/null --write-out '%{http_code}' --header "Authorization: Bearer $token" \
    --request PUT --data late http://127.0.0.1:8080/v1/keys/late) || true
[ "$answered" = 201 ] || fail "unready is not deaf: callers are served during drain.delay" "$answered"
wait "$stopping"
took=$((SECONDS - began))
code=$(podman inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] && [ "$took" -ge 4 ] && [ "$took" -lt 20 ] || fail "it drains for drain.delay and exits 0" "exit code $code after $took s"
ok "told to stop it turns unready, serves on for drain.delay, and exits 0 after $took s"
echo "play: $passed checks passed"
