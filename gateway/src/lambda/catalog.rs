//! All functions, in memory: what is answered from, and what the store gets a copy of.
//!
//! A change is made under its function's lock and submitted to the store there, so the store sees changes in the order in
//! which memory did; the caller answers only when the write is durable. A write that fails is taken back.

use super::error::LambdaError;
use crate::pool::Group;
use crate::pool::limits::{AccountLimits, FunctionLimits};
use crate::store::blob::Digest256;
use crate::store::{Pending, Store, StoreError, Write};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::Arn;
use warmpod_protocol::model::lambda::{AliasConfiguration, FunctionConfiguration};

pub const LATEST: &str = "$LATEST";

/// Which function: what never changes of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionId {
    /// Unqualified; the key of everything.
    pub arn: String,
    pub account: String,
    pub region: String,
    pub name: String,
}

/// One function, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionRecord {
    pub id: FunctionId,
    pub tags: IndexMap<String, String>,
    pub reserved_concurrency: Option<u32>,
    pub latest: VersionRecord,
    /// What was in force before an update that is in progress.
    pub before_update: Option<Box<VersionRecord>>,
    pub versions: BTreeMap<u64, VersionRecord>,
    /// The highest number ever given; never given again.
    pub last_version: u64,
    pub aliases: BTreeMap<String, AliasConfiguration>,
}

/// `$LATEST` or a published version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionRecord {
    /// As GetFunctionConfiguration answers it.
    pub configuration: FunctionConfiguration,
    pub code: String,
    /// Changes with every change of code or configuration: environments are bound to it.
    pub generation: Uuid,
}

impl VersionRecord {
    pub fn digest(&self) -> Option<Digest256> {
        Digest256::from_hex(&self.code)
    }

    pub fn state(&self) -> &str {
        self.configuration.state.as_deref().unwrap_or_default()
    }

    pub fn is_updating(&self) -> bool {
        self.configuration.last_update_status.as_deref() == Some("InProgress")
    }

    pub fn revision(&self) -> &str {
        self.configuration.revision_id.as_deref().unwrap_or_default()
    }

    pub fn new_revision(&mut self) {
        self.configuration.revision_id = Some(Uuid::new_v4().to_string());
    }
}

impl FunctionRecord {
    /// All versions that hold code, the latest first.
    pub fn all_versions(&self) -> impl Iterator<Item = &VersionRecord> {
        std::iter::once(&self.latest).chain(self.before_update.as_deref()).chain(self.versions.values())
    }

    pub fn version(&self, version: &str) -> Option<&VersionRecord> {
        match version {
            LATEST => Some(&self.latest),
            number => self.versions.get(&number.parse().ok()?),
        }
    }

    pub fn code_size(&self) -> u64 {
        let sizes = std::iter::once(&self.latest).chain(self.versions.values());
        sizes.map(|version| u64::try_from(version.configuration.code_size.unwrap_or(0)).unwrap_or(0)).sum()
    }
}

/// A function and what runs of it.
#[derive(Clone)]
pub struct Function {
    pub record: FunctionRecord,
    pub limits: Arc<FunctionLimits>,
    /// By version; `$LATEST`'s stays the old one while an update is in progress.
    pub groups: BTreeMap<String, Arc<Group>>,
    /// The environment is prepared: the state may be told as soon as somebody asks.
    pub prepared: Option<Prepared>,
}

/// What an activation found out.
#[derive(Clone)]
pub struct Prepared {
    pub generation: Uuid,
    pub outcome: Result<Arc<Group>, Failure>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub code: &'static str,
    pub reason: String,
}

pub struct Catalog {
    functions: DashMap<String, Arc<Function>>,
    accounts: DashMap<(String, String), Arc<AccountLimits>>,
    store: Store,
    concurrent_executions: u32,
    minimum_unreserved: u32,
}

/// A change that is made in memory and on its way to the disk.
#[must_use = "a change is kept only once it is durable"]
pub struct Change<'a> {
    catalog: &'a Catalog,
    arn: String,
    pub before: Option<Arc<Function>>,
    pub after: Option<Arc<Function>>,
    pending: Pending,
}

impl Change<'_> {
    /// Waits for the disk; takes the change back if that fails.
    pub async fn durable(self) -> Result<Option<Arc<Function>>, LambdaError> {
        let Self { catalog, arn, before, after, pending } = self;
        match pending.durable().await {
            Ok(()) => Ok(after),
            Err(error) => {
                catalog.take_back(&arn, before, after.as_ref());
                Err(error.into())
            }
        }
    }
}

impl Catalog {
    pub fn new(store: Store, concurrent_executions: u32, minimum_unreserved: u32) -> Self {
        let (functions, accounts) = (DashMap::new(), DashMap::new());
        Self { functions, accounts, store, concurrent_executions, minimum_unreserved }
    }

