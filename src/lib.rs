//! Live-patch a running Xen hypervisor.
mod sys;
