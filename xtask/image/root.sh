#!/bin/sh
# The files of the image: the programs, the Debian libraries that they load, the loader, and the system's CAs.
# Usage: root.sh ARCHITECTURE PROGRAMS OUT. Libraries are looked for where Debian has those of that architecture
# (amd64, arm64), so that it does not matter which one this machine is. Used by the Containerfile and `cargo xtask image`.
set -eu

architecture=$1 programs=$2 out=$3
case $architecture in
    amd64) triple=x86_64-linux-gnu ;;
    arm64) triple=aarch64-linux-gnu ;;
    *) echo "root.sh: no such architecture here: $architecture" >&2; exit 1 ;;
esac

# Copies what a program or library names in its ELF header, and what that names in turn.
libraries() {
    for library in $(LC_ALL=C readelf --wide --dynamic "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'); do
        from=/lib/$triple/$library
        case $library in ld-linux*) continue ;; esac # the loader itself: below, by its own path
        [ -e "$out$from" ] && continue
        [ -e "$from" ] || { echo "root.sh: $1 needs $library, and there is no $from" >&2; exit 1; }
        install -D -m 755 "$from" "$out$from"
        libraries "$from"
    done
}

for name in colophon colophon-verify colophon-injector; do
    program=$programs/$name
    install -D -m 755 "$program" "$out/usr/local/bin/$name"
    loader=$(LC_ALL=C readelf --wide --program-headers "$program" | sed -n 's/.*interpreter: \(.*\)\]$/\1/p')
    # Its own path is the one that programs name; /lib64 is not among Debian's folders of libraries.
    [ -e "$loader" ] || { echo "root.sh: $program needs $loader" >&2; exit 1; }
    install -D -m 755 "$loader" "$out$loader"
    libraries "$program"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/ca-certificates.crt"
