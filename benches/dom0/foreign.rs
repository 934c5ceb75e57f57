//! The interfaces to compare with, which need `unsafe`: the bare ioctl, and libxenctrl.
#![allow(unsafe_code, reason = "this is where the ioctl is issued by hand, and where libxenctrl is called")]

pub mod counter;
pub mod libxenctrl;
pub mod privcmd;
