//! QMP on QEMU's own standard streams: a question, and its answer.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Map, Value, json};

/// The longest line that is read: no answer of a machine that does nothing comes near it.
const LONGEST: u64 = 16 << 20;

pub(super) struct Monitor {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Monitor {
    pub(super) fn greet(qemu: &mut Child) -> io::Result<Self> {
        let streams = qemu.stdin.take().zip(qemu.stdout.take());
        let (input, output) = streams.ok_or_else(|| io::Error::other("no pipes"))?;
        let mut monitor = Self { input, output: BufReader::new(output) };
        monitor.line()?;
        monitor.ask("qmp_capabilities", &[])?;
        Ok(monitor)
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        io::Read::take(&mut self.output, LONGEST).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// The answer to a command.
    pub(super) fn ask(&mut self, command: &str, arguments: &[(&str, &str)]) -> io::Result<Value> {
        let arguments: Map<String, Value> =
            arguments.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        writeln!(self.input, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let line = self.line()?;
            if let Some(answer) = line.get("return") {
                return Ok(answer.clone());
            }
            if let Some(error) = line.get("error") {
                return Err(io::Error::other(format!("{command}: {error}")));
            }
            // An event.
        }
    }
}
