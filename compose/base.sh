#!/usr/bin/env bash
# Makes what all images of compose.yaml are built from, or are, where no registry can be reached: one base with their
# programs in .state/images/rootfs.tar, and the wheels of the locked requirements. Run by compose/images.py, as root on
# Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

state=.state/images
packages=python3,python3-venv,ca-certificates,redis-server,nginx,curl,prometheus
mkdir -p "$state/wheels"
# Another list of packages makes another base.
if [ ! -f $state/rootfs.tar ] || [ "$(cat $state/packages 2>/dev/null)" != "$packages" ]; then
    echo "images    making a base of this Debian release"
    rm -rf $state/rootfs
    # shellcheck disable=SC1091  # of the machine
    debootstrap --variant=minbase --include=$packages \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" $state/rootfs >$state/debootstrap.log
    rm -rf $state/rootfs/var/cache/apt/archives/*.deb $state/rootfs/var/lib/apt/lists/*
    # As the official images have them: their volumes take over whose they are.
    install -d $state/rootfs/data $state/rootfs/prometheus
    chroot $state/rootfs chown redis:redis /data
    chroot $state/rootfs chown 65534:65534 /prometheus
    tar -C $state/rootfs -cf $state/rootfs.tar.new .
    mv $state/rootfs.tar.new $state/rootfs.tar
    echo "$packages" >$state/packages
    rm -rf $state/rootfs
fi

# By the base's own Python: which packages are needed hangs on its version.
{ cat requirements.txt; sed -n '/^setuptools==/,/^ *# via/p' requirements-dev.txt; } >$state/wanted.txt
if ! cmp -s $state/wanted.txt $state/fetched.txt; then
    echo "images    fetching the locked wheels"
    [ -x $state/python/bin/pip ] || /usr/bin/python3 -m venv $state/python
    rm -f $state/wheels/*
    $state/python/bin/pip download -qq --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
        --dest $state/wheels -r $state/wanted.txt
    mv $state/wanted.txt $state/fetched.txt
fi
