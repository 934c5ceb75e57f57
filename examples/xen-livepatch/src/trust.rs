//! Signatures of payload files, as `minisign` makes them, and the keys that an administrator trusts.
//!
//! If there are keys, every payload to upload needs a valid signature. Legacy signatures, which are not of a hash, are accepted:
//! they are no weaker, and the `minisign` of Debian 11 makes them by default.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use serde::Serialize;
use serde_json::{Value, json};
use xen_livepatch::{PayloadStore, StoredPayload, escaped};

use crate::arguments::SignatureOptions;
use crate::failure::Failure;
use crate::options::CommonOptions;
use crate::terminal::{self, shown};
use crate::{files, permissions};

const DIRECTORY: &str = "/etc/xen-livepatch/trusted.d";

/// More than a key or a signature has, with the longest comments.
const MOST_BYTES: u64 = 64 << 10;

/// The trusted keys. Without any, every payload is trusted.
#[derive(Debug)]
pub(crate) struct Trust {
    directory: PathBuf,
    keys: Vec<TrustedKey>,
    /// True for a real Xen: then only root may be able to change keys and payloads.
    is_strict: bool,
}

#[derive(Debug)]
struct TrustedKey {
    file: String,
    id: String,
    key: PublicKey,
}

/// The valid signature of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Signer {
    /// The file of the key.
    key: String,
    key_id: String,
    /// The comment that is signed too.
    comment: String,
}

impl Trust {
    /// Reads the keys for showing signatures. An ordinary user may do that.
    ///
    /// # Errors
    /// If the directory or a key in it can't be read. Nothing is trusted then, instead of everything.
    pub(crate) fn read(options: &CommonOptions, given: Option<&Path>) -> Result<Self, Failure> {
        Self::of_directory(&directory(options, given), given.is_some(), false)
    }

    /// Reads the keys for uploading payloads.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and on a real Xen if others can change the keys.
    pub(crate) fn for_uploads(options: &CommonOptions, given: Option<&Path>) -> Result<Self, Failure> {
        Self::of_directory(&directory(options, given), given.is_some(), options.simulate.is_none())
    }

    fn of_directory(directory: &Path, needs_keys: bool, is_strict: bool) -> Result<Self, Failure> {
        let check = |path: &Path| if is_strict { permissions::check(path) } else { Ok(()) };
        let failed = |path: &Path, reason: String| {
            Failure::new("keys", format_args!("{}: {reason}; nothing is trusted", shown(path)))
        };
        // Without keys nothing is to be protected.
        if directory.symlink_metadata().is_ok() {
            check(directory)?;
        }
        let mut keys = Vec::new();
        for path in key_files(directory, needs_keys).map_err(|error| failed(directory, error.to_string()))? {
            check(&path)?;
            let text = read(&path).map_err(|error| failed(&path, error.to_string()))?;
            let parsed = PublicKey::decode(&text).ok().zip(key_id(&text));
            let (key, id) = parsed.ok_or_else(|| failed(&path, "it is not a public key of minisign".into()))?;
            // A key is its second line; minisign reads no further either.
            if text.lines().filter(|line| !line.trim().is_empty()).count() > 2 {
                return Err(failed(&path, "it has more than one key: give each a file of its own".into()));
            }
            let file = path.file_name().expect("an entry has a name");
            keys.push(TrustedKey { file: escaped(file.as_bytes()), id, key });
        }
        if needs_keys && keys.is_empty() {
            return Err(failed(directory, "no file in it ends in .pub".into()));
        }
        Ok(Self { directory: directory.into(), keys, is_strict })
    }

