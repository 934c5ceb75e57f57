//! Tests of buffers among threads and forked children with memory of their own.

use std::fs::{File, read_to_string};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

/// Reads an address through the kernel, which fails where nothing is mapped, instead of a crash.
fn peek(address: u64) -> Option<u8> {
    let mut byte = [0_u8];
    let local = &mut [std::io::IoSliceMut::new(&mut byte)];
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: 1 };
    // SAFETY: getpid touches no memory.
    let this = unsafe { libc::getpid() };
    // SAFETY: one byte is read into `byte` through descriptors that live through the call; a bad address is an error.
    let read = unsafe { libc::process_vm_readv(this, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0) };
    (read == 1).then_some(byte[0])
}

fn readable(address: u64) -> bool {
    peek(address).is_some()
}

/// A device that can be mapped, with ordinary shared memory.
fn zero() -> File {
    File::options().read(true).write(true).open("/dev/zero").unwrap()
}

/// Both kinds of buffer that forked children don't get.
fn buffers(len: usize) -> [HypercallBuffer; 2] {
    [
        HypercallBuffer::from_device(zero().as_fd(), len, End::Guarded).unwrap(),
        HypercallBuffer::locked(len, End::Guarded).unwrap(),
    ]
}

/// Runs a check in a forked child and returns its result. The child has only this thread, so it must not do much.
pub(in crate::hypercall) fn in_child(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `check`, which takes no lock that another thread may have held, and then ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let well = catch_unwind(AssertUnwindSafe(check)).unwrap_or(false);
        // SAFETY: ends the child at once, without what the test harness does at an exit.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: `status` lives through the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status == 0
}

/// Limits the memory that this process can lock, also for root; returns true if that succeeded.
pub(in crate::hypercall) fn limit_locked_memory(bytes: usize) -> bool {
    let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
    // SAFETY: `limit` lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    // SAFETY: touches no memory.
    let user = unsafe { libc::geteuid() };
    // Root is not bound by the limit.
    // SAFETY: touches no memory.
    limited == 0 && (user != 0 || unsafe { libc::setresuid(65534, 65534, 65534) } == 0)
}

/// A mapping of another part of the program.
struct Others(Mapping);

impl Others {
    /// Maps zeroed memory at an address of the kernel's choice.
    fn anywhere(len: usize) -> Self {
        Self::map(None, len, MapFlags::MAP_PRIVATE).unwrap()
    }

    /// Maps memory at this address, unless something is mapped there.
    fn at(address: u64, len: usize, value: u8) -> nix::Result<Self> {
        let place = NonZeroUsize::new(usize::try_from(address).unwrap());
        let mut others = Self::map(place, len, MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE)?;
        others.bytes().fill(value);
        Ok(others)
    }

    fn map(place: Option<NonZeroUsize>, len: usize, flags: MapFlags) -> nix::Result<Self> {
        let len = NonZeroUsize::new(len).unwrap();
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel maps only where nothing is mapped.
        let start = unsafe { mmap_anonymous(place, len, protection, flags) }?;
        Ok(Self(Mapping { start, len, only_in: None }))
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable, writable and this value's own.
        unsafe { core::slice::from_raw_parts_mut(self.0.start.cast().as_ptr(), self.0.len.get()) }
    }

    /// Returns true if it is still there and has this value.
    fn intact(&self, value: u8) -> bool {
        let start = to_u64(self.0.start.addr().get());
        (0..self.0.len.get()).step_by(page_size()).all(|at| peek(start + at as u64) == Some(value))
    }
}

