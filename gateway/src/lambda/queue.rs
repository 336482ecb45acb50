//! The asynchronous invocation queue: a 202 is a promise.
//!
//! An event is in the store before its caller hears 202, and leaves it after its last attempt. One task holds all events
//! by the time of their next attempt; attempts run beside each other.
//!
//! ```text
//!  accept ──(durable)──> waiting ──due──> attempt ──ok──────────────────────> gone
//!                           ^               ├── function error, tries left ──> waiting (60 s, 120 s)
//!                           └───────────────┴── throttled, service error ────> waiting (1 s … 300 s, not counted)
//! ```
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use super::Lambda;
use super::error::LambdaError;
use crate::clock::wall;
use crate::pool::limits::Throttle;
use crate::store::{Store, StoreError, StoredEvent, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use warmpod_protocol::{Caller, FunctionReference};

/// Tries after the first, where the function does not say otherwise.
const RETRIES: u32 = 2;
/// Events older than this are dropped: six hours.
const MAX_AGE: Duration = Duration::from_secs(21_600);
/// The longest wait after a throttle.
const MAX_THROTTLE_WAIT: Duration = Duration::from_secs(300);
/// Attempts beside each other; each may wait for an environment.
const ATTEMPTS: usize = 512;
/// Bytes of payload that may wait in memory.
const MAX_WAITING_BYTES: usize = 1 << 30;
/// Events between acceptance and the queue's task.
const INBOX: usize = 1024;

/// What is stored of an event besides its payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    account: String,
    region: String,
    name: String,
    qualifier: Option<String>,
    trace: String,
    accepted_ms: i64,
    /// Attempts that the function answered with an error.
    failed: u32,
    /// Attempts in a row that never reached it.
    throttled: u32,
    next_ms: i64,
}

#[derive(Clone, Debug)]
pub struct Event {
    request: Uuid,
    document: Document,
    payload: Bytes,
}

pub struct Queue {
    store: Store,
    inbox: mpsc::Sender<Event>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The other end of a queue, for its task.
pub struct Inbox {
    events: mpsc::Receiver<Event>,
    loaded: Vec<Event>,
}

impl Queue {
    pub fn new(store: Store, stored: Vec<StoredEvent>) -> Result<(Self, Inbox), StoreError> {
        let (inbox, events) = mpsc::channel(INBOX);
        let loaded: Vec<_> = stored.into_iter().map(read).collect::<Result<_, _>>()?;
        let bytes = loaded.iter().map(|event| event.payload.len()).sum();
        Ok((Self { store, inbox, waiting_bytes: Arc::new(AtomicUsize::new(bytes)) }, Inbox { events, loaded }))
    }

    /// Takes an event in; when this returns it will be attempted, whatever happens to this process.
    pub async fn accept(
        &self,
        function: &FunctionReference<'_>,
        request: Uuid,
        trace: String,
        payload: Bytes,
    ) -> Result<(), LambdaError> {
        let waiting = self.waiting_bytes.fetch_add(payload.len(), Ordering::AcqRel);
        if waiting + payload.len() > MAX_WAITING_BYTES {
            self.waiting_bytes.fetch_sub(payload.len(), Ordering::AcqRel);
            return Err(LambdaError::Store(StoreError::Busy));
        }
        let now = wall().millis;
        let document = Document {
            account: function.account.to_owned(),
            region: function.region.to_owned(),
            name: function.name.to_owned(),
            qualifier: function.qualifier.map(str::to_owned),
            trace,
            accepted_ms: now,
            failed: 0,
            throttled: 0,
            next_ms: now,
        };
        let stored = self.store.submit(Write::PutEvent {
            request_id: request.to_string(),
            document: text(&document)?,
            payload: payload.clone(),
            accepted_ms: now,
        });
        if let Err(error) = stored.durable().await {
            self.waiting_bytes.fetch_sub(payload.len(), Ordering::AcqRel);
            return Err(error.into());
        }
        // A queue that is closed leaves the event to the next start.
        let _ = self.inbox.send(Event { request, document, payload }).await;
        Ok(())
    }
}

fn text(document: &Document) -> Result<String, LambdaError> {
    serde_json::to_string(document).map_err(|error| LambdaError::Internal(error.into()))
}

fn read(stored: StoredEvent) -> Result<Event, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { what: "event", id: stored.request_id.clone(), reason };
    let request = stored.request_id.parse().map_err(|error: uuid::Error| damaged(error.to_string()))?;
    let document = serde_json::from_str(&stored.document).map_err(|error| damaged(error.to_string()))?;
    Ok(Event { request, document, payload: stored.payload })
}

