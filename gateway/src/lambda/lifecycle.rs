//! The life of a function version: from Pending to Active or Failed, through updates, to its end.
//!
//! ```text
//!  create ──> Pending ──prepare──> prepared ──settle──> Active | Failed
//!  update ──> InProgress ─prepare─> prepared ──settle──> Successful | Failed (what was before stays in force)
//! ```
//! *Preparing* registers the version with the pool. *Settling* tells: at the first read after that, or a little later by
//! itself. So a waiter's first look sees Active, while a second update that follows at once is refused, as on AWS.
//! <https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html>

use super::Lambda;
use super::catalog::{Failure, Function, FunctionId, FunctionRecord, LATEST, Prepared, VersionRecord};
use super::error::LambdaError;
use super::package;
use super::variables::{Endpoint, Identity, variables};
use crate::pool::identity::InstallationKey;
use crate::pool::{Group, GroupSpec, Limits, MemoryMib, StartError, WorkerTemplate};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use warmpod_link::Claim;
use warmpod_link::control::{Code, EnvironmentId, LogFormat};
use warmpod_protocol::model::lambda::{FunctionConfiguration, RuntimeVersionConfig};

/// How long a change that is done stays untold while nobody looks.
const UNTOLD: Duration = Duration::from_millis(250);
/// AWS's limit of the init phase for functions on demand.
const INIT_TIMEOUT_MS: u32 = 10_000;
/// What may pass between the end of an invocation's own time and the gateway's hearing of it.
const ANSWER_GRACE: Duration = Duration::from_secs(10);

impl Lambda {
    /// Prepares `$LATEST` in the background and settles it in time.
    pub fn activate(self: &Arc<Self>, arn: String, generation: Uuid) {
        let lambda = self.clone();
        self.tasks.spawn(async move {
            lambda.prepare(&arn, generation).await;
            tokio::time::sleep(UNTOLD).await;
            lambda.settle(&arn).await;
        });
    }

    /// The same, and waits: for `LAMBDA_SYNCHRONOUS_CREATE` and for the start.
    pub async fn activate_now(self: &Arc<Self>, arn: &str, generation: Uuid) {
        self.prepare(arn, generation).await;
        self.settle(arn).await;
    }

    async fn prepare(self: &Arc<Self>, arn: &str, generation: Uuid) {
        let Some(function) = self.catalog.get(arn) else { return };
        if function.record.latest.generation != generation {
            return;
        }
        let outcome = self.register(&function, &function.record.latest).await;
        let prepared = Prepared { generation, outcome };
        let mut unused = None;
        self.catalog.touch(arn, |function| match function.record.latest.generation == generation {
            true => function.prepared = Some(prepared.clone()),
            false => unused = Some(prepared.clone()),
        });
        if self.catalog.get(arn).is_none() {
            unused = Some(prepared);
        }
        if let Some(Prepared { outcome: Ok(group), .. }) = unused {
            self.pool.retire(&group).await;
        }
    }

