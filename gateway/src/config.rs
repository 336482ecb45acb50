//! Everything that can be set, parsed once into one struct and handed by reference.
//!
//! Flags are `--listen`; each has a variable `WARMPOD_LISTEN`. Variables that users of LocalStack already set are read
//! under their own names ([`localstack`]) where a flag has not been given. An unknown `WARMPOD_*` variable or a value
//! that cannot be read stops the start with one line: a typing error must not become a default.

pub mod localstack;
pub mod reference;

use crate::engine::local::NetworkChoice;
use clap::{Args, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    #[error("{name}={value} is not {expected}")]
    Value { name: String, value: String, expected: &'static str },
    #[error("{0} is not a setting of warmpod; `warmpod serve --help` lists them")]
    Unknown(String),
    #[error("no folder for data: set --data-dir, or HOME")]
    NoDataDir,
}

/// Where variables come from, so that a test passes a map.
pub trait Variables {
    fn get(&self, name: &str) -> Option<String>;
    fn names(&self) -> Vec<String>;
}

/// The process's own.
pub struct ProcessVariables;

impl Variables for ProcessVariables {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// Sandboxed processes on this machine.
    Local,
    /// Pods. Not in this version.
    Kubernetes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    Text,
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address of the endpoint; port 0 chooses a free one
    #[arg(long, env = "WARMPOD_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder for functions, queued events and unpacked code [default: /var/lib/warmpod as root, else ~/.local/share/warmpod]
    #[arg(long, env = "WARMPOD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where functions run [default: local]
    #[arg(long, env = "WARMPOD_ENGINE", value_enum)]
    pub engine: Option<EngineKind>,
    /// Another AWS endpoint, for services that warmpod does not serve and for code in S3
    #[arg(long, env = "WARMPOD_UPSTREAM", value_name = "URL")]
    pub upstream: Option<http::Uri>,
    /// The agent's program [default: warmpod-agent beside this one]
    #[arg(long, env = "WARMPOD_AGENT", value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Folder of the runtime interface clients [default: runtimes beside this program]
    #[arg(long, env = "WARMPOD_RUNTIMES_DIR", value_name = "DIR")]
    pub runtimes_dir: Option<PathBuf>,
    /// The network of functions on the local engine
    #[arg(long, env = "WARMPOD_NETWORK", value_enum, default_value_t = NetworkChoice::Automatic)]
    pub network: NetworkChoice,
    /// Refuse to start where a layer of isolation is missing
    #[arg(long, env = "WARMPOD_REQUIRE_ISOLATION")]
    pub require_isolation: bool,
    /// Refuse functions whose exact runtime version is not installed, instead of running them on the nearest one
    #[arg(long, env = "WARMPOD_EXACT_RUNTIMES")]
    pub exact_runtimes: bool,
    /// Hold functions to AWS's share of a CPU (one for each 1,769 MB) even where others leave theirs unused
    #[arg(long, env = "WARMPOD_CPU_QUOTA")]
    pub cpu_quota: bool,
    /// Generic workers that wait ready for each runtime in use
    #[arg(long, env = "WARMPOD_GENERIC_WORKERS", value_name = "N", default_value_t = 1)]
    pub generic_workers: usize,
    /// Threads that serve calls [default: half of the cores]
    #[arg(long, env = "WARMPOD_EVENT_LOOPS", value_name = "N")]
    pub event_loops: Option<usize>,
    /// Most client connections at once
    #[arg(long, env = "WARMPOD_MAX_CONNECTIONS", value_name = "N", default_value_t = 8192)]
    pub max_connections: usize,
    /// How long invocations in flight may take to finish after SIGTERM, seconds
    #[arg(long, env = "WARMPOD_SHUTDOWN_GRACE", value_name = "SECONDS", default_value_t = 30)]
    pub shutdown_grace: u64,
    /// How long a worker waits for a gateway that was lost before it leaves, seconds
    #[arg(long, env = "WARMPOD_ORPHAN_TIMEOUT", value_name = "SECONDS", default_value_t = 45)]
    pub orphan_timeout: u64,
    /// Form of this program's own log
    #[arg(long, env = "WARMPOD_LOG_STYLE", value_enum, default_value_t = LogStyle::Text)]
    pub log_style: LogStyle,
}

/// What the gateway runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub engine: EngineKind,
    pub upstream: Option<http::Uri>,
    pub agent: PathBuf,
    pub runtimes_dir: PathBuf,
    pub network: NetworkChoice,
    pub require_isolation: bool,
    pub exact_runtimes: bool,
    pub cpu_quota: bool,
    pub generic_workers: usize,
    pub event_loops: usize,
    pub max_connections: usize,
    pub shutdown_grace: Duration,
    pub orphan_timeout: Duration,
    /// The variables XDG_RUNTIME_DIR, PATH and HOME.
    pub runtime_dir: Option<PathBuf>,
    pub path: Option<String>,
    pub home: Option<PathBuf>,
    pub lambda: LambdaConfig,
    /// Lines for the log about settings that have no effect here.
    pub notes: Vec<String>,
}

