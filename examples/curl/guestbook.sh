#!/bin/sh
# A guest book with curl alone.
#
# Needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN. Prints one answer a line.
set -eu

ask() {
    path=$1
    shift
    curl --silent --show-error --fail-with-body --max-time 5 \
        --header "Authorization: Bearer $UPSTASH_REDIS_REST_TOKEN" "$@" "$UPSTASH_REDIS_REST_URL$path"
    echo
}

# One command as a JSON array.
ask / --data '["SET", "guestbook:owner", "Ada", "EX", 3600]'
# One command as a path; the body is its last argument, the query comes behind it.
ask '/set/guestbook:motto?EX=3600' --data 'Be brief / be kind'
ask /get/guestbook:motto
# Several commands, one round trip, an answer for each.
ask /pipeline --data '[["DEL", "guestbook:guests"], ["RPUSH", "guestbook:guests", "Grace", "Alan"], ["LLEN", "guestbook:guests"]]'
# Several commands, all or none.
ask /multi-exec --data '[["LPOP", "guestbook:guests"], ["LRANGE", "guestbook:guests", 0, -1]]'
