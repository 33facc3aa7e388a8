#!/bin/sh
# Usage: redis.sh PROJECT STAGE IMAGE CREDENTIAL
set -eu
redis() { redis-cli -u "${DW_REDIS_URL:-redis://127.0.0.1:6379/0}" "$@"; }
uuid() { cat /proc/sys/kernel/random/uuid; }

id=$(uuid)
echo "$id"
body=$(printf '[[], {"project": "%s", "stage": "%s", "image": "%s", "credential": "%s"}, {}]' "$@" | base64 -w 0)
redis -x LPUSH celery > /dev/null <<MESSAGE
{"body": "$body", "content-encoding": "utf-8", "content-type": "application/json",
 "headers": {"lang": "sh", "task": "docker.deploy", "id": "$id"},
 "properties": {"body_encoding": "base64", "delivery_mode": 2, "delivery_tag": "$(uuid)",
                "delivery_info": {"exchange": "", "routing_key": "celery"}}}
MESSAGE

seen=
while :; do
    result=$(redis GET "celery-task-meta-$id") # empty until a worker has begun
    [ "$result" = "$seen" ] || printf '%s\n' "$result"
    seen=$result
    case $result in
        *'"status": "SUCCESS"'*) exit 0 ;;
        *'"status": "FAILURE"'* | *'"status": "REVOKED"'*) exit 1 ;;
    esac
    sleep 0.2
done
