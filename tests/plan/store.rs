//! Directories of payloads: which files are for a Xen, which are problems, and what to have applied.

mod choice;
mod damage;
mod directory;
mod membership;
mod reading;
