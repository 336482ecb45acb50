//! The agent as a whole: the real binary between a small gateway of the test's own and real runtimes.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod gateway;
mod http;
mod python_library;

mod calls;
mod failures;
mod hostile;
mod provided;
mod python;
