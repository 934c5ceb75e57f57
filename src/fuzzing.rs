//! Entry points of the fuzz targets: the decoder of lists, compared with a simpler one, and the parser of Xen's dump, which no
//! name of a function may mislead.
//!
//! Compiled with `--cfg fuzzing`, which `cargo fuzz` sets, and for this crate's own tests.

use crate::hypercall::interface::Layout;
use crate::hypercall::list::Columns;
use crate::types::{BuildId, LoadedPayload, to_usize};
use crate::xen::log::dump::{self as inventory, printer};

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

/// The build-id of Xen.
const XEN: [u8; 20] = [0x11; 20];

/// Parses any bytes as the name of a function in a dump of two payloads, and as a whole dump.
///
/// # Panics
/// If a payload gets a wrong identity.
pub fn dump(bytes: &[u8]) {
    let name = bytes.split(|byte| *byte == 0).next().expect("a split has a first part");
    let payloads = [("a", name), ("b", b"f")].map(|(own, function)| printer::Payload {
        name: own.into(),
        metadata: Vec::new(),
        functions: vec![function.into()],
    });
    let (rows, xen) = (payloads.each_ref().map(printer::Payload::row), BuildId::new(XEN));
    let dumped = inventory::read(&printer::printed(&payloads, &xen, true, &[]), &rows, Some(&xen));
    for (dumped, ids) in dumped.into_iter().zip((0..).map(printer::ids)) {
        if let Ok(dumped) = dumped {
            assert_eq!([dumped.build_id, dumped.depends], ids);
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
}
