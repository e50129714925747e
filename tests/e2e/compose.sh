#!/usr/bin/env bash
# deploy/compose.yaml as it stands, with the secrets of deploy/secrets.sh: `tests/e2e/compose.sh`.
#
# The service, its Redis and its Prometheus come up by podman-compose, in a network namespace of their own, so that bridges and
# firewall rules stay out of this machine's. Callers come in by the published port, Redis lets nobody in who has no password, and
# Prometheus scrapes what it should under the name the rules expect.
#
# Limits: images that no registry gives are stood in for by this machine's programs under the same names: Redis by the one of
# our standalone image, Prometheus by the installed one. Grafana has no stand-in and is left out. Starts the images of this
# checkout, as tests/e2e/image.sh builds them. Where something is missing: `skipped: reason`.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/e2e/containers.sh
. "$here/containers.sh"

file=$root/deploy/compose.yaml
# named SERVICE: the image compose.yaml starts for it when nobody says otherwise.
named() { sed -n "s/^ *image: \${$1:-\(.*\)}$/\1/p" "$file"; }
redis_image=$(named REDIS_IMAGE) prometheus_image=$(named PROMETHEUS_IMAGE)

# arrive IMAGE: it is here already, or a registry gives it.
arrive() { have_image "$1" || timeout 60 buildah pull -q --signature-policy "$keep/policy.json" "$1" >/dev/null 2>&1; }
redis_stand_in() {
    local container
    container=$(buildah from --pull-never "$standalone")
    printf 'redis:x:65532:65532::/data:/\n' >"$keep/passwd"
    buildah copy -q "$container" "$keep/passwd" /etc/passwd >/dev/null
    buildah config --entrypoint '[]' --cmd '' --user 0 "$container"
    buildah commit -q --rm --format docker --signature-policy "$keep/policy.json" "$container" "$redis_image" >/dev/null
}
prometheus_stand_in() {
    local container
    container=$(buildah from --pull-never "$debian")
    buildah copy -q "$container" "$(command -v prometheus)" /bin/prometheus >/dev/null
    buildah run "$container" -- sh -c 'mkdir -p /prometheus /etc/prometheus && chown 65534:65534 /prometheus'
    buildah config --entrypoint '["/bin/prometheus"]' --cmd '' --user 65534 --volume /prometheus "$container"
    buildah commit -q --rm --format docker --signature-policy "$keep/policy.json" "$container" "$prometheus_image" >/dev/null
}

prepare_containers
if [ -z "${COLLECTIVE_COMPOSE_INSIDE:-}" ]; then
    # podman makes bridges with ip and iptables.
    need redis curl podman-compose prometheus iptables ip
    networks_work || skip "no network namespace with a bridge and firewall rules can be made here"
    images_of_this_checkout
    arrive "$redis_image" || redis_stand_in
    arrive "$prometheus_image" || { base_images && prometheus_stand_in; }
    # Nothing in there is reached by a proxy.
    no_proxy='*' NO_PROXY='*' COLLECTIVE_COMPOSE_INSIDE=yes exec unshare --net --mount --propagation private "$0"
fi
apart

work=$(mktemp -d /tmp/collective-compose.XXXXXX)
export COLLECTIVE_IMAGE=$image SECRETS=$work/secrets
readonly project=collective-e2e
compose() { podman-compose --project-name "$project" --file "$file" "$@" >>"$work/compose.log" 2>&1; }
take_down() {
    compose down --volumes --timeout 5 || true
    podman network rm --force "${project}_front" "${project}_back" "${project}_watch" >/dev/null 2>&1 || true
}
cleanup() {
    take_down
    rm -rf "$work"
}
trap cleanup EXIT

