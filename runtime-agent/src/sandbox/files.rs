//! The two mount namespaces of a worker and the way between them: the agent's own, with the machine's files, and the
//! function's. Code is shown at a claim by a mount that the agent carries across; a process that runs already sees it.

use super::first::First;
use super::{Attachment, SandboxError, root};
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_string, fsmount, fsopen, fspick, open_tree,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use warmpod_link::worker::SandboxSpec;

const READ_ONLY: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NOSUID).union(MountAttrFlags::MOUNT_ATTR_NODEV);

pub(super) struct Files {
    agent: OwnedFd,
    worker: OwnedFd,
    /// The folder of all code, opened while that was allowed.
    code: Code,
}

/// The folder below which everything lies that can be attached.
pub(super) struct Code {
    path: PathBuf,
    folder: OwnedFd,
}

impl Code {
    pub(super) fn open(path: &Path) -> Result<Code, SandboxError> {
        let folder = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| SandboxError::step(format!("open {}", path.display()), errno.into()))?;
        Ok(Code { path: path.to_owned(), folder })
    }

    /// One folder of it. Nothing outside of it can be named.
    fn folder(&self, path: &Path) -> Result<OwnedFd, SandboxError> {
        let failed = |source| SandboxError::step(format!("show {}", path.display()), source);
        let relative = path.strip_prefix(&self.path).map_err(|_| failed(io::ErrorKind::PermissionDenied.into()))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.folder, relative, flags, Mode::empty(), resolve).map_err(|errno| failed(errno.into()))
    }
}

impl Files {
    /// Makes the function's mount namespace and its root, and with it pid 1 where there is to be one.
    pub(super) fn build(
        (sources, code): (Vec<root::Source>, Code),
        spec: &SandboxSpec,
    ) -> Result<(Files, Option<First>), SandboxError> {
        let agent = own_namespace()?;
        sys::unshare(UnshareFlags::NEWNS).map_err(|source| SandboxError::step("make a mount namespace", source))?;
        let worker = own_namespace()?;
        root::build(sources, spec)?;
        let first = if spec.layers.processes {
            Some(First::start_with_proc(Some(&format!("{}/proc", root::STAGE)))?)
        } else {
            None
        };
        root::pivot()?;
        let files = Files { agent, worker, code };
        go(&files.agent).map_err(|source| SandboxError::step("return to its own mount namespace", source))?;
        Ok((files, first))
    }

    pub(super) fn attach(&self, what: &Attachment<'_>) -> Result<(), SandboxError> {
        let step = |what: &str| {
            let what = what.to_owned();
            move |source: io::Error| SandboxError::step(what, source)
        };
        let code = clone_tree(self.code.folder(what.code)?.as_fd()).map_err(step("show the code"))?;
        let layers = match what.layers {
            [] => None,
            [layer] => Some(clone_tree(self.code.folder(layer)?.as_fd()).map_err(step("show the layer"))?),
            layers => Some(self.merge(layers)?),
        };
        self.inside(|| {
            root::place(code, "/var/task", READ_ONLY).map_err(step("mount /var/task"))?;
            if let Some(layers) = layers {
                root::place(layers, "/opt", READ_ONLY).map_err(step("mount /opt"))?;
            }
            resize("/tmp", what.ephemeral_mib).map_err(step("size /tmp"))
        })
    }

    /// The way of a new process into the function's mount namespace.
    pub(super) fn join(&self) -> io::Result<()> {
        go(&self.worker)
    }

    /// Does something in the function's mount namespace, and comes back.
    pub(super) fn inside<T>(&self, work: impl FnOnce() -> Result<T, SandboxError>) -> Result<T, SandboxError> {
        go(&self.worker).map_err(|source| SandboxError::step("enter the mount namespace", source))?;
        let done = work();
        go(&self.agent).map_err(|source| SandboxError::step("return to its own mount namespace", source))?;
        done
    }

    /// Layers as one read-only overlay, the last one on top.
    fn merge(&self, layers: &[PathBuf]) -> Result<OwnedFd, SandboxError> {
        let folders = layers.iter().rev().map(|layer| self.code.folder(layer)).collect::<Result<Vec<_>, _>>()?;
        let lower: Vec<String> = folders.iter().map(|folder| format!("/proc/self/fd/{}", folder.as_raw_fd())).collect();
        let mount = || -> io::Result<OwnedFd> {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "lowerdir", lower.join(":"))?;
            fsconfig_create(&context)?;
            Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, READ_ONLY)?)
        };
        mount().map_err(|source| {
            SandboxError::step(
                format!("merge {} layers (overlay in a user namespace: Linux 5.11)", layers.len()),
                source,
            )
        })
    }
}

fn own_namespace() -> Result<OwnedFd, SandboxError> {
    rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SandboxError::step("open its mount namespace", errno.into()))
}

fn go(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

fn clone_tree(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(folder, "", flags)?)
}

fn resize(tmpfs: &str, mib: u32) -> io::Result<()> {
    let context = fspick(CWD, tmpfs, FsPickFlags::FSPICK_CLOEXEC)?;
    fsconfig_set_string(&context, "size", format!("{mib}m"))?;
    Ok(fsconfig_reconfigure(&context)?)
}
