//! `warmpod`: an AWS-compatible endpoint that runs functions for real.
//!
//! This file tells the story: read what to do, then `serve` from start to end.

mod clock;
mod config;
mod doctor;
mod engine;
mod http;
mod lambda;
mod pool;
mod serve;
mod store;
mod upstream;

use clap::{Parser, Subcommand};
use config::{LogStyle, ProcessVariables, ServeArgs};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// AWS's Lambda on your machine: real functions behind a real endpoint
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the endpoint until SIGTERM or Ctrl-C
    Serve(Box<ServeArgs>),
    /// Tell what this machine offers, what that means, and what to install
    Doctor(Box<ServeArgs>),
    /// Print the reference of all settings (docs/configuration.md)
    Reference,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => {
            start_log(args.log_style);
            serve::run(*args, &ProcessVariables)
        }
        Command::Doctor(args) => doctor::run(*args, &ProcessVariables),
        Command::Reference => print(&config::reference::page()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn start_log(style: LogStyle) {
    let filter = EnvFilter::try_from_env("WARMPOD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match style {
        LogStyle::Text => builder.with_target(false).init(),
        LogStyle::Json => builder.json().init(),
    }
}

/// The one line, with its causes, that ends a program that could not do what it was asked.
fn complain(error: &(dyn std::error::Error + 'static)) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "warmpod: {}", pool::chain(error));
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
