//! The compiling child: a component on standard input, native code on standard output, words on standard error.
//!
//! The component comes from a stranger and Cranelift was not written to resist it. Before it is read, the process gives up
//! what it can: environment (by the parent), user, new privileges, files, processes, memory and time without bound, and all
//! system calls that computing and writing the answer do not need.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{Gid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::engine::config;

/// Bytes of address space: Python and JavaScript components of 20 MiB take about 2 GiB.
const ADDRESS_SPACE: u64 = 6 << 30;
/// Bytes of the answer.
const OUTPUT: u64 = 1 << 30;
/// Seconds of processor time; the parent bounds the time on the clock.
const PROCESSOR_TIME: u64 = 600;
/// The user "nobody" and its group on Linux.
const NOBODY: u32 = 65534;

/// Runs the compiler. Call it first thing in a process that has one thread and nothing else to do: it gives up the rights
/// of the process. [`crate::EngineOptions::compiler`] names the command that ends up here.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Without standard error there is nobody to tell; the exit code says that it failed.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    confine().map_err(|error| format!("cannot confine the compiler process: {error}"))?;
    let engine =
        wasmtime::Engine::new(&config()).map_err(|error| format!("cannot start the compiler: {error:#}"))?;
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).map_err(|error| format!("cannot read the component: {error}"))?;
    let code =
        engine.precompile_component(&wasm).map_err(|error| format!("it does not compile: {error:#}"))?;
    let mut output = std::io::stdout().lock();
    let written = output.write_all(&code).and_then(|()| output.flush());
    written.map_err(|error| format!("cannot write the compiled code: {error}"))
}

fn confine() -> Result<(), Box<dyn std::error::Error>> {
    for (resource, bound) in [
        (Resource::Core, 0),
        (Resource::Cpu, PROCESSOR_TIME),
        (Resource::As, ADDRESS_SPACE),
        (Resource::Fsize, OUTPUT),
        (Resource::Nofile, 0),
    ] {
        limit(resource, bound)?;
    }
    if rustix::process::geteuid().is_root() {
        become_nobody();
    }
    limit(Resource::Nproc, 0)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    forbid_system_calls()
}

/// Lowers a bound, never raises one.
fn limit(resource: Resource, bound: u64) -> Result<(), rustix::io::Errno> {
    let bound = rustix::process::getrlimit(resource).maximum.map_or(bound, |maximum| maximum.min(bound));
    rustix::process::setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })
}

/// Where this user does not exist (a namespace with few users) root stays, with the system calls that are left.
fn become_nobody() {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let _ = rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
        .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
}

/// Leaves memory, clocks, the three open descriptors and the end; all else fails with EPERM.
fn forbid_system_calls() -> Result<(), Box<dyn std::error::Error>> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let Ok(architecture) = TargetArch::try_from(std::env::consts::ARCH) else {
        // No filter is known for this processor; the bounds above remain.
        return Ok(());
    };
    let rules = allowed.into_iter().map(|number| (number, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
