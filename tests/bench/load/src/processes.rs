//! CPU time of a process with everything that it started, and of the whole machine, from /proc.
//! <https://docs.kernel.org/scheduler/sched-stats.html>: the first figure of `schedstat` is time on a core, in ns.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::time::Duration;

/// Length of a tick in /proc/stat: USER_HZ is 100 on every architecture that we run on.
const TICK: Duration = Duration::from_millis(10);

pub struct Usage {
    /// The process and its descendants.
    pub tree: Duration,
    /// Everything else but this program.
    pub others: Duration,
    own: Duration,
}

impl Usage {
    pub fn read(root: u32) -> Result<Self, Box<dyn Error>> {
        let tree = tree(root)?.into_iter().map(time_of).sum();
        Ok(Self { tree, others: machine()?, own: time_of(std::process::id()) })
    }

    /// What was used from `before` to this one.
    pub fn since(&self, before: &Usage) -> Usage {
        let (tree, own) = (self.tree.saturating_sub(before.tree), self.own.saturating_sub(before.own));
        let others = self.others.saturating_sub(before.others).saturating_sub(tree).saturating_sub(own);
        Usage { tree, others, own }
    }
}

pub fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

fn tree(root: u32) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has just ended has no parent to tell.
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let own = children.remove(process).unwrap_or_default();
        found.extend(own);
        next += 1;
    }
    Ok(found)
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything, a parenthesis included.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn time_of(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let time = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(time).sum())
}

/// Busy time of all cores.
fn machine() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let figures: Vec<u32> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal
    Ok(TICK * [0, 1, 2, 5, 6, 7].iter().filter_map(|at| figures.get(*at)).sum())
}
