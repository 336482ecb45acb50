//! A group: all environments of one function version's generation, and the leases on them.
//!
//! Leasing and returning touch the group's shelf and the limits' counters, nothing else. The owner task is told only when
//! somebody has to wait, or when an environment is gone for good.

use super::core::GroupId;
use super::driver::Message;
use super::environment::{Answer, Environment, Lost};
use super::limits::{FunctionLimits, Permit, Throttle};
use super::shelf::{Handed, Refusal, Shelf, Taken};
use crate::engine::{Limits, WorkerTemplate};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warmpod_link::Claim;
use warmpod_link::control::{EnvironmentId, LogEvent};
use warmpod_link::frame::InvokeMeta;

/// Everything about a group that its service decides.
pub struct GroupSpec {
    pub environment: EnvironmentId,
    pub template: WorkerTemplate,
    pub limits: Limits,
    pub concurrency: Arc<FunctionLimits>,
    /// How long an idle environment is kept; zero: one use.
    pub keepalive: Duration,
    /// How long an invocation waits for an environment.
    pub start_timeout: Duration,
    /// The longest that an invocation can take, everything included; an agent that is silent for longer is lost.
    pub longest: Duration,
    /// Makes the claim of one more environment: each has its own log stream and credentials.
    pub claim: Box<dyn Fn() -> Claim + Send + Sync>,
    /// Takes the lines that its environments log.
    pub logs: Box<dyn Fn(Vec<LogEvent>) + Send + Sync>,
}

pub struct Group {
    pub id: GroupId,
    pub spec: GroupSpec,
    pub(super) shelf: Shelf<Environment>,
    /// Smoothed time of one invocation in microseconds; zero: unknown.
    service_us: AtomicU64,
    /// A message to the owner is on its way already.
    pub(super) told: AtomicBool,
    retired: AtomicBool,
    owner: mpsc::Sender<Message>,
    tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("throttled: {}", .0.reason())]
    Throttled(Throttle),
    #[error("no environment became ready within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the gateway is stopping")]
    Stopping,
}

/// Why a leased environment gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the environment did not answer within {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("the invocation cannot be sent: {0}")]
    Unsendable(#[from] warmpod_link::LinkError),
}

/// An environment held for one invocation. Dropping it gives the environment back; dropping it in mid-invocation lets
/// the invocation end first.
pub struct Lease {
    environment: Option<Environment>,
    group: Arc<Group>,
    permit: Option<Permit>,
    begun: Instant,
}

impl Group {
    pub(super) fn new(id: GroupId, spec: GroupSpec, owner: mpsc::Sender<Message>, tasks: TaskTracker) -> Arc<Self> {
        let (shelf, service_us) = (Shelf::default(), AtomicU64::new(0));
        let (told, retired) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { id, spec, shelf, service_us, told, retired, owner, tasks })
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Keeps nothing from now on; returns what was idle.
    pub(super) fn retire(&self) -> Vec<Environment> {
        self.retired.store(true, Ordering::Release);
        self.shelf.close()
    }

    /// An idle environment without waiting, if there is one and the limits allow it.
    pub fn try_lease(self: &Arc<Self>) -> Result<Result<Lease, Pending>, LeaseError> {
        let permit = self.spec.concurrency.acquire().map_err(LeaseError::Throttled)?;
        match self.shelf.take(Environment::is_at_home) {
            Taken::Idle(environment) => Ok(Ok(self.lend(environment, permit))),
            Taken::Wait(handed) => {
                self.tell_owner();
                Ok(Err(Pending { group: self.clone(), permit: Some(permit), handed }))
            }
        }
    }

    fn lend(self: &Arc<Self>, environment: Environment, permit: Permit) -> Lease {
        Lease { environment: Some(environment), group: self.clone(), permit: Some(permit), begun: Instant::now() }
    }

