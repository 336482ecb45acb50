//! Cgroups: one folder for the installation in each hierarchy that counts something, below it one for each worker.
//!
//! v1 has a hierarchy for each controller, v2 one for all. Which one a machine has is read from its mounts. A worker's
//! process joins when it starts (that costs 10 ms on v1); its limits are written at the claim.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/admin-guide/cgroup-v1/>

mod mounts;
mod unified;

use super::super::Limits;
use mounts::{Hierarchy, hierarchies};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use unified::Unified;
use warmpod_link::WorkerId;

/// What a worker's own processes need beside the function's memory: the agent, page tables, pipes. MiB.
const OVERHEAD: u64 = 64;
/// AWS's limit of processes and threads, and some for the agent.
const PROCESSES: u32 = 1024 + 16;
/// AWS gives a function one CPU for each 1,769 MB.
const MIB_PER_CPU: u64 = 1769;

#[derive(Debug)]
pub(super) struct Cgroups {
    unified: bool,
    /// The installation's folder in each hierarchy.
    folders: Vec<PathBuf>,
    /// Where the gateway had to go so that its own cgroup may have children (v2).
    leaf: Option<PathBuf>,
    /// Folders of earlier gateways that were started in other cgroups. Workers of theirs may be left in them.
    earlier: Vec<PathBuf>,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Makes the installation's folders. `record` is a file that outlives a gateway that is killed; it holds where they
    /// are. The error says what is in the way.
    pub(super) fn open(installation: &str, record: &Path) -> Result<Cgroups, String> {
        let found = hierarchies(
            &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
            &fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        );
        let name = format!("warmpod-{installation}");
        let unified = found.iter().find(|hierarchy| hierarchy.unified && hierarchy.offers("memory"));
        let mut this = match unified {
            Some(hierarchy) => Cgroups::open_unified(hierarchy, &name),
            None => Cgroups::open_separate(&found, &name),
        }?;
        let known = fs::read_to_string(record).unwrap_or_default();
        let current = this.leftovers();
        this.earlier = known.lines().map(PathBuf::from).filter(|folder| !current.contains(folder)).collect();
        let all: String = this.leftovers().iter().map(|folder| format!("{}\n", folder.display())).collect();
        fs::write(record, all).map_err(|error| format!("{}: {error}", record.display()))?;
        Ok(this)
    }

    fn open_separate(found: &[Hierarchy], name: &str) -> Result<Cgroups, String> {
        let mut this =
            Cgroups { unified: false, folders: Vec::new(), leaf: None, earlier: Vec::new(), controllers: Vec::new() };
        let mut problems = Vec::new();
        for controller in ["memory", "pids", "cpu"] {
            let Some(hierarchy) = found.iter().find(|hierarchy| !hierarchy.unified && hierarchy.offers(controller))
            else {
                continue;
            };
            let folder = hierarchy.own().join(name);
            match make_folder(&folder) {
                Ok(()) if this.folders.contains(&folder) => {}
                Ok(()) => this.folders.push(folder),
                Err(error) => {
                    problems.push(format!("{}: {error}", folder.display()));
                    continue;
                }
            }
            this.controllers.push(controller.to_owned());
        }
        match (this.folders.is_empty(), problems.is_empty()) {
            (false, _) => Ok(this),
            (true, true) => Err("no cgroup hierarchy with memory, pids or cpu is mounted".to_owned()),
            (true, false) => Err(problems.join("; ")),
        }
    }

    fn open_unified(hierarchy: &Hierarchy, name: &str) -> Result<Cgroups, String> {
        let place = Unified::find(hierarchy, name)?;
        let controllers = place.controllers();
        Ok(Cgroups { unified: true, folders: vec![place.folder], leaf: place.leaf, earlier: Vec::new(), controllers })
    }

