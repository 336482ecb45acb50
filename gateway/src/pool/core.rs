//! The decisions of the pool: which workers to start, claim, stop. A pure state machine: no clock, no I/O, no lock.
//!
//! `apply(event, now)` takes what happened and returns what to do; the driver carries it out. What it does not decide:
//! who gets an idle environment. That is a pop and a push on the group's [shelf](super::shelf), outside of here; the
//! core hears only of what changes the number of workers (waiters, expiry, loss).
//!
//! ```text
//!  Start ──> Starting ──Warm──> Generic ──Claim──> Claiming ──Ready──> Bound ──Expired, Retired──> Stopping ──Exited──> gone
//!               └───────────────────┴── Exited, ClaimFailed, too slow ──────┴──────────────────────────^
//! ```
//!
//! *Late binding*: a start belongs to a class, never to a waiter; whoever waits longest gets the first worker of its class.

use crate::engine::ClassId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use warmpod_link::WorkerId;

/// A function version's environments, all made from one code and configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Generic workers kept ready for each class in use; the floor of the adaptive target.
    pub generic_floor: usize,
    /// The adaptive target never rises above this.
    pub generic_ceiling: usize,
    /// Workers that may be starting at once.
    pub starting_limit: usize,
    /// A worker that is neither warm nor ready after this long is stopped.
    pub start_timeout: Duration,
    /// Environments of a group that may be on their way at once while its service time is unknown.
    pub unknown_service_cap: usize,
    /// Consecutive failures of a group after which its waiters are told.
    pub failures_told: u32,
    /// How long a class keeps a raised target without need.
    pub target_decay: Duration,
}