/// By the next attempt's time, then by acceptance.
struct Due(Event);

impl Due {
    fn key(&self) -> (i64, i64, Uuid) {
        (self.0.document.next_ms, self.0.document.accepted_ms, self.0.request)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Attempts events until it is stopped; then waits for the attempts that run. What waits stays in the store.
pub async fn run(lambda: Arc<Lambda>, mut inbox: Inbox, stop: CancellationToken) {
    let mut waiting: BinaryHeap<Reverse<Due>> = inbox.loaded.drain(..).map(|event| Reverse(Due(event))).collect();
    let mut attempts = JoinSet::new();
    loop {
        let now = wall().millis;
        while attempts.len() < ATTEMPTS && waiting.peek().is_some_and(|Reverse(due)| due.0.document.next_ms <= now) {
            if let Some(Reverse(Due(event))) = waiting.pop() {
                let lambda = lambda.clone();
                attempts.spawn(async move {
                    let next = attempt(&lambda, &event).await;
                    settle(&lambda, event, next).await
                });
            }
        }
        let until_next = match waiting.peek() {
            Some(Reverse(due)) if attempts.len() < ATTEMPTS => {
                Duration::from_millis(u64::try_from(due.0.document.next_ms - now).unwrap_or(0))
            }
            _ => Duration::from_secs(3600),
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(event) = inbox.events.recv() => waiting.push(Reverse(Due(event))),
            Some(attempted) = attempts.join_next() => match attempted {
                Ok(Some(event)) => waiting.push(Reverse(Due(event))),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "an attempt of an event failed; it is tried again at the next start"),
            },
            () = tokio::time::sleep(until_next) => {}
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// What becomes of an event after an attempt.
enum Next {
    Gone,
    Again(Document),
}

async fn attempt(lambda: &Arc<Lambda>, event: &Event) -> Next {
    let Event { request, document, payload } = event;
    let function = &document.name;
    let age = Duration::from_millis(u64::try_from(wall().millis - document.accepted_ms).unwrap_or(0));
    if age > MAX_AGE {
        tracing::warn!(%request, %function, "an event was dropped: EventAgeExceeded");
        return Next::Gone;
    }
    let caller = Caller { account: &document.account, region: &document.region, ..Caller::UNSIGNED };
    let qualifier = document.qualifier.as_deref();
    let answer = lambda.attempt(&caller, function, qualifier, *request, document.trace.clone(), payload.clone()).await;
    let again = |wait: Duration, failed: u32, throttled: u32| {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Next::Again(Document { failed, throttled, next_ms: wall().millis.saturating_add(wait), ..document.clone() })
    };
    match answer {
        Ok(answer) if !answer.function_error => Next::Gone,
        Ok(_) if document.failed < RETRIES => {
            let failed = document.failed + 1;
            again(lambda.config.retry_base * failed, failed, 0)
        }
        Ok(_) => {
            tracing::warn!(%request, %function, "an event was dropped: RetriesExhausted");
            Next::Gone
        }
        Err(LambdaError::Throttled(Throttle::ReservedFunctionConcurrentInvocationLimitExceeded))
            if lambda.reserves_zero(&caller, function) =>
        {
            tracing::warn!(%request, %function, "an event was dropped: ZeroReservedConcurrency");
            Next::Gone
        }
        Err(error) if error.is_transient() => {
            tracing::debug!(%request, %function, %error, "an event waits");
            let wait = Duration::from_secs(1 << document.throttled.min(9)).min(MAX_THROTTLE_WAIT);
            again(wait, document.failed, document.throttled.saturating_add(1))
        }
        Err(error) => {
            tracing::warn!(%request, %function, %error, "an event was dropped");
            Next::Gone
        }
    }
}

/// Makes the outcome durable; the event again, where it waits for another attempt.
async fn settle(lambda: &Arc<Lambda>, event: Event, next: Next) -> Option<Event> {
    let request_id = event.request.to_string();
    match next {
        Next::Gone => {
            lambda.queue.waiting_bytes.fetch_sub(event.payload.len(), Ordering::AcqRel);
            if let Err(error) = lambda.queue.store.submit(Write::DeleteEvent { request_id }).durable().await {
                tracing::error!(request = %event.request, %error, "a finished event could not be removed; it runs again at the next start");
            }
            None
        }
        Next::Again(document) => {
            if let Ok(document) = text(&document)
                && let Err(error) =
                    lambda.queue.store.submit(Write::UpdateEvent { request_id, document }).durable().await
            {
                tracing::error!(request = %event.request, %error, "an event's retry could not be stored");
            }
            Some(Event { document, ..event })
        }
    }
}
