#!/bin/bash
KERNEL="install/linux"
INITRD="install/initrd.gz"
CMDLINE="earlyprintk=serial console=ttyS0"

# Guest Config
CPU="-c 2"
MEM="-m 2G"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
NET="-s 2:0,virtio-net,en0"
IMG_CD="-s 3:0,ahci-cd,mini.iso"
IMG_HDD="-s 4:0,virtio-blk,ubuntu18.img"
LPC_DEV="-l com1,stdio"
ACPI="-A"

# and now run
sudo /Users/user/github/xhyve/build/xhyve $ACPI $CPU $MEM $PCI_DEV $LPC_DEV $NET $IMG_CD $IMG_HDD -f kexec,$KERNEL,$INITRD,"$CMDLINE"
