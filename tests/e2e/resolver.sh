#!/usr/bin/env bash
# A resolver whose first name server is silent: `tests/e2e/resolver.sh target/debug/collective`.
#
# The system's resolver waits five seconds for that one before it asks the next, which answers. Redis is reached nevertheless, found
# again after a restart, and nobody waits for a lookup at the end. Limits: needs a network namespace, of root or of somebody whom the
# kernel lets be root in one of his own, else it says `skipped: reason`. Only processes started here are ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/resolver.sh BINARY}")
here=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$here")/../.."
source tests/e2e/service.sh
# What only root has on its PATH.
PATH=$PATH:/usr/sbin:/sbin
readonly host=redis.example port=6399 answering=127.0.0.2 silent=127.0.0.3

if [ -z "${COLLECTIVE_RESOLVER_INSIDE:-}" ]; then
    [ "$(uname -s)" = Linux ] || skip "network namespaces are Linux', this is $(uname -s)"
    has python3 || skip "python3 is not installed, there is no name server"
    ensure redis curl ip || skip "redis, curl or ip could not be installed"
    apart=(unshare --net --mount --propagation private)
    "${apart[@]}" ip link set lo up 2>/dev/null || apart+=(--map-root-user)
    "${apart[@]}" ip link set lo up 2>/dev/null || skip "no network namespace can be made here"
    rm -rf "$work"
    # Nothing in there is reached by a proxy.
    no_proxy='*' NO_PROXY='*' COLLECTIVE_RESOLVER_INSIDE=yes exec "${apart[@]}" "$here" "$binary"
fi
unset COLLECTIVE_RESOLVER_INSIDE # the program knows no such variable
ip link set lo up
printf 'nameserver %s\nnameserver %s\n' "$silent" "$answering" >"$work/resolv.conf"
printf 'hosts: files dns\n' >"$work/nsswitch.conf"
mount --bind "$work/resolv.conf" /etc/resolv.conf || skip "/etc/resolv.conf cannot be replaced here"
[ ! -e /etc/nsswitch.conf ] || mount --bind "$work/nsswitch.conf" /etc/nsswitch.conf || skip "/etc/nsswitch.conf cannot be replaced here"
# A cache of names that runs on this machine is asked by its socket, from in here, too, and asks the machine's own name servers.
mkdir "$work/no-cache"
[ ! -d /run/nscd ] || mount --bind "$work/no-cache" /run/nscd || skip "this machine's cache of names cannot be left out here"
python3 tests/e2e/resolver/nameserver.py "$answering" "$silent" >"$work/nameserver" &
nameserver=$!
others+=("$nameserver")
within 10 grep -qs '^ready' "$work/nameserver" || fail "a name server runs"

server=$(command -v redis-server || command -v valkey-server)
start_redis() {
    "$server" --port "$port" --bind 127.0.0.1 --save '' --logfile "$work/redis.log" --dir "$work" >/dev/null &
    redis=$!
    others+=("$redis")
}
end_redis() { { kill -KILL "$redis" && wait "$redis" || true; } 2>/dev/null; }
status() { curl --silent --max-time 2 "http://$operator/status"; }
# Not "does not pass": a status that did not come in time would be taken for it.
refuses() { status | grep -q '^{"status":"warn"'; }
asks() { status | grep -q 'name lookup timed out'; }

start_redis
launch data COLLECTIVE_REDIS__URL="redis://$host:$port" COLLECTIVE_REDIS__ALLOW_INSECURE=true
within 20 calm || fail "Redis is found though the first name server is silent" "$(status)"
ok "Redis is found though the first name server is silent"

end_redis
within 10 refuses || fail "the end of Redis is noticed" "$(status)"
# What was found counts for a while; only after that somebody is asked again.
within 40 asks || fail "the name is looked up again" "$(status)"
start_redis
within 30 calm || fail "Redis is found again after a restart" "$(status)"
ok "Redis is found again after a restart"

# Now nobody answers, and a lookup takes as long as the resolver likes.
{ kill -STOP "$nameserver" && end_redis; }
within 20 asks || fail "the status says that the name is not known" "$(status)"
begun=$SECONDS
kill -TERM "$gateway"
within 30 gone "$gateway" || fail "it ends"
code=0
wait "$gateway" || code=$?
took=$((SECONDS - begun))
kill -CONT "$nameserver"
# Two name servers, five seconds each, twice: of twenty about two were over. Short of that is a busy machine.
[ "$code" -eq 0 ] && [ "$took" -lt 10 ] || fail "nobody waits for a lookup at the end" "exit code $code after $took s"
ok "nobody waits for a lookup at the end"
finish "resolver: $passed checks passed"
