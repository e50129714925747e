# shellcheck shell=bash
# What the container scripts share: tools, a storage of their own, base images, building. Sourced, not run.
#
# Nothing here needs a daemon, a registry, systemd or a user namespace: buildah builds in a chroot, podman runs through runc,
# both from the distribution, and everything they keep lies in target/containers, away from the machine's own images and
# settings. The base images the Dockerfile names are pulled where a registry answers; where none does, stand-ins with the
# same names are made from the distribution's own packages and this machine's Rust. The Dockerfile is built as it stands.
#
# Limits: Linux, root, and for the stand-ins a Debian-like system. Where something is missing the script that sourced this
# says `skipped: reason` and ends with 77.

readonly could_not_run=77
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
keep=${COLLECTIVE_CONTAINERS:-$root/target/containers}
# Where tools/ensure puts what it takes out of packages, and what only root has on its PATH.
PATH=$root/target/tools/bin:$PATH:/usr/sbin:/sbin
based_on() { sed -n "s/^FROM \([^ ]*\) AS $1\$/\1/p" "$root/Dockerfile"; }
rust=$(based_on build)
debian=$(based_on redis)
readonly image=localhost/collective:e2e standalone=localhost/collective:e2e-standalone
passed=0

skip() {
    echo "skipped: $*"
    exit "$could_not_run"
}

ok() {
    passed=$((passed + 1))
    echo "ok $passed - $1"
}

