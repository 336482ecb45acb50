//! The system calls that no safe crate offers: fork, exec, signal masks. The only file of the workspace with `unsafe`.
//!
//! Everything here is a thin, safe function around one call. Policy is elsewhere.

#![allow(unsafe_code, reason = "the one place where system calls without a safe wrapper are made")]

use rustix::process::Pid;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
pub enum Fork {
    Parent(Pid),
    Child,
}

/// Makes a child process that is a copy of this one. The caller has one thread, so that the copy is whole; the child
/// never returns to its caller's caller, it execs or exits.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the child of a process with one thread may go on as if nothing had happened.
    let answer = unsafe { libc::fork() };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork answers 0 only in the child"))),
    }
}

/// Replaces this process. Returns only if that failed.
pub fn exec(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: all three are NUL-terminated, both arrays end with a null pointer, and all outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once: no destructor, no flush.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Holds SIGCHLD back from this process; the descriptor is readable while one is pending.
pub fn child_signals() -> io::Result<OwnedFd> {
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
pub fn reset_signals() {
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
pub fn place_descriptor(from: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the caller forked for this: nothing of this process uses what was at `number` any more.
    check(unsafe { libc::dup2(from.as_raw_fd(), number) }).map(drop)
}

/// Everything from `first` on is closed by the next exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
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

fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
