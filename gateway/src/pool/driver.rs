//! The pool's owner: one task that holds the core, tells it what happens and carries out what it decides.
//!
//! Everything slow (starting, limiting, stopping) runs in tasks of its own and comes back as a message, so the owner
//! never waits for an engine.

use super::agents::{AgentUp, Expected};
use super::core::{Action, Census, Core, Event, GroupId};
use super::environment::Environment;
use super::group::Group;
use super::identity::InstallationKey;
use crate::engine::{ClassId, Engine, EngineEvent, StartOrder, WorkerTemplate};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;
use warmpod_link::control::{EnvironmentId, FromAgent, Held, ToAgent};
use warmpod_link::{WorkerId, control::InitOutcome};

/// How often time itself is told to the core: expiry and late starts are noticed within this.
const TICK: Duration = Duration::from_millis(200);

pub enum Message {
    Register(Arc<Group>),
    Retire(GroupId),
    /// Somebody waits for an environment of this group.
    Waiting(GroupId),
    /// An environment left its shelf for good.
    Released(WorkerId),
    AgentUp(Box<AgentUp>),
    AgentSaid(WorkerId, FromAgent),
    AgentGone(WorkerId),
    /// An agent's invocation connection.
    Connected(Environment),
    StartFailed(WorkerId, String),
    Stopped(WorkerId),
    Census(oneshot::Sender<Census>),
    /// Stop everything and say when it is gone.
    Close(oneshot::Sender<()>),
}

/// What the pool knows of a worker besides the core's state.
#[derive(Default)]
struct Worker {
    outbox: Option<mpsc::Sender<ToAgent>>,
    /// The invocation connection, until the environment is on its shelf.
    connection: Option<Environment>,
    group: Option<Arc<Group>>,
    /// Init is over: the connection, once there, goes to the shelf.
    ready: bool,
    /// It was told to leave: a connection that it still offers is nobody's.
    leaving: bool,
}

