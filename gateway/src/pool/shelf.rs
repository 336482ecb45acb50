//! The idle environments of one group and those who wait for one: a last-in-first-out stack and a first-in-first-out
//! queue. Every step is one short critical section, and an environment is at all times in exactly one place: on the
//! stack, in a lease, or gone. Generic over what it holds, so that its tests need no sockets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Why a waiter gets no environment.
pub type Refusal = std::sync::Arc<str>;

/// What a waiter receives.
pub type Handed<E> = Result<E, Refusal>;

/// How far from the top a suitable environment is looked for.
const PREFERENCE_DEPTH: usize = 16;

pub struct Shelf<E> {
    inside: Mutex<Inside<E>>,
}

struct Inside<E> {
    /// Oldest first; the last one is taken first.
    idle: Vec<Idle<E>>,
    waiters: VecDeque<oneshot::Sender<Handed<E>>>,
    closed: bool,
}

struct Idle<E> {
    environment: E,
    since: Instant,
}

/// What came of asking for an environment.
pub enum Taken<E> {
    Idle(E),
    /// None is idle: one will be handed over, or a refusal.
    Wait(oneshot::Receiver<Handed<E>>),
}

impl<E> Default for Shelf<E> {
    fn default() -> Self {
        Self { inside: Mutex::new(Inside { idle: Vec::new(), waiters: VecDeque::new(), closed: false }) }
    }
}

impl<E> Shelf<E> {
    fn lock(&self) -> MutexGuard<'_, Inside<E>> {
        // A panic inside leaves no half-made change: each section is a push or a pop.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment that was used last, or a place in the queue. One that `suits` is preferred among the last few.
    pub fn take(&self, suits: impl Fn(&E) -> bool) -> Taken<E> {
        let mut inside = self.lock();
        let near = inside.idle.iter().rev().take(PREFERENCE_DEPTH).position(|idle| suits(&idle.environment));
        let taken = match near {
            // Removing near the end moves a few entries and keeps the order, oldest first.
            Some(back) if back > 0 => {
                let at = inside.idle.len() - 1 - back;
                Some(inside.idle.remove(at))
            }
            _ => inside.idle.pop(),
        };
        match taken {
            Some(idle) => Taken::Idle(idle.environment),
            None => {
                let (sender, receiver) = oneshot::channel();
                inside.waiters.push_back(sender);
                Taken::Wait(receiver)
            }
        }
    }

    /// Hands the environment to whoever waits longest, else keeps it. Gives it back when the shelf is closed, or when it
    /// would be kept and `keep` says not to.
    pub fn put(&self, environment: E, keep: bool, now: Instant) -> Result<(), E> {
        let mut inside = self.lock();
        let mut environment = environment;
        while let Some(waiter) = inside.waiters.pop_front() {
            match waiter.send(Ok(environment)) {
                Ok(()) => return Ok(()),
                // This one gave up; the environment is still ours.
                Err(Ok(back)) => environment = back,
                Err(Err(_)) => unreachable!("an environment was sent"),
            }
        }
        if !keep || inside.closed {
            return Err(environment);
        }
        inside.idle.push(Idle { environment, since: now });
        Ok(())
    }

    /// Those who still wait. Waiters that gave up are dropped here.
    pub fn waiting(&self) -> usize {
        let mut inside = self.lock();
        inside.waiters.retain(|waiter| !waiter.is_closed());
        inside.waiters.len()
    }

    /// Takes away what has been idle since before `cutoff`.
    pub fn expire(&self, cutoff: Instant) -> Vec<E> {
        let mut inside = self.lock();
        let expired = inside.idle.partition_point(|idle| idle.since <= cutoff);
        inside.idle.drain(..expired).map(|idle| idle.environment).collect()
    }

    /// Takes away the idle environments for which `wanted` holds.
    pub fn remove(&self, mut wanted: impl FnMut(&E) -> bool) -> Vec<E> {
        let mut inside = self.lock();
        let idle = std::mem::take(&mut inside.idle);
        let (gone, kept): (Vec<_>, Vec<_>) = idle.into_iter().partition(|idle| wanted(&idle.environment));
        inside.idle = kept;
        gone.into_iter().map(|idle| idle.environment).collect()
    }

    /// Tells all who wait that nothing will come, and why.
    pub fn refuse(&self, reason: &Refusal) {
        let waiters = std::mem::take(&mut self.lock().waiters);
        for waiter in waiters {
            let _ = waiter.send(Err(reason.clone()));
        }
    }

    /// Keeps nothing from now on; what was idle is given back. Those who wait still get what comes.
    pub fn close(&self) -> Vec<E> {
        let mut inside = self.lock();
        inside.closed = true;
        std::mem::take(&mut inside.idle).into_iter().map(|idle| idle.environment).collect()
    }
}
