//! `.livepatch.funcs`: what a payload patches, and with what.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::details::{FunctionProblem, PointerProblem};
use super::limits;
use super::memory::{Memory, Pointer};
use super::own;
use super::problem::Problem;
use super::symbols::Value;
use super::{Known, Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::elf::Section;
use crate::xen::format::{Expectation, MAX_KEPT, PayloadVersion, SectionName, func};
use crate::xen::rules;
use crate::xen::symbol_name::SymbolName;

/// A jump on x86, and one instruction on Arm.
const JUMP: u32 = 5;
const INSTRUCTION: u32 = 4;

/// Bytes of an ENDBR64.
const ENDBR: u32 = 4;

/// `endbr64`, and what Xen overwrites it with where it is not needed.
pub(crate) const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const ENDBR64_POISON: [u8; 4] = [0x66, 0x0f, 0x1f, 0x01];

/// How far a pointer may be from the symbol of Xen that it is relocated against: nobody patches code by another function's
/// symbol, and what is farther away need not be mapped.
const NEAR: u64 = 4096;

/// No function of Xen's has as many bytes as this, and what follows it need not be mapped.
const LONGEST: u64 = 64 << 10;

/// How far code may be from what it replaces, on x86 and on Arm.
const REACH: [i64; 2] = [1 << 31, 128 << 20];

/// A function as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct LoadedFunction<'d> {
    pub(crate) old_address: u64,
    /// None where its pointer is NULL, or leads to none.
    pub(crate) name: Option<Cow<'d, [u8]>>,
    /// 0 for no-operations.
    pub(crate) new_address: u64,
    pub(crate) new_size: u32,
    pub(crate) old_size: u32,
    /// An [`Expectation`], enabled or not.
    pub(crate) expectation: [u8; EXPECTATION],
}

/// The bytes of an expectation.
const EXPECTATION: usize = 32;

/// What tells whether two functions are the same code: a symbol whose address is not known, and how far past it; or no
/// symbol, and an address.
type Place<'d> = (Cow<'d, [u8]>, i128);

pub(super) fn read<'d>(
    loading: &mut Loading<'_, 'd>,
    memory: &Memory<'d>,
    values: &[Value],
) -> Step<Vec<LoadedFunction<'d>>> {
    let Some((start, bytes)) = loading.loaded(SectionName::Funcs, memory)? else { return Ok(Vec::new()) };
    let Some(section) = loading.elf.section(SectionName::Funcs) else { return Ok(Vec::new()) };
    let second = loading.has(&rules::PAYLOAD_VERSION_2);
    let expected = if second { PayloadVersion::V2 } else { PayloadVersion::V1 };
    let entry_size = expected.entry_size().unwrap_or(1);
    check_writable(loading, section, second)?;
    let several = bytes.len() > entry_size;
    let mut reader = Reader { loading, memory, values, several, patched: BTreeMap::new() };
    if bytes.len() % entry_size != 0 {
        return reader.odd_size(start, &bytes, expected).map(|()| Vec::new());
    }
    let mut functions = Vec::with_capacity(bytes.len() / entry_size);
    for (index, entry) in bytes.chunks_exact(entry_size).enumerate() {
        let at = start.saturating_add(to_u64(index.saturating_mul(entry_size)));
        match reader.function(index, at, entry, expected)? {
            Some(function) => functions.push(function),
            // Entries of another size follow, so that there is nothing to be said about them.
            None => break,
        }
    }
    Ok(functions)
}

/// Some releases write to the section while only code is writable.
fn check_writable(loading: &mut Loading<'_, '_>, section: &Section, keeps_state: bool) -> Step {
    // On x86 it mattered only where Xen came to leave write protection on, on Arm always.
    let protected = !loading.is_x86() || loading.has(&rules::CODE_ALONE_WRITABLE);
    let writes = protected && !loading.has(&rules::STATE_ELSEWHERE);
    let harmed = (keeps_state || !loading.is_x86()) && writes && !section.is_writable();
    if harmed { loading.harm(Problem::ReadOnlyFunctions) } else { Ok(()) }
}

