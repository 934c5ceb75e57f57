//! The command line tool, built as the tests are.

use std::path::PathBuf;

use trycmd::cargo::compile_example;
use trycmd::schema::Bin;

pub(crate) fn tool() -> PathBuf {
    match compile_example("xen-livepatch", []) {
        Bin::Path(path) => path,
        other => panic!("{other:?}"),
    }
}
