# A machine with AArch64 processors: what fetch and run have to know of it. Sourced by bash; machine-amd64.sh is its like.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154

dom0=$store/dom0-arm64

# The compiler makes payloads, and Xen.
machine_tools=(qemu-system-aarch64=qemu-system-arm aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu)
cross=aarch64-linux-gnu-
kernel_package=linux-image-arm64

modules=(xen-privcmd virtio_mmio virtio_console)
disk_modules=(virtio_blk crc16 mbcache jbd2 crc32c_generic ext4)
outputs=(virtio-ports/stdout virtio-ports/stderr)

# make_kernel VMLINUZ: is what Xen boots already.
make_kernel() { cat "$1"; }

# qemu_command FOLDER: as for the other machine. QEMU's own loader puts kernel and initrd into memory and tells Xen where; the
# kernel has 48 MiB until the initrd begins. Dom0's memory is where it is on the machine, so there has to be more of it.
# A write to a port returns when QEMU has it, which makes one good for the trace. It is the first, so that it is there when
# dom0 has the other two.
qemu_command() {
    local trace_port=()
    [[ -z $trace ]] || trace_port=(-chardev "$trace_chardev" -device virtserialport,chardev=trace,name=trace)
    command=(
        qemu-system-aarch64 -machine 'virt,gic-version=3,virtualization=on' -cpu cortex-a57 -m 1024
        -append "console=dtuart dom0_mem=512M loglvl=$loglevel"
        -device "guest-loader,addr=0x49000000,kernel=dom0-arm64/kernel,bootargs=console=hvc0 panic=1 oops=panic quiet ${dom0_words//,/,,}"
        -device "guest-loader,addr=0x4c000000,initrd=$1/initrd"
        -serial file:/dev/fd/3
        -global virtio-mmio.force-legacy=false -device virtio-serial-device,max_ports=4
        "${trace_port[@]}"
        -chardev file,id=stdout,path=/dev/fd/4 -device virtserialport,chardev=stdout,name=stdout
        -chardev file,id=stderr,path=/dev/fd/5 -device virtserialport,chardev=stderr,name=stderr
    )
    [[ -z $state ]] || command+=(-drive "$state_drive,if=none,id=state" -device virtio-blk-device,drive=state)
}
