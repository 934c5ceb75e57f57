//! A whole Xen in memory, and a builder of loadable payloads.
