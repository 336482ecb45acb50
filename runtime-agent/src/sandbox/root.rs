//! The worker's root file system: a small tmpfs with read-only views of the machine's programs, a private /tmp, a
//! minimal /dev, and nothing else of the machine.
//!
//! Sources are opened first, as detached trees, while the agent may still pass folders such as /root; they are put in
//! place later, when only the namespace's own root may mount.

use super::SandboxError;
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount, open_tree, unmount,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use warmpod_link::worker::SandboxSpec;

/// Where the new root is put together, in a mount namespace where nobody else looks.
pub(super) const STAGE: &str = "/tmp";
/// Size of /tmp until a claim names one.
const TMP_MIB: u32 = 512;
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const NOTHING_SPECIAL: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const READ_ONLY: MountAttrFlags = NOTHING_SPECIAL.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// Something that will be shown in the worker.
pub(super) struct Source {
    target: PathBuf,
    what: What,
}

enum What {
    Tree { tree: OwnedFd, directory: bool, attributes: MountAttrFlags },
    Link(PathBuf),
}

/// Opens everything that the root will show.
pub(super) fn open(spec: &SandboxSpec) -> Result<Vec<Source>, SandboxError> {
    let mut sources = Vec::new();
    for bind in &spec.read_only {
        let failed = |errno: Errno| SandboxError::step(format!("show {}", bind.source.display()), errno.into());
        let kind = match rustix::fs::statat(CWD, &bind.source, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => FileType::from_raw_mode(status.st_mode),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        let what = if kind == FileType::Symlink {
            let to = fs::read_link(&bind.source)
                .map_err(|source| SandboxError::step(format!("read the link {}", bind.source.display()), source))?;
            What::Link(to)
        } else {
            let tree = clone_tree(&bind.source).map_err(failed)?;
            What::Tree { tree, directory: kind == FileType::Directory, attributes: READ_ONLY }
        };
        sources.push(Source { target: bind.target.clone(), what });
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        let tree =
            clone_tree(&path).map_err(|errno| SandboxError::step(format!("show {}", path.display()), errno.into()))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        sources.push(Source { target: path, what: What::Tree { tree, directory: false, attributes } });
    }
    if !spec.layers.processes {
        let tree = clone_tree(Path::new("/proc")).map_err(|errno| SandboxError::step("show /proc", errno.into()))?;
        let what = What::Tree { tree, directory: true, attributes: NOTHING_SPECIAL };
        sources.push(Source { target: "/proc".into(), what });
    }
    Ok(sources)
}

/// A detached copy of what is mounted at a path, with all that is below.
fn clone_tree(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// Puts the root together at [`STAGE`], all but /proc.
pub(super) fn build(sources: Vec<Source>, spec: &SandboxSpec) -> Result<(), SandboxError> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| SandboxError::step(what, source)
    };
    place(tmpfs("4m", "0755").map_err(step("make a file system"))?, STAGE, NOTHING_SPECIAL)
        .map_err(step("mount its root"))?;
    for directory in ["proc", "dev/shm", "tmp", "var/task", "var/runtime", "opt", "etc", "home/sbx_user1051"] {
        fs::create_dir_all(staged(directory)).map_err(step("make its folders"))?;
    }
    for (name, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(format!("/proc/self/{to}"), staged("dev").join(name)).map_err(step("make links in /dev"))?;
    }
    for (directory, size) in [("tmp", format!("{TMP_MIB}m")), ("dev/shm", "64m".to_owned())] {
        let system = tmpfs(&size, "1777").map_err(step("make a file system"))?;
        place(system, staged(directory), NOTHING_SPECIAL).map_err(step("mount /tmp and /dev/shm"))?;
    }
    for source in sources {
        let target = staged(&source.target);
        show(source.what, &target)
            .map_err(|error| SandboxError::step(format!("show {}", source.target.display()), error))?;
    }
    for (path, content) in &spec.files {
        let target = staged(path);
        make_parent(&target)
            .and_then(|()| fs::write(&target, content))
            .map_err(|error| SandboxError::step(format!("write its {}", path.display()), error))?;
    }
    Ok(())
}

/// Mounts /proc at `target`. From inside the pid namespace, and while the machine's own /proc is still in sight: the
/// kernel asks for that.
pub(super) fn mount_proc(target: &str) -> io::Result<()> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = NOTHING_SPECIAL | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach_tree(&fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?, target)
}

/// Makes [`STAGE`] the root of this mount namespace, and lets go of the machine's.
pub(super) fn pivot() -> Result<(), SandboxError> {
    let failed = |errno: Errno| SandboxError::step("leave the machine's root file system", errno.into());
    rustix::process::chdir(STAGE).map_err(failed)?;
    rustix::process::pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount("/", flags, "").map_err(|errno| SandboxError::step("make its root read-only", errno.into()))
}

/// A detached tmpfs.
fn tmpfs(size: &str, mode: &str) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "size", size)?;
    fsconfig_set_string(&context, "mode", mode)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, NOTHING_SPECIAL)?)
}

fn show(what: What, target: &Path) -> io::Result<()> {
    match what {
        What::Link(to) => {
            make_parent(target)?;
            symlink(to, target)
        }
        What::Tree { tree, directory, attributes } => {
            if directory {
                fs::create_dir_all(target)?;
            } else if !target.exists() {
                make_parent(target)?;
                fs::write(target, "")?;
            }
            place(tree, target, attributes)
        }
    }
}

/// Mounts a detached tree, with `attributes` added to its own.
pub(super) fn place(tree: OwnedFd, target: impl AsRef<Path>, attributes: MountAttrFlags) -> io::Result<()> {
    let target = target.as_ref();
    match sys::add_mount_attributes(tree.as_fd(), attributes) {
        Ok(()) => attach_tree(&tree, target),
        // Linux 5.11 and before: only once it is in place, and without what is mounted further below.
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
            attach_tree(&tree, target)?;
            let kept = rustix::fs::statvfs(target)?.f_flag.bits();
            // The flags of statvfs and of mount have the same values, as far as they go.
            let flags = MountFlags::from_bits_truncate(kept as u32) | as_mount_flags(attributes) | MountFlags::BIND;
            Ok(mount_remount(target, flags, "")?)
        }
        Err(error) => Err(error),
    }
}

fn attach_tree(tree: &OwnedFd, target: impl rustix::path::Arg) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn as_mount_flags(attributes: MountAttrFlags) -> MountFlags {
    [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
    ]
    .into_iter()
    .filter_map(|(attribute, flag)| attributes.contains(attribute).then_some(flag))
    .collect()
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn staged(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    Path::new(STAGE).join(path.strip_prefix("/").unwrap_or(path))
}