    /// Makes the version's environments possible: its code is unpacked, its runtime is here, the pool knows it.
    pub async fn register(
        self: &Arc<Self>,
        function: &Function,
        version: &VersionRecord,
    ) -> Result<Arc<Group>, Failure> {
        let configuration = &version.configuration;
        let runtime = configuration.runtime.clone().unwrap_or_default();
        self.pool.offers(&runtime).map_err(|error| Failure {
            code: match error {
                StartError::RuntimeMissing(_) => "InvalidRuntime",
                StartError::Failed { .. } => "InternalError",
            },
            reason: error.to_string(),
        })?;
        let internal = |reason: String| Failure { code: "InternalError", reason };
        let digest = version.digest().ok_or_else(|| internal("the stored code has no digest".into()))?;
        let (blobs, limit) = (self.blobs.clone(), self.config.code_size_unzipped);
        let unpacked = tokio::task::spawn_blocking(move || {
            blobs.code(digest, |into| {
                let zip = std::fs::File::open(blobs.path(digest))?;
                package::unpack(std::io::BufReader::new(zip), into, limit)
            })
        });
        let code = match unpacked.await {
            Ok(Ok(code)) => code,
            Ok(Err(error)) => return Err(Failure { code: "InvalidZipFileException", reason: error.to_string() }),
            Err(error) => return Err(internal(error.to_string())),
        };
        let memory = MemoryMib(u32::try_from(configuration.memory_size.unwrap_or(128)).unwrap_or(128));
        let ephemeral = configuration.ephemeral_storage.as_ref().map_or(512, |storage| storage.size);
        let ephemeral = MemoryMib(u32::try_from(ephemeral).unwrap_or(512));
        let timeout = Duration::from_secs(u64::try_from(configuration.timeout.unwrap_or(3)).unwrap_or(3));
        let environment = EnvironmentId {
            function_arn: function.record.id.arn.clone(),
            version: configuration.version.clone().unwrap_or_else(|| LATEST.into()),
            generation: version.generation,
        };
        let claim = ClaimMaker {
            key: self.key.clone(),
            endpoint: self.endpoint.clone().filter(|_| self.config.inject_endpoint),
            max_response: self.config.response_size,
            function: function.record.id.clone(),
            configuration: configuration.clone(),
            environment: environment.clone(),
            code: Code::Directory(code),
            timeout,
            memory,
            ephemeral,
        };
        let (name, truncate) = (function.record.id.name.clone(), self.config.truncate_output);
        let spec = GroupSpec {
            environment,
            template: WorkerTemplate { runtime },
            limits: Limits { memory, ephemeral },
            concurrency: function.limits.clone(),
            keepalive: self.config.keepalive,
            start_timeout: self.config.environment_timeout,
            // A repeated init counts against the function's timeout; the one before may take its own time.
            longest: timeout + Duration::from_millis(INIT_TIMEOUT_MS.into()) + ANSWER_GRACE,
            claim: Box::new(move || claim.make()),
            logs: Box::new(move |events| {
                // Nearly always nobody looks, and lines come with every invocation.
                if !tracing::enabled!(target: "warmpod::function", tracing::Level::DEBUG) {
                    return;
                }
                for event in events {
                    let line = String::from_utf8_lossy(&event.line);
                    let line: String = line.trim_end().chars().take(truncate).collect();
                    tracing::debug!(target: "warmpod::function", function = %name, "{line}");
                }
            }),
        };
        let group = self.pool.register(spec).await;
        self.note_code_in_use(&group, digest);
        Ok(group)
    }

    /// Tells what preparing found out, if it has.
    pub async fn settle(&self, arn: &str) {
        let Some(function) = self.catalog.get(arn) else { return };
        if function.prepared.is_none() {
            return;
        }
        let mut retired = None;
        let settled = self.catalog.change(arn, |function| {
            let Some(prepared) = function.prepared.take() else { return Ok(()) };
            if prepared.generation != function.record.latest.generation {
                return Ok(());
            }
            match prepared.outcome {
                Ok(group) => {
                    activated(&mut function.record);
                    retired = function.groups.insert(LATEST.into(), group);
                }
                Err(failure) => failed(&mut function.record, &failure),
            }
            Ok(())
        });
        match settled {
            Ok(((), change)) => {
                if let Err(error) = change.durable().await {
                    // Taken back with what was prepared: the old environments stay in force and the next read tries again.
                    tracing::error!(%arn, %error, "a function's new state could not be stored");
                    retired = None;
                }
            }
            Err(error) => tracing::debug!(%arn, %error, "nothing to settle"),
        }
        if let Some(group) = retired {
            self.pool.retire(&group).await;
        }
    }

    /// Ends everything that runs of a function that is no more.
    pub async fn retire_all(&self, function: &Function) {
        let _ = function.limits.reserve(None);
        for group in function.groups.values() {
            self.pool.retire(group).await;
        }
        if let Some(Prepared { outcome: Ok(group), .. }) = &function.prepared {
            self.pool.retire(group).await;
        }
    }
}

fn activated(record: &mut FunctionRecord) {
    record.before_update = None;
    let latest = &mut record.latest;
    let configuration = &mut latest.configuration;
    configuration.state = Some("Active".into());
    (configuration.state_reason, configuration.state_reason_code) = (None, None);
    configuration.last_update_status = Some("Successful".into());
    (configuration.last_update_status_reason, configuration.last_update_status_reason_code) = (None, None);
    latest.new_revision();
}

fn failed(record: &mut FunctionRecord, failure: &Failure) {
    let (reason, code) = (Some(failure.reason.clone()), Some(failure.code.to_owned()));
    match record.before_update.take() {
        Some(before) => {
            record.latest = *before;
            let configuration = &mut record.latest.configuration;
            configuration.last_update_status = Some("Failed".into());
            (configuration.last_update_status_reason, configuration.last_update_status_reason_code) = (reason, code);
        }
        None => {
            let configuration = &mut record.latest.configuration;
            configuration.state = Some("Failed".into());
            (configuration.state_reason, configuration.state_reason_code) = (reason, code);
        }
    }
    record.latest.new_revision();
}

