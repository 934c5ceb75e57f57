//! Entry points of the fuzz targets: the decoder of lists, compared with a simpler one, and the parser of Xen's dump, which no
//! name of a function may mislead.
//!
//! Compiled with `--cfg fuzzing`, which `cargo fuzz` sets, and for this crate's own tests.

use crate::hypercall::interface::Layout;
use crate::hypercall::list::Columns;
use crate::types::{BuildId, LoadedPayload, Metadata, PayloadName, State, Status, to_usize};
use crate::xen::log::PREFIX;
use crate::xen::log::dump as inventory;

/// Decodes any bytes as a list of Xen's.
///
/// The input is a byte for the layout, four for the number of rows, two each for the sizes of the first four columns (all
/// little-endian); then the columns, of which the last takes the rest.
///
/// # Panics
/// If the two decoders differ.
pub fn list(bytes: &[u8]) {
    let Some((layout, count, columns)) = input(bytes) else { return };
    let rows = columns.rows(layout, count);
    let expected = (0..count).map_while(|index| reference(&columns, layout, index));
    match rows {
        Ok(rows) => {
            assert_eq!(u32::try_from(rows.len()), Ok(count));
            assert_eq!(rows.iter().map(parts).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            let metadata: usize = rows.iter().map(|row| row.metadata.as_bytes().len()).sum();
            assert!(metadata <= columns.metadata.len());
            assert!(rows.iter().all(|row| row.name.as_bytes().len() <= 127));
        }
        // A row is bad, or there are fewer.
        Err(_) => assert!(expected.count() < to_usize(count)),
    }
}

fn input(bytes: &[u8]) -> Option<(Layout, u32, Columns<'_>)> {
    let (layout, rest) = bytes.split_first()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (sizes, mut rest) = rest.split_first_chunk::<8>()?;
    let mut columns = sizes.chunks_exact(2).map(|size| {
        let size = size.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (column, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        column
    });
    let mut next = || columns.next().expect("eight bytes are four sizes");
    let (status, len, metadata_len, names) = (next(), next(), next(), next());
    let layout = [Layout::Strided, Layout::Packed, Layout::Sized].into_iter().cycle().nth(usize::from(*layout))?;
    Some((layout, u32::from_le_bytes(*count), Columns { status, len, metadata_len, names, metadata: rest }))
}

/// State, result, name and metadata of a row.
type Parts = (u32, i32, Vec<u8>, Vec<u8>);

fn parts(row: &LoadedPayload) -> Parts {
    let state = match row.status.state {
        crate::State::Checked => 1,
        crate::State::Applied => 2,
        crate::State::Unknown(raw) => raw,
    };
    (state, row.status.rc, row.name.as_bytes().to_vec(), row.metadata.as_bytes().to_vec())
}

/// A row, found by the lengths before it; `None` if it is malformed.
fn reference(columns: &Columns<'_>, layout: Layout, index: u32) -> Option<Parts> {
    let index = usize::try_from(index).ok()?;
    let strided = layout == Layout::Strided;
    let sum = |column| (0..index).try_fold(0_usize, |sum, row| sum.checked_add(word(column, row)?));
    let (state, rc) = (word(columns.status, 2 * index)?, word(columns.status, 2 * index + 1)?);

    let len = word(columns.len, index)?;
    let start = if strided { 128 * index } else { sum(columns.len)? };
    columns.names.get(start..start.checked_add(if strided { 128 } else { len })?)?;
    let (end, name) = columns.names.get(start..start.checked_add(len)?)?.split_last()?;
    if len > 128 || *end != 0 || name.contains(&0) {
        return None;
    }

    let metadata = if strided {
        &[]
    } else {
        let start = sum(columns.metadata_len)?;
        columns.metadata.get(start..start.checked_add(word(columns.metadata_len, index)?)?)?
    };
    let (state, rc) = (u32::try_from(state).ok()?, u32::try_from(rc).ok()?);
    Some((state, i32::from_ne_bytes(rc.to_ne_bytes()), name.to_vec(), metadata.to_vec()))
}

fn word(column: &[u8], index: usize) -> Option<usize> {
    let bytes = column.chunks_exact(4).nth(index)?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(bytes)).ok()
}

/// The build-ids of Xen, of the payload that is printed first, and of the one after it.
const IDS: [[u8; 20]; 3] = [[0x11; 20], [0x22; 20], [0x33; 20]];

/// A text as Xen prints it: the first 1023 bytes, without lines of the debug level (`<3>`), and without other levels at the
/// beginning of lines.
fn printed(text: &[u8]) -> Vec<u8> {
    let text = text.get(..1023).unwrap_or(text);
    let shown = text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"<3>"));
    let without_level = |line: &[u8]| match line {
        [b'<', b'0'..=b'9', b'>', rest @ ..] => rest.to_vec(),
        line => line.to_vec(),
    };
    shown.flat_map(without_level).collect()
}

