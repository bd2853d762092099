//! Which system calls a worker may make: seccomp.
//!
//! Three filters, of which the kernel obeys the strictest answer:
//!
//! * what an honest worker makes is allowed; anything else is answered `EPERM`. Not the end of the process:
//!   the next release of a library may probe a harmless call that is not listed, and the line must not
//!   stop for that. A refused call gives an attacker nothing either way.
//! * what only a taken-over process makes (another program, another process's memory, the kernel's own
//!   settings) ends the process, so that it is seen: the agent reports signal 31.
//! * `clone3` is answered `ENOSYS`: its flags lie in memory, where no filter sees them, and the C library
//!   falls back to `clone`, which may start threads and nothing else.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Reach;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// `prctl(PR_SET_VMA)`: the C library names its memory with it.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Allowed with any arguments.
const ALLOWED: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_clone3,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Files that Landlock leaves, and what is open already.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_getcwd,
    libc::SYS_dup,
    // The control socket, which is open already.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    // Time and facts about the machine and the process.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // What only one architecture has.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Allowed beside these where drivers are loaded and devices driven.
const ALLOWED_FOR_DEVICES: &[i64] = &[
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_openat,
    libc::SYS_ioctl,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_pipe2,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Never made by an honest worker.
const ENDS_THE_PROCESS: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filters in force, in every thread of the process and those it starts later. The error is what
/// the kernel cannot do, for people.
pub(super) fn restrict(reach: Reach) -> Result<(), String> {
    // All are made before the first is in force.
    for filter in filters(reach).map_err(|error| error.to_string())? {
        seccompiler::apply_filter_all_threads(&filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn filters(reach: Reach) -> Result<[BpfProgram; 3], seccompiler::BackendError> {
    let refused = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let any = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = |rules: Rules, otherwise, matched| -> Result<BpfProgram, _> {
        SeccompFilter::new(rules, otherwise, matched, ARCHITECTURE)?.try_into()
    };
    Ok([
        filter(
            any(&[libc::SYS_clone3]),
            SeccompAction::Allow,
            refused(libc::ENOSYS),
        )?,
        filter(
            any(ENDS_THE_PROCESS),
            SeccompAction::Allow,
            SeccompAction::KillProcess,
        )?,
        filter(allowed(reach)?, refused(libc::EPERM), SeccompAction::Allow)?,
    ])
}

fn allowed(reach: Reach) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own_process = rustix::process::getpid().as_raw_nonzero().get();
    // Threads, and neither processes nor namespaces.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![flags(0, thread, thread)?]);
    // The own process only, which is how it aborts.
    rules.insert(
        libc::SYS_tgkill,
        vec![equal(0, own_process.unsigned_abs().into())?],
    );
    // Its own limits, to read them.
    let reading_own = SeccompRule::new(vec![is(0, 0)?, is(2, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![reading_own]);
    let names = [libc::PR_SET_NAME.unsigned_abs().into(), PR_SET_VMA];
    let names = names.into_iter().map(|option| equal(0, option));
    rules.insert(libc::SYS_prctl, names.collect::<Result<_, _>>()?);
    match reach {
        Reach::Device => rules.extend(ALLOWED_FOR_DEVICES.iter().map(|call| (*call, Vec::new()))),
        Reach::Processor => {
            // Every library is loaded: no memory becomes code from here on.
            let code = u64::from(libc::PROT_EXEC.unsigned_abs());
            rules.insert(libc::SYS_mmap, vec![flags(2, code, 0)?]);
            rules.insert(libc::SYS_mprotect, vec![flags(2, code, 0)?]);
            // Reading only, also where there is no Landlock.
            let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
            let writing = u64::from(writing.unsigned_abs());
            rules.insert(libc::SYS_openat, vec![flags(2, writing, 0)?]);
            #[cfg(target_arch = "x86_64")]
            rules.insert(libc::SYS_open, vec![flags(1, writing, 0)?]);
        }
    }
    Ok(rules)
}

/// The argument with this index, under `mask`, is `value`.
fn flags(index: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
    SeccompRule::new(vec![condition])
}

/// The argument with this index is `value`.
fn equal(index: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![is(index, value)?])
}

fn is(index: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}
