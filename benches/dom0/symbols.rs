//! The functions of a running process, by address.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use nix::unistd::Pid;
use object::{Object, ObjectSymbol, SymbolKind};

/// A file in the memory of a process.
struct Mapping {
    start: u64,
    end: u64,
    /// The address of the beginning of the file.
    base: u64,
    path: String,
}

pub struct Symbols {
    mappings: Vec<Mapping>,
    /// The functions of each file: offset, size and name.
    functions: HashMap<String, Vec<(u64, u64, String)>>,
}

impl Symbols {
    pub fn of(process: Pid) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let (mut mappings, mut functions) = (Vec::new(), HashMap::new());
        let mut bases: HashMap<&str, u64> = HashMap::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(path)) = (words.next(), words.nth(4)) else { continue };
            let (start, end) = range.split_once('-').expect("a range of addresses");
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            let base = *bases.entry(path).or_insert(start);
            mappings.push(Mapping { start, end, base, path: path.into() });
        }
        for path in bases.into_keys().filter(|path| path.starts_with('/')) {
            functions.insert(path.to_owned(), of_file(path).unwrap_or_default());
        }
        Self { mappings, functions }
    }

    /// Sums of how often addresses were executed, by function, or by file where it does not name its functions.
    pub fn by_function(&self, addresses: &HashMap<u64, u64>) -> Vec<(String, u64)> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (address, count) in addresses {
            *sums.entry(self.name(*address)).or_default() += count;
        }
        let mut sorted: Vec<(String, u64)> = sums.into_iter().collect();
        sorted.sort_by(|(a, one), (b, other)| other.cmp(one).then(a.cmp(b)));
        sorted
    }

    fn name(&self, address: u64) -> String {
        let mapping = self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address));
        let Some(Mapping { base, path, .. }) = mapping else { return "unknown".into() };
        let offset = address - base;
        let functions = self.functions.get(path).map_or(&[][..], Vec::as_slice);
        let before = functions.partition_point(|(start, ..)| *start <= offset);
        match functions[..before].last() {
            Some((start, size, name)) if offset - start < *size => demangled(name),
            _ => path.rsplit('/').next().unwrap_or_default().into(),
        }
    }
}

fn of_file(path: &str) -> Option<Vec<(u64, u64, String)>> {
    let data = fs::read(path).ok()?;
    let file = object::File::parse(&*data).ok()?;
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let functions = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut functions: Vec<(u64, u64, String)> =
        functions.filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.into()))).collect();
    functions.sort();
    functions.dedup_by_key(|(start, ..)| *start);
    Some(functions)
}

/// The escapes in symbols, in the order of decoding.
const ESCAPES: [(&str, &str); 17] = [
    ("..", "::"),
    ("$LT$", "<"),
    ("$GT$", ">"),
    ("$RF$", "&"),
    ("$BP$", "*"),
    ("$LP$", "("),
    ("$RP$", ")"),
    ("$C$", ","),
    ("$u20$", " "),
    ("$u27$", "'"),
    ("$u5b$", "["),
    ("$u5d$", "]"),
    ("$u7b$", "{"),
    ("$u7d$", "}"),
    ("$u3b$", ";"),
    ("$u2b$", "+"),
    ("_<", "<"),
];

/// The name of a Rust function as one writes it, without its hash: `a::b` for `_ZN1a1b17h0123456789abcdefE`.
fn demangled(symbol: &str) -> String {
    if let Some(symbol) = symbol.strip_prefix("_R") {
        return words(symbol).join("::");
    }
    let Some(mut rest) = symbol.strip_prefix("_ZN") else { return symbol.into() };
    let mut parts = Vec::new();
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0) {
        let Some(part) = rest[..end].parse().ok().and_then(|len: usize| rest.get(end..end + len)) else { break };
        parts.push(part);
        rest = &rest[end + part.len()..];
    }
    if parts.last().is_some_and(|part| part.len() == 17 && part.starts_with('h')) {
        parts.pop();
    }
    ESCAPES.iter().fold(parts.join("::"), |name, (escaped, text)| name.replace(escaped, text))
}

/// The words in a symbol of Rust's newer mangling.
fn words(mut rest: &str) -> Vec<&str> {
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let word = rest[..digits].parse().ok().and_then(|len: usize| {
            // Parted from the length where it begins with a digit or an underscore.
            let after = &rest[digits..];
            let word = after.strip_prefix('_').unwrap_or(after);
            Some((word.get(..len)?, word.get(len..)?))
        });
        rest = match (word, first) {
            (Some((word, after)), _) => {
                words.push(word);
                after
            }
            // A number that makes the word unique, or refers to an earlier one.
            (None, 's' | 'B') => rest.split_once('_').map_or("", |(_, after)| after),
            _ => rest.get(first.len_utf8()..).unwrap_or_default(),
        };
    }
    words
}
