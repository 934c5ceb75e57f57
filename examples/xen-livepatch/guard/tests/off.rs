//! Tests of the off switches.

use super::super::off::{Off, OffSwitches};
use super::*;

fn switches(directory: &Directory, line: &str) -> OffSwitches {
    fs::create_dir_all(&directory.0).expect("a directory");
    fs::write(directory.file("cmdline"), line).expect("a file");
    OffSwitches { command_line: directory.file("cmdline"), file: directory.file("etc/off") }
}

#[test]
fn the_switch_on_the_command_line_is_a_whole_word() {
    let directory = Directory::new();
    for line in [
        "xen-livepatch=off\n",
        "root=/dev/sda1 xen-livepatch=off quiet\n",
        "\"xen-livepatch=off\"",
        "xen-livepatch=\"off\"",
    ] {
        assert_eq!(switches(&directory, line).thrown(), Some(Off::CommandLine), "{line}");
    }
    for line in
        ["", "quiet", "xen-livepatch=on", "xen-livepatch=offline", "not-xen-livepatch=off", "xen-livepatch = off"]
    {
        assert_eq!(switches(&directory, line).thrown(), None, "{line}");
    }
}

#[test]
fn any_file_is_a_switch() {
    let directory = Directory::new();
    let switches = switches(&directory, "quiet");
    fs::write(directory.file("etc"), "").expect("a file");
    assert_eq!(switches.thrown(), None, "its directory is a file");
    fs::remove_file(directory.file("etc")).expect("it is there");
    fs::create_dir(directory.file("etc")).expect("a directory");
    assert_eq!(switches.thrown(), None);
    let file = directory.file("etc/off");
    std::os::unix::fs::symlink("/nowhere", &file).expect("a link");
    assert_eq!(switches.thrown(), Some(Off::File(file.clone())));
    fs::remove_file(&file).expect("it is there");
    fs::write(&file, "").expect("a file");
    assert_eq!(switches.thrown(), Some(Off::File(file.clone())));
    assert_eq!(Off::File(file.clone()).to_string(), format!("{} exists", file.display()));
}

#[test]
fn without_a_command_line_the_file_still_counts() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).expect("a directory");
    fs::write(directory.file("off"), "").expect("a file");
    let switches = OffSwitches { command_line: directory.file("none"), file: directory.file("off") };
    assert_eq!(switches.thrown(), Some(Off::File(directory.file("off"))));
    assert_eq!(OffSwitches::default().file, Path::new("/etc/xen-livepatch/off"));
    assert_eq!(Off::CommandLine.to_string(), "xen-livepatch=off is on the kernel's command line");
}
