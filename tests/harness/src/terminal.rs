//! A terminal for programs that want one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::host::wait_for;

/// A program on a terminal of its own, and what it has shown there.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program with the terminal as its standard streams.
    pub fn start(command: &mut Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let stream = |slave: &OwnedFd| slave.try_clone();
        command.stdin(stream(&slave)?).stdout(stream(&slave)?).stderr(stream(&slave)?);
        let child = command.spawn().context("cannot run the program")?;
        drop(slave);
        // The command keeps its own copies of the slave until it is told otherwise.
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut display = keyboard.try_clone()?;
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = display.read(&mut buffer) {
                shown.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        });
        Ok(Self { child, keyboard, screen })
    }

    /// Types.
    pub fn write(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.keyboard.write_all(keys)?)
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("the display does not panic")).into_owned()
    }

    /// Waits for a text.
    pub fn expect(&self, text: &str) -> Result<()> {
        wait_for(&format!("the terminal to show {text:?}"), || Ok(self.shown().contains(text).then_some(())))
            .with_context(|| format!("the terminal shows:\n{}", self.shown()))
    }

    /// Waits for the program to end.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        let status = wait_for("the program to end", || Ok(self.child.try_wait()?))
            .with_context(|| format!("the terminal shows:\n{}", self.shown()))?;
        Ok((status, self.shown()))
    }

    /// Whether echo is on: what a shell that comes after the program would want.
    pub fn echoes(&self) -> Result<bool> {
        let attributes = rustix::termios::tcgetattr(&self.keyboard)?;
        Ok(attributes.local_modes.contains(rustix::termios::LocalModes::ECHO))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
