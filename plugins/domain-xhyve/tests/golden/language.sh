#!/usr/bin/env bash
set -eo pipefail
IFS=$' \t\n'
CPUS=${CPUS:-2} MEM="${MEM:-1024}M"; : "${CHANNEL:=stable}"
ARGS=( -A -H # comment
  -c "$CPUS" )
ARGS+=(-s 0:0,hostbridge -s '31,lpc')
usage() { echo "usage: $0 [-h]" >&2; exit 64; }
while getopts :h opt; do case $opt in h) usage;; \?|*) ;; esac; done
if [ "$(id -u)" -ne 0 ]; then echo "run as root"; exit 1; elif [[ -z $MEM || ! -n x ]]; then LOG=none; else :; fi
[ -f disk.img ] || { truncate -s 16G disk.img; }
cat > map <<-END
	(hd0) disk.img `date` $(
	END
case "$1" in (start|'') NAME=vm ;; stop) kill `cat pid`; exit ;; esac
LOG=$(mktemp) N=$((1 + 1))
for disk in disk.img data.img; do
  SLOT=$((SLOT + 1))
  DISKS="$DISKS -l com1,stdio"
done
export UUID="8e7af180-c54d-4aa2-9bef-59d94a1ac572"
cd vm && ( cd .. ; true ) 2>/dev/null
until false; do
  sudo -E build/xhyve "${ARGS[@]}" -m $MEM -s 4,virtio-blk,disk.img,sync -s 2:0,virtio-net -l com1,stdio -U "$UUID" \
    -f kexec,vmlinuz,,"console=ttyS0,38400n8 a=\"b c\" \$x" 2>&1 | tee log &
  test $? -eq 0 || break
done
