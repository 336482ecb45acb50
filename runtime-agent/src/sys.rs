//! The system calls that no safe crate offers: fork, exec, signal masks, namespaces, mount attributes. The only file of
//! the workspace with `unsafe`.
//!
//! Everything here is a thin, safe function around one call. Policy is elsewhere.

#![allow(unsafe_code, reason = "the one place where system calls without a safe wrapper are made")]

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

/// Makes a child process that is a copy of this one. The caller has one thread, so that the copy is whole; the child
/// never returns to its caller's caller, it execs or exits.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the child of a process with one thread may go on as if nothing had happened.
    let answer = unsafe { libc::fork() };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork answers 0 only in the child"))),
    }
}

/// Replaces this process. Returns only if that failed.
pub(crate) fn exec(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: all three are NUL-terminated, both arrays end with a null pointer, and all outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once: no destructor, no flush.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Holds SIGCHLD back from this process; the descriptor is readable while one is pending.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before anything reads it; signalfd answers a new descriptor or -1.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Every signal back to its default and none held back, as a program expects to find them.
pub(crate) fn reset_signals() {
    // SAFETY: SIG_DFL is a valid handler for every signal that may be changed; the others are refused, which is right.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Puts `from` at `number`, for the next program too.
pub(crate) fn place_descriptor(from: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the caller forked for this: nothing of this process uses what was at `number` any more.
    check(unsafe { libc::dup2(from.as_raw_fd(), number) }).map(drop)
}

/// Everything from `first` on is closed by the next exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only sets a flag on descriptors.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if answer == 0 {
        return Ok(());
    }
    // Before Linux 5.11. Only what is open, since the limit can be a billion.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number: Option<RawFd> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number >= first) {
            // SAFETY: only sets a flag on a descriptor.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Closes every descriptor but standard input, output, error and `kept`.
pub(crate) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.saturating_add(1).max(3), libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: the caller forked for this, and uses nothing but `kept` from here on.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Children that end are forgotten at once, without being waited for.
pub(crate) fn forget_children() {
    // SAFETY: SIG_IGN is a valid handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// SIGKILL to everything in this process's pid namespace but itself. Refused to any process that is not pid 1.
pub(crate) fn kill_everyone() {
    if rustix::process::getpid() == Pid::INIT {
        // SAFETY: sends signals; no memory is involved.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

/// Moves this process (or, of a pid namespace, its children) into new namespaces.
pub(crate) fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: no caller asks for an unshared descriptor table, and the process has one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(what & !UnshareFlags::FILES) }?)
}

/// Adds attributes to a mount and everything below it. Linux 5.12 and later, ENOSYS before.
pub(crate) fn add_mount_attributes(mount: BorrowedFd<'_>, attributes: MountAttrFlags) -> io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string, and the struct has the size that is given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const wanted,
            size_of_val(&wanted),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of Landlock in this kernel; `None` where it is not there or not enabled.
pub(crate) fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call reads nothing and answers a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    u32::try_from(answer).ok().filter(|version| *version > 0)
}

fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
