//! Lambda. This page is its table of contents: the operations, and where each one is.
//!
//! Owns: functions, versions, aliases, the asynchronous queue. Never names an engine or a worker: it registers groups with
//! the pool and leases environments. <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>

mod alias;
mod catalog;
mod code;
mod concurrency;
mod configuration;
mod error;
mod function;
pub mod invoke;
mod lifecycle;
mod package;
pub mod queue;
mod tag;
pub mod variables;
mod version;

pub use code::DOWNLOAD_PATH;
pub use error::LambdaError;

use crate::config::LambdaConfig;
use crate::pool::identity::InstallationKey;
use crate::pool::{Group, Pool};
use crate::store::blob::{Blobs, Digest256};
use crate::store::{Loaded, Store, StoreError};
use crate::upstream::Upstream;
use bytes::Bytes;
use catalog::{Catalog, Change, Function, LATEST, VersionRecord};
use http::HeaderMap;
use queue::Queue;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use variables::Endpoint;
use warmpod_protocol::model::lambda::{self as model, FunctionConfiguration, PublishVersionRequest};
use warmpod_protocol::rest_json::{self, Answer, Labels};
use warmpod_protocol::{Caller, Fault, FunctionReference, Operation, Route};

/// Declares the operations: their names for the listing, and the call of each.
macro_rules! operations {
    ($($operation:ident => $handler:path),* $(,)?) => {
        /// The operations that are served. Invoke is matched before this table (`http`).
        pub const OPERATIONS: &[&str] = &[$(stringify!($operation)),*, "Invoke"];

        impl Lambda {
            pub async fn serve(self: &Arc<Self>, caller: &Caller<'_>, route: &'static Route, input: Input<'_>) -> Result<Answer, Fault> {
                match route.operation {
                    $(stringify!($operation) => {
                        let request = input.decode::<model::$operation>().await?;
                        let output = $handler(self, caller, request).await?;
                        Ok(rest_json::encode::<model::$operation>(&output))
                    })*
                    _ => Err(Fault::not_implemented(route)),
                }
            }
        }
    };
}

operations! {
    CreateFunction => function::create,
    GetFunction => function::get,
    GetFunctionConfiguration => function::get_configuration,
    UpdateFunctionCode => code::update,
    UpdateFunctionConfiguration => configuration::update,
    DeleteFunction => function::delete,
    ListFunctions => function::list,
    PublishVersion => version::publish,
    ListVersionsByFunction => version::list,
    CreateAlias => alias::create,
    GetAlias => alias::get,
    UpdateAlias => alias::update,
    DeleteAlias => alias::delete,
    ListAliases => alias::list,
    PutFunctionConcurrency => concurrency::put,
    GetFunctionConcurrency => concurrency::get,
    DeleteFunctionConcurrency => concurrency::delete,
    GetAccountSettings => concurrency::account_settings,
    TagResource => tag::tag,
    UntagResource => tag::untag,
    ListTags => tag::list,
}

/// A request's parts, as far as an operation needs them.
pub struct Input<'a> {
    pub labels: Labels,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

/// Bodies up to this size are decoded where they arrive; larger ones would hold up the event loop.
const DECODED_IN_PLACE: usize = 128 * 1024;

impl Input<'_> {
    async fn decode<O: Operation>(self) -> Result<O::Input, Fault>
    where
        O::Input: Send + 'static,
    {
        if self.body.len() <= DECODED_IN_PLACE {
            return rest_json::decode::<O>(&self.labels, self.query, self.headers, self.body);
        }
        let (labels, query, headers, body) =
            (self.labels, self.query.map(str::to_owned), self.headers.clone(), self.body);
        let decoded =
            tokio::task::spawn_blocking(move || rest_json::decode::<O>(&labels, query.as_deref(), &headers, body));
        decoded.await.map_err(|error| Fault::from(LambdaError::Internal(error.into())))?
    }
}

pub struct Lambda {
    config: LambdaConfig,
    catalog: Catalog,
    pool: Pool,
    blobs: Blobs,
    queue: Queue,
    key: InstallationKey,
    upstream: Option<Upstream>,
    /// Where functions reach this gateway.
    endpoint: Option<Endpoint>,
    /// Where clients reach it: `http://127.0.0.1:4566`.
    public_url: String,
    tasks: TaskTracker,
    /// Code of groups that may still run, though no function names it any more.
    code_in_use: Mutex<Vec<(Weak<Group>, Digest256)>>,
}

/// What Lambda is made with.
pub struct Parts {
    pub config: LambdaConfig,
    pub pool: Pool,
    pub store: Store,
    pub blobs: Blobs,
    pub upstream: Option<Upstream>,
    pub endpoint: Option<Endpoint>,
    pub public_url: String,
    pub tasks: TaskTracker,
}

