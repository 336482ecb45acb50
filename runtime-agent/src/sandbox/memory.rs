//! How much memory the worker's processes use, as AWS counts it: what they wrote, not what they mapped.
//!
//! Anonymous memory from the cgroup where there is one, else the processes' proportional set sizes, added up.

use rustix::process::Pid;
use std::cell::Cell;
use std::fs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Bytes now.
    pub now: u64,
    /// The most that any reading has seen, bytes.
    pub peak: u64,
    /// The kernel has ended a process because the worker's own limit was reached.
    pub oom_killed: bool,
}

pub(super) struct Meter {
    peak: Cell<u64>,
}

impl Meter {
    pub(super) fn of_processes() -> Meter {
        Meter { peak: Cell::new(0) }
    }

    pub(super) fn read(&self) -> Option<MemoryUse> {
        let now = descendants(rustix::process::getpid()).into_iter().filter_map(proportional_set).sum();
        self.peak.set(self.peak.get().max(now));
        Some(MemoryUse { now, peak: self.peak.get(), oom_killed: false })
    }
}

/// The anonymous part of a process's proportional set size, bytes.
fn proportional_set(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:").or_else(|| line.strip_prefix("Pss:")))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// All processes below `root`.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(i32, i32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything, brackets too.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
