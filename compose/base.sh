#!/usr/bin/env bash
# Makes what the worker's image is built from without a network: a base in .state/image/rootfs.tar, and the wheels of the
# locked requirements. Run by `make image`, as root on Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

state=.state/image
wheels=$state/wheels
mkdir -p "$wheels"
if [ ! -f $state/rootfs.tar ]; then
    command -v debootstrap >/dev/null || apt-get -qq -y --no-install-recommends install debootstrap >/dev/null
    echo "image     making a base of this Debian release"
    rm -rf $state/rootfs
    # shellcheck disable=SC1091  # of the machine
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" $state/rootfs >$state/debootstrap.log
    tar -C $state/rootfs -cf $state/rootfs.tar.new .
    mv $state/rootfs.tar.new $state/rootfs.tar
    rm -rf $state/rootfs
fi

# By the base's own Python: which packages are needed hangs on its version.
echo "image     fetching the locked wheels"
[ -x $state/python/bin/pip ] || /usr/bin/python3 -m venv $state/python
sed -n '/^setuptools==/,/^ *# via/p' requirements-dev.txt >$state/setuptools.txt
$state/python/bin/pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --dest "$wheels" -r requirements.txt -r $state/setuptools.txt
