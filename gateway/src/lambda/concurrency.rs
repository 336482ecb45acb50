//! Reserved concurrency and the account's settings.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>

use super::Lambda;
use super::error::LambdaError;
use std::sync::Arc;
use warmpod_protocol::model::lambda::{
    AccountLimit, AccountUsage, Concurrency, DeleteFunctionConcurrencyRequest, GetAccountSettingsRequest,
    GetAccountSettingsResponse, GetFunctionConcurrencyRequest, GetFunctionConcurrencyResponse,
    PutFunctionConcurrencyRequest,
};
use warmpod_protocol::{Caller, FunctionReference};

pub async fn put(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: PutFunctionConcurrencyRequest,
) -> Result<Concurrency, LambdaError> {
    let arn = whole_function(&request.function_name, caller)?;
    let wanted = u32::try_from(request.reserved_concurrent_executions).unwrap_or(0);
    reserve(lambda, &arn, Some(wanted)).await?;
    Ok(Concurrency { reserved_concurrent_executions: Some(request.reserved_concurrent_executions) })
}

pub async fn get(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: GetFunctionConcurrencyRequest,
) -> Result<GetFunctionConcurrencyResponse, LambdaError> {
    let arn = whole_function(&request.function_name, caller)?;
    let reserved = lambda.catalog.find(&arn)?.record.reserved_concurrency;
    Ok(GetFunctionConcurrencyResponse {
        reserved_concurrent_executions: reserved.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
    })
}

pub async fn delete(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: DeleteFunctionConcurrencyRequest,
) -> Result<(), LambdaError> {
    let arn = whole_function(&request.function_name, caller)?;
    reserve(lambda, &arn, None).await
}

async fn reserve(lambda: &Arc<Lambda>, arn: &str, wanted: Option<u32>) -> Result<(), LambdaError> {
    let (before, change) = lambda.catalog.change(arn, |function| {
        function.limits.reserve(wanted)?;
        Ok(std::mem::replace(&mut function.record.reserved_concurrency, wanted))
    })?;
    let limits = change.after.as_ref().map(|function| function.limits.clone());
    let stored = change.durable().await;
    if stored.is_err()
        && let Some(limits) = limits
    {
        // The record was taken back; the counters follow. What fitted before fits again.
        let _ = limits.reserve(before);
    }
    stored.map(drop)
}

fn whole_function(name: &str, caller: &Caller<'_>) -> Result<String, LambdaError> {
    let reference = FunctionReference::parse(name, None, caller)?;
    match reference.qualifier {
        None => Ok(reference.arn()),
        Some(_) => Err(LambdaError::InvalidParameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.".into(),
        )),
    }
}

pub async fn account_settings(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    _request: GetAccountSettingsRequest,
) -> Result<GetAccountSettingsResponse, LambdaError> {
    let limits = lambda.catalog.account(caller.account, caller.region);
    let count = |n: u32| Some(i32::try_from(n).unwrap_or(i32::MAX));
    let size = |n: u64| Some(i64::try_from(n).unwrap_or(i64::MAX));
    let functions = lambda.catalog.of(caller.account, caller.region);
    Ok(GetAccountSettingsResponse {
        account_limit: Some(AccountLimit {
            total_code_size: size(lambda.config.total_code_size),
            code_size_unzipped: size(lambda.config.code_size_unzipped),
            code_size_zipped: size(lambda.config.code_size_zipped),
            concurrent_executions: count(limits.limit()),
            unreserved_concurrent_executions: count(limits.unreserved()),
        }),
        account_usage: Some(AccountUsage {
            total_code_size: size(functions.iter().map(|function| function.record.code_size()).sum()),
            function_count: size(functions.len() as u64),
        }),
    })
}
