//! The system calls that a function's process does without. A list of what is refused, since runtimes of five languages
//! and their users' libraries use most of the rest: what would make namespaces or mounts, watch other processes, load
//! code into the kernel, reach keys or sockets that no namespace holds, or widen the kernel's surface for nothing.

use super::SandboxError;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Refused with EPERM whatever their arguments.
const REFUSED: &[i64] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    // Namespaces (and clone with their flags, below).
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Keys, which no namespace holds.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_lookup_dcookie,
    libc::SYS_userfaultfd,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    // Files by handle, past any root.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // The machine's clock and name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // Pages on other nodes.
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
];

/// Answered as on a kernel that does not have them, so that libraries fall back. clone3 has its flags in memory, where
/// no filter can look.
const ABSENT: &[i64] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const NAMESPACE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The families that a network namespace holds. The others (vsock, the kernel's crypto, …) are the machine's.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// On x86-64 each call has a second number, for 32-bit pointers, that means the same.
#[cfg(target_arch = "x86_64")]
const NUMBERS: &[i64] = &[0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const NUMBERS: &[i64] = &[0];

pub(super) struct Filters {
    refused: BpfProgram,
    absent: BpfProgram,
}

impl Filters {
    pub(super) fn compile() -> Result<Filters, SandboxError> {
        let failed = |error: seccompiler::BackendError| {
            SandboxError::step("compile its seccomp filters", io::Error::other(error))
        };
        let mut refused: Vec<(i64, Vec<SeccompRule>)> = REFUSED.iter().map(|number| (*number, Vec::new())).collect();
        refused.push((libc::SYS_clone, clone_rules().map_err(failed)?));
        refused.push((libc::SYS_socket, vec![family_rule().map_err(failed)?]));
        let absent = ABSENT.iter().map(|number| (*number, Vec::new())).collect();
        Ok(Filters {
            refused: program(refused, libc::EPERM).map_err(failed)?,
            absent: program(absent, libc::ENOSYS).map_err(failed)?,
        })
    }

    /// For the child of a fork only; the last thing before its exec.
    pub(super) fn apply(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.absent).map_err(io::Error::other)?;
        seccompiler::apply_filter(&self.refused).map_err(io::Error::other)
    }
}

fn program(calls: Vec<(i64, Vec<SeccompRule>)>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = NUMBERS
        .iter()
        .flat_map(|offset| calls.iter().map(move |(number, rules)| (number | offset, rules.clone())))
        .collect();
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()
}

/// clone with any flag for a new namespace.
fn clone_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    NAMESPACE_FLAGS
        .iter()
        .map(|flag| {
            let flag = u64::from(flag.cast_unsigned());
            let set = SeccompCmpOp::MaskedEq(flag);
            SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, flag)?])
        })
        .collect()
}

/// socket of a family that is none of [`FAMILIES`].
fn family_rule() -> Result<SeccompRule, seccompiler::BackendError> {
    let other_than = |family: &libc::c_int| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))
    };
    SeccompRule::new(FAMILIES.iter().map(other_than).collect::<Result<_, _>>()?)
}
