//! placeholder
pub fn run(_: crate::config::ServeArgs, _: &dyn crate::config::Variables) -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
