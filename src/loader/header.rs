//! The ELF header: Xen's first look at a payload.

use object::elf::{ELFDATA2LSB, ET_REL};

use super::problem::Problem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{LE, SECTION_HEADER_SIZE};

pub(super) fn check(linker: &mut Linker<'_, '_>, known: Option<Architecture>, found: Architecture) -> Progress {
    const UNSUPPORTED: Errno = Errno::EOPNOTSUPP;
    let (header, file) = (linker.elf.header, to_u64(linker.elf.data.len()));
    let ident = &header.e_ident;
    let (version, kind, programs) = (header.e_version.get(LE), header.e_type.get(LE).0, header.e_phnum.get(LE));
    linker.require(version == 1, UNSUPPORTED, "e_version", version, "1")?;
    linker.require(ident.version.0 == 1, UNSUPPORTED, "EI_VERSION", ident.version.0, "1")?;
    linker.require(ident.abi_version == 0, UNSUPPORTED, "EI_ABIVERSION", ident.abi_version, "0")?;
    linker.require(matches!(ident.os_abi.0, 0 | 9), UNSUPPORTED, "EI_OSABI", ident.os_abi.0, "0 or 9")?;
    linker.require(kind == ET_REL.0, UNSUPPORTED, "e_type", kind, "1 (ET_REL)")?;
    linker.require(programs == 0, UNSUPPORTED, "e_phnum", programs, "0")?;
    let order = header.e_ident.data;
    if order != ELFDATA2LSB {
        // Everything but Xen reads it, so the file is not the intended one.
        let problem = Problem::Header { field: "EI_DATA", expected: "1 (little-endian)", found: u64::from(order.0) };
        linker.unnoticed(problem)?;
    }
    if matches!(found, Architecture::Other(_)) || known.is_some_and(|known| known != found) {
        linker.refuse(UNSUPPORTED, Problem::Architecture { expected: known, found })?;
    }
    let (count, names) = (header.e_shnum.get(LE), header.e_shstrndx.get(LE).0);
    let (table, entry) = (header.e_shoff.get(LE), u64::from(header.e_shentsize.get(LE)));
    let fits = file.saturating_sub(table).checked_div(entry).is_some_and(|room| room >= count.into());
    let reported = table >= file || entry < SECTION_HEADER_SIZE;
    let (a_section, a_table) = ("a section that exists", "a section table in the file");
    linker.require(names != 0, Errno::EINVAL, "e_shstrndx", names, a_section)?;
    linker.require(count < 1024, UNSUPPORTED, "e_shnum", count, "less than 1024")?;
    linker.require(names == 0 || names < count, Errno::EINVAL, "e_shstrndx", names, a_section)?;
    linker.require(table < file, Errno::EINVAL, "e_shoff", table, a_table)?;
    linker.require(entry >= SECTION_HEADER_SIZE, Errno::EINVAL, "e_shentsize", entry, "64")?;
    linker.require(reported || fits, Errno::EINVAL, "e_shoff", table, a_table)
}

impl Linker<'_, '_> {
    /// Reports that Xen refuses the value of a field of the header, unless it passed.
    fn require(
        &mut self,
        passed: bool,
        errno: Errno,
        field: &'static str,
        found: impl Into<u64>,
        expected: &'static str,
    ) -> Progress {
        if passed { Ok(()) } else { self.refuse(errno, Problem::Header { field, expected, found: found.into() }) }
    }
}
