//! Where invocations meet runtimes: events that wait for a runtime, runtimes that wait for an event (the last one is
//! taken first), and invocations that wait for their answer.

use hyper::body::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot::{Receiver, Sender, channel};

type Event = (u64, Bytes);

#[derive(Default)]
pub struct Exchange(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    last_id: u64,
    events: VecDeque<Event>,
    idle: Vec<Sender<Event>>,
    running: HashMap<u64, Sender<Bytes>>,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn invoke(&self, body: Bytes) -> Option<Bytes> {
        self.begin(body).await.ok()
    }

    fn begin(&self, body: Bytes) -> Receiver<Bytes> {
        let (sender, answer) = channel();
        let mut inside = self.lock();
        inside.last_id += 1;
        let mut event = (inside.last_id, body);
        inside.running.insert(event.0, sender);
        while let Some(runtime) = inside.idle.pop() {
            match runtime.send(event) {
                Ok(()) => return answer,
                // This one went away.
                Err(back) => event = back,
            }
        }
        inside.events.push_back(event);
        answer
    }

    /// The next event for a runtime.
    pub async fn next(&self) -> Event {
        match self.take() {
            Ok(event) => event,
            Err(event) => event.await.expect("an exchange outlives its runtimes"),
        }
    }

    fn take(&self) -> Result<Event, Receiver<Event>> {
        let mut inside = self.lock();
        if let Some(event) = inside.events.pop_front() {
            return Ok(event);
        }
        let (sender, event) = channel();
        inside.idle.push(sender);
        Err(event)
    }

    pub fn answer(&self, id: u64, body: Bytes) {
        if let Some(waiting) = self.lock().running.remove(&id) {
            let _ = waiting.send(body);
        }
    }
}
