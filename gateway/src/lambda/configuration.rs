//! A function's configuration: what may be set, and UpdateFunctionConfiguration.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html>

use super::Lambda;
use super::catalog::FunctionRecord;
use super::code::check_revision;
use super::error::LambdaError;
use super::lifecycle::{begin_update, runtime_version_config};
use super::variables::RESERVED;
use indexmap::IndexMap;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::Caller;
use warmpod_protocol::model::lambda::{
    Environment, EnvironmentResponse, FunctionConfiguration, LoggingConfig, RUNTIMES, SnapStartResponse,
    TracingConfigResponse, UpdateFunctionConfigurationRequest, VpcConfig, VpcConfigResponse,
};

/// A function's variables, in the order in which they were given.
pub type Variables = IndexMap<String, String>;

/// Create and update are refused by AWS; here only with `LAMBDA_RUNTIME_VALIDATION=1`.
const DEPRECATED: &[&str] = &[
    "java8",
    "go1.x",
    "provided",
    "ruby2.5",
    "ruby2.7",
    "nodejs",
    "nodejs4.3",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "python2.7",
    "python3.6",
    "python3.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
];
/// Only in the newest model: accepted, and not in the list that the error prints.
const NEWEST: &[&str] = &["nodejs26.x", "python3.15", "ruby4.0", "java8.al2023", "java11.al2023", "java17.al2023"];

pub fn check_runtime(runtime: Option<&str>, validate: bool) -> Result<(), LambdaError> {
    let Some(runtime) = runtime else { return Ok(()) };
    let known = RUNTIMES.contains(&runtime) || NEWEST.contains(&runtime);
    if known {
        return Ok(());
    }
    if DEPRECATED.contains(&runtime) {
        return match validate {
            false => Ok(()),
            true => Err(LambdaError::InvalidParameter(format!(
                "The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions."
            ))),
        };
    }
    Err(LambdaError::InvalidParameter(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
        RUNTIMES.join(", ")
    )))
}

