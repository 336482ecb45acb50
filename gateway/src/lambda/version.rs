//! Published versions. <https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html>

use super::Lambda;
use super::catalog::{FunctionRecord, VersionRecord};
use super::code::check_revision;
use super::error::LambdaError;
use super::function::{listed, page};
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::Caller;
use warmpod_protocol::model::lambda::{
    FunctionConfiguration, ListVersionsByFunctionRequest, ListVersionsByFunctionResponse, PublishVersionRequest,
};

pub async fn publish(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: PublishVersionRequest,
) -> Result<FunctionConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    lambda.settle(&arn).await;
    lambda.publish(&arn, &request).await
}

impl Lambda {
    pub async fn publish(
        self: &Arc<Self>,
        arn: &str,
        request: &PublishVersionRequest,
    ) -> Result<FunctionConfiguration, LambdaError> {
        let ((version, fresh), change) = self.catalog.change(arn, |function| {
            let record = &mut function.record;
            if record.latest.state() == "Pending" || record.latest.is_updating() {
                return Err(LambdaError::UpdateInProgress(record.id.arn.clone()));
            }
            check_revision(record, request.revision_id.as_deref())?;
            check_code(record, request.code_sha256.as_deref())?;
            if let Some(same) = unchanged(record) {
                return Ok((same.clone(), false));
            }
            record.last_version += 1;
            let version = published(record, request.description.as_deref());
            record.versions.insert(record.last_version, version.clone());
            Ok((version, true))
        })?;
        let function = change.durable().await?;
        if let Some(function) = function.filter(|_| fresh) {
            match self.register(&function, &version).await {
                Ok(group) => {
                    let number = version.configuration.version.clone().unwrap_or_default();
                    self.catalog.touch(arn, |function| {
                        function.groups.insert(number, group);
                    });
                }
                Err(failure) => return Err(LambdaError::Internal(failure.reason.into())),
            }
        }
        Ok(version.configuration)
    }

    /// Removes one version; one that is not there is gone already.
    pub async fn delete_version(self: &Arc<Self>, arn: &str, number: &str) -> Result<(), LambdaError> {
        let mut retired = None;
        let ((), change) = self.catalog.change(arn, |function| {
            let record = &mut function.record;
            let holder = record.aliases.values().find(|alias| alias.function_version.as_deref() == Some(number));
            if let Some(alias) = holder {
                let alias = alias.alias_arn.as_deref().unwrap_or_default();
                return Err(LambdaError::VersionInUse(format!("The version {number} is used by the alias {alias}.")));
            }
            if let Ok(number) = number.parse() {
                record.versions.remove(&number);
            }
            retired = function.groups.remove(number);
            Ok(())
        })?;
        change.durable().await?;
        if let Some(group) = retired {
            self.pool.retire(&group).await;
        }
        Ok(())
    }
}

fn check_code(record: &FunctionRecord, given: Option<&str>) -> Result<(), LambdaError> {
    let current = record.latest.configuration.code_sha256.as_deref().unwrap_or_default();
    match given {
        Some(given) if !given.is_empty() && given != current => Err(LambdaError::InvalidParameter(format!(
            "CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."
        ))),
        _ => Ok(()),
    }
}

/// The newest version, if nothing has changed since it was published.
fn unchanged(record: &FunctionRecord) -> Option<&VersionRecord> {
    let newest = record.versions.get(&record.last_version)?;
    (newest.generation == record.latest.generation).then_some(newest)
}

fn published(record: &FunctionRecord, description: Option<&str>) -> VersionRecord {
    let mut version = record.latest.clone();
    let number = record.last_version.to_string();
    let configuration = &mut version.configuration;
    configuration.function_arn = Some(format!("{}:{number}", record.id.arn));
    configuration.version = Some(number);
    configuration.revision_id = Some(Uuid::new_v4().to_string());
    if let Some(description) = description {
        configuration.description = Some(description.to_owned());
    }
    version
}

pub async fn list(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: ListVersionsByFunctionRequest,
) -> Result<ListVersionsByFunctionResponse, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    let function = lambda.catalog.find(&arn)?;
    let record = &function.record;
    let entries = std::iter::once(&record.latest).chain(record.versions.values()).map(listed);
    let (versions, next_marker) = page(entries, request.marker.as_deref(), request.max_items)?;
    Ok(ListVersionsByFunctionResponse { versions: Some(versions), next_marker })
}
