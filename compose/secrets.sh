#!/bin/sh
# Makes what is secret of an installation: `docker compose run --rm secrets`. What is there already stays, so that it may
# be run again: after an upgrade, as redis.acl may have changed, and to be told the addresses once more.
set -eu
umask 077
cd /secrets
# Files may be reached by whom they are for; nobody else can see which there are.
chmod 711 .

password() { head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }
hashed() { printf %s "$(cat "$1")" | sha256sum | cut -d' ' -f1; }

# keep NAME COMMAND...: a file with what the command says, unless there is one.
keep() {
    name=$1
    shift
    [ -s "$name" ] || { "$@" >"$name.new" && mv "$name.new" "$name"; }
}

# give NAME USER: its only reader. Written in place, for containers that have the file already.
give() {
    cat >"$1"
    chown "$2" "$1"
    chmod 400 "$1"
}

# A Fernet key: 32 bytes in URL-safe base64.
new_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

keep keys new_key
chown 10001 keys
chmod 400 keys
for user in admin worker producer operator; do
    keep "redis-$user" password
done
keep flower-password password
keep grafana-password password
chown 472 grafana-password

address() { echo "redis://$1:$(cat "redis-$1")@$2/0"; }
echo "DW_REDIS_URL=$(address worker redis:6379)" | give worker.env 10001
echo "DW_REDIS_URL=$(address operator redis:6379)" | give operator.env 10001
echo "basic_auth = ['operator:$(cat flower-password)']" | give flowerconfig.py 10001

# A worker's user may do what an operator may, too: who is in its container has `dw`, and is trusted with more anyway.
operators=$(sed -n 's/^user operator on #operator-sha256 //p' /setup/redis.acl | sed 's/resetchannels //; s/-@all //')
awk -v more="$operators" '/^user worker / { $0 = $0 " " more } { print }' /setup/redis.acl | sed \
    -e "s/default:/$DW_NAMESPACE:/g; s/default\./$DW_NAMESPACE./g" \
    -e "s/admin-sha256/$(hashed redis-admin)/" \
    -e "s/worker-sha256/$(hashed redis-worker)/" \
    -e "s/producer-sha256/$(hashed redis-producer)/" \
    -e "s/operator-sha256/$(hashed redis-operator)/" \
    >acl.new
echo "user health on nopass resetchannels -@all +ping" >>acl.new
cat acl.new >redis.acl
rm acl.new
# Of passwords only hashes, for a user whose number hangs on Redis' image.
chmod 444 redis.acl

cat <<END
Redis     for producers   $(address producer "$PUBLISH_REDIS")
          for operators   $(address operator "$PUBLISH_REDIS")
Flower    operator        $(cat flower-password)
Grafana   admin           $(cat grafana-password)
Keep compose/secrets/ as you keep secrets; a copy of compose/secrets/keys, apart from Redis' backup.
END
