#!/bin/sh
# Makes the secrets that compose.yaml mounts, in deploy/secrets or the folder given: `deploy/secrets.sh [FOLDER]`.
#
# What is there stays as it is, so that it can be run again. Each is 32 random bytes in hex. Redis gets its list of users from
# redis/users.acl with the hash of the password in it, never the password. The folder is closed to others; the files in it can
# be read by everybody, because the containers' users are not yours and a mounted file is reached without its folder.
# Limits: to change a password, remove redis-password and users.acl together, run this again, and start both services anew.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
list=$here/redis/users.acl

fresh() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }
digest() { { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64; }

mkdir -p "$folder"
for name in root-token redis-password grafana-password; do
    [ -s "$folder/$name" ] || { fresh >"$folder/$name" && echo "made $folder/$name"; }
done
if [ ! -s "$folder/users.acl" ]; then
    hash=$(digest <"$folder/redis-password")
    # As committed the gateway's hash is zeros, which is no password's.
    grep -q '^user collective on #0\{64\} ' "$list" || { echo "secrets.sh: no user to give a password to in $list" >&2; exit 1; }
    sed "/^user collective /s/#0\{64\}/#$hash/" "$list" >"$folder/users.acl"
    echo "made $folder/users.acl"
fi
chmod 0444 "$folder/root-token" "$folder/redis-password" "$folder/grafana-password" "$folder/users.acl"
