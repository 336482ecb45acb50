//! How much memory the worker's processes use, as AWS counts it: what they wrote, not what they mapped.
//!
//! Anonymous memory from the cgroup where there is one, else the processes' proportional set sizes, added up.

use rustix::process::Pid;
use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct MemoryUse {
    /// Bytes now.
    pub(crate) now: u64,
    /// The most that any reading has seen, bytes.
    pub(crate) peak: u64,
    /// How many processes the kernel has ended because the worker's own limit was reached.
    pub(crate) oom_kills: u64,
}

pub(super) struct Meter {
    peak: Cell<u64>,
    cgroup: Option<Cgroup>,
}

/// A memory cgroup's files, opened while they can be reached.
struct Cgroup {
    statistics: File,
    events: Option<File>,
}

impl Meter {
    /// Of the one among `cgroups` that counts memory, else of the processes.
    pub(super) fn open(cgroups: &[PathBuf]) -> Meter {
        let cgroup = cgroups.iter().find_map(|folder| {
            let statistics = File::open(folder.join("memory.stat")).ok()?;
            let events = ["memory.events", "memory.oom_control"].iter();
            let events = events.map(|name| File::open(folder.join(name))).find_map(Result::ok);
            Some(Cgroup { statistics, events })
        });
        Meter { peak: Cell::new(0), cgroup }
    }

    pub(super) fn read(&self) -> Option<MemoryUse> {
        let now = match &self.cgroup {
            // v2 calls it anon, v1 rss.
            Some(cgroup) => field(&cgroup.statistics, &["anon", "total_rss"])?,
            None => descendants(rustix::process::getpid()).into_iter().filter_map(proportional_set).sum(),
        };
        let events = self.cgroup.as_ref().and_then(|cgroup| cgroup.events.as_ref());
        let oom_kills = events.and_then(|events| field(events, &["oom_kill"])).unwrap_or(0);
        self.peak.set(self.peak.get().max(now));
        Some(MemoryUse { now, peak: self.peak.get(), oom_kills })
    }
}

/// The number behind one of `names` in a file of lines `name number`.
fn field(file: &File, names: &[&str]) -> Option<u64> {
    let mut text = [0; 8192];
    let count = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..count)?).ok()?;
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| names.contains(name))?.1.trim().parse().ok()
}

/// The anonymous part of a process's proportional set size, bytes.
fn proportional_set(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    // Before Linux 5.4 only the sum is there.
    let size = field("Pss_Anon:").or_else(|| field("Pss:"))?;
    let kib: u64 = size.split_whitespace().next()?.parse().ok()?;
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
