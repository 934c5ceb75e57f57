//! The layout of a payload's sections in Xen, computed independently, to make tables with valid distances.

use std::collections::BTreeMap;

use crate::prelude::*;

const PAGE: usize = 4096;

/// The offset of each loaded section in the payload's memory, by name.
pub(crate) fn layout(editor: &Editor) -> BTreeMap<String, usize> {
    let count = editor.get(0, header::COUNT);
    let names: Vec<String> =
        (1..count).map(|index| String::from_utf8_lossy(editor.name_of(index)).into_owned()).collect();
    let mut sizes = [0_usize; 3];
    let mut placed = Vec::new();
    for name in names {
        let flags = editor.field(&name, section::FLAGS);
        if flags & 2 == 0 {
            continue;
        }
        let region = if flags & 4 != 0 { 0 } else { 2 - (flags & 1) };
        let alignment = editor.field(&name, section::ALIGNMENT).max(1);
        let offset = sizes[region].next_multiple_of(alignment);
        sizes[region] = offset + editor.field(&name, section::SIZE);
        placed.push((name, region, offset));
    }
    let [code, writable, _] = sizes.map(|size| size.next_multiple_of(PAGE));
    let starts = [0, code, code + writable];
    placed.into_iter().map(|(name, region, offset)| (name, starts[region] + offset)).collect()
}

/// Writes the distance from a field of a table to a place in another section into that field.
pub(crate) fn point(editor: Editor, table: &str, field: usize, to: (&str, i64)) -> Editor {
    let places = layout(&editor);
    let place = |name: &str| i64::try_from(places[name]).unwrap();
    let distance = place(to.0) + to.1 - place(table) - i64::try_from(field).unwrap();
    editor.patch(table, field, &i32::try_from(distance).unwrap().to_le_bytes())
}
