//! The switches.

use super::super::off::{Off, OffSwitches};
use super::*;

fn switches(folder: &Folder, line: &str) -> OffSwitches {
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.file("cmdline"), line).expect("a file");
    OffSwitches { command_line: folder.file("cmdline"), file: folder.file("etc/off") }
}

#[test]
fn the_command_line_switches_off_by_a_word_of_its_own() {
    let folder = Folder::new();
    for line in [
        "xen-livepatch=off\n",
        "root=/dev/sda1 xen-livepatch=off quiet\n",
        "\"xen-livepatch=off\"",
        "xen-livepatch=\"off\"",
    ] {
        assert_eq!(switches(&folder, line).thrown(), Some(Off::CommandLine), "{line}");
    }
    for line in
        ["", "quiet", "xen-livepatch=on", "xen-livepatch=offline", "not-xen-livepatch=off", "xen-livepatch = off"]
    {
        assert_eq!(switches(&folder, line).thrown(), None, "{line}");
    }
}

#[test]
fn any_file_switches_off() {
    let folder = Folder::new();
    let switches = switches(&folder, "quiet");
    fs::write(folder.file("etc"), "").expect("a file");
    assert_eq!(switches.thrown(), None, "its folder is a file");
    fs::remove_file(folder.file("etc")).expect("it is there");
    fs::create_dir(folder.file("etc")).expect("a folder");
    assert_eq!(switches.thrown(), None);
    let file = folder.file("etc/off");
    std::os::unix::fs::symlink("/nowhere", &file).expect("a link");
    assert_eq!(switches.thrown(), Some(Off::File(file.clone())));
    fs::remove_file(&file).expect("it is there");
    fs::write(&file, "").expect("a file");
    assert_eq!(switches.thrown(), Some(Off::File(file.clone())));
    assert_eq!(Off::File(file.clone()).to_string(), format!("{} exists", file.display()));
}

#[test]
fn without_a_command_line_the_file_still_counts() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.file("off"), "").expect("a file");
    let switches = OffSwitches { command_line: folder.file("none"), file: folder.file("off") };
    assert_eq!(switches.thrown(), Some(Off::File(folder.file("off"))));
    assert_eq!(OffSwitches::default().file, Path::new("/etc/xen-livepatch/off"));
    assert_eq!(Off::CommandLine.to_string(), "xen-livepatch=off is on the kernel's command line");
}
