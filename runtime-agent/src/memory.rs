//! When to look at how much memory the processes use, and what a function may use.
//!
//! A look costs a read of a file or of /proc, so a short warm invocation is never looked at; a longer one is, in steps,
//! and ended when it uses more than its MemorySize. The peak that REPORT shows is over the environment's life.

use crate::clock::Moment;
use crate::sandbox::{MemoryUse, Sandbox};
use std::time::Duration;

const FIRST_LOOK: Duration = Duration::from_millis(10);
const STEP: Duration = Duration::from_millis(20);
/// How old a look may be for a REPORT that nobody waits for.
const FRESH: Duration = Duration::from_millis(250);
const MIB: u64 = 1024 * 1024;

#[derive(Default)]
pub struct Watch {
    limit_mib: u64,
    /// Over the environment's life, bytes.
    peak: u64,
    /// Since the runtime was started last, bytes.
    recent: u64,
    /// Processes that the kernel has ended so far.
    oom_kills: u64,
    looked: Option<Moment>,
}

impl Watch {
    pub fn set_limit(&mut self, mib: u32) {
        self.limit_mib = mib.into();
    }

    /// A new runtime starts.
    pub fn restart(&mut self) {
        self.recent = 0;
    }

    /// When to look next at processes that have been busy since then.
    pub fn due(&self, busy_since: Moment) -> Moment {
        let first = busy_since + FIRST_LOOK;
        self.looked.map_or(first, |looked| first.max(looked + STEP))
    }

    /// Looks. True: the processes use more than they may, or the kernel has ended one for it.
    pub fn look(&mut self, sandbox: &Sandbox, now: Moment) -> bool {
        self.looked = Some(now);
        let Some(MemoryUse { now, peak, oom_kills }) = sandbox.memory() else { return false };
        self.recent = self.recent.max(now);
        self.peak = self.peak.max(now).max(peak);
        let struck = oom_kills > self.oom_kills;
        self.oom_kills = oom_kills;
        struck || (self.limit_mib > 0 && now > self.limit_mib * MIB)
    }

    /// Looks if the last look is not recent enough for a report.
    pub fn refresh(&mut self, sandbox: &Sandbox, now: Moment, exact: bool) {
        if exact || self.looked.is_none_or(|looked| now.since(looked) >= FRESH) {
            // A limit that was passed for a moment shows at the next invocation, if it still is.
            self.look(sandbox, now);
        }
    }

    /// A process died by a SIGKILL that nobody here sent: whether memory is the reason.
    pub fn explains_kill(&mut self, sandbox: &Sandbox, now: Moment) -> bool {
        self.look(sandbox, now) || (self.limit_mib > 0 && self.recent * 100 >= self.limit_mib * MIB * 98)
    }

    /// The limit was hit: that much was used.
    pub fn fill(&mut self) {
        self.peak = self.peak.max(self.limit_mib * MIB);
    }

    /// `Max Memory Used`, never above `Memory Size`.
    pub fn max_mib(&self) -> u64 {
        self.peak.div_ceil(MIB).clamp(1, self.limit_mib.max(1))
    }
}
