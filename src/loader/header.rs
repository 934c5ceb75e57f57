//! The ELF header: Xen's first look at a payload.

use object::elf::{ELFDATA2LSB, ELFMAG, ET_REL};

use super::problem::Problem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{Header, LE, SECTION_HEADER_SIZE};

/// Returns true if a file that can't be read is an ELF file of another kind.
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "a check begins with a file that can be read"))]
pub(super) fn is_elf(file: &[u8]) -> bool {
    file.len() >= size_of::<Header>() && file.starts_with(&ELFMAG)
}

pub(super) fn check(linker: &mut Linker<'_, '_>, known: Option<Architecture>, found: Architecture) -> Progress {
    let header = linker.elf.header;
    let file = to_u64(linker.elf.data.len());
    check_fields(linker, &fields_before_machine(header))?;
    let order = header.e_ident.data;
    if order != ELFDATA2LSB {
        // Everything but Xen reads it, so the file is not the intended one.
        let problem = Problem::Header { field: "EI_DATA", expected: "1 (little-endian)", found: u64::from(order.0) };
        linker.unnoticed(problem)?;
    }
    if matches!(found, Architecture::Other(_)) || known.is_some_and(|known| known != found) {
        linker.refuse(Errno::EOPNOTSUPP, Problem::Architecture { expected: known, found })?;
    }
    check_fields(linker, &fields_after_machine(header, file))
}

/// A check of a field of the header.
struct FieldCheck {
    field: &'static str,
    found: u64,
    expected: &'static str,
    passed: bool,
    /// The error number with which Xen refuses another value.
    errno: Errno,
}

fn check_fields(linker: &mut Linker<'_, '_>, checks: &[FieldCheck]) -> Progress {
    for FieldCheck { field, found, expected, errno, .. } in checks.iter().filter(|check| !check.passed) {
        linker.refuse(*errno, Problem::Header { field, expected, found: *found })?;
    }
    Ok(())
}

fn fields_before_machine(header: &Header) -> [FieldCheck; 6] {
    let check =
        |field, found: u64, expected, passed| FieldCheck { field, found, expected, passed, errno: Errno::EOPNOTSUPP };
    let ident = &header.e_ident;
    let (version, kind, programs) = (header.e_version.get(LE), header.e_type.get(LE).0, header.e_phnum.get(LE));
    [
        check("e_version", version.into(), "1", version == 1),
        check("EI_VERSION", ident.version.0.into(), "1", ident.version.0 == 1),
        check("EI_ABIVERSION", ident.abi_version.into(), "0", ident.abi_version == 0),
        check("EI_OSABI", ident.os_abi.0.into(), "0 or 9", matches!(ident.os_abi.0, 0 | 9)),
        check("e_type", kind.into(), "1 (ET_REL)", kind == ET_REL.0),
        check("e_phnum", programs.into(), "0", programs == 0),
    ]
}

fn fields_after_machine(header: &Header, file: u64) -> [FieldCheck; 6] {
    let check =
        |field, found: u64, expected, passed| FieldCheck { field, found, expected, passed, errno: Errno::EINVAL };
    let (count, names) = (header.e_shnum.get(LE), header.e_shstrndx.get(LE).0);
    let (table, entry) = (header.e_shoff.get(LE), u64::from(header.e_shentsize.get(LE)));
    let fits = file.saturating_sub(table).checked_div(entry).is_some_and(|room| room >= count.into());
    let reported = table >= file || entry < SECTION_HEADER_SIZE;
    let (a_section, a_table) = ("a section that exists", "a section table in the file");
    [
        check("e_shstrndx", names.into(), a_section, names != 0),
        FieldCheck { errno: Errno::EOPNOTSUPP, ..check("e_shnum", count.into(), "less than 1024", count < 1024) },
        check("e_shstrndx", names.into(), a_section, names == 0 || names < count),
        check("e_shoff", table, a_table, table < file),
        check("e_shentsize", entry, "64", entry >= SECTION_HEADER_SIZE),
        check("e_shoff", table, a_table, reported || fits),
    ]
}
