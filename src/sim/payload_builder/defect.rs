//! Ways in which a section can be wrong.

use object::elf::{SHF_ALLOC, SectionFlags};

use super::object_file::{Section, Target};

/// What is wrong with a section, for tests of what refuses it. See [`PayloadBuilder::defect`](super::PayloadBuilder::defect).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// It isn't there. What pointed into it points at symbol 0, or at section 0: **without `.strtab` a real Xen
    /// crashes on that** (seen on 4.14, 4.17 and 4.20).
    Missing,
    /// It lacks `SHF_ALLOC`, so that Xen doesn't load it. In special sections **this crashes every real Xen up to
    /// 4.17, 4.18.3 and 4.19.0, and corrupts later ones**.
    NotAllocated,
    /// It has these flags (`sh_flags`) and no others. To be writable and executable at once is refused.
    Flags(u64),
    /// It has this alignment (`sh_addralign`). With 0 in a loaded section **a real Xen overwrites its own memory**.
    Alignment(u64),
    /// It contains these bytes instead. Empty metadata **makes a real Xen from 4.14 on read far outside of it**.
    Contents(Vec<u8>),
    /// It ends after this many bytes.
    Truncated(usize),
    /// From this offset on it contains these bytes instead; what would go past its end is left out.
    Patched(usize, Vec<u8>),
    /// Its relocations name symbol 0. **Xen 4.7.0 to 4.7.3, 4.8.0, 4.8.1 and 4.9.0 crash on that.**
    NullSymbol,
}

impl Defect {
    pub(super) fn afflict(&self, section: &mut Section) {
        match self {
            // Left out by the one who keeps the sections.
            Self::Missing => {}
            Self::NotAllocated => section.flags = SectionFlags(section.flags.0 & !SHF_ALLOC.0),
            Self::Flags(flags) => section.flags = SectionFlags(*flags),
            Self::Alignment(alignment) => section.alignment = *alignment,
            Self::Contents(contents) => section.contents.clone_from(contents),
            Self::Truncated(len) => section.contents.truncate(*len),
            Self::Patched(offset, bytes) => {
                section.contents.iter_mut().skip(*offset).zip(bytes).for_each(|(to, from)| *to = *from);
            }
            Self::NullSymbol => {
                section.relocations.iter_mut().for_each(|relocation| relocation.target = Target::Null);
            }
        }
        section.drop_relocations_outside();
    }
}