fail() {
    echo "not ok - $1"
    [ $# -lt 2 ] || printf '    %s\n' "${@:2}"
    exit 1
}

# within SECONDS COMMAND...: runs it until it succeeds or the time is over.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

# answers URL, calm OPERATOR: somebody is there; Redis answers and every lane of the breaker is closed. Redis is called reachable
# already when one lane is closed and the other is not.
answers() { curl --silent --fail --max-time 2 --output /dev/null "$1"; }
calm() { curl --silent --max-time 2 "$1/status" | grep -q '^{"status":"pass"'; }

# need NAME...: here, or installed by tools/ensure, which says so; else the script is skipped, with what was said.
need() {
    local said=$keep/ensure.log status=0
    mkdir -p "$keep"
    "$root/tools/ensure" "$@" >"$said" 2>&1 || status=$?
    grep '^ensure: ' "$said" || true
    [ "$status" = 0 ] && return 0
    tail -n 5 "$said"
    skip "not all of these are here or could be installed: $*"
}

# Without overlays every layer is a full copy of those below: slower by minutes, but it works everywhere.
overlay_works() {
    local try=$keep/overlay-works
    mkdir -p "$try/below" "$try/above" "$try/work" "$try/merged"
    mount -t overlay overlay -o "lowerdir=$try/below,upperdir=$try/above,workdir=$try/work" "$try/merged" 2>/dev/null &&
        umount "$try/merged"
}

# Whether control groups can be made that count memory and processes, as podman makes them. In the second version none can below a
# topmost group with processes in it, which is what a container usually sees, a privileged one, too.
groups_work() {
    local top=/sys/fs/cgroup
    [ -e "$top/cgroup.controllers" ] || { [ -w "$top" ] || [ -w "$top/memory" ]; return; }
    (echo '+memory +pids' >"$top/cgroup.subtree_control") 2>/dev/null
}

# Whether a network of its own can be made with what podman puts into one: a bridge, pairs of devices, rules of the firewall.
networks_work() {
    unshare --net --mount sh -c 'ip link set lo up && ip link add try type bridge && ip link add try0 type veth peer name try1 &&
        iptables -t nat -n -L' >/dev/null 2>&1
}

# Free gibibytes where images and layers go.
room() { df -Pk "$keep" | awk 'NR == 2 { print int($4 / 1048576) }'; }

# The tools, and settings that touch nothing of the machine's.
prepare_containers() {
    [ "$(uname -s)" = Linux ] || skip "containers are built on Linux only, this is $(uname -s)"
    [ "$(id -u)" -eq 0 ] || skip "building in a chroot without a daemon needs root"
    # A root that was given neither, as in most containers, can build and start none.
    unshare --mount true 2>/dev/null || skip "no mount namespace can be made here"
    groups_work || skip "no control group can be made here, and no container without one"
    need runc buildah podman
    mkdir -p "$keep/networks"
    local driver=vfs needed=12
    ! overlay_works || driver=overlay needed=4
    volumes=$keep/$driver/volumes
    printf '[storage]\ndriver = "%s"\nrunroot = "%s/run"\ngraphroot = "%s/%s"\n' "$driver" "$keep" "$keep" "$driver" >"$keep/storage.conf"
    # The limits: podman's default for open files is above what an unprivileged machine may grant.
    printf '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "%s/run/libpod"\n[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n[network]\nnetwork_config_dir = "%s/networks"\n' \
        "$keep" "$keep" >"$keep/containers.conf"
    printf '{"default":[{"type":"insecureAcceptAnything"}]}\n' >"$keep/policy.json"
    # A service manager that is not there must not be asked to time health checks; the scripts run the checks themselves.
    export DISABLE_HC_SYSTEMD=true
    export CONTAINERS_STORAGE_CONF=$keep/storage.conf CONTAINERS_CONF=$keep/containers.conf BUILDAH_ISOLATION=chroot
    podman info >"$keep/info" 2>&1 || skip "podman does not work here: $(tail -n 1 "$keep/info")"
    have_image "$standalone" || [ "$(room)" -ge "$needed" ] ||
        skip "building the images takes up to $needed GiB, and $(room) are free"
}

# apart: for who is in a network and among mounts of his own. Volumes lie in memory there: Redis waits for the disk at every write, and
# a disk that is busy with the images built just now would decide what callers are told. What podman remembers of networks is this
# one's alone: it would find addresses, names and a name server there that were those of a run that was killed, or are the machine's.
apart() {
    local place
    ip link set lo up
    for place in "$volumes" /run/containers/networks; do
        mkdir -p "$place"
        mount -t tmpfs tmpfs "$place" || skip "nothing can be mounted here"
    done
}

# The line of the kernel about the root of a process, and whether nothing can be written there.
root_mount() { awk '$5 == "/"' "/proc/$1/mountinfo" | tail -n 1; }
root_is_read_only() { root_mount "$1" | cut -d ' ' -f 6 | grep -qE '^ro(,|$)'; }

have_image() { buildah inspect --type image "$1" >/dev/null 2>&1; }

# The images the Dockerfile starts from; says when they are stand-ins.
base_images() {
    have_image "$rust" && have_image "$debian" && return 0
    if timeout 180 buildah pull -q --signature-policy "$keep/policy.json" "$rust" >/dev/null 2>&1 &&
        timeout 60 buildah pull -q --signature-policy "$keep/policy.json" "$debian" >/dev/null 2>&1; then
        rm -f "$keep/stand-ins"
        return 0
    fi
    need mmdebstrap
    command -v rustc >/dev/null || skip "no registry answers and there is no Rust here to stand in"
    echo "no registry answers: $rust and $debian are stood in for by packages of the distribution"
    # From the mirror that is named, else this machine's own where it is a Debian of the same release, else where mmdebstrap looks.
    local sources=() container
    if [ -n "${COLLECTIVE_DEBIAN_MIRROR:-}" ]; then
        sources=("$COLLECTIVE_DEBIAN_MIRROR")
    elif grep -qs bookworm /etc/apt/sources.list.d/debian.sources; then
        sources=(/etc/apt/sources.list.d/debian.sources)
    fi
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$keep/root.tar" "${sources[@]}" ||
        skip "no registry answers and bookworm could not be bootstrapped"
    container=$(buildah from scratch)
    buildah add -q "$container" "$keep/root.tar" / >/dev/null
    # The compiler itself is mounted while building (see `built`): a copy of it in every layer would be a gigabyte each.
    buildah config --env PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env CARGO_HOME=/usr/local/cargo "$container"
    # Before the images are there: a run that is ended between would leave stand-ins that pass for what they stand in for.
    touch "$keep/stand-ins"
    buildah commit -q --rm --signature-policy "$keep/policy.json" "$container" "$rust" >/dev/null
    buildah tag "$rust" "$debian"
    rm -f "$keep/root.tar"
}

# Whether the last build ended because something did not arrive, of the distribution's or of cargo's.
did_not_arrive() {
    grep -qE 'Failed to fetch|Unable to fetch|Temporary failure|failed to download|spurious network error|Hash Sum mismatch' "$keep/build.log"
}

# build TARGET TAG [ARGUMENTS...]: the Dockerfile of this checkout as it stands, or of the folder that `context` names.
build() {
    local target=$1 tag=$2 revision
    shift 2
    # Unknown where this is no work tree, or somebody else's, of which git says nothing.
    revision=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
    if [ -e "$keep/stand-ins" ]; then
        mkdir -p "${CARGO_HOME:-$HOME/.cargo}/registry"
        set -- "$@" --pull-never \
            --volume "$(rustc --print sysroot):/opt/rust:ro" \
            --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry"
    fi
    set -- buildah bud --layers --force-rm --format docker --signature-policy "$keep/policy.json" \
        --target "$target" --tag "$tag" \
        --build-arg "PROFILE=${COLLECTIVE_IMAGE_PROFILE:-dist}" \
        --build-arg "REVISION=$revision" \
        --build-arg "CREATED=$(git -C "$root" log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)" \
        --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)" \
        "$@" "${context:-$root}"
    # The layers that are done are kept.
    "$@" >"$keep/build.log" 2>&1 || { did_not_arrive && "$@" >"$keep/build.log" 2>&1; } || {
        tail -n 40 "$keep/build.log"
        return 1
    }
}

# images_of_this_checkout: both, whatever lies there from an earlier one. Where nothing changed since, layers are only looked up.
images_of_this_checkout() {
    base_images
    build service "$image" && build standalone "$standalone" || fail "the images are built"
}