"$root/deploy/secrets.sh" "$SECRETS" >/dev/null
token=$(cat "$SECRETS/root-token")
# What a run left behind that was killed.
take_down
compose up --detach --no-build collective redis prometheus || fail "compose comes up" "$(tail -n 20 "$work/compose.log")"
container() { podman ps --all --format '{{.Names}}' | grep -E "^${project}[_-]$1[_-]1$"; }
# address SERVICE NETWORK
address() { podman inspect --format "{{(index .NetworkSettings.Networks \"${project}_$2\").IPAddress}}" "$(container "$1")"; }
logs() { podman logs --tail 15 "$(container "$1")" 2>&1; }
operator=http://$(address collective watch):8081
within 30 answers "$operator/readyz" || fail "the service is ready" "$(logs collective)" "$(tail -n 20 "$work/compose.log")"
# Whether one of the name servers that podman gave the service knows where Redis is now. They are none of ours: aardvark-dns 1.4
# ends when it is told of one change while the next is being written.
resolves() {
    nsenter --target "$(podman inspect --format '{{.State.Pid}}' "$(container collective)")" --net python3 - \
        "$(podman inspect --format '{{.ResolvConfPath}}' "$(container collective)")" "$(address redis back)" <<'PYTHON'
import socket, sys
question = b"\x07\x07\1\0\0\1\0\0\0\0\0\0\5redis\0\0\1\0\1"  # the address of redis
for line in open(sys.argv[1]):
    word, _, server = line.strip().partition(" ")
    if word != "nameserver":
        continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(2)
        try:
            asked.sendto(question, (server, 53))
            answer = asked.recv(512)
        except OSError:
            continue
    if answer[:2] == question[:2] and answer[3] % 16 == 0 and socket.inet_aton(sys.argv[2]) in answer:
        sys.exit(0)
sys.exit(1)
PYTHON
}
runs() { [ "$(podman inspect --format '{{.State.Running}}' "$(container "$1")")" = true ]; }
# unless_unnamed SENTENCE...: that failed. Only podman's name server is excused: not a service or a Redis that ended or is in another
# network, nor a service that is told where Redis is and does not get there.
unless_unnamed() {
    local service
    for service in collective redis; do
        runs "$service" || fail "$1, and $service runs" "$(logs "$service")"
        [ -n "$(address "$service" back 2>/dev/null)" ] || fail "$1, and $service is in the network that both share"
    done
    within 10 resolves || skip "podman's name server does not know Redis ($passed other checks passed)"
    fail "$@"
}
within 20 calm "$operator" || unless_unnamed "it reaches Redis as its user, by name" "$(logs collective)" "$(logs redis)"
ok "compose comes up with the secrets of deploy/secrets.sh, and the service reaches Redis by name"
"$here/smoke.sh" http://127.0.0.1:8080 "$token" "$operator" || fail "the smoke suite passes through the published port"
ok "the smoke suite passes through the published port"
[ -z "$(podman port "$(container redis)")" ] || fail "Redis publishes no port" "$(podman port "$(container redis)")"
said=$(redis-cli -h "$(address redis back)" PING 2>&1 || true)
case $said in NOAUTH*) ;; *) fail "Redis lets nobody in without a password" "$said" ;; esac
[ -z "$(nsenter --target "$(podman inspect --format '{{.State.Pid}}' "$(container redis)")" --net ip route show default)" ] ||
    fail "Redis has no way out"
ok "Redis publishes no port, has no way out, and lets nobody in without a password"
# Who it runs as, from the kernel.
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(podman inspect --format '{{.State.Pid}}' "$(container "$1")")/status" | cut -f 1; }
for service in collective redis prometheus; do
    [ "$(field "$service" Uid)" != 0 ] && [ "$(field "$service" CapBnd)" = 0000000000000000 ] && [ "$(field "$service" NoNewPrivs)" = 1 ] ||
        fail "$service runs without root and without a capability" "$(field "$service" Uid) $(field "$service" CapBnd)"
    process=$(podman inspect --format '{{.State.Pid}}' "$(container "$service")")
    root_is_read_only "$process" || fail "$service has a read-only root" "$(root_mount "$process")"
done
ok "service, Redis and Prometheus run without root, without a capability, on a read-only root"
prometheus=http://$(address prometheus watch):9090
query() { curl --silent --max-time 5 --get --data-urlencode "query=$1" "$prometheus/api/v1/query"; }
scraped() { query 'up{job="collective"} == 1' | grep -q '"value":\['; }
within 40 scraped || fail "Prometheus scrapes the job collective" "$(query up)" "$(logs prometheus)"
# Not piped: who finds it at the beginning reads no further, and whoever still writes then has failed.
rules=$(curl --silent --max-time 5 "$prometheus/api/v1/rules") || true
[[ $rules == *'"name":"CollectiveDown"'* ]] || fail "Prometheus has loaded the rules" "$rules"
ok "Prometheus scrapes the job collective and has loaded the rules"
podman stop --time 35 "$(container collective)" >/dev/null
code=$(podman inspect --format '{{.State.ExitCode}}' "$(container collective)")
[ "$code" = 0 ] || fail "the service stops in time and exits 0" "$code"
podman start "$(container collective)" >/dev/null
operator=http://$(address collective watch):8081
kept() { curl --silent --max-time 2 --header "Authorization: Bearer $token" http://127.0.0.1:8080/v1/keys/kept; }
written() { curl --silent --fail --max-time 2 --output /dev/null --header "Authorization: Bearer $token" --request PUT --data yes http://127.0.0.1:8080/v1/keys/kept; }
within 20 written || unless_unnamed "the service serves again after a restart" "$(logs collective)"
podman restart --time 20 "$(container redis)" >/dev/null
reads() { [ "$(kept)" = yes ]; }
# Redis itself, asked where it is and not by name, as the user it knows.
remembers() {
    [ "$(REDISCLI_AUTH=$(cat "$SECRETS/redis-password") redis-cli --user collective -h "$(address redis back)" GET kept 2>/dev/null)" = yes ]
}
if ! within 60 reads; then
    # Nor is a Redis that forgot.
    within 10 remembers || fail "what was written outlives a restart of Redis" "$(logs redis)"
    unless_unnamed "what was written outlives a restart of Redis" "$(kept)" "$(logs redis)" "$(logs collective)"
fi
ok "the service stops in time, and what was written outlives a restart of Redis"
echo "skipped: Grafana was not started, no registry is asked for its image and nothing here can stand in for it"
echo "compose: $passed checks passed, Grafana left out"
