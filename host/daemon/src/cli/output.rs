//! Results for people and for programs.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// A table whose columns are as wide as they need to be.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With the names of its columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Control characters in it are escaped: names and reasons may come from guests and images.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// The table as text.
    pub fn render(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|name| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let header: Vec<String> = self.header.iter().map(ToString::to_string).collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        std::iter::once(&header).chain(&self.rows).map(|cells| line(cells)).collect()
    }
}

/// A text without control characters; what is not shown is written as `\u{..}`.
pub fn clean(text: &str) -> String {
    let shown = |c: char| {
        !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && !('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().fold(String::with_capacity(text.len()), |mut clean, c| {
        match shown(c) {
            true => clean.push(c),
            false => clean.extend(c.escape_default()),
        }
        clean
    })
}

/// Indented JSON on standard output.
///
/// # Errors
/// When it cannot be written; a closed pipe is no error.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// One line of JSON on standard output.
///
/// # Errors
/// When it cannot be written; a closed pipe is no error.
pub fn json_line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// Text on standard output, at once.
///
/// # Errors
/// When it cannot be written. When nobody reads any more (`| head`), the process ends as if all were well.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// Bytes on standard output, at once.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Colours, where the reader has any.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// For standard output.
    pub fn stdout() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
    }

    /// Red, for errors and what went away.
    pub fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    /// Green, for success and what came.
    pub fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    /// Yellow, for warnings.
    pub fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    /// Bold, for headings.
    pub fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// https://no-color.org: any value but the empty one switches colours off.
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// How long ago or how long, in the two largest units: "3d 4h", "12s".
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}min {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}min"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_are_harmless() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["web-1".to_owned(), "running".to_owned()]);
        table.row(["ü".to_owned(), "a\x1b[2J\u{202e}".to_owned()]);
        assert_eq!(table.render(), "NAME   STATE\nweb-1  running\nü      a\\u{1b}[2J\\u{202e}\n");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1min 1s"), (3_700, "1h 1min"), (273_600, "3d 4h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
