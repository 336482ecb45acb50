//! A function's code: where it comes from, how it is kept, where it can be downloaded.
//!
//! Code comes in the request or from S3 through the upstream; either way it is checked by unpacking it before anything is
//! answered, and stored by its hash. Code.Location is an address of this gateway with a signature and an end.

use super::Lambda;
use super::catalog::FunctionRecord;
use super::error::LambdaError;
use super::lifecycle::begin_update;
use super::package;
use crate::store::blob::Digest256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::io::Cursor;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_protocol::Caller;
use warmpod_protocol::model::lambda::{
    FunctionCode, FunctionCodeLocation, FunctionConfiguration, UpdateFunctionCodeRequest,
};

/// Where code is downloaded from, under the gateway's own paths.
pub const DOWNLOAD_PATH: &str = "/_warmpod/code/";
/// How long a Code.Location is good, milliseconds: ten minutes, as AWS's.
const LOCATION_MILLIS: i64 = 10 * 60 * 1000;

/// Code that is checked, unpacked and stored.
pub struct StoredCode {
    pub digest: Digest256,
    pub size: i64,
}

impl StoredCode {
    /// As CodeSha256 shows it.
    pub fn sha256(&self) -> String {
        STANDARD.encode(self.digest.0)
    }

    pub fn describe(&self, configuration: &mut FunctionConfiguration) {
        configuration.code_size = Some(self.size);
        configuration.code_sha256 = Some(self.sha256());
    }
}

impl Lambda {
    /// Takes in the code of a create or update. `used` is what the account has stored already, bytes.
    pub async fn take_code(
        &self,
        caller: &Caller<'_>,
        code: FunctionCode,
        used: u64,
    ) -> Result<StoredCode, LambdaError> {
        if code.image_uri.is_some() {
            return Err(LambdaError::NotImplemented(
                "Functions with PackageType Image are not implemented yet; upload the code as a zip".into(),
            ));
        }
        let zip = match (code.zip_file, code.s3_bucket, code.s3_key) {
            (Some(zip), None, None) => {
                let limit = self.config.code_size_zipped;
                if zip.len() as u64 > limit {
                    return Err(LambdaError::TooLarge(format!("Zipped size must be smaller than {limit} bytes")));
                }
                zip
            }
            (None, Some(bucket), Some(key)) => {
                self.fetch_from_s3(caller, &bucket, &key, code.s3_object_version.as_deref()).await?
            }
            _ => {
                return Err(LambdaError::InvalidParameter(
                    "Please provide a source for function code, either ZipFile or S3Bucket and S3Key.".into(),
                ));
            }
        };
        if used + zip.len() as u64 > self.config.total_code_size {
            return Err(LambdaError::CodeStorageExceeded);
        }
        self.store_code(zip).await
    }

    async fn store_code(&self, zip: Bytes) -> Result<StoredCode, LambdaError> {
        let (blobs, limit) = (self.blobs.clone(), self.config.code_size_unzipped);
        let stored = tokio::task::spawn_blocking(move || {
            let digest = Digest256::of(&zip);
            blobs.code(digest, |into| package::unpack(Cursor::new(&zip), into, limit))?;
            blobs.put(digest, &zip).map_err(package::PackageError::Io)?;
            Ok::<_, package::PackageError>(StoredCode { digest, size: i64::try_from(zip.len()).unwrap_or(i64::MAX) })
        });
        Ok(stored.await.map_err(|error| LambdaError::Internal(error.into()))??)
    }

    async fn fetch_from_s3(
        &self,
        caller: &Caller<'_>,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Bytes, LambdaError> {
        let Some(upstream) = &self.upstream else {
            return Err(LambdaError::InvalidParameter(
                "Error occurred while GetObject. warmpod does not serve S3: start it with --upstream URL of an endpoint that does, or send the code as ZipFile.".into(),
            ));
        };
        upstream.get_object(caller, bucket, key, version, self.config.code_size_unzipped).await.map_err(|error| {
            match error {
                crate::upstream::UpstreamError::S3 { code, message } => LambdaError::InvalidParameter(format!(
                    "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
                )),
                other => LambdaError::InvalidParameter(format!("Error occurred while GetObject. {other}")),
            }
        })
    }

    /// Bytes of code that an account stores in a region.
    pub fn code_used(&self, account: &str, region: &str) -> u64 {
        self.catalog.of(account, region).iter().map(|function| function.record.code_size()).sum()
    }

