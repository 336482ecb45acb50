//! What must survive: functions, the asynchronous queue, the installation's key. SQLite in the data directory, in WAL
//! mode with full synchronisation.
//!
//! One task owns the connection. A write is *submitted* without waiting (so that it can be done under a lock that orders
//! it against others) and is durable when its [`Pending`] resolves; all writes that wait at that moment share one
//! transaction and one fsync. Reads happen once, at the start: services answer from memory.
//!
//! A newer schema than this program's is refused, never overwritten.

pub mod blob;

use crate::pool::identity::InstallationKey;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Writes that may wait for the disk.
const QUEUE: usize = 16_384;
/// Writes that share a transaction at most.
const BATCH: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data directory {0} cannot be used: {1}; choose another one with --data-dir")]
    DataDir(PathBuf, #[source] std::io::Error),
    #[error("another warmpod uses the data directory {0}; stop it, or choose another one with --data-dir")]
    InUse(PathBuf),
    #[error("the store {path} was written by a newer warmpod; use that version, or another --data-dir")]
    Newer { path: PathBuf },
    #[error("the store {path} cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("the store cannot be written: is the disk full?")]
    Write(#[source] std::sync::Arc<sqlx::Error>),
    #[error("too many writes wait for the disk")]
    Busy,
    #[error("the store is closed")]
    Closed,
    #[error("the stored {what} {id} cannot be read: {reason}")]
    Damaged { what: &'static str, id: String, reason: String },
}

/// One change.
#[derive(Debug)]
pub enum Write {
    PutFunction { arn: String, document: String },
    DeleteFunction { arn: String },
    PutEvent { request_id: String, document: String, payload: bytes::Bytes, accepted_ms: i64 },
    UpdateEvent { request_id: String, document: String },
    DeleteEvent { request_id: String },
}

/// An event as it was stored.
pub struct StoredEvent {
    pub request_id: String,
    pub document: String,
    pub payload: bytes::Bytes,
}

/// Everything that was there at the start.
pub struct Loaded {
    pub functions: Vec<(String, String)>,
    /// Oldest first.
    pub events: Vec<StoredEvent>,
    pub key: InstallationKey,
}

struct Submitted {
    write: Write,
    done: oneshot::Sender<Result<(), StoreError>>,
}

#[derive(Clone)]
pub struct Store {
    writes: mpsc::Sender<Submitted>,
}

/// A write on its way to the disk.
#[must_use = "a write is durable only once this resolves"]
pub struct Pending(Result<oneshot::Receiver<Result<(), StoreError>>, StoreError>);

impl Pending {
    pub async fn durable(self) -> Result<(), StoreError> {
        self.0?.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store {
    /// Opens or makes the store of a data directory that this process has locked.
    pub async fn open(data_dir: &Path, tasks: &TaskTracker) -> Result<(Self, Loaded), StoreError> {
        let path = data_dir.join("warmpod.db");
        let open = |source| StoreError::Open { path: path.clone(), source };
        let mut connection = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .connect()
            .await
            .map_err(open)?;
        let migrated = sqlx::migrate!("src/store/migrations").run(&mut connection).await;
        match migrated {
            Ok(()) => {}
            Err(sqlx::migrate::MigrateError::VersionMissing(_)) => return Err(StoreError::Newer { path }),
            Err(error) => return Err(open(sqlx::Error::Migrate(Box::new(error)))),
        }
        let loaded = load(&mut connection).await.map_err(open)?;
        let (writes, queue) = mpsc::channel(QUEUE);
        tasks.spawn(write_batches(connection, queue));
        Ok((Self { writes }, loaded))
    }

    /// Orders the write behind all that were submitted before it.
    pub fn submit(&self, write: Write) -> Pending {
        let (done, receiver) = oneshot::channel();
        Pending(match self.writes.try_send(Submitted { write, done }) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Closed),
        })
    }
}

async fn load(connection: &mut SqliteConnection) -> Result<Loaded, sqlx::Error> {
    let mut fresh = [0; 32];
    rustix::rand::getrandom(&mut fresh, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| sqlx::Error::Io(error.into()))?;
    sqlx::query("INSERT INTO setting (name, value) VALUES ('installation_key', ?) ON CONFLICT DO NOTHING")
        .bind(&fresh[..])
        .execute(&mut *connection)
        .await?;
    let key: Vec<u8> = sqlx::query("SELECT value FROM setting WHERE name = 'installation_key'")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let key = InstallationKey::new(
        key.try_into().map_err(|_| sqlx::Error::Decode("installation_key is not 32 bytes".into()))?,
    );
    let functions = sqlx::query("SELECT arn, document FROM function ORDER BY arn")
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, sqlx::Error>>()?;
    let events = sqlx::query("SELECT request_id, document, payload FROM event ORDER BY accepted_ms, rowid")
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| {
            let payload: Vec<u8> = row.try_get(2)?;
            Ok(StoredEvent { request_id: row.try_get(0)?, document: row.try_get(1)?, payload: payload.into() })
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Loaded { functions, events, key })
}

async fn write_batches(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Submitted>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let result = write_batch(&mut connection, &batch).await;
        if let Err(error) = &result {
            tracing::error!(%error, writes = batch.len(), "the store cannot be written");
        }
        let result = result.map_err(std::sync::Arc::new);
        for submitted in batch.drain(..) {
            let _ = submitted.done.send(result.clone().map_err(StoreError::Write));
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the store did not close cleanly");
    }
}

async fn write_batch(connection: &mut SqliteConnection, batch: &[Submitted]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for Submitted { write, .. } in batch {
        let query = match write {
            Write::PutFunction { arn, document } => {
                sqlx::query("INSERT INTO function (arn, document) VALUES (?, ?) ON CONFLICT (arn) DO UPDATE SET document = excluded.document")
                    .bind(arn)
                    .bind(document)
            }
            Write::DeleteFunction { arn } => sqlx::query("DELETE FROM function WHERE arn = ?").bind(arn),
            Write::PutEvent { request_id, document, payload, accepted_ms } => sqlx::query(
                "INSERT INTO event (request_id, document, payload, accepted_ms) VALUES (?, ?, ?, ?)",
            )
            .bind(request_id)
            .bind(document)
            .bind(&payload[..])
            .bind(accepted_ms),
            Write::UpdateEvent { request_id, document } => {
                sqlx::query("UPDATE event SET document = ? WHERE request_id = ?").bind(document).bind(request_id)
            }
            Write::DeleteEvent { request_id } => sqlx::query("DELETE FROM event WHERE request_id = ?").bind(request_id),
        };
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Holds a data directory for one process; the lock goes with the process, however it ends.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] std::fs::File);

impl DataDirLock {
    /// The file that is locked.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("lock")
    }

    /// Makes the directory where it is missing and takes it.
    pub fn take(data_dir: &Path) -> Result<Self, StoreError> {
        let refused = |error| StoreError::DataDir(data_dir.to_owned(), error);
        std::fs::create_dir_all(data_dir).map_err(refused)?;
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(Self::path(data_dir))
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(data_dir.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}
