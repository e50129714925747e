#!/usr/bin/env bash
# The container images, built from the Dockerfile as it stands and run as they are meant to be: `tests/e2e/image.sh`.
#
# The service's image: one executable, at most 25 MiB, serves as 65532 with a read-only root and without any capability, its
# own HEALTHCHECK works, and a changed source compiles no dependency again. image/standalone.sh starts the standalone image.
#
# Limits: the service's containers share this machine's network, because bridges would write firewall rules into it; ports are
# free ones. Engines and stand-ins: see containers.sh. COLLECTIVE_IMAGE_PROFILE=release builds in half the time of `dist`.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/e2e/containers.sh
. "$here/containers.sh"

readonly most=$((25 * 1024 * 1024))
readonly token=e2e-image-root-token-7d1f0c93ab5e redis_password=e2e-image-redis-password-51c2d7e8
work=$(mktemp -d /tmp/collective-image.XXXXXX)
redis=
containers=()

cleanup() {
    local container
    for container in "${containers[@]}"; do podman rm --force --volumes --time 2 "$container" >/dev/null 2>&1 || true; done
    # The shell's own remark about it would stand between the results.
    [ -z "$redis" ] || { kill -KILL "$redis" && wait "$redis" || true; } 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

# Three at a time, or one could be given twice.
free_ports() {
    python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))'
}
healthy() { podman healthcheck run "$1" >/dev/null 2>&1; }
in_image() { (cd "$layers" && find . -mindepth 1 "$@" | sort); }

# run NAME ARGUMENTS...: as a cluster that trusts nobody would. Images run with what they say themselves but for the ports.
run() {
    local name=$1
    shift
    podman rm --force --volumes --time 2 "$name" >/dev/null 2>&1 || true
    containers+=("$name")
    # No timer for the health check: there may be no systemd to keep it. The check itself is run below.
    podman run --detach --name "$name" --network host --read-only --read-only-tmpfs=false --cap-drop=ALL \
        --security-opt=no-new-privileges --health-interval=disable "$@" >/dev/null || fail "podman runs $name"
}

# value_of FIELD: of the program in a container, as the kernel tells it.
value_of() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(podman inspect --format '{{.State.Pid}}' "$2")/status"; }

prepare_containers
need redis curl
command -v python3 >/dev/null || skip "python3 is not installed"
base_images
began=$SECONDS
build service "$image" || fail "the image is built"
ok "the image is built, in $((SECONDS - began)) s"
began=$SECONDS
build standalone "$standalone" || fail "the standalone image is built"
ok "the standalone image is built on the same layers, in $((SECONDS - began)) s"

# --- With other sources, as after any change to ours. Small ones, so that a compiler at work is one that compiles dependencies.
changed=$work/changed
mkdir -p "$changed/src" "$changed/deploy"
(cd "$root" && cp -R Dockerfile .dockerignore Cargo.toml Cargo.lock LICENSE migrations "$changed/")
cp "$root/deploy/config.example.toml" "$changed/deploy/"
# Never the same, or the second run would find the image of the first.
echo "//! Changed at $(date +%s.%N)." >"$changed/src/lib.rs"
echo 'fn main() {}' >"$changed/src/main.rs"
context=$changed build service localhost/collective:e2e-changed || fail "other sources are built"
buildah rmi localhost/collective:e2e-changed >/dev/null
grep -A 1 'STEP .* RUN mkdir src;' "$keep/build.log" | grep -q 'Using cache' && [ "$(grep -c ' Compiling ' "$keep/build.log")" = 1 ] ||
    fail "after a change of the sources no dependency is compiled again" "$(grep ' Compiling ' "$keep/build.log" | head -n 5)"
ok "after a change of the sources no dependency is compiled again"

