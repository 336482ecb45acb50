//! Aliases: names for versions, with a second version for a share of the calls.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html>

use super::Lambda;
use super::catalog::{FunctionRecord, LATEST};
use super::error::LambdaError;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::Caller;
use warmpod_protocol::model::lambda::{
    AliasConfiguration, AliasRoutingConfiguration, CreateAliasRequest, DeleteAliasRequest, GetAliasRequest,
    ListAliasesRequest, ListAliasesResponse, UpdateAliasRequest,
};

/// A list's page.
const PAGE: usize = 50;

pub async fn create(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: CreateAliasRequest,
) -> Result<AliasConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    if lambda.catalog.get(&arn).is_none() {
        return Err(LambdaError::FunctionNotFound(format!("{arn}:{}", request.function_version)));
    }
    let (alias, change) = lambda.catalog.change(&arn, |function| {
        let record = &mut function.record;
        let alias_arn = format!("{}:{}", record.id.arn, request.name);
        check_version(record, &request.function_version)?;
        if record.aliases.contains_key(&request.name) {
            return Err(LambdaError::AliasExists(alias_arn));
        }
        let alias = AliasConfiguration {
            alias_arn: Some(alias_arn),
            name: Some(request.name.clone()),
            function_version: Some(request.function_version.clone()),
            description: Some(request.description.clone().unwrap_or_default()),
            routing_config: routing(record, &request.function_version, request.routing_config.as_ref())?,
            revision_id: Some(Uuid::new_v4().to_string()),
        };
        record.aliases.insert(request.name.clone(), alias.clone());
        Ok(alias)
    })?;
    change.durable().await?;
    Ok(alias)
}

pub async fn get(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: GetAliasRequest,
) -> Result<AliasConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    let not_found = || LambdaError::AliasNotFound(format!("{arn}:{}", request.name));
    let function = lambda.catalog.get(&arn).ok_or_else(not_found)?;
    function.record.aliases.get(&request.name).cloned().ok_or_else(not_found)
}

pub async fn update(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: UpdateAliasRequest,
) -> Result<AliasConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    let (alias, change) = lambda.catalog.change(&arn, |function| {
        let record = &mut function.record;
        let mut alias = record
            .aliases
            .get(&request.name)
            .cloned()
            .ok_or_else(|| LambdaError::AliasToUpdateNotFound(format!("{}:{}", record.id.arn, request.name)))?;
        if request.revision_id.is_some() && request.revision_id != alias.revision_id {
            return Err(LambdaError::RevisionMismatch);
        }
        if let Some(version) = &request.function_version {
            check_version(record, version)?;
            alias.function_version = Some(version.clone());
        }
        if let Some(description) = &request.description {
            alias.description = Some(description.clone());
        }
        let version = alias.function_version.clone().unwrap_or_default();
        let wanted = request.routing_config.as_ref().or(alias.routing_config.as_ref());
        alias.routing_config = routing(record, &version, wanted)?;
        alias.revision_id = Some(Uuid::new_v4().to_string());
        record.aliases.insert(request.name.clone(), alias.clone());
        Ok(alias)
    })?;
    change.durable().await?;
    Ok(alias)
}

pub async fn delete(lambda: &Arc<Lambda>, caller: &Caller<'_>, request: DeleteAliasRequest) -> Result<(), LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    if lambda.catalog.get(&arn).is_none_or(|function| !function.record.aliases.contains_key(&request.name)) {
        return Ok(());
    }
    let ((), change) = lambda.catalog.change(&arn, |function| {
        function.record.aliases.remove(&request.name);
        Ok(())
    })?;
    change.durable().await?;
    Ok(())
}

pub async fn list(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: ListAliasesRequest,
) -> Result<ListAliasesResponse, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    let function = lambda.catalog.find(&arn)?;
    let wanted = |alias: &&AliasConfiguration| {
        request.function_version.is_none() || request.function_version == alias.function_version
    };
    let after = |alias: &&AliasConfiguration| request.marker.is_none() || alias.name > request.marker;
    let size = request.max_items.map_or(PAGE, |items| usize::try_from(items).unwrap_or(PAGE)).clamp(1, 10_000);
    let mut rest = function.record.aliases.values().filter(wanted).filter(after).cloned();
    let aliases: Vec<_> = rest.by_ref().take(size).collect();
    // Alias names are plain words: the last one is its own marker.
    let next_marker = rest.next().and_then(|_| aliases.last().and_then(|alias| alias.name.clone()));
    Ok(ListAliasesResponse { aliases: Some(aliases), next_marker })
}

fn check_version(record: &FunctionRecord, version: &str) -> Result<(), LambdaError> {
    match record.version(version) {
        Some(_) => Ok(()),
        None => Err(LambdaError::FunctionNotFound(format!("{}:{version}", record.id.arn))),
    }
}

/// The routing that is kept: `None` where no version is added.
fn routing(
    record: &FunctionRecord,
    version: &str,
    given: Option<&AliasRoutingConfiguration>,
) -> Result<Option<AliasRoutingConfiguration>, LambdaError> {
    let weights = given.and_then(|routing| routing.additional_version_weights.as_ref());
    let Some((additional, _)) = weights.and_then(|weights| weights.first()) else { return Ok(None) };
    if weights.is_some_and(|weights| weights.len() > 1) {
        return Err(LambdaError::InvalidParameter(
            "Number of items in AdditionalVersionWeights cannot be greater than 1".into(),
        ));
    }
    if version == LATEST {
        return Err(LambdaError::InvalidParameterUntyped(
            "$LATEST is not supported for an alias pointing to more than 1 version".into(),
        ));
    }
    if additional == version {
        return Err(LambdaError::InvalidParameter(format!(
            "Invalid function version {version}. Function version {version} is already included in routing configuration."
        )));
    }
    check_version(record, additional)?;
    Ok(given.cloned())
}

/// The version that an invocation of the alias runs; `draw` is a random number from 0 up to 1.
pub fn draw_version(alias: &AliasConfiguration, draw: f64) -> &str {
    let weights = alias.routing_config.as_ref().and_then(|routing| routing.additional_version_weights.as_ref());
    match weights.and_then(|weights| weights.first()) {
        Some((additional, weight)) if draw < *weight => additional,
        _ => alias.function_version.as_deref().unwrap_or(LATEST),
    }
}
