//! `warmpod doctor`: what this machine offers, what that means, and what to install.

pub fn run(_: crate::config::ServeArgs, _: &dyn crate::config::Variables) -> Result<(), Box<dyn std::error::Error>> {
    Err("not yet".into())
}
