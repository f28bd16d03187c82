#!/bin/sh
# Lays out the file system of the image: image.sh DIRECTORY, from the root of the repository, as root, after
#
#     cargo build --release --locked && cargo xtask plugins
#
# It has the program, the libraries it is linked with, the plugins, the config, and the plugins' compiled code. There is no
# shell in it, nothing that has to be written, and no user but number 107, as which KubeVirt runs a machine's pod.
set -eu

root=$(realpath -m "$1")
config=${WITVIRT_CONFIG:-$(dirname "$0")/witvirt.toml}
user=107
program=target/release/witvirt

mkdir -p "$root/usr/bin" "$root/usr/lib/witvirt" "$root/etc/witvirt" "$root/var/cache" "$root/var/run/kubevirt-hooks"
install -d -m 1777 "$root/tmp"
install -m 0755 -s "$program" "$root/usr/bin/witvirt"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$library" "$root$library"
done
install -m 0644 "$config" "$root/etc/witvirt/witvirt.toml"
for plugin in board vnc boot-loader input-device nic-model disk-driver; do
    install -m 0644 "target/plugins/hook-$plugin.wasm" "$root/usr/lib/witvirt/"
done

# The compiled code belongs to the image's user and nobody else: it is not loaded otherwise.
install -d -m 0700 -o "$user" -g "$user" "$root/var/cache/witvirt"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
chmod 0755 "$work"
install -m 0755 "$program" "$work/witvirt"
install -d -o "$user" -g "$user" "$work/state"
{
    echo "state-directory = \"$work/state\""
    sed "s|\"/usr/lib/witvirt/|\"$root/usr/lib/witvirt/|; s|\"/var/cache/witvirt\"|\"$root/var/cache/witvirt\"|" "$config"
} > "$work/witvirt.toml"
setpriv --reuid "$user" --regid "$user" --clear-groups "$work/witvirt" config check --config "$work/witvirt.toml"
