//! Compiling a component in a child process of this program, which reads it with no rights to anything else.

pub(crate) mod child;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::PidfdFlags;

use crate::engine::CompileCommand;
use crate::text::clean;

/// Bytes of the child's words that are shown.
const WORDS: usize = 2048;

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The child process did not start or could not be watched.
    #[error("cannot run the compiler process {program}")]
    Child {
        /// The program.
        program: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error(
        "the compiler was not done after {0:?} and was killed; the component is too large or made to be slow"
    )]
    Deadline(Duration),
    /// It ended with an error.
    #[error("{0}")]
    Failed(String),
}

/// Compiles `wasm` into `output`, an empty file.
pub(crate) fn compile(
    command: &CompileCommand,
    deadline: Duration,
    wasm: &[u8],
    output: &File,
) -> Result<(), CompileError> {
    let program = command.program.display().to_string();
    let failed = |source: io::Error| CompileError::Child { program: program.clone(), source };
    let mut words = memory_file("witvirt-compiler-words").map_err(failed)?;
    let mut child = start(command, wasm, output, &words).map_err(failed)?;
    let Some(status) = wait(&mut child, deadline).map_err(failed)? else {
        return Err(CompileError::Deadline(deadline));
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    words.rewind().map_err(failed)?;
    words.take(WORDS as u64).read_to_end(&mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    Err(CompileError::Failed(match text.trim() {
        "" => format!("the compiler process ended with {status}"),
        text => clean(text, WORDS),
    }))
}

fn start(command: &CompileCommand, wasm: &[u8], output: &File, words: &File) -> io::Result<Child> {
    let mut input = memory_file("witvirt-component")?;
    input.write_all(wasm)?;
    input.rewind()?;
    rustix::fs::fcntl_add_seals(
        &input,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .current_dir("/")
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(Stdio::from(words.try_clone()?))
        .spawn()
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?))
}

/// Waits for the child; kills it and answers `None` when the time is over.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let ended = watch(child, deadline);
    if !matches!(ended, Ok(true)) {
        // It may have ended by itself meanwhile; either way it has to be reaped.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(ended?.then_some(status))
}

fn watch(child: &Child, deadline: Duration) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no process id"))?;
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
