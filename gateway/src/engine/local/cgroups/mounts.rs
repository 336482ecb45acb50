//! Which cgroup hierarchies the machine has, and where this process is in each, read from /proc/self/mountinfo and
//! /proc/self/cgroup.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) unified: bool,
    controllers: Vec<String>,
    mount_point: PathBuf,
    /// Which part of the hierarchy is mounted there.
    mounted: PathBuf,
    /// This process's own cgroup.
    path: PathBuf,
}

impl Hierarchy {
    pub(super) fn offers(&self, controller: &str) -> bool {
        if self.unified {
            let root = fs::read_to_string(self.mount_point.join("cgroup.controllers")).unwrap_or_default();
            return root.split_whitespace().any(|name| name == controller);
        }
        self.controllers.iter().any(|name| name == controller)
    }

    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The folder of this process's own cgroup. Where it is out of sight (a container), what is mounted.
    pub(super) fn own(&self) -> PathBuf {
        match self.path.strip_prefix(&self.mounted) {
            Ok(below) if self.mount_point.join(below).exists() => self.mount_point.join(below),
            _ => self.mount_point.clone(),
        }
    }
}

pub(super) fn hierarchies(mountinfo: &str, cgroup: &str) -> Vec<Hierarchy> {
    mountinfo.lines().filter_map(|line| hierarchy(line, cgroup)).collect()
}

/// `36 35 0:30 /root /mount/point rw - cgroup cgroup rw,cpu,cpuacct`
fn hierarchy(line: &str, cgroup: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split_whitespace().skip(3);
    let (mounted, mount_point) = (before.next()?, before.next()?);
    let mut after = after.split_whitespace();
    let unified = match after.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let controllers: Vec<String> = after.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
    // `4:memory:/path`, for v2 `0::/path`.
    let path = cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let ours = match unified {
            true => names.is_empty(),
            false => !names.is_empty() && names.split(',').all(|name| controllers.iter().any(|have| have == name)),
        };
        ours.then(|| PathBuf::from(path))
    })?;
    Some(Hierarchy { unified, controllers, mount_point: mount_point.into(), mounted: mounted.into(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATE: &str = "\
30 28 0:27 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
36 30 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
37 30 0:34 /docker/1 /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory";

    #[test]
    fn separate_hierarchies_are_found_by_their_controllers() {
        let found = hierarchies(SEPARATE, "5:cpu,cpuacct:/user\n4:memory:/docker/1\n0::/unified");
        assert_eq!(found.len(), 2);
        assert!(found[0].offers("cpu") && !found[0].offers("memory"));
        assert_eq!(found[0].path, Path::new("/user"));
        assert_eq!(found[1].mount_point, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(
            (found[1].mounted.as_path(), found[1].path.as_path()),
            (Path::new("/docker/1"), Path::new("/docker/1"))
        );
    }

    #[test]
    fn the_unified_hierarchy_is_found_without_names() {
        let line = "31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let found = hierarchies(line, "0::/user.slice/user-1000.slice");
        assert!(found[0].unified);
        assert_eq!(found[0].path, Path::new("/user.slice/user-1000.slice"));
    }

    #[test]
    fn an_own_cgroup_that_is_out_of_sight_is_what_is_mounted() {
        let line = "31 24 0:26 /docker/1 /nowhere rw - cgroup cgroup rw,memory";
        assert_eq!(hierarchies(line, "3:memory:/other")[0].own(), Path::new("/nowhere"));
    }
}
