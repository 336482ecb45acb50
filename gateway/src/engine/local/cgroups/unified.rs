//! A place in the one hierarchy of cgroup v2.
//!
//! Two rules make it a search. A cgroup that has processes cannot share out its memory to children, so nearly never can
//! our own; and only what was delegated to this user may be used. The nearest ancestor that works is taken, since there
//! the limits that somebody set on us hold for our workers too.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint>

use super::mounts::Hierarchy;
use super::{make_folder, processes};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// This one has to be there; [`WELCOME`] are taken where they can be had.
const NEEDED: &str = "memory";
const WELCOME: [&str; 2] = ["pids", "cpu"];

pub(super) struct Unified {
    /// The installation's.
    pub(super) folder: PathBuf,
    /// Where processes had to go so that their cgroup may have children.
    pub(super) leaf: Option<PathBuf>,
}

impl Unified {
    pub(super) fn find(hierarchy: &Hierarchy, name: &str) -> Result<Unified, String> {
        let mut own = hierarchy.own();
        let mut leaf = None;
        // Started by somebody whom an earlier gateway moved: the place is where it was.
        if let (true, Some(parent)) = (own.ends_with(leaf_of(name)), own.parent().map(Path::to_owned)) {
            leaf = Some(std::mem::replace(&mut own, parent));
        }
        let mut problems = Vec::new();
        for parent in own.ancestors().take_while(|folder| folder.starts_with(hierarchy.mount_point())) {
            // In a container all that is in sight is the container's, and so ours to move.
            let alone = processes(parent) == [std::process::id()];
            let movable = parent == own && (alone || own == hierarchy.mount_point());
            match Unified::make(parent, name, movable, NEEDED) {
                Ok(place) => return Ok(Unified { leaf: place.leaf.or(leaf), ..place }),
                Err(error) => problems.push(format!("{}: {error}", parent.display())),
            }
        }
        Err(problems.join("; "))
    }

    fn make(parent: &Path, name: &str, movable: bool, needed: &str) -> io::Result<Unified> {
        let mut leaf = None;
        if has_processes(parent) {
            if !movable {
                return Err(io::Error::other("there are processes of others in it"));
            }
            let below = parent.join(leaf_of(name));
            make_folder(&below)?;
            move_processes(parent, &below)?;
            leaf = Some(below);
        }
        let folder = parent.join(name);
        let made = enable(parent, needed).and_then(|()| make_folder(&folder)).and_then(|()| enable(&folder, needed));
        match made {
            Ok(()) => Ok(Unified { folder, leaf }),
            Err(error) => {
                let _ = fs::remove_dir(&folder);
                if let Some(leaf) = &leaf {
                    let _ = move_processes(leaf, parent);
                    let _ = fs::remove_dir(leaf);
                }
                Err(error)
            }
        }
    }

    pub(super) fn controllers(&self) -> Vec<String> {
        let enabled = fs::read_to_string(self.folder.join("cgroup.subtree_control")).unwrap_or_default();
        enabled.split_whitespace().map(str::to_owned).collect()
    }
}

fn leaf_of(name: &str) -> String {
    format!("{name}-gateway")
}

/// As `make`, the other way round, once no worker is left.
pub(super) fn leave(leaf: &Path, folder: &Path) {
    let Some(own) = leaf.parent() else { return };
    let _ = fs::remove_dir(folder);
    let switch = own.join("cgroup.subtree_control");
    for controller in fs::read_to_string(&switch).unwrap_or_default().split_whitespace() {
        let _ = fs::write(&switch, format!("-{controller}"));
    }
    let _ = move_processes(leaf, own);
    let _ = fs::remove_dir(leaf);
}

fn enable(folder: &Path, needed: &str) -> io::Result<()> {
    let switch = folder.join("cgroup.subtree_control");
    fs::write(&switch, format!("+{needed}"))?;
    for controller in WELCOME {
        let _ = fs::write(&switch, format!("+{controller}"));
    }
    Ok(())
}

/// The real root may have both processes and children; it is the one without a type.
fn has_processes(folder: &Path) -> bool {
    folder.join("cgroup.type").exists() && !processes(folder).is_empty()
}

fn move_processes(from: &Path, to: &Path) -> io::Result<()> {
    for pid in processes(from) {
        match fs::write(to.join("cgroup.procs"), pid.to_string()) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::mounts::hierarchies;
    use super::*;
    use std::process::{Child, Command};

    /// A cgroup of the machine with one process in it, and a controller that can be shared out. Machines with both
    /// versions have none of ours in this one, but the kernel's rules are the same for each.
    struct Machine {
        folder: PathBuf,
        controller: String,
        process: Child,
    }

    impl Machine {
        /// None where there is no v2, or no right to use it.
        fn new(name: &str) -> Option<Machine> {
            let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
            let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
            let hierarchy = hierarchies(&mountinfo, &cgroup).into_iter().find(|hierarchy| hierarchy.unified)?;
            let root = hierarchy.mount_point().to_owned();
            let offered = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
            let controller = offered.split_whitespace().find(|name| ["memory", "hugetlb"].contains(name))?.to_owned();
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}")).ok()?;
            let folder = root.join(format!("warmpod-test-{name}-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let process = Command::new("sleep").arg("600").spawn().expect("sleep is everywhere");
            let machine = Machine { folder, controller, process };
            fs::write(machine.folder.join("cgroup.procs"), machine.process.id().to_string()).expect("root may");
            Some(machine)
        }

        fn make(&self, movable: bool) -> io::Result<Unified> {
            Unified::make(&self.folder, "installation", movable, &self.controller)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
            for name in ["installation", "installation-gateway", ""] {
                let _ = fs::remove_dir(self.folder.join(name));
            }
        }
    }

    #[test]
    fn processes_that_are_ours_make_room_and_come_back() {
        let Some(machine) = Machine::new("move") else { return };
        let place = machine.make(true).expect("they can be moved");
        let leaf = place.leaf.clone().expect("they had to go somewhere");
        assert_eq!(processes(&leaf), [machine.process.id()]);
        assert!(place.controllers().contains(&machine.controller));
        fs::create_dir(place.folder.join("worker")).expect("it is ours");
        fs::remove_dir(place.folder.join("worker")).expect("it is empty");
        leave(&leaf, &place.folder);
        assert_eq!(processes(&machine.folder), [machine.process.id()]);
        assert!(!leaf.exists() && !place.folder.exists());
    }

    #[test]
    fn processes_of_others_stay_where_they_are() {
        let Some(machine) = Machine::new("stay") else { return };
        assert!(machine.make(false).is_err());
        assert_eq!(processes(&machine.folder), [machine.process.id()]);
        assert_eq!(
            fs::read_dir(&machine.folder).expect("it is there").flatten().filter(|entry| entry.path().is_dir()).count(),
            0
        );
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing() {
        let Some(mut machine) = Machine::new("fail") else { return };
        machine.controller = "nonsense".to_owned();
        assert!(machine.make(true).is_err());
        assert_eq!(processes(&machine.folder), [machine.process.id()]);
        assert!(!machine.folder.join("installation-gateway").exists());
    }
}