    /// Takes in what was stored.
    pub fn load(&self, arn: String, document: &str) -> Result<Arc<Function>, StoreError> {
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            what: "function",
            id: arn.clone(),
            reason: error.to_string(),
        };
        let record: FunctionRecord = serde_json::from_str(document).map_err(damaged)?;
        let function = Arc::new(self.with_limits(record));
        if let Err(error) = function.limits.reserve(function.record.reserved_concurrency) {
            tracing::warn!(%arn, %error, "a stored reservation no longer fits the account's limit and is dropped");
        }
        self.functions.insert(arn, function.clone());
        Ok(function)
    }

    fn with_limits(&self, record: FunctionRecord) -> Function {
        let limits = FunctionLimits::new(self.account(&record.id.account, &record.id.region));
        Function { record, limits, groups: BTreeMap::new(), prepared: None }
    }

    pub fn account(&self, account: &str, region: &str) -> Arc<AccountLimits> {
        let key = (account.to_owned(), region.to_owned());
        let limits = || AccountLimits::new(self.concurrent_executions, self.minimum_unreserved);
        self.accounts.entry(key).or_insert_with(limits).clone()
    }

    pub fn get(&self, arn: &str) -> Option<Arc<Function>> {
        self.functions.get(arn).map(|function| function.clone())
    }

    pub fn find(&self, arn: &str) -> Result<Arc<Function>, LambdaError> {
        self.get(arn).ok_or_else(|| LambdaError::FunctionNotFound(arn.to_owned()))
    }

    /// The functions of an account in a region, by name.
    pub fn of(&self, account: &str, region: &str) -> Vec<Arc<Function>> {
        let prefix = format!("arn:{}:lambda:{region}:{account}:function:", Arn::partition_of(region));
        let mut functions: Vec<_> =
            self.functions.iter().filter(|entry| entry.key().starts_with(&prefix)).map(|entry| entry.clone()).collect();
        functions.sort_by(|a, b| a.record.id.name.cmp(&b.record.id.name));
        functions
    }

    pub fn all(&self) -> Vec<Arc<Function>> {
        self.functions.iter().map(|entry| entry.clone()).collect()
    }

    pub fn create(&self, record: FunctionRecord) -> Result<Change<'_>, LambdaError> {
        let arn = record.id.arn.clone();
        let function = Arc::new(self.with_limits(record));
        match self.functions.entry(arn.clone()) {
            Entry::Occupied(taken) => Err(LambdaError::FunctionExists(taken.get().record.id.name.clone())),
            Entry::Vacant(vacant) => {
                let pending = self.put(&function.record)?;
                vacant.insert(function.clone());
                Ok(Change { catalog: self, arn, before: None, after: Some(function), pending })
            }
        }
    }

    /// Changes a function's record. `change` sees the newest one; an error leaves everything as it was.
    pub fn change<R>(
        &self,
        arn: &str,
        change: impl FnOnce(&mut Function) -> Result<R, LambdaError>,
    ) -> Result<(R, Change<'_>), LambdaError> {
        let mut entry = self.functions.get_mut(arn).ok_or_else(|| LambdaError::FunctionNotFound(arn.to_owned()))?;
        let before = entry.clone();
        let mut function = Function::clone(&before);
        let result = change(&mut function)?;
        let pending = self.put(&function.record)?;
        let after = Arc::new(function);
        *entry = after.clone();
        Ok((result, Change { catalog: self, arn: arn.to_owned(), before: Some(before), after: Some(after), pending }))
    }

    /// Changes what is only in memory.
    pub fn touch(&self, arn: &str, change: impl FnOnce(&mut Function)) {
        if let Some(mut entry) = self.functions.get_mut(arn) {
            let mut function = Function::clone(&entry);
            change(&mut function);
            *entry = Arc::new(function);
        }
    }

    pub fn delete(&self, arn: &str) -> Result<Change<'_>, LambdaError> {
        match self.functions.entry(arn.to_owned()) {
            Entry::Vacant(_) => Err(LambdaError::FunctionNotFound(arn.to_owned())),
            Entry::Occupied(entry) => {
                let pending = self.store.submit(Write::DeleteFunction { arn: arn.to_owned() });
                let before = Some(entry.remove());
                Ok(Change { catalog: self, arn: arn.to_owned(), before, after: None, pending })
            }
        }
    }

    fn put(&self, record: &FunctionRecord) -> Result<Pending, LambdaError> {
        let document = serde_json::to_string(record).map_err(|error| LambdaError::Internal(error.into()))?;
        Ok(self.store.submit(Write::PutFunction { arn: record.id.arn.clone(), document }))
    }

    fn take_back(&self, arn: &str, before: Option<Arc<Function>>, after: Option<&Arc<Function>>) {
        match (self.functions.entry(arn.to_owned()), after) {
            (Entry::Occupied(mut entry), Some(after)) if Arc::ptr_eq(entry.get(), after) => match before {
                Some(before) => drop(entry.insert(before)),
                None => drop(entry.remove()),
            },
            (Entry::Vacant(entry), None) => {
                if let Some(before) = before {
                    entry.insert(before);
                }
            }
            // Something newer stands there: it has its own write.
            _ => {}
        }
    }
}
