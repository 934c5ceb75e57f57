//! The payloads that `tests/vendor-payloads/make` has made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use xen_livepatch::payload::Architecture;
use xen_livepatch::{BuildId, Payload, Release};

/// The Xen for which payloads are made if there is no real one.
const XEN: [u8; 20] = *b"a Xen for the shapes";

pub struct Shape {
    pub name: String,
    pub payload: Payload,
}

pub struct Shapes(Vec<Shape>);

/// The minor number, and the words of processor features in the first and the last point release of that series.
#[rustfmt::skip]
const FEATURE_WORDS: [(u16, u16, u16); 16] = [
    (7, 10, 11), (8, 10, 11), (9, 11, 11), (10, 11, 11), (11, 11, 11), (12, 11, 11),
    (13, 13, 13), (14, 13, 20), (15, 13, 20), (16, 14, 20), (17, 16, 21), (18, 20, 21),
    (19, 20, 21), (20, 20, 21), (21, 21, 22), (22, 22, 22),
];

impl Shapes {
    /// Makes them with these flags of `.livepatch.funcs`, with the compiler of this machine, which Rust needs as well to link
    /// this test.
    pub fn make(version: u16, flags: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shapes-v{version}-{flags}"));
        drop(fs::remove_dir_all(&directory));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vendor-payloads/make");
        let mut command = Command::new(&script);
        command.env("FUNCS_FLAGS", flags).arg(&directory).arg(BuildId::new(XEN).to_string()).arg(version.to_string());
        let made = command.output().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let complaints = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "the payloads can't be made; gcc and GNU binutils are needed: {complaints}");
        print!("{complaints}");
        Self::read(&directory)
    }

    pub fn read(directory: &Path) -> Self {
        let wanted = env::var("XEN_LIVEPATCH_SHAPES").ok();
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|all| all.split(':').any(|one| one == name));
        let paths = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_beneath = name.starts_with("stack-") || name == BENEATH;
            (is_wanted(&name) || is_beneath).then(|| Shape { name, payload: Payload::read(path).unwrap() })
        };
        let mut shapes: Vec<Shape> = paths.filter_map(read).collect();
        shapes.sort_by(|a, b| a.name.cmp(&b.name));
        Self(shapes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The payloads that a release can take; if it is not the last of its series, those that all its point releases can take.
    pub fn for_release(&self, release: Release) -> impl Iterator<Item = &Shape> {
        self.0.iter().filter(move |shape| shape.is_for(release))
    }

    /// The payload that another one depends on, if any.
    pub fn beneath(&self, shape: &Shape) -> Option<&Shape> {
        self.0.iter().find(|other| other.payload.build_id() == shape.payload.depends())
    }

    /// The Xen that they are for.
    pub fn xen(&self) -> Option<&BuildId> {
        self.replaced().payload.xen_depends()
    }

    /// The payload that others replace.
    pub fn replaced(&self) -> &Shape {
        self.0.iter().find(|shape| shape.name == BENEATH).unwrap()
    }
}

const BENEATH: &str = "cumulative-1";

impl Shape {
    /// The end of Xen's version while this is applied.
    pub fn shows(&self) -> Option<String> {
        self.metadata("shows")
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.payload.metadata().get(key).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    fn minor(&self, key: &str) -> Option<u16> {
        self.metadata(key).map(|text| text.strip_prefix("4.").unwrap().parse().unwrap())
    }

    fn is_for(&self, release: Release) -> bool {
        let minor = release.minor();
        let is_last = Release::ALL.contains(&release);
        let row = FEATURE_WORDS.iter().find(|(series, ..)| *series == minor).or(FEATURE_WORDS.last()).unwrap();
        let known = if is_last { row.2 } else { row.1 };
        let words: u16 = self.metadata("words").map_or(0, |words| words.parse().unwrap());
        // Alternatives had another size in older releases.
        let has_alternatives = self.payload.architecture() == Architecture::X86_64 && words > 0;
        // It refers to a section that is not loaded, which early point releases of 4.14 to 4.16 did not refuse.
        let is_strict = is_last || minor >= 17 || self.name != "removed";
        self.minor("since").is_none_or(|since| minor >= since)
            && self.minor("before").is_none_or(|before| minor < before)
            && words <= known
            && is_strict
            && (minor >= 11 || !has_alternatives)
    }
}
