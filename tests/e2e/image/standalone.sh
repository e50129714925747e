#!/usr/bin/env bash
# The standalone image on a bare laptop: `tests/e2e/image/standalone.sh`, the second half of tests/e2e/image.sh.
#
# `podman run -d -p 8080:8080 IMAGE` and nothing else, in a network namespace of its own, so that bridge and firewall rules stay
# out of this machine's. What it prints is pasted as it stands: the lines name the container and the engine by themselves.
#
# Limits: podman in the place of docker. Engines and images: see containers.sh. Where something is missing: `skipped: reason`.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/e2e/containers.sh
. "$here/containers.sh"

prepare_containers
if [ -z "${COLLECTIVE_STANDALONE_INSIDE:-}" ]; then
    need curl iptables ip
    networks_work || skip "no network namespace with a bridge and firewall rules can be made here, the standalone image was not started"
    base_images
    build standalone "$standalone" || fail "the standalone image is built"
    # Nothing in there is reached by a proxy.
    no_proxy='*' NO_PROXY='*' COLLECTIVE_STANDALONE_INSIDE=yes exec unshare --net --mount --propagation private "$0"
fi
apart

work=$(mktemp -d /tmp/collective-standalone.XXXXXX)
containers=()
cleanup() {
    local container
    for container in "${containers[@]}"; do podman rm --force --volumes --time 2 "$container" >/dev/null 2>&1 || true; done
    rm -rf "$work"
}
trap cleanup EXIT

# run ARGUMENTS...: the image; sets `container`.
run() {
    container=$(podman run -d -p 8080:8080 "$@" "$standalone") || fail "the standalone image runs: -p 8080:8080 $*"
    containers+=("$container")
    within 20 says || fail "it says what to paste" "$(printed | tail -n 20)"
    # It says so after two seconds, even if its Redis needs longer to start.
    operator=http://$(podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$container"):8081
    within 20 calm "$operator" || fail "it reaches its Redis" "$(printed | tail -n 20)"
}
printed() { podman logs "$container" 2>&1; }
says() { printed | grep -q 'export UPSTASH_REDIS_REST_TOKEN'; }
line() { printed | grep -o "$1" | tail -n 1; }
healthy() { podman healthcheck run "$container" >/dev/null 2>&1; }

run
process=$(podman inspect --format '{{.State.Pid}}' "$container")
[ "$(sed -n 's/^Uid:[[:space:]]*//p' "/proc/$process/status" | cut -f 1)" = 65532 ] || fail "it runs as 65532, too"
given=$(podman exec "$container" collective token)
[ "${#given}" -ge 32 ] || fail "the token is handed out inside of it" "$given"
if printed | grep -qF "$given"; then fail "the token stands in no log"; fi
write=$(line 'curl .*-X PUT.*') read=$(line 'curl .*greeting$')
[ -n "$write" ] && [ -n "$read" ] || fail "it prints a line that writes and one that reads" "$(printed)"
timeout 10 bash -c "$write" >"$work/said" 2>"$work/errors" || fail "the first printed line works" "$write" "$(cat "$work/errors")"
[ "$(timeout 10 bash -c "$read" 2>"$work/errors")" = hello ] || fail "the second one reads what the first wrote" "$read" "$(cat "$work/said")"
eval "$(printed | grep -o 'export UPSTASH_.*')"
[ "$UPSTASH_REDIS_REST_TOKEN" = "$given" ] || fail "the UPSTASH lines give URL and token"
ok "a single run with the port and nothing else serves, and what it prints works as pasted: $read"
"$here/smoke.sh" "$UPSTASH_REDIS_REST_URL" "$UPSTASH_REDIS_REST_TOKEN" || fail "the smoke suite passes against the printed URL"
ok "the smoke suite passes against the printed URL and token"
within 10 healthy || fail "the health check passes in it"
podman restart --time 20 "$container" >/dev/null
reads() { [ "$(curl --silent --max-time 2 -H "Authorization: Bearer $given" "$UPSTASH_REDIS_REST_URL/v1/keys/greeting")" = hello ]; }
within 20 reads || fail "after a restart of the container token and data are the same" "$(printed | tail -n 20)"
ok "after a restart of the container token and data are the same"
podman rm --force --volumes --time 20 "$container" >/dev/null
# And as one who trusts nobody would run it.
run --read-only --read-only-tmpfs=false --cap-drop=ALL --security-opt=no-new-privileges
process=$(podman inspect --format '{{.State.Pid}}' "$container")
root_is_read_only "$process" || fail "its root is read-only" "$(root_mount "$process")"
"$here/smoke.sh" http://127.0.0.1:8080 "$(podman exec "$container" collective token)" >"$work/said" ||
    fail "the smoke suite passes on a read-only root without capabilities" "$(cat "$work/said")"
ok "it serves on a read-only root without a capability, too"
echo "standalone: $passed checks passed"