/// What is known of the start of the old code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Endbr,
    Other,
    Unknown,
}

struct Reader<'r, 'a, 'd> {
    loading: &'r mut Loading<'a, 'd>,
    memory: &'r Memory<'d>,
    values: &'r [Value],
    /// Otherwise there is no other function that the same code could belong to.
    several: bool,
    /// The functions so far, by what they patch: how many bytes of it, and which function.
    patched: BTreeMap<Place<'d>, (u32, usize)>,
}

/// One entry, as it is checked.
struct Entry<'m, 'd> {
    index: usize,
    name: Option<Cow<'d, [u8]>>,
    old: Pointer,
    version: u8,
    old_size: u32,
    new_size: u32,
    new: Pointer,
    expectation: &'m [u8],
}

impl<'d> Reader<'_, '_, 'd> {
    /// The functions are not a whole number of entries: mostly because they have another version.
    fn odd_size(&mut self, start: u64, bytes: &[u8], expected: PayloadVersion) -> Step {
        let found = bytes.get(func::VERSION).map_or(expected, |version| PayloadVersion::from_raw(*version));
        let entry_size = found.entry_size().or(expected.entry_size()).unwrap_or(1);
        let problem = if bytes.len() % entry_size == 0 {
            let name = self.memory.pointer(start.saturating_add(to_u64(func::NAME)));
            Problem::Version { function: self.called(self.text(name).as_deref(), Pointer::Null), expected, found }
        } else {
            Problem::FunctionsSize { size: to_u64(bytes.len()), entry_size: to_u64(entry_size) }
        };
        self.loading.refuse(Errno::EINVAL, problem)
    }