    /// The signer of a file with these contents; `None` if there are no keys.
    ///
    /// # Errors
    /// The reason why the file is not trusted.
    pub(crate) fn signer(&self, file: &Path, contents: &[u8]) -> Result<Option<Signer>, String> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let path = signature_of(file);
        let beside = shown(&path);
        let text = read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{beside} is missing; trusted are signatures by {}", self.keys()),
            _ => format!("{beside}: {error}"),
        })?;
        let parsed = Signature::decode(&text).ok().zip(key_id(&text));
        let (signature, id) = parsed.ok_or_else(|| format!("{beside} is not a signature of minisign"))?;
        let same: Vec<&TrustedKey> = self.keys.iter().filter(|key| key.id == id).collect();
        if same.is_empty() {
            return Err(format!("{beside} is by key {id}; trusted are signatures by {}", self.keys()));
        }
        let signer = same.iter().find(|key| key.key.verify(contents, &signature, true).is_ok());
        let signer =
            signer.ok_or_else(|| format!("{beside} by key {id} does not match: one of the files was changed"))?;
        let comment = signature.trusted_comment().to_owned();
        Ok(Some(Signer { key: signer.file.clone(), key_id: id, comment }))
    }

    /// Checks the contents of a file that is about to be uploaded.
    pub(crate) fn check(&self, file: &Path, contents: &[u8]) -> Result<(), Failure> {
        let untrusted =
            |reason| Failure::new("untrusted", format_args!("{}: it is not trusted: {reason}", shown(file)));
        self.signer(file, contents).map(drop).map_err(untrusted)
    }

    /// Reads a file for [`ensure`](crate::commands), and checks it.
    pub(crate) fn read_file(&self, file: &Path) -> Result<StoredPayload, Failure> {
        if self.is_strict {
            permissions::check(file)?;
            permissions::check(&signature_of(file))?;
        }
        let stored = StoredPayload::read(file)?;
        self.check(stored.path(), stored.payload().bytes())?;
        Ok(stored)
    }

    /// Reads a directory; its untrusted files are problems.
    pub(crate) fn read_directory(&self, directory: &Path) -> Result<PayloadStore, Failure> {
        if self.is_strict {
            permissions::check_directory(directory)?;
        }
        Ok(PayloadStore::read(directory)?.verified_by(|stored| self.verify(stored)))
    }

    /// One signature is enough for several files with the same contents, which are what is signed.
    fn verify(&self, stored: &StoredPayload) -> Result<(), String> {
        let files = || stored.paths().flat_map(|path| [path.to_path_buf(), signature_of(path)]);
        if let Some(fault) = files().filter(|_| self.is_strict).find_map(|file| permissions::fault_of(&file)) {
            return Err(fault);
        }
        let mut verdicts = stored.paths().map(|path| self.signer(path, stored.payload().bytes()).map(drop));
        let first = verdicts.next().expect("every payload has a path");
        first.or_else(|reason| verdicts.find(Result::is_ok).unwrap_or(Err(reason)))
    }

    /// The keys, for messages.
    fn keys(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| format!("{} ({})", key.id, key.file)).collect();
        format!("key {}", keys.join(", "))
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// A line for `status`.
    pub(crate) fn summary(&self) -> String {
        let directory = shown(&self.directory);
        if self.keys.is_empty() {
            format!("not verified: there is no key in {directory}")
        } else {
            format!("verified with {}, from {directory}", self.keys())
        }
    }

    pub(crate) fn as_json(&self) -> Value {
        let keys: Vec<Value> = self.keys.iter().map(|key| json!({ "file": key.file, "id": key.id })).collect();
        json!({ "directory": self.directory.to_string_lossy(), "keys": keys, "error": null })
    }
}

impl Signer {
    pub(crate) fn as_text(&self) -> String {
        format!("by key {} ({}): {}", self.key_id, self.key, escaped(self.comment.as_bytes()))
    }
}

/// Checks the contents of a file that is about to be uploaded, unless that is not wanted.
pub(crate) fn check_upload(
    options: &CommonOptions,
    signature: &SignatureOptions,
    file: &Path,
    contents: &[u8],
) -> Result<(), Failure> {
    if signature.unsigned {
        terminal::note(&format!("{}: its signature is not verified, because of --unsigned", shown(file)));
        return Ok(());
    }
    Trust::for_uploads(options, signature.trusted.as_deref())?.check(file, contents)
}

/// The trust in JSON if the keys can't be used.
pub(crate) fn failure_as_json(options: &CommonOptions, given: Option<&Path>, failure: &Failure) -> Value {
    json!({ "directory": directory(options, given).to_string_lossy(), "keys": [], "error": failure.message })
}

fn directory(options: &CommonOptions, given: Option<&Path>) -> PathBuf {
    options.directory(given, "trusted.d", DIRECTORY)
}

/// The files of keys in a directory, which need not exist if no key is needed.
fn key_files(directory: &Path, needs_keys: bool) -> io::Result<Vec<PathBuf>> {
    if !needs_keys && is_absent(directory)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    Ok(paths)
}

/// Returns false for a link that leads nowhere, and for a path through one: the keys are missing then.
fn is_absent(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.exists() => is_absent(parent),
            _ => Ok(true),
        },
        about => about.map(|_| false),
    }
}

/// The file of the signature of a file.
pub(crate) fn signature_of(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(".minisig");
    path.into()
}

/// Reads a key or a signature, to which a link may lead.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let (bytes, _) = files::read(&fs::canonicalize(path)?, MOST_BYTES)?;
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The number of the key in the second line of a key or a signature, as `minisign` prints it: of the bytes encoded there, those
/// from the third to the tenth, lowest first.
fn key_id(text: &str) -> Option<String> {
    let digits = text.lines().nth(1)?.as_bytes().get(..16)?;
    let value = digits.iter().try_fold(0_u128, |value, digit| Some(value << 6 | u128::from(base64(*digit)?)))?;
    // Twelve bytes, of which the last two belong to what follows.
    let bytes = (value >> 16).to_be_bytes();
    let id = bytes.last_chunk::<8>()?;
    Some(format!("{:016X}", u64::from_le_bytes(*id)))
}

fn base64(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
