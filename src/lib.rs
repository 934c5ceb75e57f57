//! Live-patch a running Xen hypervisor.