/// Parses any bytes as the name of a function in a dump of two payloads, and as a whole dump.
///
/// # Panics
/// If a payload gets a wrong identity.
pub fn dump(bytes: &[u8]) {
    let [xen, first, second] = IDS.map(BuildId::new);
    let row = |name: &str| LoadedPayload {
        name: PayloadName::from_xen(&[name.as_bytes(), &[0]].concat().into(), 0..name.len() + 1)
            .expect("the name is short and has no NUL"),
        status: Status { state: State::Checked, rc: 0 },
        metadata: Metadata::default(),
    };
    let rows = [row("a"), row("b")];
    let name = bytes.split(|byte| *byte == 0).next().expect("a split has a first part");
    let place = "ffff82d040400000";
    let heading =
        |name: &str| format!(" name={name} state=CHECKED(1) {place} (.data={place}, .rodata={place}) using 3 pages.\n");
    let ids = |own: &BuildId, below: &BuildId| format!("build-id={own}\ndepend-on={below}\ndepend-on-xen={xen}\n");
    let function = [b"    ", name, format!(" patch {place}(16) with {place} (8)\n").as_bytes()].concat();
    let start = format!("'x' pressed - Dumping all livepatch patches\nbuild-id: {xen}\n{}", heading("a"));
    let end = format!("{}{}{}", ids(&first, &xen), heading("b"), ids(&second, &first));
    let text = [start.as_bytes(), &printed(&function), end.as_bytes()].concat();
    // Xen begins each line with its prefix, those of a name too.
    let lines = text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [PREFIX, line]);
    let dumped = inventory::read(&lines.collect::<Vec<_>>().concat(), &rows, Some(&xen));
    for (dumped, ids) in dumped.iter().zip([(&first, &xen), (&second, &first)]) {
        if let Ok(dumped) = dumped {
            assert_eq!((&dumped.build_id, &dumped.depends), ids);
        }
    }
    drop(inventory::read(bytes, &rows, Some(&xen)));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The inputs of a fuzz target that are kept.
    fn inputs(target: &str) -> impl Iterator<Item = Vec<u8>> {
        let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/inputs").join(target);
        inputs.read_dir().unwrap().map(|file| {
            let file = file.unwrap().path();
            println!("{}", file.display());
            std::fs::read(file).unwrap()
        })
    }

    #[test]
    fn every_committed_list_is_decoded_as_it_lies() {
        let mut decoded = 0;
        for bytes in inputs("list") {
            list(&bytes);
            decoded += input(&bytes)
                .map_or(0, |(layout, count, columns)| columns.rows(layout, count).map_or(0, |rows| rows.len()));
        }
        assert!(decoded > 300, "the lists that can be decoded have {decoded} rows");
    }

    #[test]
    fn no_committed_name_speaks_for_another() {
        assert!(inputs("dump").map(|bytes| dump(&bytes)).count() > 0);
    }

    /// That the reference is not one that finds nothing.
    #[test]
    fn the_reference_sees_what_there_is() {
        let status: Vec<u8> = [1_u32, 0, 2, 0xffff_fff5].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let lengths: Vec<u8> = [2_u32, 3].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let columns =
            Columns { status: &status, len: &lengths, metadata_len: &lengths, names: b"a\0bc\0", metadata: b"m\0n=o" };
        let row = |index| reference(&columns, Layout::Packed, index);
        assert_eq!(row(0), Some((1, 0, b"a".to_vec(), b"m\0".to_vec())));
        assert_eq!(row(1), Some((2, -11, b"bc".to_vec(), b"n=o".to_vec())));
        assert_eq!(row(2), None);
        assert_eq!(reference(&columns, Layout::Strided, 0), None, "the names are not 128 bytes long");
    }
}