/// Runs `work` while other threads map and unmap memory without a pause, and checks that none of their mappings vanish.
fn among_mappers(work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mappers: Vec<_> = (1..=2_usize)
            .map(|pages| {
                let done = &done;
                scope.spawn(move || {
                    let mut vanished = 0;
                    while !done.load(Ordering::Relaxed) {
                        let others = Others::anywhere(pages * page_size());
                        thread::yield_now();
                        if !others.intact(0) {
                            vanished += 1;
                            // Not ours to unmap any more.
                            core::mem::forget(others);
                        }
                    }
                    vanished
                })
            })
            .collect();
        let outcome = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let vanished: Vec<u32> = mappers.into_iter().map(|mapper| mapper.join().unwrap()).collect();
        assert_eq!(vanished, [0, 0], "mappings of other threads that vanished");
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

#[test]
fn pages_are_whole_zeroed_and_end_at_a_guard() {
    let len = page_size() + 1;
    let plain = [HypercallBuffer::plain(1, End::Guarded).unwrap(), HypercallBuffer::plain(len, End::Guarded).unwrap()];
    for buffer in buffers(1).into_iter().chain(buffers(len)).chain(plain) {
        assert_eq!(buffer.len() % page_size(), 0);
        assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
        let end = buffer.address() + buffer.len() as u64;
        assert!(readable(end - 1), "{buffer:?}");
        assert!(!readable(end), "{buffer:?}");
        assert!(Others::at(end, page_size(), 0).is_err(), "nobody else gets the page after {buffer:?}");
    }
}

#[test]
fn pages_are_given_back() {
    // A process may have 65530 mappings unless someone raised that; each buffer with its guard is two.
    let limit = read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap_or(65_530);
    let device = zero();
    for _ in 0..=limit / 2 {
        HypercallBuffer::plain(1, End::Guarded).unwrap();
        HypercallBuffer::from_device(device.as_fd(), 1, End::Guarded).unwrap();
    }
}

#[test]
fn more_than_there_is_gets_a_named_error() {
    for bytes in [usize::MAX, usize::MAX - page_size(), isize::MAX as usize] {
        let expected = AllocationError { bytes, errno: Errno::ENOMEM };
        assert_eq!(HypercallBuffer::locked(bytes, End::Guarded).unwrap_err(), expected);
        assert_eq!(HypercallBuffer::from_device(zero().as_fd(), bytes, End::Guarded).unwrap_err(), expected);
    }
}

#[test]
fn a_device_that_cannot_be_mapped_is_refused() {
    let file = File::options().read(true).write(true).open("/dev/null").unwrap();
    assert_eq!(HypercallBuffer::from_device(file.as_fd(), 1, End::Guarded).unwrap_err().errno, Errno::ENODEV);
}

#[test]
fn a_device_that_refuses_costs_no_other_thread_its_memory() {
    // Their drivers refuse after the kernel has reserved the range. Only root can open the second.
    let socket = OwnedFd::from(UnixStream::pair().unwrap().0);
    let file = File::options().read(true).write(true).open("/proc/cpuinfo").map(OwnedFd::from);
    for device in [Some(socket), file.ok()].into_iter().flatten() {
        among_mappers(|| {
            for pages in (1..=2).cycle().take(15_000) {
                HypercallBuffer::from_device(device.as_fd(), pages * page_size(), End::Guarded).unwrap_err();
            }
        });
    }
}

#[test]
fn a_device_among_threads_that_map_gives_memory_of_its_own() {
    let device = zero();
    among_mappers(|| {
        for pages in (1..=2).cycle().take(5_000) {
            let mut buffer = HypercallBuffer::from_device(device.as_fd(), pages * page_size(), End::Guarded).unwrap();
            buffer.as_mut_slice().fill(0x11);
            thread::yield_now();
            assert!(buffer.as_slice().iter().all(|byte| *byte == 0x11));
            assert!(!readable(buffer.address() + buffer.len() as u64));
        }
    });
}

#[test]
fn every_page_has_been_written() {
    for buffer in buffers(3 * page_size()) {
        let smaps = read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", buffer.address());
        let lines = smaps.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
        let fields = lines.take_while(|line| line.ends_with(" kB"));
        let dirty = fields.filter(|line| ["Shared_Dirty:", "Private_Dirty:"].iter().any(|of| line.starts_with(of)));
        let dirty: usize = dirty.map(|line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(dirty * 1024, buffer.len(), "{buffer:?}");
    }
}

#[test]
fn a_forked_child_does_not_get_the_pages() {
    for mut buffer in buffers(2 * page_size()) {
        let range = buffer.address()..buffer.address() + (buffer.len() + page_size()) as u64;
        buffer.as_mut_slice().fill(0x11);
        assert!(in_child(|| !buffer.is_here() && range.step_by(page_size()).all(|page| !readable(page))));
        assert!(buffer.is_here() && buffer.as_slice().iter().all(|byte| *byte == 0x11), "{buffer:?}");
    }
}

#[test]
fn dropping_in_a_forked_child_is_harmless_to_it() {
    for buffer in buffers(2 * page_size()) {
        let (start, len) = (buffer.address(), buffer.len() + page_size());
        let mut slot = Some(buffer);
        let child = in_child(|| {
            let Ok(others) = Others::at(start, len, 0x22) else { return false };
            drop(slot.take());
            // And in a child of the child, which has the child's memory.
            others.intact(0x22) && in_child(|| others.intact(0x22))
        });
        assert!(child, "{slot:?}");
    }
}

#[test]
fn a_forked_child_has_its_own_copy_of_plain_pages() {
    let mut buffer = HypercallBuffer::plain(1, End::Guarded).unwrap();
    buffer.as_mut_slice().fill(0x11);
    let start = buffer.address();
    let mut slot = Some(buffer);
    assert!(in_child(|| {
        let Some(mut buffer) = slot.take() else { return false };
        let copied = buffer.is_here() && buffer.as_slice().iter().all(|byte| *byte == 0x11);
        buffer.as_mut_slice().fill(0x22);
        drop(buffer);
        copied && !readable(start)
    }));
    assert!(slot.unwrap().as_slice().iter().all(|byte| *byte == 0x11));
}

#[test]
fn each_process_has_an_identity_of_its_own() {
    let this = Process::current();
    assert_eq!(thread::spawn(Process::current).join().unwrap(), this);
    assert!(in_child(|| {
        let child = Process::current();
        child != this && child == Process::current() && in_child(|| ![this, child].contains(&Process::current()))
    }));
    // A child that forks before its first call.
    assert!(in_child(|| in_child(|| Process::current() != this)));
    assert_eq!(Process::current(), this);
}

#[test]
fn memory_that_cannot_be_locked_is_given_back() {
    const LIMIT: usize = 64 * 1024;
    assert!(in_child(|| {
        let limited = limit_locked_memory(LIMIT);
        let mapped = || read_to_string("/proc/self/statm").unwrap().split(' ').next().map(str::to_owned);
        let before = mapped();
        let refused = (0..100)
            .all(|_| HypercallBuffer::locked(2 * LIMIT, End::Guarded).is_err_and(|error| error.errno == Errno::ENOMEM));
        limited && refused && mapped() == before && HypercallBuffer::locked(1, End::Guarded).is_ok()
    }));
}

#[test]
fn touching_changes_nothing() {
    let mut buffer = HypercallBuffer::plain(3 * page_size(), End::Guarded).unwrap();
    let pattern = |byte: usize| u8::try_from(byte % 251).unwrap();
    buffer.as_mut_slice().iter_mut().zip(0..).for_each(|(byte, at)| *byte = pattern(at));
    buffer.touch();
    assert!(buffer.as_slice().iter().zip(0..).all(|(byte, at)| *byte == pattern(at)));
}

#[test]
fn structures_are_written_and_read_where_they_belong() {
    let mut buffer = HypercallBuffer::plain(1, End::Guarded).unwrap();
    let status = sys::xen_livepatch_status { state: 0x0102_0304, rc: -5 };
    buffer.write::<24, _>(&status);
    assert_eq!(buffer.as_slice().get(24..28), Some(&0x0102_0304_u32.to_ne_bytes()[..]));
    let read: sys::xen_livepatch_status = buffer.read::<24, _>();
    assert_eq!((read.state, read.rc), (status.state, status.rc));
    assert!(buffer.as_slice()[..24].iter().chain(&buffer.as_slice()[32..]).all(|byte| *byte == 0));
}
