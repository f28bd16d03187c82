#!/bin/sh
# A kernel with a serial console, a disk and a network.
KERNEL="boot/vmlinuz"
INITRD="boot/initrd.gz"
CMDLINE="earlyprintk=serial console=ttyS0"
MEM="-m 1G"
NET="-s 2:0,virtio-net"
IMG_HDD="-s 4,virtio-blk,disk.img"

xhyve -A $MEM -c 2 -s 0:0,hostbridge -s 31,lpc -l com1,stdio $NET $IMG_HDD \
  -U 5d307ca9-b3ef-428c-8861-06e72d69f223 -f kexec,$KERNEL,$INITRD,"$CMDLINE"
