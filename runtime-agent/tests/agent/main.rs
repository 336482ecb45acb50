//! The agent as a whole: the real binary between a small gateway of the test's own and real runtimes.

#![allow(unreachable_pub, reason = "a test program has no outside")]

mod gateway;
mod http;
mod python_library;

mod provided;
mod python;