    /// In words: the version and the controllers.
    pub(super) fn describe(&self) -> String {
        format!("v{}: {}", if self.unified { 2 } else { 1 }, self.controllers.join(", "))
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|have| have == controller)
    }

    /// Everything to remove in the end, inner folders first.
    pub(super) fn leftovers(&self) -> Vec<PathBuf> {
        self.folders.iter().chain(&self.leaf).chain(&self.earlier).cloned().collect()
    }

    /// Makes a worker's folders, with what does not depend on its function. One that is started ahead of anybody leaves
    /// the CPU to those that somebody waits for.
    pub(super) fn make(&self, worker: WorkerId, ahead: bool) -> io::Result<Vec<PathBuf>> {
        let folders: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(worker.to_string())).collect();
        for folder in &folders {
            make_folder(folder)?;
            write_if_there(&folder.join("pids.max"), &PROCESSES.to_string())?;
            if ahead {
                write_if_there(&folder.join("cpu.weight"), "1")?;
                write_if_there(&folder.join("cpu.shares"), "8")?;
            }
        }
        Ok(folders)
    }

    /// A worker's folders, wherever they are.
    fn of(&self, worker: WorkerId) -> impl Iterator<Item = PathBuf> {
        let name = worker.to_string();
        self.folders.iter().chain(&self.earlier).map(move |folder| folder.join(&name)).filter(|folder| folder.exists())
    }

    /// Writes the limits of the function that a worker is about to be bound to. Memory is a backstop, since the files in
    /// /tmp count: the agent watches what the processes use. CPU is a share, in AWS's proportion: alone on the machine a
    /// function has all of it.
    pub(super) fn limit(&self, worker: WorkerId, limits: Limits, quota: bool) -> io::Result<()> {
        let mib = u64::from(limits.memory.0) + u64::from(limits.ephemeral.0) + OVERHEAD;
        let bytes = (mib * 1024 * 1024).to_string();
        let memory = u64::from(limits.memory.0);
        let (weight, shares) = (100 * memory / MIB_PER_CPU, 1024 * memory / MIB_PER_CPU);
        let microseconds = 100_000 * memory / MIB_PER_CPU;
        for folder in self.of(worker) {
            write_if_there(&folder.join("memory.max"), &bytes)?;
            write_if_there(&folder.join("memory.swap.max"), "0")?;
            write_if_there(&folder.join("memory.limit_in_bytes"), &bytes)?;
            write_if_there(&folder.join("memory.memsw.limit_in_bytes"), &bytes)?;
            write_if_there(&folder.join("cpu.weight"), &weight.clamp(1, 10_000).to_string())?;
            write_if_there(&folder.join("cpu.shares"), &shares.clamp(2, 262_144).to_string())?;
            if quota {
                write_if_there(&folder.join("cpu.max"), &format!("{microseconds} 100000"))?;
                write_if_there(&folder.join("cpu.cfs_quota_us"), &microseconds.to_string())?;
            }
        }
        Ok(())
    }

    /// The worker's processes, the agent too.
    pub(super) fn processes(&self, worker: WorkerId) -> Vec<u32> {
        self.of(worker).next().map(|folder| processes(&folder)).unwrap_or_default()
    }

    /// Removes a worker's folders; false while processes are in them.
    pub(super) fn remove(&self, worker: WorkerId) -> bool {
        self.of(worker).all(|folder| is_gone(fs::remove_dir(folder)))
    }

    /// Workers that have a folder: after a start, those of an earlier gateway.
    pub(super) fn workers(&self) -> Vec<WorkerId> {
        let places = self.folders.iter().chain(&self.earlier);
        let entries = places.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(WorkerId)).collect()
    }

    /// Takes this process out of the cgroups that are about to be removed, once no worker is left.
    pub(super) fn leave(&self) {
        if let (Some(leaf), Some(folder)) = (&self.leaf, self.folders.first()) {
            unified::leave(leaf, folder);
        }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Not every hierarchy has every file.
fn write_if_there(file: &Path, value: &str) -> io::Result<()> {
    match fs::write(file, value) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            if file.exists() { Err(error) } else { Ok(()) }
        }
        other => other,
    }
}

fn processes(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn is_gone(removed: io::Result<()>) -> bool {
    match removed {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