/// Lambda's own settings, under LocalStack's names.
#[derive(Clone, Debug, PartialEq)]
pub struct LambdaConfig {
    pub keepalive: Duration,
    pub environment_timeout: Duration,
    pub synchronous_create: bool,
    pub inject_endpoint: bool,
    pub validate_runtimes: bool,
    pub concurrent_executions: u32,
    pub minimum_unreserved: u32,
    pub total_code_size: u64,
    pub code_size_zipped: u64,
    pub code_size_unzipped: u64,
    pub create_request_size: u64,
    pub environment_size: usize,
    pub response_size: u32,
    pub retry_base: Duration,
    /// Characters of function output in the gateway's own log.
    pub truncate_output: usize,
    pub dns: Option<IpAddr>,
    /// Host name that functions use to reach the gateway.
    pub gateway_host: Option<String>,
}

impl Config {
    pub fn resolve(args: ServeArgs, variables: &dyn Variables) -> Result<Self, ConfigError> {
        refuse_unknown(variables)?;
        let read = localstack::Reader::new(variables);
        let engine = match args.engine {
            Some(engine) => engine,
            None => read.engine("LAMBDA_RUNTIME_EXECUTOR")?,
        };
        let program = std::env::current_exe().unwrap_or_default();
        let beside = |name: &str| program.parent().unwrap_or(Path::new(".")).join(name);
        let listen = match args.listen {
            Some(listen) => listen,
            None => read.listen()?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4566))),
        };
        let lambda = read.lambda()?;
        let mut notes = read.notes();
        if read.get("LAMBDA_RUNTIME_EXECUTOR").or(read.get("CONTAINER_RUNTIME")).as_deref() == Some("docker") {
            notes.push("the executor `docker` means the local engine here: sandboxed processes, no Docker".into());
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            listen,
            data_dir: match args.data_dir {
                Some(data_dir) => std::path::absolute(&data_dir).unwrap_or(data_dir),
                None => default_data_dir(variables)?,
            },
            engine,
            upstream: args.upstream,
            agent: args.agent.unwrap_or_else(|| beside("warmpod-agent")),
            runtimes_dir: args.runtimes_dir.unwrap_or_else(|| beside("runtimes")),
            network: args.network,
            require_isolation: args.require_isolation,
            exact_runtimes: args.exact_runtimes,
            cpu_quota: args.cpu_quota,
            generic_workers: args.generic_workers,
            event_loops: args.event_loops.unwrap_or(cores / 2).max(1),
            max_connections: args.max_connections,
            shutdown_grace: Duration::from_secs(args.shutdown_grace),
            orphan_timeout: Duration::from_secs(args.orphan_timeout),
            runtime_dir: variables.get("XDG_RUNTIME_DIR").map(PathBuf::from),
            path: variables.get("PATH"),
            home: variables.get("HOME").map(PathBuf::from),
            lambda,
            notes,
        })
    }
}

/// The folder for data where none was named: one that this user can write.
pub fn default_data_dir(variables: &dyn Variables) -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/warmpod".into());
    }
    if let Some(data) = variables.get("XDG_DATA_HOME").filter(|data| data.starts_with('/')) {
        return Ok(Path::new(&data).join("warmpod"));
    }
    let home = variables.get("HOME").filter(|home| home.starts_with('/')).ok_or(ConfigError::NoDataDir)?;
    Ok(Path::new(&home).join(".local/share/warmpod"))
}

fn refuse_unknown(variables: &dyn Variables) -> Result<(), ConfigError> {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    let known = |name: &str| {
        name == "WARMPOD_LOG"
            || name.starts_with("WARMPOD_TEST_")
            || command.get_arguments().any(|flag| flag.get_env().is_some_and(|env| env == name))
    };
    match variables.names().into_iter().find(|name| name.starts_with("WARMPOD_") && !known(name)) {
        Some(unknown) => Err(ConfigError::Unknown(unknown)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