    fn function(
        &mut self,
        index: usize,
        at: u64,
        bytes: &[u8],
        expected: PayloadVersion,
    ) -> Step<Option<LoadedFunction<'d>>> {
        let field = |offset: usize| at.saturating_add(to_u64(offset));
        let size = |offset: usize| {
            let bytes = bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied();
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let name = self.memory.pointer(field(func::NAME));
        let old = self.memory.pointer(field(func::OLD_ADDRESS));
        let entry = Entry {
            index,
            name: self.text(name),
            old,
            version: bytes.get(func::VERSION).copied().unwrap_or_default(),
            old_size: size(func::OLD_SIZE),
            new_size: size(func::NEW_SIZE),
            new: self.memory.pointer(field(func::NEW_ADDRESS)),
            expectation: bytes.get(func::EXPECTATION..).unwrap_or_default(),
        };
        let ends = [func::VERSION.saturating_add(1), func::APPLIED.saturating_add(1), bytes.len()];
        let plain = [func::NEW_SIZE, func::APPLIED, func::EXPECTATION].into_iter().zip(ends);
        let relocated = plain.filter(|(from, to)| *from < *to && *to <= bytes.len()).any(|(from, to)| {
            let len = to_u64(to.saturating_sub(from));
            !self.memory.is_known(field(from), len)
        });
        if relocated {
            self.harm(&entry, FunctionProblem::Relocated)?;
        }
        if entry.version != expected.number() {
            let found = PayloadVersion::from_raw(entry.version);
            let problem = Problem::Version { function: self.name_of(&entry), expected, found };
            self.loading.refuse(Errno::EOPNOTSUPP, problem)?;
            return Ok(None);
        }
        let nops = self.loading.has(&rules::NOP_PATCHES);
        if nops && entry.old_size == 0 {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoOldSize)?;
        } else if !nops && entry.new == Pointer::Null {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoNewCode)?;
        } else if !nops && entry.new_size == 0 {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoNewSize)?;
        }
        self.check_name(&entry, name)?;
        // Newer releases find the old code first, since the room that a jump needs depends on it.
        let find_first = self.loading.has(&rules::ENDBR_AWARE);
        if !find_first {
            self.check_sizes(&entry, Start::Unknown)?;
        }
        let (old_address, identity) = self.old_code(&entry)?;
        let start = self.start(&entry, old_address);
        if find_first {
            self.check_sizes(&entry, start)?;
        }
        let new_address = self.memory.number(field(func::NEW_ADDRESS));
        self.check_distance(&entry, old_address, new_address)?;
        self.check_new_code(&entry)?;
        self.check_nops(&entry, start)?;
        self.check_state(&entry, bytes)?;
        self.check_expectation(&entry)?;
        self.check_twice(&entry, identity, start)?;
        if entry.name.as_deref().is_some_and(own::is_of_live_patching) {
            self.loading.may_harm(Problem::PatchesLivePatching { function: self.name_of(&entry) })?;
        }
        Ok(Some(LoadedFunction {
            old_address: old_address.unwrap_or_default(),
            new_address,
            new_size: entry.new_size,
            old_size: entry.old_size,
            expectation: entry.expectation.first_chunk().copied().unwrap_or_default(),
            name: entry.name,
        }))
    }

    fn refuse(&mut self, entry: &Entry<'_, 'd>, errno: Errno, problem: FunctionProblem) -> Step {
        let function = self.name_of(entry);
        self.loading.refuse(errno, Problem::Function { index: entry.index, function, problem })
    }

    fn harm(&mut self, entry: &Entry<'_, 'd>, problem: FunctionProblem) -> Step {
        let function = self.name_of(entry);
        self.loading.harm(Problem::Function { index: entry.index, function, problem })
    }

    /// The text that a pointer in the payload leads to: up to its NUL, in the same section.
    fn text(&self, name: Pointer) -> Option<Cow<'d, [u8]>> {
        let Pointer::Own { section, address } = name else { return None };
        let (_, rest) = self.loading.rest_of(self.memory, section, address)?;
        self.memory.text(address, address.saturating_add(rest))
    }

    /// The name of a function in a finding.
    #[cold]
    fn name_of(&self, entry: &Entry<'_, 'd>) -> SymbolName {
        self.called(entry.name.as_deref(), entry.old)
    }

    fn called(&self, name: Option<&[u8]>, old: Pointer) -> SymbolName {
        match (name.filter(|name| !name.is_empty()), old) {
            (Some(name), _) => SymbolName::new(name),
            (None, Pointer::Number(address)) => SymbolName::new(format!("{address:#x}")),
            (None, Pointer::Foreign { symbol, .. }) => SymbolName::new(self.symbol_name(symbol)),
            _ => SymbolName::new("(no name)"),
        }
    }

    fn symbol_name(&self, number: usize) -> &'d [u8] {
        let symbol = self.loading.elf.symbols.get(number);
        symbol.and_then(|symbol| self.loading.elf.symbol_name(symbol)).unwrap_or_default()
    }

    /// Xen reads the name where there is no address, and prints it on debug key `x` in any case.
    fn check_name(&mut self, entry: &Entry<'_, 'd>, name: Pointer) -> Step {
        match name {
            Pointer::Null if entry.old == Pointer::Null => self.harm(entry, FunctionProblem::Nameless),
            Pointer::Null => Ok(()),
            Pointer::Own { .. } if entry.name.is_some() => Ok(()),
            Pointer::Foreign { offset, .. } if offset.unsigned_abs() < NEAR => Ok(()),
            _ => self.harm(entry, FunctionProblem::StrayName),
        }
    }

    /// Where the old code is, if that is known, and what it is known by.
    fn old_code(&mut self, entry: &Entry<'_, 'd>) -> Step<(Option<u64>, Option<Place<'d>>)> {
        let at = |address: u64| (Some(address), Some((Cow::default(), i128::from(address))));
        match entry.old {
            Pointer::Null => {
                let Some(name) = &entry.name else { return Ok((None, None)) };
                match self.loading.host.symbol(name) {
                    Known::Is(address) => {
                        self.check_other_payload(entry, address)?;
                        Ok(at(address))
                    }
                    Known::Unknown => Ok((None, Some((name.clone(), 0)))),
                    Known::Absent => {
                        self.refuse(entry, Errno::ENOENT, FunctionProblem::Unknown)?;
                        Ok((None, None))
                    }
                }
            }
            Pointer::Number(address) => {
                let image = limits::image(self.loading.release, self.loading.architecture);
                if !image.contains(&address) && self.reads_old_code(entry, address) {
                    self.harm(entry, FunctionProblem::NotInXen { found: address })?;
                    return Ok((None, None));
                }
                if !self.loading.is_x86() && address % u64::from(INSTRUCTION) != 0 {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Unaligned))?;
                }
                Ok(at(address))
            }
            Pointer::Foreign { symbol, offset } => {
                if offset.unsigned_abs() >= NEAR {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Far))?;
                } else if !self.loading.is_x86() && offset.unsigned_abs() % u64::from(INSTRUCTION) != 0 {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Unaligned))?;
                }
                let known = self.values.get(symbol).filter(|value| value.known);
                match known.map(|value| value.number.wrapping_add_signed(offset)) {
                    Some(address) => {
                        self.check_other_payload(entry, address)?;
                        Ok(at(address))
                    }
                    None => Ok((None, Some((self.symbol_name(symbol).into(), i128::from(offset))))),
                }
            }
            Pointer::Own { address, .. } => {
                self.harm(entry, FunctionProblem::OwnCode)?;
                Ok(at(address))
            }
            Pointer::Mangled => {
                self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Mangled))?;
                Ok((None, None))
            }
        }
    }

    /// On Arm Xen writes to a second mapping of its own code, in which payloads have no place.
    fn check_other_payload(&mut self, entry: &Entry<'_, 'd>, address: u64) -> Step {
        let image = limits::image(self.loading.release, self.loading.architecture);
        let outside = !self.loading.is_x86() && self.loading.host.knows_addresses() && !image.contains(&address);
        if outside && self.reads_old_code(entry, address) {
            self.harm(entry, FunctionProblem::OtherPayload)
        } else {
            Ok(())
        }
    }

    /// Whether Xen comes to read or write code at an address: it does unless it first finds that it is too far from the
    /// new code.
    fn reads_old_code(&self, entry: &Entry<'_, 'd>, address: u64) -> bool {
        let Pointer::Own { address: new, .. } = entry.new else { return true };
        let looks_first = self.loading.is_x86() && self.loading.has(&rules::ENDBR_AWARE);
        looks_first || !self.loading.has(&rules::DISTANCE_CHECKED) || is_near(address, new, self.loading.is_x86())
    }

    fn start(&self, entry: &Entry<'_, 'd>, old: Option<u64>) -> Start {
        if !self.loading.is_x86() || !self.loading.has(&rules::ENDBR_AWARE) {
            return Start::Other;
        }
        let poison = self.loading.has(&rules::ENDBR_POISON);
        let is_endbr = |code: &[u8]| code == ENDBR64 || (poison && code == ENDBR64_POISON);
        let expected = Expectation::read(entry.expectation)
            .and_then(Expectation::bytes)
            .filter(|_| self.loading.has(&rules::EXPECTATIONS));
        let there = old.and_then(|address| self.loading.host.code(address, 4));
        match there.or(expected.and_then(|bytes| bytes.get(..4))) {
            Some(code) if is_endbr(code) => Start::Endbr,
            Some(_) => Start::Other,
            None => Start::Unknown,
        }
    }

    fn check_sizes(&mut self, entry: &Entry<'_, 'd>, start: Start) -> Step {
        let &Entry { old_size, new_size: found, new, .. } = entry;
        let (x86, nop) = (self.loading.is_x86(), new == Pointer::Null);
        let room = |needed| (old_size < needed).then_some(FunctionProblem::OldSizeTooSmall { found: old_size, needed });
        if !self.loading.has(&rules::NOP_PATCHES) {
            return match room(JUMP) {
                Some(problem) => self.refuse(entry, Errno::EINVAL, problem),
                None => Ok(()),
            };
        }
        if nop && found > MAX_KEPT {
            return self.refuse(entry, Errno::EOPNOTSUPP, FunctionProblem::NopTooLong { found });
        }
        if nop && !x86 && found % INSTRUCTION != 0 {
            return self.refuse(entry, Errno::EOPNOTSUPP, FunctionProblem::NopPartial { found });
        }
        let problem = match (x86, nop) {
            (true, true) => (old_size < found).then_some(FunctionProblem::NopPastEnd { found, old_size }),
            (true, false) => room(if start == Start::Endbr { JUMP.saturating_add(ENDBR) } else { JUMP }),
            (false, _) => room(INSTRUCTION),
        };
        match problem.filter(|_| old_size > 0) {
            Some(problem) => self.refuse(entry, Errno::EINVAL, problem),
            None => Ok(()),
        }
    }

    fn check_distance(&mut self, entry: &Entry<'_, 'd>, old: Option<u64>, new: u64) -> Step {
        let checked = self.loading.has(&rules::DISTANCE_CHECKED) && entry.new != Pointer::Null;
        let own = matches!(entry.new, Pointer::Own { .. }) || self.loading.host.knows_addresses();
        let far = old.is_some_and(|old| !is_near(old, new, self.loading.is_x86()));
        if checked && own && far { self.refuse(entry, Errno::EOVERFLOW, FunctionProblem::TooFar) } else { Ok(()) }
    }

    fn check_new_code(&mut self, entry: &Entry<'_, 'd>) -> Step {
        let problem = code_problem(self.loading, self.memory, entry.new);
        if let Some(problem) = problem.filter(|problem| *problem != PointerProblem::Null) {
            return self.harm(entry, FunctionProblem::NewAddress(problem));
        }
        // Xen would run into what follows, and on Arm also brings all of it from its caches.
        let rest = match entry.new {
            Pointer::Own { section, address } => {
                self.loading.rest_of(self.memory, section, address).map_or(0, |(_, rest)| rest)
            }
            Pointer::Foreign { .. } if !self.loading.is_x86() => LONGEST,
            _ => return Ok(()),
        };
        if u64::from(entry.new_size) <= rest {
            return Ok(());
        }
        self.harm(entry, FunctionProblem::NewSize { found: entry.new_size })
    }

    /// No-operations that Xen counts wrongly.
    fn check_nops(&mut self, entry: &Entry<'_, 'd>, start: Start) -> Step {
        let found = entry.new_size;
        if entry.new != Pointer::Null || !self.loading.has(&rules::NOP_PATCHES) {
            return Ok(());
        }
        if self.loading.is_x86() && found < 4 && start != Start::Other {
            return self.harm(entry, FunctionProblem::NopTooShort { found });
        }
        let old_size = entry.old_size;
        if !self.loading.is_x86() && found > old_size {
            return self.harm(entry, FunctionProblem::NopPastEnd { found, old_size });
        }
        Ok(())
    }

    /// Some releases keep in the entry whether it is applied.
    fn check_state(&mut self, entry: &Entry<'_, 'd>, bytes: &[u8]) -> Step {
        let kept = self.loading.has(&rules::PAYLOAD_VERSION_2) && !self.loading.has(&rules::STATE_ELSEWHERE);
        let marked = bytes.get(func::APPLIED).is_some_and(|applied| *applied != 0);
        if kept && marked { self.harm(entry, FunctionProblem::MarkedAsApplied) } else { Ok(()) }
    }

    /// Refused when the payload is applied, by itself or in place of others.
    fn check_expectation(&mut self, entry: &Entry<'_, 'd>) -> Step {
        let enabled = Expectation::read(entry.expectation).filter(|_| self.loading.has(&rules::EXPECTATIONS));
        let Some(Expectation { len, reserved, .. }) = enabled else { return Ok(()) };
        let (found, old_size) = (u32::from(len), entry.old_size);
        let (errno, problem) = if reserved != 0 {
            (Errno::EINVAL, FunctionProblem::ExpectationReserved { found: reserved })
        } else if found > old_size && old_size > 0 {
            (Errno::ERANGE, FunctionProblem::ExpectationPastEnd { found, old_size })
        } else {
            return Ok(());
        };
        let problem = Problem::Function { index: entry.index, function: self.name_of(entry), problem };
        self.loading.refuse_to_apply(errno, problem)
    }

    /// A revert puts back what was there before each patch in the order of the patches: the second one's copy is the first.
    ///
    /// An ENDBR64 stays, and a jump comes after it; NOPs fill what is left of their size.
    fn check_twice(&mut self, entry: &Entry<'_, 'd>, place: Option<Place<'d>>, first_instruction: Start) -> Step {
        if !self.several {
            return Ok(());
        }
        let (begins, shift) = match first_instruction {
            Start::Endbr => (ENDBR, ENDBR),
            Start::Other => (0, 0),
            // Either. Where old code has no room for both, Xen refuses what begins with one.
            Start::Unknown if (1..JUMP.saturating_add(ENDBR)).contains(&entry.old_size) => (0, 0),
            Start::Unknown => (0, ENDBR),
        };
        let ends = match (entry.new, self.loading.is_x86()) {
            (Pointer::Null, _) => entry.new_size,
            (_, true) => JUMP.saturating_add(shift),
            (_, false) => INSTRUCTION,
        };
        let Some((symbol, at)) = place.filter(|_| ends > begins) else { return Ok(()) };
        let start = at.saturating_add(i128::from(begins));
        let (end, len) = (at.saturating_add(i128::from(ends)), ends.saturating_sub(begins));
        // The nearest one that begins before the end: it overlaps if it runs past the start.
        let nearest =
            self.patched.range(..(symbol.clone(), end)).next_back().filter(|((other, _), _)| *other == symbol);
        let overlapping = nearest.filter(|((_, at), (len, _))| at.saturating_add(i128::from(*len)) > start);
        let first = overlapping.map(|(_, (_, index))| *index);
        self.patched.insert((symbol, start), (len, entry.index));
        first.map_or(Ok(()), |first| self.harm(entry, FunctionProblem::Twice { first }))
    }
}

fn is_near(old: u64, new: u64, x86: bool) -> bool {
    let [x86_reach, arm_reach] = REACH;
    let reach = if x86 { x86_reach } else { arm_reach };
    let distance = i64::from_le_bytes(old.wrapping_sub(new).to_le_bytes());
    (-reach..reach).contains(&distance)
}

/// What is wrong with a pointer to code that Xen runs.
pub(super) fn code_problem(loading: &Loading<'_, '_>, memory: &Memory<'_>, pointer: Pointer) -> Option<PointerProblem> {
    match pointer {
        Pointer::Null => Some(PointerProblem::Null),
        Pointer::Number(number) => Some(PointerProblem::Number(number)),
        Pointer::Mangled => Some(PointerProblem::Mangled),
        Pointer::Foreign { offset, .. } => (offset.unsigned_abs() >= NEAR).then_some(PointerProblem::Far),
        Pointer::Own { section, address } => match loading
            .rest_of(memory, section, address)
            .filter(|(section, _)| section.is_executable())
        {
            Some(_) if !loading.is_x86() && address % u64::from(INSTRUCTION) != 0 => Some(PointerProblem::Unaligned),
            Some(_) => None,
            None => Some(PointerProblem::NotCode),
        },
    }
}
