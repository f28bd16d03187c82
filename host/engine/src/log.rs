//! What a plugin writes to the operator's log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::text::{MESSAGE, WORD, clean};

/// Lines that one call may log.
const LINES: usize = 256;
/// Lines that are kept for the report of a failure.
const TAIL: usize = 8;
/// Fields of a line.
const FIELDS: usize = 16;

/// The log of one instance.
pub(crate) struct Log {
    plugin: Arc<str>,
    written: usize,
    tail: VecDeque<String>,
    panic: Option<String>,
}

impl Log {
    pub(crate) fn new(plugin: Arc<str>) -> Self {
        Self { plugin, written: 0, tail: VecDeque::new(), panic: None }
    }

    /// Starts the bounds of a call.
    pub(crate) fn begin_call(&mut self) {
        self.written = 0;
        self.tail.clear();
        self.panic = None;
    }

    /// Passes a line on; drops it past the bound of the call.
    pub(crate) fn write(&mut self, level: u8, message: &str, fields: &[(String, String)]) {
        if level == 1 && message.starts_with("panicked at ") {
            self.panic = Some(clean(&message.replace('\n', " "), MESSAGE));
        }
        self.written += 1;
        if self.written > LINES {
            if self.written == LINES + 1 {
                tracing::warn!(
                    plugin = &*self.plugin,
                    "more than {LINES} log lines in one call, the rest is dropped"
                );
            }
            return;
        }
        let mut line = clean(message, MESSAGE);
        for (key, value) in fields.iter().take(FIELDS) {
            let room = MESSAGE.saturating_sub(line.len());
            if room == 0 {
                break;
            }
            line.push_str(&clean(&format!(" {}={}", clean(key, WORD), clean(value, MESSAGE)), room));
        }
        self.emit(level, &line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines of the call, for a report.
    pub(crate) fn tail(&self) -> Vec<&str> {
        self.tail.iter().map(String::as_str).collect()
    }

    /// The message of the panic that ended the call; the SDK's hook logs it.
    pub(crate) fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    fn emit(&self, level: u8, line: &str) {
        let plugin = &*self.plugin;
        match level {
            1 => tracing::error!(plugin, "{line}"),
            2 => tracing::warn!(plugin, "{line}"),
            3 => tracing::info!(plugin, "{line}"),
            4 => tracing::debug!(plugin, "{line}"),
            _ => tracing::trace!(plugin, "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES, Log, TAIL};

    #[test]
    fn keeps_the_last_lines_and_the_panic() {
        let mut log = Log::new("p".into());
        for n in 0..2 * LINES {
            log.write(3, &format!("line {n}"), &[("k".to_owned(), "v\n".to_owned())]);
        }
        log.write(1, "panicked at src/lib.rs:1:2:\nboom", &[]);
        assert_eq!(log.tail().len(), TAIL);
        assert_eq!(log.tail().last().copied(), Some("line 255 k=v\\n"));
        assert_eq!(log.panic(), Some("panicked at src/lib.rs:1:2: boom"));
        log.begin_call();
        assert!(log.tail().is_empty() && log.panic().is_none());
    }
}
