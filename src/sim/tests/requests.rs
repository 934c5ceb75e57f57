use super::*;

fn probe(xen: &SimulatedXen, version: u32) -> Result<u32, Errno> {
    livepatch(xen, 2).word(4, version).result(xen)
}

#[test]
fn the_interface_version_is_checked_before_the_caller() {
    let [.., newest] = Release::ALL.map(Release::interface_version);
    for release in Release::ALL {
        let right = release.interface_version();
        for (access, expected) in [
            (Access::Privileged, Ok(0)),
            (Access::NotPrivileged, Err(Errno::EPERM)),
            (Access::DeniedByFlask, Err(Errno::EACCES)),
        ] {
            let xen = SimulatedXen::builder(release).access(access).build();
            assert_eq!(probe(&xen, right), expected, "{release} {access:?}");
            for wrong in [0x0c, right - 1, right + 1, newest + 1] {
                assert_eq!(probe(&xen, wrong), Err(Errno::EACCES), "{release} {access:?}");
            }
        }
    }
}

#[test]
fn without_support_only_the_privileged_learn_of_it() {
    let of = |support, access| {
        let xen = SimulatedXen::builder(Release::V4_21).support(support).access(access).build();
        (probe(&xen, 0x16), probe(&xen, 0x15))
    };
    let (enosys, eacces) = (Err(Errno::ENOSYS), Err(Errno::EACCES));
    assert_eq!(of(Support::NoLivepatch, Access::Privileged), (enosys, eacces));
    assert_eq!(of(Support::NoLivepatch, Access::NotPrivileged), (Err(Errno::EPERM), eacces));
    assert_eq!(of(Support::NoSysctl, Access::NotPrivileged), (enosys, enosys));
}

#[test]
fn the_second_word_is_flags_from_4_19_on() {
    for (xen, flags) in since(Release::V4_19) {
        let send = |word| livepatch(&xen, 2).word(12, word).result(&xen);
        let expected = if flags { [Ok(0), Err(Errno::EINVAL), Ok(0)] } else { [Err(Errno::EINVAL); 3] };
        assert_eq!([1, 2, 3].map(send), expected, "{}", xen.release());
        assert_eq!(livepatch(&xen, 4).result(&xen), Err(Errno::EOPNOTSUPP));
        assert_eq!(RawSysctl::new(99, xen.release()).result(&xen), Err(Errno::ENOSYS));
    }
}

#[test]
fn names_are_checked_in_order() {
    let xen = SimulatedXen::new(Release::V4_17);
    let named = |operation| named(&xen, operation, "name");
    let nowhere = |operation| livepatch(&xen, operation).long(16, 4096).bytes(24, &[5, 0]);
    // Operation 1 shows a fault; upload hides it.
    for (operation, fault) in [(0, Errno::EINVAL), (1, Errno::EFAULT), (3, Errno::EFAULT)] {
        for (request, errno) in [
            (named(operation).bytes(24, &[0, 0]), Errno::EINVAL),
            (named(operation).bytes(24, &[129, 0]), Errno::EINVAL),
            (named(operation).bytes(26, &[1]), Errno::EINVAL),
            (named(operation).bytes(31, &[1]), Errno::EINVAL),
            (named(operation).bytes(24, &[4, 0]), Errno::EINVAL),
            (nowhere(operation), fault),
            (nowhere(operation).bytes(26, &[1]), Errno::EINVAL),
        ] {
            assert_eq!(request.result(&xen), Err(errno), "{operation}");
        }
    }
    assert_eq!(get(&xen, "name"), Err(Errno::ENOENT));
    assert_eq!(get(&xen, ""), Err(Errno::ENOENT));
}

#[test]
fn what_follows_a_nul_in_a_name_is_lost() {
    let xen = SimulatedXen::new(Release::V4_20);
    assert_eq!(upload(&xen, "one\0two", &builder(&xen, "p").build()), Ok(0));
    assert_eq!(get(&xen, "one"), Ok((1, 0)));
    assert_eq!(upload(&xen, "one", b""), Err(Errno::EINVAL));
    assert_eq!(upload(&xen, "one", b"x"), Err(Errno::EEXIST), "before the file is looked at");
    assert_eq!(upload(&xen, "", &builder(&xen, "q").build()), Ok(0), "the empty name");
    assert_eq!(names(&xen.loaded()), ["one", ""]);
}

