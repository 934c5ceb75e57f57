//! The ELF header: Xen's first look at a payload.

use object::elf::{ELFDATA2LSB, ELFMAG, ET_REL};

use super::problem::Problem;
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{Header, LE, SECTION_HEADER_SIZE};

/// Whether a file that can't be read is an ELF file all the same, of another kind.
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "a check begins with a file that can be read"))]
pub(super) fn is_elf(file: &[u8]) -> bool {
    file.len() >= size_of::<Header>() && file.starts_with(&ELFMAG)
}

pub(super) fn check(loading: &mut Loading<'_, '_>, known: Option<Architecture>, found: Architecture) -> Step {
    let (kind, table) = fields(loading.elf.header, to_u64(loading.elf.data.len()));
    check_fields(loading, &kind)?;
    let order = loading.elf.header.e_ident.data;
    if order != ELFDATA2LSB {
        // Anyone else does look, so that it is not what it was meant to be.
        let problem = Problem::Header { field: "EI_DATA", expected: "1 (little-endian)", found: u64::from(order.0) };
        loading.unnoticed(problem)?;
    }
    if matches!(found, Architecture::Other(_)) || known.is_some_and(|known| known != found) {
        loading.refuse(Errno::EOPNOTSUPP, Problem::Architecture { expected: known, found })?;
    }
    check_fields(loading, &table)
}

/// A field, what is there, what has to be there, whether it is, and the number with which Xen refuses it.
type Field = (&'static str, u64, &'static str, bool, Errno);

fn check_fields(loading: &mut Loading<'_, '_>, fields: &[Field]) -> Step {
    for (field, found, expected, fine, errno) in fields {
        if !fine {
            loading.refuse(*errno, Problem::Header { field, expected, found: *found })?;
        }
    }
    Ok(())
}

/// What Xen looks at before the machine, and after it.
fn fields(header: &Header, file: u64) -> ([Field; 6], [Field; 6]) {
    const EINVAL: Errno = Errno::EINVAL;
    const EOPNOTSUPP: Errno = Errno::EOPNOTSUPP;
    let ident = &header.e_ident;
    let (ident_version, os_abi, abi_version) = (ident.version.0, ident.os_abi.0, ident.abi_version);
    let (version, kind, programs) = (header.e_version.get(LE), header.e_type.get(LE).0, header.e_phnum.get(LE));
    let (count, names) = (header.e_shnum.get(LE), header.e_shstrndx.get(LE).0);
    let (table, entry) = (header.e_shoff.get(LE), u64::from(header.e_shentsize.get(LE)));
    let fits = file.saturating_sub(table).checked_div(entry).is_some_and(|room| room >= count.into());
    (
        [
            ("e_version", version.into(), "1", version == 1, EOPNOTSUPP),
            ("EI_VERSION", ident_version.into(), "1", ident_version == 1, EOPNOTSUPP),
            ("EI_ABIVERSION", abi_version.into(), "0", abi_version == 0, EOPNOTSUPP),
            ("EI_OSABI", os_abi.into(), "0 or 9", matches!(os_abi, 0 | 9), EOPNOTSUPP),
            ("e_type", kind.into(), "1 (ET_REL)", kind == ET_REL.0, EOPNOTSUPP),
            ("e_phnum", programs.into(), "0", programs == 0, EOPNOTSUPP),
        ],
        [
            ("e_shstrndx", names.into(), "a section that exists", names != 0, EINVAL),
            ("e_shnum", count.into(), "less than 1024", count < 1024, EOPNOTSUPP),
            ("e_shstrndx", names.into(), "a section that exists", names == 0 || names < count, EINVAL),
            ("e_shoff", table, "a section table in the file", table < file, EINVAL),
            ("e_shentsize", entry, "64", entry >= SECTION_HEADER_SIZE, EINVAL),
            (
                "e_shoff",
                table,
                "a section table in the file",
                table >= file || entry < SECTION_HEADER_SIZE || fits,
                EINVAL,
            ),
        ],
    )
}
