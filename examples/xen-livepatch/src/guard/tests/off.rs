//! Tests of the off switches.

use std::os::unix::fs::symlink;

use super::super::off::first_switch;
use super::*;

#[test]
fn the_switch_on_the_command_line_is_a_whole_word() {
    let place = tempfile::tempdir().unwrap();
    let command_line = place.path().join("cmdline");
    let switch = |line: &str| {
        fs::write(&command_line, line).unwrap();
        first_switch(&command_line, &place.path().join("off"))
    };
    let thrown = Some("xen-livepatch=off is on the kernel's command line".to_owned());
    for line in ["xen-livepatch=off\n", "root=/dev/sda1 xen-livepatch=off quiet\n"] {
        assert_eq!(switch(line), thrown, "{line}");
    }
    for line in ["\"xen-livepatch=off\"", "xen-livepatch=\"off\""] {
        assert_eq!(switch(line), thrown, "{line}");
    }
    for line in
        ["", "quiet", "xen-livepatch=on", "xen-livepatch=offline", "not-xen-livepatch=off", "xen-livepatch = off"]
    {
        assert_eq!(switch(line), None, "{line}");
    }
}

#[test]
fn any_file_is_a_switch_even_without_a_command_line() {
    let place = tempfile::tempdir().unwrap();
    let (directory, file) = (place.path().join("etc"), place.path().join("etc/off"));
    let switch = || first_switch(&place.path().join("none"), &file);
    fs::write(&directory, "").unwrap();
    assert_eq!(switch(), None, "its directory is a file");
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    assert_eq!(switch(), None);
    symlink("/nowhere", &file).unwrap();
    assert_eq!(switch(), Some(format!("{} exists", file.display())), "a dangling link");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "").unwrap();
    assert_eq!(switch(), Some(format!("{} exists", file.display())));
}
