//! libxenctrl of the running release, loaded from its Debian package at run time. Nothing of it is linked or copied: the
//! signatures follow its header, in our words.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::{NonNull, null_mut};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use libloading::Library;

use super::privcmd::Action;

type Handle = *mut c_void;
type Open = unsafe extern "C" fn(*mut c_void, *mut c_void, c_uint) -> Handle;
type Close = unsafe extern "C" fn(Handle) -> c_int;
type Sizes = unsafe extern "C" fn(Handle, *mut c_uint, *mut u32, *mut u32) -> c_int;
type List = unsafe extern "C" fn(
    Handle,
    c_uint,
    c_uint,
    *mut Status,
    *mut c_char,
    *mut u32,
    u32,
    *mut c_char,
    *mut u32,
    u32,
    *mut c_uint,
    *mut c_uint,
) -> c_int;
type Upload = unsafe extern "C" fn(Handle, *mut c_char, *mut u8, u32) -> c_int;
type UploadWithForce = unsafe extern "C" fn(Handle, *mut c_char, *mut u8, u32, bool) -> c_int;
type Get = unsafe extern "C" fn(Handle, *mut c_char, *mut Status) -> c_int;
type Act = unsafe extern "C" fn(Handle, *mut c_char, u32, u32) -> c_int;

/// The state of a payload and the result of its last action.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    pub state: u32,
    pub rc: i32,
}

/// The functions of the library.
#[derive(Debug)]
pub struct Xenctrl {
    open: Open,
    close: Close,
    sizes: Sizes,
    list: List,
    upload: Uploads,
    get: Get,
    apply: Act,
    revert: Act,
    unload: Act,
    /// The library of the functions, which stays loaded as long.
    _library: Library,
}

/// From 4.19 on an upload has a fifth parameter.
#[derive(Debug)]
enum Uploads {
    Plain(Upload),
    WithForce(UploadWithForce),
}

impl Xenctrl {
    /// Loads `libxenctrl.so.4.MINOR` and the libraries that it needs, which the loader of this process finds by name.
    pub fn load(minor: u16) -> Result<Self, libloading::Error> {
        // SAFETY: the constructors of these libraries, which their package has us run, set up no more than themselves.
        let library = unsafe { Library::new(format!("libxenctrl.so.4.{minor}")) }?;
        macro_rules! find {
            ($name:literal) => {
                // SAFETY: the field, or the variant, has the signature of the name in this release, and the library is kept
                // beside the pointer.
                *unsafe { library.get($name) }?
            };
        }
        let upload = if minor >= 19 {
            Uploads::WithForce(find!(b"xc_livepatch_upload"))
        } else {
            Uploads::Plain(find!(b"xc_livepatch_upload"))
        };
        Ok(Self {
            open: find!(b"xc_interface_open"),
            close: find!(b"xc_interface_close"),
            sizes: find!(b"xc_livepatch_list_get_sizes"),
            list: find!(b"xc_livepatch_list"),
            upload,
            get: find!(b"xc_livepatch_get"),
            apply: find!(b"xc_livepatch_apply"),
            revert: find!(b"xc_livepatch_revert"),
            unload: find!(b"xc_livepatch_unload"),
            _library: library,
        })
    }

    pub fn open(&self) -> io::Result<Interface<'_>> {
        // SAFETY: both loggers may be null, and no flags are set.
        let handle = unsafe { (self.open)(null_mut(), null_mut(), 0) };
        NonNull::new(handle).map(|handle| Interface { library: self, handle }).ok_or_else(io::Error::last_os_error)
    }
}

/// An open handle.
#[derive(Debug)]
pub struct Interface<'a> {
    library: &'a Xenctrl,
    handle: NonNull<c_void>,
}

impl Interface<'_> {
    /// The number of payloads, from a full list, which takes its sizes first, then memory, then the rows.
    pub fn list(&self) -> io::Result<usize> {
        let (mut count, mut names, mut metadata) = (0, 0, 0);
        // SAFETY: the handle is open until `self` is dropped, and the three places live through the call.
        let result =
            unsafe { (self.library.sizes)(self.handle.as_ptr(), &raw mut count, &raw mut names, &raw mut metadata) };
        check(result)?;
        let rows = count as usize;
        if rows == 0 {
            return Ok(0);
        }
        let (mut done, mut left) = (0, 0);
        let mut status = vec![Status::default(); rows];
        let mut name: Vec<c_char> = vec![0; names as usize];
        let mut data: Vec<c_char> = vec![0; metadata as usize];
        let (mut name_len, mut data_len) = (vec![0_u32; rows], vec![0_u32; rows]);
        // SAFETY: the arrays have `count` elements each, and the texts as many bytes as passed, as the library requires.
        // Only this thread loads payloads, so that it does not write more than the sizes that it returned.
        let result = unsafe {
            (self.library.list)(
                self.handle.as_ptr(),
                count,
                0,
                status.as_mut_ptr(),
                name.as_mut_ptr(),
                name_len.as_mut_ptr(),
                names,
                data.as_mut_ptr(),
                data_len.as_mut_ptr(),
                metadata,
                &raw mut done,
                &raw mut left,
            )
        };
        check(result)?;
        core::hint::black_box((&status, &name, &name_len, &data, &data_len));
        Ok(done as usize)
    }

    pub fn upload(&self, name: &CStr, payload: &[u8]) -> io::Result<()> {
        let size = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let (name, payload) = (name.as_ptr().cast_mut(), payload.as_ptr().cast_mut());
        let handle = self.handle.as_ptr();
        check(match self.library.upload {
            // SAFETY: the handle is open, the name ends with a NUL, and the payload has `size` bytes. The library only
            // reads either, though it does not say so in its signature.
            Uploads::Plain(upload) => unsafe { upload(handle, name, payload, size) },
            // SAFETY: as above.
            Uploads::WithForce(upload) => unsafe { upload(handle, name, payload, size, false) },
        })
    }

    /// Uploads a file, read into memory that is kept from call to call. To map it, as the C tool does, costs more.
    pub fn upload_file(&self, name: &CStr, path: &Path, kept: &mut Vec<u8>) -> io::Result<()> {
        let mut file = File::open(path)?;
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        kept.resize(size, 0);
        file.read_exact(kept)?;
        drop(file);
        self.upload(name, kept)
    }

    pub fn status(&self, name: &CStr) -> io::Result<Status> {
        let mut status = Status::default();
        // SAFETY: the handle is open, the name ends with a NUL and is only read, and `status` lives through the call.
        check(unsafe { (self.library.get)(self.handle.as_ptr(), name.as_ptr().cast_mut(), &raw mut status) })?;
        Ok(status)
    }

    pub fn act(&self, name: &CStr, action: Action, timeout: u32) -> io::Result<()> {
        let act = match action {
            Action::Apply => self.library.apply,
            Action::Revert => self.library.revert,
            Action::Unload => self.library.unload,
        };
        // SAFETY: the handle is open, and the name ends with a NUL and is only read.
        check(unsafe { act(self.handle.as_ptr(), name.as_ptr().cast_mut(), timeout, 0) })
    }
}

impl Drop for Interface<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody uses it after this.
        unsafe { (self.library.close)(self.handle.as_ptr()) };
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