#[test]
fn versions_are_told_to_everybody() {
    for release in Release::ALL {
        let xen = SimulatedXen::builder(release).access(Access::NotPrivileged).build();
        assert_eq!(xen.xen_version(0, None), Ok(0x0004_0000 + u32::from(release.minor())));
        assert_eq!(extra_version(&xen), release.extra_version());
        assert_eq!(xen.xen_version(1, None), Err(Errno::EFAULT));
        assert_eq!(xen.xen_version(77, None), Err(Errno::ENOSYS));
        assert_eq!(xen.xen_version(10, None), Err(Errno::EPERM));
    }
}

#[test]
fn the_build_id_has_corner_cases() {
    for (xen, varbuf) in since(Release::V4_20) {
        let ask = |xen: &SimulatedXen, room: u32| {
            let mut buffer = xen.allocate(4096, End::Guarded).unwrap();
            buffer.as_mut_slice()[..4].copy_from_slice(&room.to_le_bytes());
            let result = xen.xen_version(10, Some(&mut buffer));
            (result, buffer.as_slice()[4..24].to_vec())
        };
        let id = xen.build_id().unwrap();
        assert_eq!(xen.xen_version(10, None), Ok(20));
        assert_eq!(ask(&xen, 20), (Ok(20), id.as_bytes().to_vec()));
        assert_eq!(ask(&xen, 19), (Err(Errno::ENOBUFS), vec![0; 20]));
        let without_room = if varbuf { Errno::ENOBUFS } else { Errno::EINVAL };
        assert_eq!(ask(&xen, 0).0, Err(without_room), "{}", xen.release());
        let without_id = SimulatedXen::builder(xen.release()).build_id(None).build();
        assert_eq!(without_id.xen_version(10, None), Err(Errno::ENODATA));
        assert_eq!(ask(&without_id, 0).0, Err(if varbuf { Errno::ENODATA } else { Errno::EINVAL }));
    }
}

/// Result, text, index and count.
pub(super) fn read_console(
    xen: &SimulatedXen,
    clear: u8,
    from: Option<u32>,
    count: u32,
) -> (Result<u32, Errno>, String, u32, u32) {
    let answer = RawSysctl::read_console(xen.release())
        .bytes(8, &[clear, u8::from(from.is_some())])
        .word(12, from.unwrap_or_default())
        .memory(16, [0; 64])
        .word(24, count)
        .answer(xen);
    let len = usize::try_from(answer.word(24)).unwrap().min(64);
    let text = String::from_utf8_lossy(&answer.memory[0][..len]).into_owned();
    (answer.result, text, answer.word(12), answer.word(24))
}

#[test]
fn the_console_is_read_from_a_position() {
    let xen = SimulatedXen::builder(Release::V4_17).console_size(24).build();
    xen.print("one");
    let (_, text, index, _) = read_console(&xen, 0, None, 64);
    assert_eq!((text.as_str(), index), ("(XEN) one\n", 10));
    xen.print("two");
    assert_eq!(read_console(&xen, 0, Some(index), 64), (Ok(0), "(XEN) two\n".into(), 20, 10));
    assert_eq!(read_console(&xen, 0, Some(index), 5), (Ok(0), "(XEN)".into(), 15, 5));
    assert_eq!(read_console(&xen, 0, Some(20), 64), (Ok(0), String::new(), 20, 0));
    xen.print("three");
    assert_eq!(
        read_console(&xen, 0, Some(1), 64).1,
        "e
(XEN) two
(XEN) three
",
        "the ring is full"
    );
    assert_eq!(read_console(&xen, 1, None, 64).2, 32);
    assert_eq!(read_console(&xen, 0, None, 64), (Ok(0), String::new(), 32, 0));
    let outside = RawSysctl::read_console(xen.release()).long(16, 8).word(24, 9).result(&xen);
    assert_eq!(outside, Ok(0), "nothing to copy");
    xen.print("four");
    assert_eq!(RawSysctl::read_console(xen.release()).long(16, 8).word(24, 9).result(&xen), Err(Errno::EFAULT));
}