# --- What is in it.
container=$(buildah from --pull-never "$image")
layers=$(buildah mount "$container")
executables=$(in_image -type f -perm /111)
libraries=$(in_image -name '*.so*')
[ "$executables" = ./usr/local/bin/collective ] || fail "the image holds exactly one executable" "$executables"
[ -z "$libraries" ] || fail "the image holds no library" "$libraries"
ok "the image holds exactly one executable and no library: $(in_image -type f | tr '\n' ' ')"
[ -z "$(in_image -perm /6000)" ] || fail "nothing in the image is set-uid" "$(in_image -perm /6000)"
grep -q 'BEGIN CERTIFICATE' "$layers/etc/ssl/certs/ca-certificates.crt" || fail "the image holds a bundle of CA certificates"
ok "nothing is set-uid, and there are $(grep -c 'BEGIN CERTIFICATE' "$layers/etc/ssl/certs/ca-certificates.crt") CA certificates"
bytes=$(in_image -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
[ "$bytes" -le "$most" ] || fail "the image is at most 25 MiB" "$bytes bytes"
ok "the image is at most 25 MiB: $(awk "BEGIN { printf \"%.1f MiB\", $bytes / 1048576 }"), profile ${COLLECTIVE_IMAGE_PROFILE:-dist}"
buildah rm "$container" >/dev/null
describe() { buildah inspect --type image --format "$1" "$image"; }
[ "$(describe '{{.OCIv1.Config.User}}')" = 65532:65532 ] || fail "the image's user is a number and not root"
for label in title description version licenses revision created; do
    [ -n "$(describe "{{index .OCIv1.Config.Labels \"org.opencontainers.image.$label\"}}")" ] ||
        fail "the image has the label org.opencontainers.image.$label"
done
[ "$(describe '{{.OCIv1.Config.ExposedPorts}}')" = 'map[8080/tcp:{}]' ] ||
    fail "only the callers' port is exposed" "$(describe '{{.OCIv1.Config.ExposedPorts}}')"
[ "$(describe '{{.Docker.Config.Healthcheck.Test}}')" = '[CMD /usr/local/bin/collective healthcheck]' ] ||
    fail "the health check is our own verb" "$(describe '{{.Docker.Config.Healthcheck.Test}}')"
ok "user, labels, port and health check are as they should be"

# --- The service beside a Redis.
read -r port ops redis_port < <(free_ports)
redis-server --port "$redis_port" --bind 127.0.0.1 --requirepass "$redis_password" --save '' --dir "$work" \
    --logfile "$work/redis.log" --daemonize no &
redis=$!
# The address by a name that only /etc/hosts knows: a static program must resolve it without the libraries of a system.
run collective-e2e --add-host redis.e2e.test:127.0.0.1 \
    --env COLLECTIVE_SERVER__BIND="0.0.0.0:$port" --env COLLECTIVE_OPS__BIND="0.0.0.0:$ops" \
    --env COLLECTIVE_REDIS__URL="redis://redis.e2e.test:$redis_port" --env COLLECTIVE_REDIS__PASSWORD="$redis_password" \
    --env COLLECTIVE_REDIS__ALLOW_INSECURE=true --env COLLECTIVE_AUTH__ROOT_TOKEN="$token" "$image"
within 20 answers "http://127.0.0.1:$ops/startupz" || fail "the container starts" "$(podman logs --tail 20 collective-e2e 2>&1)"
# Start-up finishes without Redis, too.
within 20 calm "http://127.0.0.1:$ops" || fail "it reaches Redis" "$(podman logs --tail 20 collective-e2e 2>&1)"
[ "$(value_of Uid collective-e2e | cut -f 1)" = 65532 ] || fail "it runs as 65532" "$(value_of Uid collective-e2e)"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    [ "$(value_of $set collective-e2e)" = 0000000000000000 ] || fail "it has no capability" "$set $(value_of $set collective-e2e)"
done
[ "$(value_of NoNewPrivs collective-e2e)" = 1 ] || fail "it can gain no privileges"
process=$(podman inspect --format '{{.State.Pid}}' collective-e2e)
root_is_read_only "$process" || fail "its root is read-only" "$(root_mount "$process")"
ok "it runs as 65532, without a capability, without a way to one, on a read-only root"
"$here/smoke.sh" "http://127.0.0.1:$port" "$token" "http://127.0.0.1:$ops" || fail "the smoke suite passes in the container"
ok "the smoke suite passes in the container"
within 10 healthy collective-e2e || fail "the health check passes while it serves"
kill -STOP "$redis"
# Before that the check would pass whatever it asks.
frozen() { curl --silent --max-time 2 "http://127.0.0.1:$ops/status" | grep -q '^{"status":"warn"'; }
within 20 frozen || fail "it notices that Redis is frozen" "$(podman logs --tail 20 collective-e2e 2>&1)"
within 10 healthy collective-e2e || fail "the health check passes while Redis is frozen"
kill -CONT "$redis"
ok "the health check passes while it serves, and while Redis is frozen"
if podman logs collective-e2e 2>&1 | grep -qF -e "$token" -e "$redis_password"; then fail "no secret is in its log"; fi
ok "no secret is in its log"
podman stop --time 20 collective-e2e >/dev/null
code=$(podman inspect --format '{{.State.ExitCode}}' collective-e2e)
[ "$code" = 0 ] || fail "asked to stop, it drains and exits 0" "$code"
ok "asked to stop, it drains and exits 0"
status=0
podman run --rm --network none --cap-drop=ALL --health-interval=disable "$image" >"$work/alone" 2>&1 || status=$?
grep -q 'redis-server' "$work/alone" && [ "$status" = 1 ] || fail "without a Redis the image says what is missing" "$status" "$(cat "$work/alone")"
ok "without a Redis the image says what is missing: $(tail -n 1 "$work/alone")"

status=0
"$here/image/standalone.sh" || status=$?
case $status in
0) ok "a single run of the standalone image serves" ;;
"$could_not_run") skip "the standalone image was not started, the reason stands above ($passed other checks passed)" ;;
*) fail "a single run of the standalone image serves" ;;
esac
echo "images: $passed checks passed"
