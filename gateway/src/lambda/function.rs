//! Functions: create, read, list, delete. <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>

use super::Lambda;
use super::catalog::{FunctionId, FunctionRecord, LATEST, VersionRecord};
use super::configuration::{self, check_environment, check_runtime};
use super::error::LambdaError;
use super::lifecycle::runtime_version_config;
use super::tag::check_count;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::model::lambda::{
    Concurrency, CreateFunctionRequest, DeleteFunctionRequest, DeleteFunctionResponse, EphemeralStorage,
    FunctionConfiguration, GetFunctionConfigurationRequest, GetFunctionRequest, GetFunctionResponse,
    ListFunctionsRequest, ListFunctionsResponse, SnapStartResponse, TracingConfigResponse,
};
use warmpod_protocol::{Caller, FunctionReference};

/// A page's size where none is asked for, and the most of it.
const PAGE: usize = 50;

pub async fn create(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: CreateFunctionRequest,
) -> Result<FunctionConfiguration, LambdaError> {
    let name = FunctionReference::parse_new(&request.function_name, caller)?;
    refuse_what_is_missing(&request)?;
    if request.runtime.is_none() || request.handler.is_none() && !is_provided(request.runtime.as_deref()) {
        return Err(LambdaError::InvalidParameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.".into(),
        ));
    }
    check_runtime(request.runtime.as_deref(), lambda.config.validate_runtimes)?;
    let variables = request.environment.as_ref().and_then(|environment| environment.variables.as_ref());
    check_environment(variables, lambda.config.environment_size)?;
    let tags = request.tags.clone().unwrap_or_default();
    check_count(&tags)?;
    let id = FunctionId {
        arn: name.arn(),
        account: name.account.to_owned(),
        region: name.region.to_owned(),
        name: name.name.to_owned(),
    };
    if lambda.catalog.get(&id.arn).is_some() {
        return Err(LambdaError::FunctionExists(id.name));
    }
    let used = lambda.code_used(&id.account, &id.region);
    let stored = lambda.take_code(caller, request.code.clone(), used).await?;
    let mut configuration = configured(&request, &id);
    stored.describe(&mut configuration);
    let (arn, generation) = (id.arn.clone(), Uuid::new_v4());
    let record = FunctionRecord {
        id,
        tags,
        reserved_concurrency: None,
        latest: VersionRecord { configuration, code: stored.digest.hex(), generation },
        before_update: None,
        versions: BTreeMap::new(),
        last_version: 0,
        aliases: BTreeMap::new(),
    };
    let change = lambda.catalog.create(record)?;
    lambda.finish_update(change, &arn, generation, request.publish == Some(true)).await
}

/// What a request may ask that is not here: refused by name, never taken and forgotten.
fn refuse_what_is_missing(request: &CreateFunctionRequest) -> Result<(), LambdaError> {
    let image = request.package_type.as_deref() == Some("Image") || request.code.image_uri.is_some();
    let missing = [
        (image, "PackageType Image"),
        (request.layers.as_ref().is_some_and(|layers| !layers.is_empty()), "Layers"),
        (request.file_system_configs.as_ref().is_some_and(|list| !list.is_empty()), "FileSystemConfigs"),
        (request.code_signing_config_arn.is_some(), "CodeSigningConfigArn"),
        (request.tenancy_config.is_some(), "TenancyConfig"),
        (request.capacity_provider_config.is_some(), "CapacityProviderConfig"),
        (request.durable_config.is_some(), "DurableConfig"),
    ];
    configuration::refuse(&missing)
}

fn is_provided(runtime: Option<&str>) -> bool {
    runtime.is_some_and(|runtime| runtime.starts_with("provided"))
}

/// The configuration that CreateFunction answers, defaults filled in.
fn configured(request: &CreateFunctionRequest, id: &FunctionId) -> FunctionConfiguration {
    let logging = configuration::logging(None, request.logging_config.as_ref(), &id.name);
    FunctionConfiguration {
        function_name: Some(id.name.clone()),
        function_arn: Some(id.arn.clone()),
        runtime: request.runtime.clone(),
        role: Some(request.role.clone()),
        handler: request.handler.clone(),
        description: Some(request.description.clone().unwrap_or_default()),
        timeout: Some(request.timeout.unwrap_or(3)),
        memory_size: Some(request.memory_size.unwrap_or(128)),
        last_modified: Some(crate::clock::wall().last_modified()),
        version: Some(LATEST.into()),
        vpc_config: request.vpc_config.as_ref().map(configuration::vpc),
        dead_letter_config: request.dead_letter_config.clone(),
        environment: request.environment.as_ref().map(configuration::environment),
        kms_key_arn: request.kms_key_arn.clone(),
        tracing_config: Some(TracingConfigResponse {
            mode: Some(request.tracing_config.as_ref().and_then(|t| t.mode.clone()).unwrap_or("PassThrough".into())),
        }),
        revision_id: Some(Uuid::new_v4().to_string()),
        state: Some("Pending".into()),
        state_reason: Some("The function is being created.".into()),
        state_reason_code: Some("Creating".into()),
        package_type: Some("Zip".into()),
        architectures: Some(request.architectures.clone().unwrap_or_else(|| vec!["x86_64".into()])),
        ephemeral_storage: Some(request.ephemeral_storage.clone().unwrap_or(EphemeralStorage { size: 512 })),
        snap_start: Some(SnapStartResponse {
            apply_on: Some(request.snap_start.as_ref().and_then(|s| s.apply_on.clone()).unwrap_or("None".into())),
            optimization_status: Some("Off".into()),
        }),
        runtime_version_config: runtime_version_config(request.runtime.as_deref().unwrap_or_default(), &id.region),
        logging_config: Some(logging),
        ..FunctionConfiguration::default()
    }
}

