#!/bin/sh
# Usage: flower.sh PROJECT STAGE IMAGE CREDENTIAL
set -eu
flower() {
    path=$1; shift
    curl -sS --fail -u "$FLOWER_BASIC_AUTH" -H "Content-Type: application/json" "$@" "$FLOWER_URL/api/$path"
}

id=$(cat /proc/sys/kernel/random/uuid)
printf '{"task_id": "%s", "kwargs": {"project": "%s", "stage": "%s", "image": "%s", "credential": "%s"}}' "$id" "$@" |
    flower task/send-task/docker.deploy -d @-
echo

while :; do
    # The step that it is at, which is a task of its own.
    flower "tasks?search=kwargs:deployment_id=$id&sort_by=-received&limit=1" | grep -o '"name": "[a-z.]*"' || true
    # Waits for the end, 2 seconds at the most; its "state" is the one before that.
    flower "task/result/$id?timeout=2" > /dev/null
    result=$(flower "task/result/$id")
    case $result in
        *'"state": "SUCCESS"'*) printf '%s\n' "$result"; exit 0 ;;
        *'"state": "FAILURE"'* | *'"state": "REVOKED"'*) printf '%s\n' "$result"; exit 1 ;;
    esac
done
