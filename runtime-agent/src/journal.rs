//! What the operator should know: one line each on standard error, which the engine that started the agent keeps.
//! Never a word of the function's own output, and never a credential.

use std::fmt;
use std::io::Write;

pub fn note(what: fmt::Arguments<'_>) {
    // Nobody listens: then nobody needs to know.
    let _ = writeln!(std::io::stderr(), "warmpod-agent: {what}");
}
