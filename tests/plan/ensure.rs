//! A host becomes what is wanted, whatever it was, and whatever goes wrong meanwhile.

mod directory;
mod host;
mod observed;
mod properties;
mod transaction;
mod xapi;