    /// An address that really downloads the code, for ten minutes.
    pub fn code_location(&self, digest: &str) -> FunctionCodeLocation {
        let until = crate::clock::wall().millis + LOCATION_MILLIS;
        let signature = self.location_signature(digest, until);
        let base = self.public_url.as_str();
        FunctionCodeLocation {
            repository_type: Some("S3".into()),
            location: Some(format!("{base}{DOWNLOAD_PATH}{digest}?expires={until}&signature={signature}")),
            ..FunctionCodeLocation::default()
        }
    }

    /// The code behind a location, if its signature is ours and its time has not passed.
    pub async fn download(&self, digest: &str, query: &str) -> Option<Bytes> {
        let value = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
        };
        let until: i64 = value("expires")?.parse().ok()?;
        let given = value("signature")?;
        let own = self.location_signature(digest, until);
        let same: bool = subtle::ConstantTimeEq::ct_eq(own.as_bytes(), given.as_bytes()).into();
        if !same || until < crate::clock::wall().millis {
            return None;
        }
        let (blobs, digest) = (self.blobs.clone(), Digest256::from_hex(digest)?);
        tokio::task::spawn_blocking(move || blobs.read(digest)).await.ok()?.ok().map(Bytes::from)
    }

    fn location_signature(&self, digest: &str, until: i64) -> String {
        Digest256(self.key.sign_text(b"code location", &format!("{digest} {until}")).0).hex()
    }

    /// Removes code that no function has any more and no environment runs.
    pub async fn sweep_code(&self) {
        let functions = self.catalog.all();
        let wanted: std::collections::HashSet<_> = functions
            .iter()
            .flat_map(|function| {
                function.record.all_versions().filter_map(|version| version.digest()).collect::<Vec<_>>()
            })
            .chain(self.code_in_use())
            .collect();
        let blobs = self.blobs.clone();
        match tokio::task::spawn_blocking(move || blobs.sweep(|digest| wanted.contains(&digest))).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::debug!(removed, "code that nothing uses was removed"),
            Ok(Err(error)) => tracing::warn!(%error, "unused code could not be removed"),
            Err(error) => tracing::error!(%error, "the sweep of unused code failed"),
        }
    }
}

/// UpdateFunctionCode
pub async fn update(
    lambda: &Arc<Lambda>,
    caller: &Caller<'_>,
    request: UpdateFunctionCodeRequest,
) -> Result<FunctionConfiguration, LambdaError> {
    let arn = lambda.unqualified(&request.function_name, caller)?;
    let function = lambda.catalog.find(&arn)?;
    let code = FunctionCode {
        zip_file: request.zip_file,
        s3_bucket: request.s3_bucket,
        s3_key: request.s3_key,
        s3_object_version: request.s3_object_version,
        ..FunctionCode::default()
    };
    if request.image_uri.is_some() {
        return Err(LambdaError::InvalidParameter(
            "Please don't provide ImageUri when updating a function with packageType Zip.".into(),
        ));
    }
    let id = &function.record.id;
    let used = lambda.code_used(&id.account, &id.region).saturating_sub(function.record.code_size());
    let stored = lambda.take_code(caller, code, used).await?;
    let apply = |record: &mut FunctionRecord, generation: Uuid| {
        let latest = &mut record.latest;
        latest.code = stored.digest.hex();
        latest.generation = generation;
        stored.describe(&mut latest.configuration);
        if let Some(architectures) = &request.architectures {
            latest.configuration.architectures = Some(architectures.clone());
        }
        latest.configuration.last_modified = Some(crate::clock::wall().last_modified());
    };
    if request.dry_run == Some(true) {
        let mut record = function.record.clone();
        check_revision(&record, request.revision_id.as_deref())?;
        apply(&mut record, Uuid::nil());
        return Ok(record.latest.configuration);
    }
    let generation = Uuid::new_v4();
    let ((), change) = lambda.catalog.change(&arn, |function| {
        let record = &mut function.record;
        begin_update(record)?;
        check_revision(record, request.revision_id.as_deref())?;
        apply(record, generation);
        record.latest.new_revision();
        function.prepared = None;
        Ok(())
    })?;
    lambda.finish_update(change, &arn, generation, request.publish == Some(true)).await
}

/// The client's RevisionId must be the newest one, where it gave one.
pub fn check_revision(record: &FunctionRecord, given: Option<&str>) -> Result<(), LambdaError> {
    match given {
        Some(given) if given != record.latest.revision() => Err(LambdaError::RevisionMismatch),
        _ => Ok(()),
    }
}