impl Lambda {
    /// Takes in what was stored: functions are as they were, queued events wait for [`queue::run`].
    pub async fn open(parts: Parts, loaded: Loaded) -> Result<(Arc<Self>, queue::Inbox), StoreError> {
        let Parts { config, pool, store, blobs, upstream, endpoint, public_url, tasks } = parts;
        let catalog = Catalog::new(store.clone(), config.concurrent_executions, config.minimum_unreserved);
        let (queue, inbox) = Queue::new(store, loaded.events)?;
        let (key, code_in_use) = (loaded.key, Mutex::default());
        let lambda = Arc::new(Self {
            config,
            catalog,
            pool,
            blobs,
            queue,
            key,
            upstream,
            endpoint,
            public_url,
            tasks,
            code_in_use,
        });
        for (arn, document) in loaded.functions {
            let function = lambda.catalog.load(arn.clone(), &document)?;
            lambda.resume(&arn, &function).await;
        }
        Ok((lambda, inbox))
    }

    /// Brings a stored function back to where it was.
    async fn resume(self: &Arc<Self>, arn: &str, function: &Function) {
        let latest = &function.record.latest;
        if latest.state() == "Pending" || latest.is_updating() {
            self.activate_now(arn, latest.generation).await;
        } else if latest.state() == "Active" {
            self.resume_version(arn, function, latest).await;
        }
        for version in function.record.versions.values() {
            self.resume_version(arn, function, version).await;
        }
    }

    async fn resume_version(self: &Arc<Self>, arn: &str, function: &Function, version: &VersionRecord) {
        let number = version.configuration.version.clone().unwrap_or_else(|| LATEST.into());
        match self.register(function, version).await {
            Ok(group) => self.catalog.touch(arn, |function| drop(function.groups.insert(number, group))),
            Err(failure) => tracing::warn!(%arn, version = %number, reason = %failure.reason, "a function cannot run"),
        }
    }

    /// Waits until a change is durable and starts its activation; what the caller reads of it.
    async fn finish_update(
        self: &Arc<Self>,
        change: Change<'_>,
        arn: &str,
        generation: Uuid,
        publish: bool,
    ) -> Result<FunctionConfiguration, LambdaError> {
        let function = change.durable().await?;
        if publish {
            self.activate_now(arn, generation).await;
            let request = PublishVersionRequest { function_name: arn.to_owned(), ..PublishVersionRequest::default() };
            return self.publish(arn, &request).await;
        }
        if self.config.synchronous_create {
            self.activate_now(arn, generation).await;
            return Ok(self.catalog.find(arn)?.record.latest.configuration.clone());
        }
        self.activate(arn.to_owned(), generation);
        Ok(function.map(|function| function.record.latest.configuration.clone()).unwrap_or_default())
    }

    /// The ARN that a name means in operations on whole functions; its qualifier may only be `$LATEST`.
    fn unqualified(&self, name: &str, caller: &Caller<'_>) -> Result<String, LambdaError> {
        let reference = FunctionReference::parse(name, None, caller)?;
        match reference.qualifier {
            None | Some(LATEST) => Ok(reference.arn()),
            Some(qualifier) => Err(LambdaError::InvalidParameter(format!(
                "This operation is not permitted on versions and aliases; '{qualifier}' was given. Use the function's unqualified name or ARN."
            ))),
        }
    }

    /// The version that a name means, told what there is to tell.
    async fn read(
        &self,
        name: &str,
        qualifier: Option<&str>,
        caller: &Caller<'_>,
    ) -> Result<(Arc<Function>, VersionRecord), LambdaError> {
        let reference = FunctionReference::parse(name, qualifier, caller)?;
        let arn = reference.arn();
        self.settle(&arn).await;
        let not_found = || LambdaError::FunctionNotFound(reference.named_arn());
        let function = self.catalog.get(&arn).ok_or_else(not_found)?;
        let mut version = match reference.qualifier {
            None => function.record.latest.clone(),
            Some(qualifier) => {
                let alias = function.record.aliases.get(qualifier);
                let number = alias.and_then(|alias| alias.function_version.as_deref()).unwrap_or(qualifier);
                function.record.version(number).cloned().ok_or_else(not_found)?
            }
        };
        if reference.qualifier.is_some() {
            version.configuration.function_arn = Some(reference.named_arn());
        }
        Ok((function, version))
    }

    fn reserves_zero(&self, caller: &Caller<'_>, name: &str) -> bool {
        let arn = FunctionReference::parse(name, None, caller).map(|reference| reference.arn());
        arn.ok().and_then(|arn| self.catalog.get(&arn)).is_some_and(|function| function.limits.reserved() == Some(0))
    }

    fn note_code_in_use(&self, group: &Arc<Group>, digest: Digest256) {
        let mut in_use = self.code_in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|(group, _)| group.strong_count() > 0);
        in_use.push((Arc::downgrade(group), digest));
    }

    fn code_in_use(&self) -> Vec<Digest256> {
        let in_use = self.code_in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.iter().filter(|(group, _)| group.strong_count() > 0).map(|(_, digest)| *digest).collect()
    }
}
