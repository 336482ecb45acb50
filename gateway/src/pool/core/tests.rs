//! The core and the shelves together, without sockets: environments are just their workers' ids.

use super::*;
use crate::pool::shelf::{Shelf, Taken};
use proptest::prelude::*;
use std::collections::HashSet;
use tokio::sync::oneshot;
use uuid::Uuid;

const CLASSES: u64 = 2;
const GROUPS: u64 = 3;

fn settings() -> Settings {
    Settings {
        generic_floor: 1,
        generic_ceiling: 4,
        starting_limit: 5,
        start_timeout: Duration::from_secs(20),
        unknown_service_cap: 8,
        failures_told: 3,
        target_decay: Duration::from_secs(60),
    }
}

fn core(settings: Settings) -> Core {
    let mut next = 0;
    Core::new(settings, move || {
        next += 1;
        WorkerId(Uuid::from_u128(next))
    })
}

/// What a driver, an engine and agents do, one step at a time, in an order that the test chooses.
struct World {
    core: Core,
    now: Instant,
    shelves: BTreeMap<GroupId, Shelf<WorkerId>>,
    waiting: Vec<(GroupId, oneshot::Receiver<Result<WorkerId, crate::pool::shelf::Refusal>>)>,
    leased: HashMap<WorkerId, GroupId>,
    starting: Vec<WorkerId>,
    claiming: Vec<(WorkerId, GroupId)>,
    bound: HashMap<WorkerId, GroupId>,
    alive: HashSet<WorkerId>,
    retired: HashSet<GroupId>,
    served: usize,
    refused: usize,
    asked: usize,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = Self {
            core: core(settings),
            now: Instant::now(),
            shelves: BTreeMap::new(),
            waiting: Vec::new(),
            leased: HashMap::new(),
            starting: Vec::new(),
            claiming: Vec::new(),
            bound: HashMap::new(),
            alive: HashSet::new(),
            retired: HashSet::new(),
            served: 0,
            refused: 0,
            asked: 0,
        };
        for group in 0..GROUPS {
            world.shelves.insert(GroupId(group), Shelf::default());
            world.apply(Event::Registered { group: GroupId(group), class: ClassId(group % CLASSES) });
        }
        world
    }

    fn apply(&mut self, event: Event) {
        for action in self.core.apply(event, self.now) {
            match action {
                Action::Start { worker, .. } => {
                    assert!(self.alive.insert(worker), "a worker's id is used once");
                    self.starting.push(worker);
                    assert!(self.starting.len() <= self.core.settings.starting_limit, "the start limit is kept");
                }
                Action::Claim { worker, group } => {
                    assert!(self.alive.contains(&worker) && !self.bound.contains_key(&worker), "claimed once");
                    assert!(!self.claiming.iter().any(|(other, _)| *other == worker));
                    self.claiming.push((worker, group));
                }
                Action::Stop { worker } => {
                    assert!(!self.leased.contains_key(&worker), "a leased worker is never reaped");
                    self.starting.retain(|other| *other != worker);
                    self.claiming.retain(|(other, _)| *other != worker);
                    if let Some(group) = self.bound.get(&worker) {
                        drop(self.shelves[group].remove(|other| *other == worker));
                    }
                }
                Action::FailWaiters { group, reason } => self.shelves[&group].refuse(&reason.into()),
            }
        }
        self.collect();
    }

    /// Waiters that were handed something take it.
    fn collect(&mut self) {
        for (group, mut receiver) in std::mem::take(&mut self.waiting) {
            match receiver.try_recv() {
                Ok(Ok(worker)) => self.lease(worker, group),
                Ok(Err(_)) => self.refused += 1,
                Err(oneshot::error::TryRecvError::Empty) => self.waiting.push((group, receiver)),
                Err(oneshot::error::TryRecvError::Closed) => panic!("a waiter was lost"),
            }
        }
    }

    fn lease(&mut self, worker: WorkerId, group: GroupId) {
        assert!(self.alive.contains(&worker), "a lease is on a living worker");
        assert_eq!(self.bound.get(&worker), Some(&group), "a worker serves its own group only");
        assert!(self.leased.insert(worker, group).is_none(), "two leases on one worker");
        self.served += 1;
    }

    fn look_at(&mut self, group: GroupId) {
        let waiting = self.shelves[&group].waiting();
        self.apply(Event::Waiting { group, waiting, service: None });
    }

    fn ask(&mut self, group: GroupId) {
        if self.retired.contains(&group) {
            return;
        }
        self.asked += 1;
        match self.shelves[&group].take(|_| true) {
            Taken::Idle(worker) => self.lease(worker, group),
            Taken::Wait(receiver) => {
                self.waiting.push((group, receiver));
                self.look_at(group);
            }
        }
    }

    fn give_back(&mut self, worker: WorkerId) {
        let Some(group) = self.leased.remove(&worker) else { return };
        if let Err(worker) = self.shelves[&group].put(worker, true, self.now) {
            self.apply(Event::Released { worker });
        }
        self.collect();
    }

    fn ready(&mut self, at: usize) {
        let (worker, group) = self.claiming.swap_remove(at);
        self.bound.insert(worker, group);
        self.apply(Event::Ready { worker });
        if let Err(worker) = self.shelves[&group].put(worker, true, self.now) {
            self.apply(Event::Released { worker });
        }
        self.collect();
        self.look_at(group);
    }

    fn exit(&mut self, worker: WorkerId) {
        self.alive.remove(&worker);
        self.leased.remove(&worker);
        self.starting.retain(|other| *other != worker);
        self.claiming.retain(|(other, _)| *other != worker);
        if let Some(group) = self.bound.remove(&worker) {
            drop(self.shelves[&group].remove(|other| *other == worker));
        }
        self.apply(Event::Exited { worker, reason: "gone".into() });
    }

    fn expire(&mut self) {
        self.now += Duration::from_secs(700);
        let cutoff = self.now - Duration::from_secs(600);
        let groups: Vec<_> = self.shelves.keys().copied().collect();
        for group in groups {
            for worker in self.shelves[&group].expire(cutoff) {
                self.apply(Event::Released { worker });
            }
        }
        self.apply(Event::Tick);
    }

    fn retire(&mut self, group: GroupId) {
        if self.retired.insert(group) {
            let idle = self.shelves[&group].close();
            self.apply(Event::Retired { group });
            for worker in idle {
                self.apply(Event::Released { worker });
            }
        }
    }

    /// Lets everything that is under way succeed until nobody waits.
    fn come_to_rest(&mut self) {
        for _ in 0..2000 {
            if self.waiting.is_empty() {
                return;
            }
            self.now += Duration::from_secs(1);
            if let Some(worker) = self.starting.pop() {
                self.apply(Event::Warm { worker });
            } else if !self.claiming.is_empty() {
                self.ready(0);
            } else if let Some(worker) = self.leased.keys().next().copied() {
                self.give_back(worker);
            } else {
                let groups: Vec<_> = self.shelves.keys().copied().collect();
                groups.into_iter().for_each(|group| self.look_at(group));
                self.apply(Event::Tick);
            }
        }
        panic!("{} wait for ever", self.waiting.len());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u64),
    Warm(usize),
    Ready(usize),
    GiveBack(usize),
    ClaimFails(usize),
    Exits(usize),
    Expire,
    Tick(u64),
    GiveUp(usize),
    Retire(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..GROUPS).prop_map(Step::Ask),
        6 => (0..8_usize).prop_map(Step::Warm),
        6 => (0..8_usize).prop_map(Step::Ready),
        6 => (0..8_usize).prop_map(Step::GiveBack),
        1 => (0..8_usize).prop_map(Step::ClaimFails),
        1 => (0..8_usize).prop_map(Step::Exits),
        1 => Just(Step::Expire),
        1 => (0..30_u64).prop_map(Step::Tick),
        1 => (0..8_usize).prop_map(Step::GiveUp),
        1 => (1..GROUPS).prop_map(Step::Retire),
    ]
}

