//! The hypervisors that are installed on the disk, identified by the build-ids in their files.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use xen_livepatch::BuildId;

use crate::failure::Failure;
use crate::files;

/// More than a hypervisor has, compressed or not.
const MOST_BYTES: u64 = 32 << 20;

/// More files than a directory of kernels has.
const MOST_FILES: usize = 64;

/// The longest build-id; that of SHA-1 has 20 bytes.
const LONGEST_ID: usize = 64;

/// The hypervisors in a directory, sorted, each with its build-id, and the failures of what can't be read. Links are left out,
/// since they lead to a file beside them. A missing directory is empty.
pub(crate) fn installed(directory: &Path) -> Vec<Result<(PathBuf, BuildId), Failure>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![Err(Failure::file(directory, &error))],
        Ok(entries) => entries,
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| is_hypervisor(&entry.file_name().to_string_lossy()))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.truncate(MOST_FILES);
    let identified = |path: PathBuf| {
        let bytes = read(&path).map_err(|error| Failure::file(&path, &error))?;
        Ok(build_id(&bytes).map(|id| (path, id)))
    };
    paths.into_iter().filter_map(|path| identified(path).transpose()).collect()
}

/// Returns true for `xen`, `xen.gz`, `xen-4.17-amd64.efi` and the like, and false for symbols and settings.
fn is_hypervisor(name: &str) -> bool {
    let others = [".config", ".map"];
    name.starts_with("xen") && !name.starts_with("xen-syms") && !others.iter().any(|suffix| name.ends_with(suffix))
}

/// The contents of a file, decompressed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (bytes, _) = files::read(path, MOST_BYTES)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut image = Vec::new();
    MultiGzDecoder::new(&*bytes).take(MOST_BYTES).read_to_end(&mut image)?;
    Ok(image)
}

/// The build-id in an image: an ELF note, which the images of all architectures have; or in an EFI program, that of the debug
/// directory, which Xen reports then.
fn build_id(image: &[u8]) -> Option<BuildId> {
    note(image).or_else(|| code_view(image))
}

fn note(image: &[u8]) -> Option<BuildId> {
    // The lengths of name and build-id, the type, and the name.
    let found = image.windows(16).enumerate().find_map(|(at, window)| {
        let is_note = window.ends_with(b"\x03\0\0\0GNU\0") && window.starts_with(b"\x04\0\0\0");
        let length = window.get(4..8).filter(|_| is_note)?.try_into().ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        (1..=LONGEST_ID).contains(&length).then_some((at + window.len(), length))
    });
    let (at, length) = found?;
    image.get(at..at + length).map(BuildId::new)
}

/// The build-id in a record of the form that binutils writes: the magic, 16 bytes, the age 1, and an empty name.
fn code_view(image: &[u8]) -> Option<BuildId> {
    let record = image.windows(25).find(|window| window.starts_with(b"RSDS") && window.ends_with(b"\x01\0\0\0\0"))?;
    record.get(4..20).map(BuildId::new)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn partition(directory: &Path) -> (Vec<(PathBuf, BuildId)>, Vec<Failure>) {
        let (found, failures): (Vec<_>, Vec<_>) = installed(directory).into_iter().partition(Result::is_ok);
        (found.into_iter().flatten().collect(), failures.into_iter().filter_map(Result::err).collect())
    }

    #[test]
    fn hypervisors_are_identified_in_every_form() {
        let place = tempfile::tempdir().unwrap();
        let note = [&b"\x7fELF code \x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"[..], &[0xab; 20], b" more"].concat();
        let efi = [b"MZ RSDS code of Xen, which compares it, RSDS", &[0xcd; 16][..], b"\x01\0\0\0\0"].concat();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&note).unwrap();
        let gz = gz.finish().unwrap();
        for (name, bytes) in [
            ("xen", &note[..]),
            ("xen-4.17.gz", &gz),
            ("xen.efi", &efi),
            ("xen-none", b"\x04\0\0\0\0\0\0\0\x03\0\0\0GNU\0"),
            ("xen-cut", b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0ab"),
            ("xen-4.17.config", &note),
            ("xen-syms-4.17", &note),
            ("vmlinuz", &note),
        ] {
            fs::write(place.path().join(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink("xen-4.17.gz", place.path().join("xen.gz")).unwrap();
        let expected = [("xen", vec![0xab; 20]), ("xen-4.17.gz", vec![0xab; 20]), ("xen.efi", vec![0xcd; 16])];
        let expected = expected.map(|(name, id)| (place.path().join(name), BuildId::new(id)));
        let (found, failures) = partition(place.path());
        assert_eq!((found, failures.len()), (expected.to_vec(), 0));
        assert!(installed(&place.path().join("missing")).is_empty());
        // Half a file, as while a package is unpacked, hides no other one.
        fs::write(place.path().join("xen-4.17.gz"), &gz[..gz.len() / 2]).unwrap();
        let (found, failures) = partition(place.path());
        assert_eq!(found, [expected[0].clone(), expected[2].clone()]);
        assert_eq!(failures.iter().map(Failure::kind).collect::<Vec<_>>(), ["file"]);
    }
}