/// Marks `latest` as being updated; what was before stays in force until it is settled.
pub fn begin_update(record: &mut FunctionRecord) -> Result<(), LambdaError> {
    if record.latest.state() == "Pending" || record.latest.is_updating() {
        return Err(LambdaError::UpdateInProgress(record.id.arn.clone()));
    }
    // A function that never became active has nothing that could stay in force: the update is its second try.
    if record.latest.state() == "Active" {
        record.before_update = Some(Box::new(record.latest.clone()));
    }
    let configuration = &mut record.latest.configuration;
    configuration.last_update_status = Some("InProgress".into());
    configuration.last_update_status_reason = Some("The function is being created.".into());
    configuration.last_update_status_reason_code = Some("Creating".into());
    Ok(())
}

/// The version that AWS would name for a runtime: `python:3.12.v0`, and an ARN of the same form as AWS's.
pub fn runtime_version(runtime: &str, region: &str) -> Option<(String, String)> {
    let split = runtime.find(|c: char| !c.is_ascii_alphabetic())?;
    let (language, version) = (&runtime[..split], runtime[split..].trim_start_matches('.'));
    let hash = crate::store::blob::Digest256::of(runtime.as_bytes()).hex();
    Some((format!("{language}:{version}.v0"), format!("arn:aws:lambda:{region}::runtime:{hash}")))
}

pub fn runtime_version_config(runtime: &str, region: &str) -> Option<RuntimeVersionConfig> {
    let (_, arn) = runtime_version(runtime, region)?;
    Some(RuntimeVersionConfig { runtime_version_arn: Some(arn), error: None })
}

/// Makes the claim of one more environment. Holds no [`Lambda`]: that holds the groups, which hold these.
struct ClaimMaker {
    key: InstallationKey,
    endpoint: Option<Endpoint>,
    max_response: u32,
    function: FunctionId,
    configuration: FunctionConfiguration,
    environment: EnvironmentId,
    code: Code,
    timeout: Duration,
    memory: MemoryMib,
    ephemeral: MemoryMib,
}

impl ClaimMaker {
    fn make(&self) -> Claim {
        let configuration = &self.configuration;
        let version = &self.environment.version;
        let id = Uuid::new_v4();
        let date = crate::clock::wall().date_path();
        let logging = configuration.logging_config.clone().unwrap_or_default();
        let own_group = logging.log_group.as_deref() != Some(&format!("/aws/lambda/{}", self.function.name));
        let name = if own_group { self.function.name.as_str() } else { "" };
        let log_stream = format!("{date}/{name}[{version}]{}", id.simple());
        let secret = self.key.sign_text(b"secret access key", &log_stream);
        let token = self.key.sign_text(b"session token", &log_stream);
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        let identity = Identity { log_stream, secret_access_key: hex(&secret.0[..20]), session_token: hex(&token.0) };
        let runtime = configuration.runtime.as_deref().unwrap_or_default();
        Claim {
            environment: self.environment.clone(),
            function_name: self.function.name.clone(),
            invoked_arn: self.function.arn.clone(),
            account: self.function.account.clone(),
            handler: configuration.handler.clone().unwrap_or_default(),
            memory_mib: self.memory.0,
            timeout_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
            ephemeral_mib: self.ephemeral.0,
            init_timeout_ms: INIT_TIMEOUT_MS,
            max_response: self.max_response,
            variables: variables(&self.function, configuration, identity, self.endpoint.as_ref()),
            code: self.code.clone(),
            layers: Vec::new(),
            log_format: match logging.log_format.as_deref() {
                Some("JSON") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            runtime_version: runtime_version(runtime, &self.function.region),
            initialization_type: "on-demand".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_versions_have_awss_form() {
        let name = |runtime| runtime_version(runtime, "us-east-1").map(|(name, _)| name);
        assert_eq!(name("python3.12").as_deref(), Some("python:3.12.v0"));
        assert_eq!(name("nodejs22.x").as_deref(), Some("nodejs:22.x.v0"));
        assert_eq!(name("provided.al2023").as_deref(), Some("provided:al2023.v0"));
        let (_, arn) = runtime_version("python3.12", "us-east-1").unwrap();
        assert_eq!(arn.len(), "arn:aws:lambda:us-east-1::runtime:".len() + 64);
    }
}
