//! The agent as a whole: the real binary between a small gateway of the test's own and real runtimes.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "how a test fails or is skipped")]
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod gateway;
mod http;
mod python_library;

mod calls;
mod failures;
mod hostile;
mod link;
mod logs;
mod memory;
mod provided;
mod python;
mod sandboxed;
