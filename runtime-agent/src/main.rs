mod bridge;
mod keep;
mod netlink;
mod sandbox;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("bridge") => bridge::run(),
        Some("keep") => keep::run(),
        Some("try") => sandbox::trial::run(),
        _ => ExitCode::FAILURE,
    }
}