pub async fn get(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: GetFunctionRequest,
) -> Result<GetFunctionResponse, LambdaError> {
    let (function, version) = lambda.read(&request.function_name, request.qualifier.as_deref(), caller).await?;
    let record = &function.record;
    Ok(GetFunctionResponse {
        code: Some(lambda.code_location(&version.code)),
        configuration: Some(version.configuration),
        tags: (!record.tags.is_empty()).then(|| record.tags.clone()),
        concurrency: record
            .reserved_concurrency
            .map(|n| Concurrency { reserved_concurrent_executions: Some(i32::try_from(n).unwrap_or(i32::MAX)) }),
        ..GetFunctionResponse::default()
    })
}

pub async fn get_configuration(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: GetFunctionConfigurationRequest,
) -> Result<FunctionConfiguration, LambdaError> {
    let (_, version) = lambda.read(&request.function_name, request.qualifier.as_deref(), caller).await?;
    Ok(version.configuration)
}

pub async fn list(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: ListFunctionsRequest,
) -> Result<ListFunctionsResponse, LambdaError> {
    let all = request.function_version.as_deref() == Some("ALL");
    let functions = lambda.catalog.of(caller.account, caller.region);
    let entries = functions.iter().flat_map(|function| {
        let record = &function.record;
        let published = record.versions.values().filter(move |_| all);
        std::iter::once(&record.latest).chain(published).map(listed).collect::<Vec<_>>()
    });
    let (functions, next_marker) = page(entries, request.marker.as_deref(), request.max_items)?;
    Ok(ListFunctionsResponse { functions: Some(functions), next_marker })
}

/// A configuration as lists show it: with its qualified ARN, without what belongs to its state.
pub fn listed(version: &VersionRecord) -> FunctionConfiguration {
    let configuration = version.configuration.clone();
    let arn = configuration.function_arn.unwrap_or_default();
    let number = configuration.version.as_deref().unwrap_or(LATEST);
    FunctionConfiguration {
        function_arn: Some(match arn.ends_with(&format!(":{number}")) {
            true => arn,
            false => format!("{arn}:{number}"),
        }),
        state: None,
        state_reason: None,
        state_reason_code: None,
        last_update_status: None,
        last_update_status_reason: None,
        last_update_status_reason_code: None,
        runtime_version_config: None,
        ..configuration
    }
}

/// One page of a list. The marker is the last entry's place in the order, so that what comes and goes in between shifts
/// nothing.
pub fn page(
    entries: impl Iterator<Item = FunctionConfiguration>,
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Result<(Vec<FunctionConfiguration>, Option<String>), LambdaError> {
    let invalid = || LambdaError::InvalidParameter("The provided marker is invalid.".into());
    let after = match marker {
        None => None,
        Some(marker) => {
            let bytes = URL_SAFE_NO_PAD.decode(marker).map_err(|_| invalid())?;
            Some(String::from_utf8(bytes).map_err(|_| invalid())?)
        }
    };
    let size = max_items.map_or(PAGE, |items| usize::try_from(items).unwrap_or(PAGE)).clamp(1, PAGE);
    let mut rest = entries.filter(|entry| after.as_ref().is_none_or(|after| place(entry) > *after));
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => Some(URL_SAFE_NO_PAD.encode(place(last))),
        _ => None,
    };
    Ok((page, next))
}

/// By name, then by version, the latest first. The separator sorts before every character of a name.
fn place(entry: &FunctionConfiguration) -> String {
    let number: u64 = entry.version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
    format!("{}\u{1}{number:020}", entry.function_name.as_deref().unwrap_or_default())
}

pub async fn delete(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: DeleteFunctionRequest,
) -> Result<DeleteFunctionResponse, LambdaError> {
    let name = FunctionReference::parse(&request.function_name, request.qualifier.as_deref(), caller)?;
    let arn = name.arn();
    match name.qualifier {
        Some(LATEST) => {
            return Err(LambdaError::InvalidParameter(
                "$LATEST version cannot be deleted without deleting the function.".into(),
            ));
        }
        Some(alias) if !alias.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(LambdaError::InvalidParameter("Deletion of aliases is not currently supported.".into()));
        }
        Some(number) => lambda.delete_version(&arn, number).await?,
        None => {
            let change = lambda.catalog.delete(&arn)?;
            let function = change.before.clone();
            change.durable().await?;
            if let Some(function) = function {
                lambda.retire_all(&function).await;
            }
        }
    }
    Ok(DeleteFunctionResponse::default())
}