#[derive(Debug, Clone)]
pub enum Event {
    /// A function version may be invoked from now on.
    Registered { group: GroupId, class: ClassId },
    /// Its code or configuration changed, or it was deleted: nothing new for it.
    Retired { group: GroupId },
    /// How many invocations wait for an environment of the group now, and how long one takes.
    Waiting { group: GroupId, waiting: usize, service: Option<Duration> },
    /// The generic worker can be claimed.
    Warm { worker: WorkerId },
    /// The claimed worker is an environment now, on its group's shelf.
    Ready { worker: WorkerId },
    /// The claim could not be carried out.
    ClaimFailed { worker: WorkerId, reason: String },
    /// The worker could not be started at all.
    StartFailed { worker: WorkerId, reason: String },
    /// The environment was taken off its shelf for good: idle too long, used up, or its connection broke.
    Released { worker: WorkerId },
    /// The worker is gone.
    Exited { worker: WorkerId, reason: String },
    /// A worker of an earlier gateway came back; bound to `group`, or generic.
    Adopted { worker: WorkerId, class: ClassId, group: Option<GroupId> },
    /// Time passed.
    Tick,
    /// No starts from now on; everything is to be stopped.
    Closing,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// `ahead`: nobody waits for this one.
    Start {
        worker: WorkerId,
        class: ClassId,
        ahead: bool,
    },
    Claim {
        worker: WorkerId,
        group: GroupId,
    },
    /// Let the worker leave by itself, then make sure.
    Stop {
        worker: WorkerId,
    },
    /// Tell everyone who waits for this group that it will not come.
    FailWaiters {
        group: GroupId,
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Starting { since: Instant },
    Generic,
    Claiming { group: GroupId, since: Instant },
    Bound { group: GroupId },
    Stopping,
}

#[derive(Debug)]
struct Worker {
    class: ClassId,
    state: State,
    /// It was started with time to prepare itself.
    ahead: bool,
}

#[derive(Debug, Default)]
struct Class {
    groups: usize,
    /// Ready to be claimed; the last one is claimed first.
    generic: Vec<WorkerId>,
    /// Starts under way for those who wait, and ahead of anybody. The latter take longer, so nobody is made to wait for
    /// one; if it is there first, it is taken.
    on_demand: usize,
    ahead: usize,
    /// Generic workers to keep: the floor, and more where it was too low of late.
    target: usize,
    /// Somebody waits now and there is no generic worker.
    short: bool,
    /// When the target was last changed.
    short_since: Option<Instant>,
    /// Starts that failed since the last one that succeeded.
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Group {
    class: ClassId,
    waiting: usize,
    waiting_since: Option<Instant>,
    service: Option<Duration>,
    claiming: usize,
    environments: usize,
    retired: bool,
    failures: u32,
    retry_at: Option<Instant>,
    last_reason: String,
}

impl Class {
    fn under_way(&mut self, ahead: bool) -> &mut usize {
        if ahead { &mut self.ahead } else { &mut self.on_demand }
    }
}

pub struct Core {
    settings: Settings,
    workers: HashMap<WorkerId, Worker>,
    classes: BTreeMap<ClassId, Class>,
    groups: BTreeMap<GroupId, Group>,
    /// How long a claim takes, smoothed: what a waiter would wait for a new environment.
    cold: Duration,
    new_worker: Box<dyn FnMut() -> WorkerId + Send>,
    closing: bool,
}

/// What the pool holds now, for metrics and the console.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Census {
    pub starting: usize,
    pub generic: usize,
    pub claiming: usize,
    pub bound: usize,
    pub stopping: usize,
}

impl Core {
    pub fn new(settings: Settings, new_worker: impl FnMut() -> WorkerId + Send + 'static) -> Self {
        Self {
            settings,
            workers: HashMap::new(),
            classes: BTreeMap::new(),
            groups: BTreeMap::new(),
            cold: Duration::from_millis(100),
            new_worker: Box::new(new_worker),
            closing: false,
        }
    }

    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Registered { group, class } => self.register(group, class),
            Event::Retired { group } => {
                if let Some(known) = self.groups.get_mut(&group)
                    && !known.retired
                {
                    known.retired = true;
                    if let Some(class) = self.classes.get_mut(&known.class) {
                        class.groups = class.groups.saturating_sub(1);
                    }
                }
            }
            Event::Waiting { group, waiting, service } => {
                if let Some(known) = self.groups.get_mut(&group) {
                    known.waiting = waiting;
                    known.service = service.or(known.service);
                    known.waiting_since = (waiting > 0).then(|| known.waiting_since.unwrap_or(now));
                }
            }
            Event::Warm { worker } => self.warm(worker),
            Event::Ready { worker } => self.ready(worker, now),
            Event::ClaimFailed { worker, reason } => self.lost(worker, &reason, now, &mut actions, true),
            Event::StartFailed { worker, reason } => {
                self.lost(worker, &reason, now, &mut actions, false);
                self.workers.remove(&worker);
            }
            Event::Released { worker } => self.stop(worker, &mut actions),
            Event::Exited { worker, reason } => {
                self.lost(worker, &reason, now, &mut actions, false);
                self.workers.remove(&worker);
            }
            Event::Adopted { worker, class, group } => self.adopt(worker, class, group, &mut actions),
            Event::Tick => self.tick(now, &mut actions),
            Event::Closing => {
                self.closing = true;
                let all: Vec<_> = self.workers.keys().copied().collect();
                for worker in all {
                    self.stop(worker, &mut actions);
                }
            }
        }
        self.plan(now, &mut actions);
        self.groups.retain(|_, group| !group.retired || group.environments + group.claiming + group.waiting > 0);
        actions
    }

    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for worker in self.workers.values() {
            match worker.state {
                State::Starting { .. } => census.starting += 1,
                State::Generic => census.generic += 1,
                State::Claiming { .. } => census.claiming += 1,
                State::Bound { .. } => census.bound += 1,
                State::Stopping => census.stopping += 1,
            }
        }
        census
    }

    /// Whether any worker exists.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    fn register(&mut self, group: GroupId, class: ClassId) {
        let floor = self.settings.generic_floor;
        let known = self.classes.entry(class).or_insert_with(|| Class { target: floor, ..Class::default() });
        known.groups += 1;
        self.groups.insert(
            group,
            Group {
                class,
                waiting: 0,
                waiting_since: None,
                service: None,
                claiming: 0,
                environments: 0,
                retired: false,
                failures: 0,
                retry_at: None,
                last_reason: String::new(),
            },
        );
    }

    fn warm(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Starting { .. } = worker.state else { return };
        worker.state = State::Generic;
        if let Some(class) = self.classes.get_mut(&worker.class) {
            *class.under_way(worker.ahead) -= 1;
            (class.failures, class.retry_at) = (0, None);
            // Those that are prepared are claimed first; the others are the first to go.
            match worker.ahead {
                true => class.generic.push(id),
                false => class.generic.insert(0, id),
            }
        }
    }

    fn ready(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Claiming { group, since } = worker.state else { return };
        worker.state = State::Bound { group };
        self.cold = (self.cold * 7 + (now - since)) / 8;
        if let Some(group) = self.groups.get_mut(&group) {
            group.claiming -= 1;
            group.environments += 1;
            // It serves one of those who wait; how many are left comes with the next event.
            group.waiting = group.waiting.saturating_sub(1);
            (group.failures, group.retry_at) = (0, None);
        }
    }

    fn adopt(&mut self, id: WorkerId, class: ClassId, group: Option<GroupId>, actions: &mut Vec<Action>) {
        if self.workers.contains_key(&id) {
            return;
        }
        let known = group.and_then(|group| self.groups.get_mut(&group).map(|known| (group, known)));
        let state = match (group, known) {
            (Some(_), Some((group, known))) if !known.retired => {
                known.environments += 1;
                State::Bound { group }
            }
            (None, _) if self.classes.contains_key(&class) => {
                if let Some(class) = self.classes.get_mut(&class) {
                    class.generic.push(id);
                }
                State::Generic
            }
            _ => {
                actions.push(Action::Stop { worker: id });
                State::Stopping
            }
        };
        self.workers.insert(id, Worker { class, state, ahead: true });
    }

    /// A worker stops serving in any state but `Stopping`; its books are put right.
    fn unbook(&mut self, id: WorkerId) -> Option<State> {
        let worker = self.workers.get_mut(&id)?;
        let before = std::mem::replace(&mut worker.state, State::Stopping);
        let class = self.classes.get_mut(&worker.class);
        match before {
            State::Starting { .. } => {
                if let Some(class) = class {
                    *class.under_way(worker.ahead) -= 1;
                }
            }
            State::Generic => {
                if let Some(class) = class {
                    class.generic.retain(|other| *other != id);
                }
            }
            State::Claiming { group, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.claiming -= 1;
                }
            }
            State::Bound { group } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.environments -= 1;
                }
            }
            State::Stopping => {}
        }
        Some(before)
    }

    fn stop(&mut self, id: WorkerId, actions: &mut Vec<Action>) {
        match self.unbook(id) {
            None | Some(State::Stopping) => {}
            Some(_) => actions.push(Action::Stop { worker: id }),
        }
    }

    /// A worker failed. One that was claimed for a group counts against that group, a starting one against its class.
    fn lost(&mut self, id: WorkerId, reason: &str, now: Instant, actions: &mut Vec<Action>, stop: bool) {
        let Some(before) = self.unbook(id) else { return };
        if stop && before != State::Stopping {
            actions.push(Action::Stop { worker: id });
        }
        match before {
            State::Claiming { group, .. } => {
                let Some(known) = self.groups.get_mut(&group) else { return };
                known.failures += 1;
                known.last_reason = reason.to_owned();
                known.retry_at = Some(now + back_off(known.failures));
                if known.failures >= self.settings.failures_told {
                    actions.push(Action::FailWaiters { group, reason: reason.to_owned() });
                }
            }
            State::Starting { .. } => {
                let Some(worker) = self.workers.get(&id) else { return };
                let class_id = worker.class;
                let Some(class) = self.classes.get_mut(&class_id) else { return };
                class.failures += 1;
                class.retry_at = Some(now + back_off(class.failures));
                if class.failures >= self.settings.failures_told {
                    for (group, known) in &self.groups {
                        if known.class == class_id && known.waiting > 0 {
                            actions.push(Action::FailWaiters { group: *group, reason: reason.to_owned() });
                        }
                    }
                }
            }
            State::Generic | State::Bound { .. } | State::Stopping => {}
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let limit = self.settings.start_timeout;
        let late: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| match worker.state {
                State::Starting { since } | State::Claiming { since, .. } => now - since > limit,
                _ => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for worker in late {
            self.lost(worker, &format!("not ready within {} seconds", limit.as_secs()), now, actions, true);
        }
        for class in self.classes.values_mut() {
            let idle = class.short_since.is_none_or(|since| now - since > self.settings.target_decay);
            if idle && class.target > self.settings.generic_floor {
                class.target -= 1;
                class.short_since = Some(now);
            }
        }
    }

    /// Claims for those who wait, then starts for what is missing, then refill, then fewer generic workers.
    fn plan(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.closing {
            return;
        }
        let missing = self.claim(now, actions);
        self.adapt(&missing, now);
        let mut starting: usize = self.classes.values().map(|class| class.on_demand + class.ahead).sum();
        let ids: Vec<_> = self.classes.keys().copied().collect();
        // On demand first, for all classes, then refill: a refill never takes the place of a waiter's start.
        for refill in [false, true] {
            let limit = if refill { (self.settings.starting_limit / 2).max(1) } else { self.settings.starting_limit };
            for id in &ids {
                let Some(class) = self.classes.get_mut(id) else { continue };
                let needed = missing.get(id).copied().unwrap_or(0);
                let spare = if class.groups > 0 { class.target.saturating_sub(class.generic.len()) } else { 0 };
                let want = if refill { spare } else { needed };
                if class.retry_at.is_some_and(|at| now < at) {
                    continue;
                }
                while *class.under_way(refill) < want && starting < limit {
                    let worker = (self.new_worker)();
                    *class.under_way(refill) += 1;
                    starting += 1;
                    let state = State::Starting { since: now };
                    self.workers.insert(worker, Worker { class: *id, state, ahead: refill });
                    actions.push(Action::Start { worker, class: *id, ahead: refill });
                }
            }
        }
        self.shrink(actions);
    }

    /// Gives generic workers to groups, the longest wait first; returns how many each class lacks.
    fn claim(&mut self, now: Instant, actions: &mut Vec<Action>) -> HashMap<ClassId, usize> {
        let cold = self.cold;
        let cap = self.settings.unknown_service_cap;
        let mut order: VecDeque<(Instant, GroupId)> = {
            let mut waiting: Vec<_> = self
                .groups
                .iter()
                .filter(|(_, group)| group.waiting > 0 && group.retry_at.is_none_or(|at| now >= at))
                .filter_map(|(id, group)| group.waiting_since.map(|since| (since, *id)))
                .collect();
            waiting.sort();
            waiting.into()
        };
        let mut missing = HashMap::new();
        while let Some((since, id)) = order.pop_front() {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let lacking = desired(group, cold, cap).saturating_sub(group.claiming);
            if lacking == 0 {
                continue;
            }
            let Some(class) = self.classes.get_mut(&group.class) else { continue };
            let Some(worker) = class.generic.pop() else {
                *missing.entry(group.class).or_default() += lacking;
                continue;
            };
            group.claiming += 1;
            if let Some(known) = self.workers.get_mut(&worker) {
                known.state = State::Claiming { group: id, since: now };
            }
            actions.push(Action::Claim { worker, group: id });
            // One each in turn, so that a crowd in front of one function does not starve another.
            order.push_back((since, id));
        }
        missing
    }

    /// One generic worker more for each time that there was none for somebody who waited.
    fn adapt(&mut self, missing: &HashMap<ClassId, usize>, now: Instant) {
        for (id, class) in &mut self.classes {
            let short = missing.contains_key(id);
            if short && !class.short {
                class.target = (class.target + 1).min(self.settings.generic_ceiling).max(class.target);
                class.short_since = Some(now);
            }
            class.short = short;
        }
    }

    /// Ends the oldest generic workers of classes that have too many, or that no function uses any more.
    fn shrink(&mut self, actions: &mut Vec<Action>) {
        let mut surplus = Vec::new();
        for class in self.classes.values() {
            let target = if class.groups > 0 { class.target } else { 0 };
            surplus.extend(class.generic.iter().take(class.generic.len().saturating_sub(target)));
        }
        for worker in surplus {
            self.stop(worker, actions);
        }
        let groups = &self.groups;
        self.classes.retain(|id, class| {
            let held = class.groups > 0 || class.on_demand + class.ahead > 0 || !class.generic.is_empty();
            held || groups.values().any(|group| group.class == *id)
        });
    }
}

/// How many environments should be on their way for those who wait: one each while nobody knows how long an invocation
/// takes; else only as many as bring the queue down within the time that a new one needs.
fn desired(group: &Group, cold: Duration, cap: usize) -> usize {
    match group.service {
        None => group.waiting.min(cap),
        Some(service) => {
            let rounds = service.as_secs_f64() / cold.as_secs_f64().max(1e-6);
            let queue = (group.waiting as f64 * rounds).ceil() as usize;
            queue.clamp(1, group.waiting.max(1)).min(group.waiting)
        }
    }
}

/// 0, 100, 200, 400 … milliseconds, at most a minute: the first failure is tried again at once.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(100 << (n - 2).min(9)).min(Duration::from_secs(60)),
    }
}

#[cfg(test)]
mod tests;