pub struct Driver {
    pub core: Core,
    pub engine: Arc<dyn Engine>,
    pub key: InstallationKey,
    pub expected: Expected,
    pub tasks: TaskTracker,
    /// How long a worker that is stopped may take to leave by itself.
    pub stop_grace: Duration,
    own: mpsc::Sender<Message>,
    groups: HashMap<GroupId, Arc<Group>>,
    by_environment: HashMap<EnvironmentId, GroupId>,
    templates: HashMap<ClassId, WorkerTemplate>,
    workers: HashMap<WorkerId, Worker>,
    closing: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub fn new(
        core: Core,
        engine: Arc<dyn Engine>,
        key: InstallationKey,
        expected: Expected,
        tasks: TaskTracker,
        stop_grace: Duration,
        own: mpsc::Sender<Message>,
    ) -> Self {
        let (groups, by_environment, templates, workers) = Default::default();
        Self {
            core,
            engine,
            key,
            expected,
            tasks,
            stop_grace,
            own,
            groups,
            by_environment,
            templates,
            workers,
            closing: None,
        }
    }

    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut events: mpsc::Receiver<EngineEvent>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = messages.recv() => self.handle(message),
                Some(event) = events.recv() => {
                    let EngineEvent::Exited { worker, reason } = event;
                    self.exited(worker, reason);
                }
                _ = tick.tick() => self.tick(),
            }
            if self.closing.is_some() && self.core.is_empty() {
                if let Some(done) = self.closing.take() {
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Register(group) => {
                let class = group.spec.template.class();
                self.templates.entry(class).or_insert_with(|| group.spec.template.clone());
                self.by_environment.insert(group.spec.environment.clone(), group.id);
                self.apply(Event::Registered { group: group.id, class });
                self.groups.insert(group.id, group);
            }
            Message::Retire(id) => self.retire(id),
            Message::Waiting(id) => {
                if let Some(group) = self.groups.get(&id) {
                    group.told.store(false, std::sync::atomic::Ordering::Release);
                }
                self.look_at(id);
            }
            Message::Released(worker) => self.apply(Event::Released { worker }),
            Message::AgentUp(up) => self.agent_up(*up),
            Message::AgentSaid(worker, said) => self.agent_said(worker, said),
            Message::AgentGone(worker) => {
                // The engine tells of its end as well; whichever comes first takes it out of service.
                self.withdraw(worker);
                self.apply(Event::Released { worker });
            }
            Message::Connected(environment) => {
                let worker = environment.worker;
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.connection = Some(environment);
                    self.serve(worker);
                }
            }
            Message::StartFailed(worker, reason) => {
                tracing::warn!(%worker, %reason, "a worker could not be started");
                self.workers.remove(&worker);
                self.apply(Event::StartFailed { worker, reason });
            }
            Message::Stopped(worker) => self.exited(worker, "stopped".into()),
            Message::Census(reply) => {
                let _ = reply.send(self.core.census());
            }
            Message::Close(done) => {
                self.closing = Some(done);
                self.apply(Event::Closing);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let mut expired = Vec::new();
        let mut waiting = Vec::new();
        for group in self.groups.values() {
            if let Some(cutoff) = now.checked_sub(group.spec.keepalive) {
                expired.extend(group.shelf.expire(cutoff).into_iter().map(|environment| environment.worker));
            }
            if group.shelf.waiting() > 0 {
                waiting.push(group.id);
            }
        }
        for worker in expired {
            self.apply(Event::Released { worker });
        }
        for group in waiting {
            self.look_at(group);
        }
        self.apply(Event::Tick);
        // A retired group is needed as long as one of its environments lives.
        let alive: std::collections::HashSet<_> =
            self.workers.values().filter_map(|worker| worker.group.as_ref().map(|group| group.id)).collect();
        let by_environment = &mut self.by_environment;
        self.groups.retain(|id, group| {
            let keep = !group.is_retired() || alive.contains(id) || group.shelf.waiting() > 0;
            if !keep {
                by_environment.remove(&group.spec.environment);
            }
            keep
        });
    }

    fn retire(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let idle = group.retire();
        self.apply(Event::Retired { group: id });
        for environment in idle {
            self.apply(Event::Released { worker: environment.worker });
        }
    }

    fn look_at(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let (waiting, service) = (group.shelf.waiting(), group.service());
        self.apply(Event::Waiting { group: id, waiting, service });
    }

    fn agent_up(&mut self, up: AgentUp) {
        let AgentUp { hello, outbox, pid } = up;
        let worker = hello.worker;
        if let Some(known) = self.workers.get_mut(&worker) {
            known.outbox = Some(outbox);
            return;
        }
        // Of an earlier gateway: its environment is as good as before, if the function has not changed since.
        let group = match &hello.held {
            Held::Starting => None,
            Held::Generic => None,
            Held::Bound { environment, .. } => {
                self.by_environment.get(environment).and_then(|id| self.groups.get(id)).cloned()
            }
        };
        let lost = matches!(hello.held, Held::Starting)
            || (matches!(hello.held, Held::Bound { .. }) && group.as_ref().is_none_or(|group| group.is_retired()));
        self.engine.adopt(worker, pid);
        self.workers.insert(
            worker,
            Worker {
                outbox: Some(outbox),
                connection: None,
                group: group.clone(),
                ready: group.is_some(),
                leaving: false,
            },
        );
        let group = match lost {
            // No such group: the core has it stopped.
            true => Some(GroupId(u64::MAX)),
            false => group.map(|group| group.id),
        };
        tracing::info!(%worker, adopted = !lost, "a worker of an earlier gateway dialled in");
        self.apply(Event::Adopted { worker, class: ClassId(hello.class), group });
    }

    fn agent_said(&mut self, worker: WorkerId, said: FromAgent) {
        match said {
            FromAgent::Warm { layers } => {
                tracing::debug!(%worker, ?layers, "generic worker ready");
                self.apply(Event::Warm { worker });
            }
            FromAgent::Ready(report) => {
                if !matches!(report.outcome, InitOutcome::Succeeded) {
                    tracing::debug!(%worker, outcome = ?report.outcome, "init failed; the invocation repeats it");
                }
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.ready = true;
                }
                self.serve(worker);
            }
            FromAgent::ClaimFailed { reason } => {
                tracing::warn!(%worker, %reason, "a claim failed");
                self.withdraw(worker);
                self.apply(Event::ClaimFailed { worker, reason });
            }
            // The connection that follows says the same.
            FromAgent::Idle => {}
            FromAgent::Logs(events) => {
                if let Some(group) = self.workers.get(&worker).and_then(|known| known.group.as_ref()) {
                    (group.spec.logs)(events);
                }
            }
            FromAgent::LogsDropped { events, bytes } => {
                tracing::warn!(%worker, events, bytes, "log lines were dropped: the function writes faster than they are read");
            }
            FromAgent::Failed { reason } => {
                tracing::warn!(%worker, %reason, "an agent gave up");
                self.withdraw(worker);
                self.apply(Event::Exited { worker, reason });
                self.end(worker);
            }
        }
    }

    /// Puts a ready worker's connection on its group's shelf.
    fn serve(&mut self, worker: WorkerId) {
        let Some(known) = self.workers.get_mut(&worker) else { return };
        if !known.ready || known.leaving {
            return;
        }
        let (Some(group), Some(environment)) = (known.group.clone(), known.connection.take()) else { return };
        self.apply(Event::Ready { worker });
        group.give_back(environment);
        self.look_at(group.id);
    }

    /// Takes an idle environment of a worker that is lost off its shelf.
    fn withdraw(&mut self, worker: WorkerId) {
        if let Some(group) = self.workers.get(&worker).and_then(|known| known.group.as_ref()) {
            drop(group.shelf.remove(|environment| environment.worker == worker));
        }
    }

    fn exited(&mut self, worker: WorkerId, reason: String) {
        self.withdraw(worker);
        let group = self.workers.remove(&worker).and_then(|known| known.group);
        self.apply(Event::Exited { worker, reason });
        if let Some(group) = group {
            self.look_at(group.id);
        }
    }

    fn apply(&mut self, event: Event) {
        for action in self.core.apply(event, Instant::now()) {
            match action {
                Action::Start { worker, class, ahead } => self.start(worker, class, ahead),
                Action::Claim { worker, group } => self.claim(worker, group),
                Action::Stop { worker } => self.end(worker),
                Action::FailWaiters { group, reason } => {
                    if let Some(group) = self.groups.get(&group) {
                        group.shelf.refuse(&reason.into());
                    }
                }
            }
        }
    }

    fn start(&mut self, worker: WorkerId, class: ClassId, ahead: bool) {
        self.workers.insert(worker, Worker::default());
        let Some(template) = self.templates.get(&class).cloned() else { return };
        self.expected.add(worker);
        let order = StartOrder { worker, token: self.key.token(worker), template, ahead };
        let (engine, own) = (self.engine.clone(), self.own.clone());
        self.tasks.spawn(async move {
            if let Err(error) = engine.start(order).await {
                let _ = own.send(Message::StartFailed(worker, chain(&error))).await;
            }
        });
    }

    fn claim(&mut self, worker: WorkerId, id: GroupId) {
        let Some(group) = self.groups.get(&id).cloned() else { return };
        let Some(known) = self.workers.get_mut(&worker) else { return };
        known.group = Some(group.clone());
        let outbox = known.outbox.clone();
        let (engine, own) = (self.engine.clone(), self.own.clone());
        self.tasks.spawn(async move {
            let limited = engine.limit(worker, group.spec.limits).await;
            let sent = match (limited, outbox) {
                (Ok(()), Some(outbox)) => {
                    let claim = ToAgent::Claim(Box::new((group.spec.claim)()));
                    outbox.send(claim).await.map_err(|_| "the agent has gone".to_owned())
                }
                (Err(error), _) => Err(chain(&error)),
                (_, None) => Err("the agent has no control connection".to_owned()),
            };
            if let Err(reason) = sent {
                let _ = own.send(Message::AgentSaid(worker, FromAgent::ClaimFailed { reason })).await;
            }
        });
    }

    /// Lets the worker leave, then makes sure.
    fn end(&mut self, worker: WorkerId) {
        self.withdraw(worker);
        self.expected.spend(worker);
        let outbox = self.workers.get_mut(&worker).and_then(|known| {
            known.leaving = true;
            known.outbox.clone()
        });
        let (engine, own, grace) = (self.engine.clone(), self.own.clone(), self.stop_grace);
        self.tasks.spawn(async move {
            let grace = match outbox {
                Some(outbox) if outbox.try_send(ToAgent::Shutdown).is_ok() => grace,
                _ => Duration::ZERO,
            };
            engine.stop(worker, grace).await;
            let _ = own.send(Message::Stopped(worker)).await;
        });
    }
}

/// An error with everything behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
