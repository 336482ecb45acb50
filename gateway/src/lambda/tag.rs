//! Tags of functions. <https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html>

use super::Lambda;
use super::configuration::Variables;
use super::error::LambdaError;
use std::sync::Arc;
use warmpod_protocol::model::lambda::{ListTagsRequest, ListTagsResponse, TagResourceRequest, UntagResourceRequest};
use warmpod_protocol::{Caller, FunctionReference};

/// Most tags of one function.
const MOST: usize = 50;

pub fn check_count(tags: &Variables) -> Result<(), LambdaError> {
    match tags.len() > MOST {
        true => Err(LambdaError::InvalidParameter("Number of tags exceeds resource tag limit.".into())),
        false => Ok(()),
    }
}

pub async fn tag(lambda: &Arc<Lambda>, caller: &Caller<'_>, request: TagResourceRequest) -> Result<(), LambdaError> {
    let arn = function_of(&request.resource, caller)?;
    if request.tags.is_empty() {
        return Err(LambdaError::InvalidParameter("An error occurred and the request cannot be processed.".into()));
    }
    let ((), change) = lambda.catalog.change(&arn, |function| {
        let tags = &mut function.record.tags;
        tags.extend(request.tags.clone());
        check_count(tags)
    })?;
    change.durable().await?;
    Ok(())
}

pub async fn untag(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: UntagResourceRequest,
) -> Result<(), LambdaError> {
    let arn = function_of(&request.resource, caller)?;
    let ((), change) = lambda.catalog.change(&arn, |function| {
        function.record.tags.retain(|key, _| !request.tag_keys.contains(key));
        Ok(())
    })?;
    change.durable().await?;
    Ok(())
}

pub async fn list(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: ListTagsRequest,
) -> Result<ListTagsResponse, LambdaError> {
    let arn = function_of(&request.resource, caller)?;
    Ok(ListTagsResponse { tags: Some(lambda.catalog.find(&arn)?.record.tags.clone()) })
}

/// The function that a resource ARN names; other kinds of resources are not here and so are not found.
fn function_of(resource: &str, caller: &Caller<'_>) -> Result<String, LambdaError> {
    let of_another_kind = [":event-source-mapping:", ":layer:", ":code-signing-config:", ":capacity-provider:"];
    if of_another_kind.iter().any(|kind| resource.contains(kind)) {
        let kind = if resource.contains(":event-source-mapping:") { "Event source mapping" } else { "Resource" };
        return Err(LambdaError::ResourceNotFound(format!("{kind} not found: {resource}")));
    }
    let reference = FunctionReference::parse(resource, None, caller)?;
    match reference.qualifier {
        None => Ok(reference.arn()),
        Some(_) => Err(LambdaError::InvalidParameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.".into(),
        )),
    }
}
