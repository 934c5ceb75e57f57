# A machine with x86-64 processors: what fetch and run have to know of it. Sourced by bash; machine-arm64.sh is its like.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154

dom0=$store/dom0

# PROGRAM=PACKAGE: what this machine needs, to make one and to run it.
machine_tools=(qemu-system-x86_64=qemu-system-x86 unxz=xz-utils)
cross=
kernel_package=linux-image-amd64

# In the order of loading, what dom0 always needs, and what it needs for a disk with ext4. In another kernel some may be
# built in.
modules=(xen-privcmd)
disk_modules=(
    virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
    crc16 mbcache jbd2 crc32c_generic ext4
)
# Dom0's devices that are the program's stdout and stderr.
outputs=(ttyS1 ttyS2)

# make_kernel VMLINUZ: the ELF kernel inside. Xen would unpack it itself, two seconds slower at every boot.
make_kernel() {
    local image=$1 sectors offset
    # Fields of the x86 boot protocol: setup_sects and payload_offset.
    sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$image")
    offset=$(od -An -tu4 -j $((0x248)) -N4 "$image")
    # One stream, since more follows that is not xz's.
    unxz --single-stream < <(tail -c +$(((sectors + 1) * 512 + offset + 1)) "$image")
}

# qemu_command FOLDER: sets `command`. Xen is FOLDER/xen, its console is fd 3, the program's stdout is 4, its stderr 5.
# The processor: newer models crash Xen or dom0 under emulation, or are slower.
# Xen's port is polled, since serial interrupts are troublesome on older releases.
# Paths are relative: -initrd gives spaces and commas a meaning.
qemu_command() {
    command=(
        qemu-system-x86_64 -machine q35 -cpu qemu64 -m 768
        -append "console=com1 com1=115200,8n1,0x3f8,0 dom0_mem=512M loglvl=$loglevel"
        -initrd "dom0/kernel console=hvc0 panic=1 oops=panic quiet ${dom0_words//,/,,},$1/initrd"
        -serial file:/dev/fd/3 -serial file:/dev/fd/4 -serial file:/dev/fd/5
    )
    [[ -z $state ]] || command+=(-drive "$state_drive,if=virtio")
    [[ -z $trace ]] || command+=(-chardev "$trace_chardev" -device isa-debugcon,chardev=trace,iobase=0xe9)
}