    /// Puts an environment on the shelf, or tells the owner that it is not wanted any more.
    pub(super) fn give_back(&self, environment: Environment) {
        let keep = !self.spec.keepalive.is_zero();
        if let Err(unwanted) = self.shelf.put(environment, keep, Instant::now()) {
            self.release(unwanted);
        }
    }

    fn release(&self, environment: Environment) {
        // Told before its connection closes: the agent dials a new one at once, and that must find it released.
        let message = Message::Released(environment.worker);
        if let Err(mpsc::error::TrySendError::Full(message)) = self.owner.try_send(message) {
            let owner = self.owner.clone();
            self.tasks.spawn(async move { owner.send(message).await.map_err(drop) });
        }
        drop(environment);
    }

    fn tell_owner(&self) {
        if !self.told.swap(true, Ordering::AcqRel) && self.owner.try_send(Message::Waiting(self.id)).is_err() {
            // The owner looks at all groups at each tick; until then the next waiter tries again.
            self.told.store(false, Ordering::Release);
        }
    }

    pub(super) fn service(&self) -> Option<Duration> {
        match self.service_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    fn served(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.service_us.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { (before * 7).saturating_add(took) / 8 };
        self.service_us.store(after.max(1), Ordering::Relaxed);
    }
}

/// A place in the queue for an environment. Dropping it gives the place up; an environment that was handed over in that
/// very moment goes back.
pub struct Pending {
    group: Arc<Group>,
    permit: Option<Permit>,
    handed: oneshot::Receiver<Handed<Environment>>,
}

impl Pending {
    pub async fn wait(mut self) -> Result<Lease, LeaseError> {
        let limit = self.group.spec.start_timeout;
        let handed = match timeout(limit, &mut self.handed).await {
            Ok(Ok(handed)) => handed,
            Ok(Err(_)) => return Err(LeaseError::Stopping),
            Err(_) => return Err(LeaseError::TimedOut(limit)),
        };
        let environment = handed.map_err(LeaseError::Refused)?;
        let Some(permit) = self.permit.take() else { unreachable!("a place in the queue holds a permit") };
        Ok(self.group.lend(environment, permit))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.handed.close();
        if let Ok(Ok(environment)) = self.handed.try_recv() {
            drop(self.permit.take());
            self.group.give_back(environment);
        }
    }
}

impl Lease {
    /// Runs one invocation and gives the environment back.
    pub async fn invoke(
        mut self,
        request: Uuid,
        meta: &InvokeMeta<'_>,
        payload: Bytes,
    ) -> Result<Answer, InvocationError> {
        let Some(mut environment) = self.environment.take() else { unreachable!("a lease holds its environment") };
        if !environment.is_at_home() {
            environment = environment.move_here().map_err(Lost::Broken)?;
        }
        let begun = environment.begin(request, meta, payload);
        let environment = self.environment.insert(environment);
        begun?;
        let longest = self.group.spec.longest;
        let answer = match timeout(longest, environment.complete()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(lost)) => {
                self.abandon();
                return Err(lost.into());
            }
            Err(_) => {
                self.abandon();
                return Err(InvocationError::Silent(longest));
            }
        };
        self.group.served(self.begun.elapsed());
        Ok(answer)
    }

    fn abandon(&mut self) {
        if let Some(environment) = self.environment.take() {
            self.group.release(environment);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut environment) = self.environment.take() else { return };
        if !environment.is_running() {
            // The permit goes first: whoever is handed the environment next holds one of its own.
            drop(self.permit.take());
            return self.group.give_back(environment);
        }
        // The client went away; the invocation runs on, as on AWS, and keeps its permit until it ends.
        let (group, permit, longest) = (self.group.clone(), self.permit.take(), self.group.spec.longest);
        self.group.tasks.spawn(async move {
            match timeout(longest, environment.complete()).await {
                Ok(Ok(_)) => {
                    drop(permit);
                    group.give_back(environment);
                }
                Ok(Err(_)) | Err(_) => group.release(environment),
            }
        });
    }
}
