//! Payloads read and checked without Xen.

#[cfg(test)]
mod arm;
#[cfg(test)]
mod built;
#[cfg(test)]
mod contents;
#[cfg(test)]
mod debug;
#[cfg(test)]
mod editor;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "shared with the hunt, which needs all of it")]
#[path = "../common/elf.rs"]
mod elf;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod harm;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod possible;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scratch;