pub fn check_environment(variables: Option<&Variables>, limit: usize) -> Result<(), LambdaError> {
    let Some(variables) = variables else { return Ok(()) };
    let reserved: Vec<_> =
        variables.keys().filter(|name| RESERVED.contains(&name.as_str())).map(String::as_str).collect();
    if !reserved.is_empty() {
        return Err(LambdaError::InvalidParameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let measured = serde_json::to_string(variables).map_err(|error| LambdaError::Internal(error.into()))?;
    if measured.len() > limit {
        return Err(LambdaError::InvalidParameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(())
}

/// Names the first thing that was asked for and is not here.
pub fn refuse(missing: &[(bool, &str)]) -> Result<(), LambdaError> {
    match missing.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(LambdaError::NotImplemented(format!("{what} is not implemented yet by this endpoint"))),
        None => Ok(()),
    }
}

pub fn environment(given: &Environment) -> EnvironmentResponse {
    EnvironmentResponse { variables: Some(given.variables.clone().unwrap_or_default()), error: None }
}

pub fn vpc(given: &VpcConfig) -> VpcConfigResponse {
    let subnets = given.subnet_ids.clone().unwrap_or_default();
    VpcConfigResponse {
        // The network is not emulated; the id only says whether there is one.
        vpc_id: Some(if subnets.is_empty() { String::new() } else { "vpc-00000000000000000".into() }),
        subnet_ids: Some(subnets),
        security_group_ids: Some(given.security_group_ids.clone().unwrap_or_default()),
        ipv6_allowed_for_dual_stack: Some(given.ipv6_allowed_for_dual_stack.unwrap_or(false)),
    }
}

/// What was, changed by what is given. JSON has levels, Text has none.
pub fn logging(before: Option<&LoggingConfig>, given: Option<&LoggingConfig>, function: &str) -> LoggingConfig {
    let before = before.cloned().unwrap_or_default();
    let given = given.cloned().unwrap_or_default();
    let log_format = given.log_format.or(before.log_format).unwrap_or_else(|| "Text".into());
    let json = log_format == "JSON";
    let level = |given: Option<String>, before: Option<String>| given.or(before).unwrap_or_else(|| "INFO".into());
    LoggingConfig {
        application_log_level: json.then(|| level(given.application_log_level, before.application_log_level)),
        system_log_level: json.then(|| level(given.system_log_level, before.system_log_level)),
        log_group: Some(given.log_group.or(before.log_group).unwrap_or_else(|| format!("/aws/lambda/{function}"))),
        log_format: Some(log_format),
    }
}

/// UpdateFunctionConfiguration
pub async fn update(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: UpdateFunctionConfigurationRequest,
) -> Result<FunctionConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    refuse(&[
        (request.layers.as_ref().is_some_and(|layers| !layers.is_empty()), "Layers"),
        (request.file_system_configs.as_ref().is_some_and(|list| !list.is_empty()), "FileSystemConfigs"),
        (request.image_config.is_some(), "ImageConfig"),
        (request.capacity_provider_config.is_some(), "CapacityProviderConfig"),
        (request.durable_config.is_some(), "DurableConfig"),
    ])?;
    check_runtime(request.runtime.as_deref(), lambda.config.validate_runtimes)?;
    let variables = request.environment.as_ref().and_then(|environment| environment.variables.as_ref());
    check_environment(variables, lambda.config.environment_size)?;
    let generation = Uuid::new_v4();
    let ((), change) = lambda.catalog.change(&arn, |function| {
        let record = &mut function.record;
        begin_update(record)?;
        check_revision(record, request.revision_id.as_deref())?;
        apply(record, &request);
        record.latest.generation = generation;
        record.latest.new_revision();
        function.prepared = None;
        Ok(())
    })?;
    lambda.finish_update(change, &arn, generation, false).await
}

fn apply(record: &mut FunctionRecord, request: &UpdateFunctionConfigurationRequest) {
    let (name, region) = (record.id.name.clone(), record.id.region.clone());
    let configuration = &mut record.latest.configuration;
    fn set<T: Clone>(member: &mut Option<T>, given: &Option<T>) {
        if let Some(given) = given {
            *member = Some(given.clone());
        }
    }
    set(&mut configuration.role, &request.role);
    set(&mut configuration.handler, &request.handler);
    set(&mut configuration.description, &request.description);
    set(&mut configuration.timeout, &request.timeout);
    set(&mut configuration.memory_size, &request.memory_size);
    set(&mut configuration.vpc_config, &request.vpc_config.as_ref().map(vpc));
    set(&mut configuration.environment, &request.environment.as_ref().map(environment));
    set(&mut configuration.dead_letter_config, &request.dead_letter_config);
    set(&mut configuration.kms_key_arn, &request.kms_key_arn);
    set(&mut configuration.ephemeral_storage, &request.ephemeral_storage);
    if let Some(runtime) = &request.runtime {
        configuration.runtime = Some(runtime.clone());
        configuration.runtime_version_config = runtime_version_config(runtime, &region);
    }
    if let Some(tracing) = &request.tracing_config {
        configuration.tracing_config = Some(TracingConfigResponse { mode: tracing.mode.clone() });
    }
    if let Some(snap_start) = &request.snap_start {
        configuration.snap_start =
            Some(SnapStartResponse { apply_on: snap_start.apply_on.clone(), optimization_status: Some("Off".into()) });
    }
    configuration.logging_config =
        Some(logging(configuration.logging_config.as_ref(), request.logging_config.as_ref(), &name));
    configuration.last_modified = Some(crate::clock::wall().last_modified());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_runtime_is_refused_with_the_printed_list() {
        let error = check_runtime(Some("Python3.12"), false).unwrap_err().to_string();
        assert!(error.starts_with("Value Python3.12 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, "));
        assert!(error.ends_with("java8.al2] or be a valid ARN"), "{error}");
    }

    #[test]
    fn deprecated_runtimes_are_refused_only_when_asked_to() {
        assert!(check_runtime(Some("python3.7"), false).is_ok());
        let error = check_runtime(Some("python3.7"), true).unwrap_err().to_string();
        assert!(error.starts_with("The runtime parameter of python3.7 is no longer supported"));
    }

    #[test]
    fn the_environment_is_measured_as_compact_json() {
        let variables = |n: usize| Variables::from([("LARGE_VAR".to_owned(), "x".repeat(n))]);
        // {"LARGE_VAR":"…"} is 16 bytes around the value.
        assert!(check_environment(Some(&variables(4096 - 16)), 4096).is_ok());
        let error = check_environment(Some(&variables(4096 - 15)), 4096).unwrap_err().to_string();
        assert!(error.contains("exceeded the 4KB limit. String measured: {\"LARGE_VAR\":\"xxx"));
    }

    #[test]
    fn json_logging_has_levels_and_text_drops_them() {
        let given = |format: &str| LoggingConfig { log_format: Some(format.into()), ..LoggingConfig::default() };
        let json = logging(None, Some(&given("JSON")), "f");
        assert_eq!(json.system_log_level.as_deref(), Some("INFO"));
        let text = logging(Some(&json), Some(&given("Text")), "f");
        assert_eq!((text.application_log_level, text.log_group.as_deref()), (None, Some("/aws/lambda/f")));
    }
}