fn pick<T: Copy + Ord>(from: impl Iterator<Item = T>, at: usize) -> Option<T> {
    let mut all: Vec<_> = from.collect();
    all.sort();
    (!all.is_empty()).then(|| all[at % all.len()])
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Ask(group) => world.ask(GroupId(group)),
        Step::Warm(at) => {
            if !world.starting.is_empty() {
                let worker = world.starting.remove(at % world.starting.len());
                world.apply(Event::Warm { worker });
            }
        }
        Step::Ready(at) => {
            if !world.claiming.is_empty() {
                world.ready(at % world.claiming.len());
            }
        }
        Step::GiveBack(at) => {
            if let Some(worker) = pick(world.leased.keys().copied(), at) {
                world.give_back(worker);
            }
        }
        Step::ClaimFails(at) => {
            if !world.claiming.is_empty() {
                let (worker, _) = world.claiming.remove(at % world.claiming.len());
                world.apply(Event::ClaimFailed { worker, reason: "no code".into() });
            }
        }
        Step::Exits(at) => {
            if let Some(worker) = pick(world.alive.iter().copied(), at) {
                world.exit(worker);
            }
        }
        Step::Expire => world.expire(),
        Step::Tick(seconds) => {
            world.now += Duration::from_secs(seconds);
            world.apply(Event::Tick);
        }
        Step::GiveUp(at) => {
            if !world.waiting.is_empty() {
                let at = at % world.waiting.len();
                drop(world.waiting.swap_remove(at));
                world.asked -= 1;
            }
        }
        Step::Retire(group) => world.retire(GroupId(group)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Never two leases on one worker, never a leased worker reaped, never above the start limit, never a waiter lost.
    #[test]
    fn promises_hold_for_any_order_of_events(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::new(settings());
        for step in steps {
            take(&mut world, step);
        }
        world.come_to_rest();
        prop_assert_eq!(world.served + world.refused, world.asked);
    }
}

#[tokio::test]
async fn a_generic_worker_is_started_for_a_class_in_use_and_replaced_when_claimed() {
    let mut world = World::new(settings());
    assert_eq!(world.starting.len(), 2, "one for each class");
    let worker = world.starting.remove(0);
    world.apply(Event::Warm { worker });
    world.ask(GroupId(0));
    assert_eq!(world.claiming.len(), 1, "claimed at once");
    assert_eq!(world.starting.len(), 2, "the refill is under way");
}

#[tokio::test]
async fn a_burst_starts_one_worker_for_each_waiter_up_to_the_cap() {
    let mut world = World::new(Settings { starting_limit: 100, generic_floor: 0, generic_ceiling: 0, ..settings() });
    for _ in 0..20 {
        world.ask(GroupId(0));
    }
    assert_eq!(world.starting.len(), 8, "starts under way are counted");
}

#[tokio::test]
async fn nobody_waits_for_a_worker_that_is_started_ahead() {
    let mut core = core(settings());
    let now = Instant::now();
    let ahead = core.apply(Event::Registered { group: GroupId(0), class: ClassId(0) }, now);
    assert!(matches!(ahead[..], [Action::Start { ahead: true, .. }]));
    let demanded = core.apply(Event::Waiting { group: GroupId(0), waiting: 1, service: None }, now);
    assert!(matches!(demanded[0], Action::Start { ahead: false, .. }), "{demanded:?}");
}

#[tokio::test]
async fn one_waiter_gets_one_environment() {
    let mut world = World::new(settings());
    world.ask(GroupId(0));
    while let Some(worker) = world.starting.pop() {
        world.apply(Event::Warm { worker });
    }
    assert_eq!(world.claiming.len(), 1);
    world.ready(0);
    assert_eq!((world.served, world.claiming.len()), (1, 0), "no second claim while the first is handed over");
}

#[tokio::test]
async fn a_short_service_time_starts_fewer_than_wait() {
    let mut core = core(Settings { starting_limit: 100, generic_floor: 0, generic_ceiling: 0, ..settings() });
    let now = Instant::now();
    core.apply(Event::Registered { group: GroupId(0), class: ClassId(0) }, now);
    let service = Some(Duration::from_millis(10));
    let actions = core.apply(Event::Waiting { group: GroupId(0), waiting: 50, service }, now);
    let starts = actions.iter().filter(|action| matches!(action, Action::Start { .. })).count();
    assert_eq!(starts, 5, "50 waiters of 10 ms each, against 100 ms for a new environment");
}

#[tokio::test]
async fn a_worker_that_is_not_ready_in_time_is_stopped_and_replaced() {
    let mut world = World::new(settings());
    let first: Vec<_> = world.starting.clone();
    world.now += Duration::from_secs(21);
    world.apply(Event::Tick);
    assert!(first.iter().all(|worker| !world.starting.contains(worker)), "the late ones are stopped");
    assert_eq!(world.starting.len(), first.len(), "and others started");
}

#[tokio::test]
async fn waiters_are_told_when_claims_keep_failing() {
    let mut world = World::new(settings());
    world.ask(GroupId(0));
    for _ in 0..3 {
        world.now += Duration::from_secs(1);
        world.apply(Event::Tick);
        while let Some(worker) = world.starting.pop() {
            world.apply(Event::Warm { worker });
        }
        let (worker, _) = world.claiming.pop().expect("a claim");
        world.apply(Event::ClaimFailed { worker, reason: "no code".into() });
    }
    assert_eq!((world.refused, world.waiting.len()), (1, 0));
}

#[tokio::test]
async fn closing_stops_everything_and_starts_nothing() {
    let mut world = World::new(settings());
    world.apply(Event::Closing);
    assert!(world.starting.is_empty());
    let workers: Vec<_> = world.alive.iter().copied().collect();
    workers.into_iter().for_each(|worker| world.exit(worker));
    assert!(world.core.is_empty());
}
