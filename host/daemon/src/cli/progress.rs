//! Progress of long operations, where somebody watches.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Paint, clean};
use crate::api::{Part, Progress};

/// Lines below the first one.
const PARTS: usize = 8;

/// A bar on standard error, with one for each part (layer, download) of the operation below it; nothing where that is no
/// terminal.
pub struct Bar {
    all: MultiProgress,
    bar: ProgressBar,
    what: String,
    parts: RefCell<Vec<(String, ProgressBar)>>,
    paint: Paint,
}

impl Bar {
    /// `what` is shown before it ("import debian.qcow2").
    pub fn new(what: &str) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let bar = all.add(ProgressBar::new_spinner()).with_message(clean(what));
        bar.set_style(style("{msg} {spinner} {bytes} {binary_bytes_per_sec}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { all, bar, what: what.to_owned(), parts: RefCell::default(), paint: Paint::stderr() }
    }

    /// Takes a line of progress.
    pub fn update<T>(&self, line: &Progress<T>) {
        match line {
            Progress::Progress { phase, done, total, parts, .. } => {
                self.phase(phase);
                self.set(*done, *total);
                self.set_parts(parts);
            }
            Progress::Warning { message } => {
                let text = format!("{} {}", self.paint.yellow("warning:"), clean(message));
                self.all.suspend(|| eprintln!("{text}"));
            }
            Progress::Done { .. } | Progress::Error { .. } => self.clear(),
        }
    }

    /// Bytes done and in all.
    pub fn set(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total
            && self.bar.length() != Some(total)
        {
            self.bar.set_length(total);
            self.bar
                .set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} ETA {eta}"));
        }
        self.bar.set_position(done);
    }

    /// What is being done at the moment, behind what it is for.
    fn phase(&self, phase: &str) {
        // "import x: import" says nothing more than "import x".
        let message = match self.what.starts_with(phase) {
            true => clean(&self.what),
            false => format!("{}: {}", clean(&self.what), clean(phase)),
        };
        if self.bar.message() != message {
            self.bar.set_message(message);
        }
    }

    /// One line for each part that runs; one alone would say what the first line says.
    fn set_parts(&self, running: &[Part]) {
        let mut bars = self.parts.borrow_mut();
        let running = if running.len() > 1 { &running[..running.len().min(PARTS)] } else { &[] };
        bars.retain(|(name, bar)| {
            let stays = running.iter().any(|part| part.name == *name);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        for part in running {
            let known = bars.iter().position(|(name, _)| *name == part.name);
            let index = known.unwrap_or_else(|| {
                let bar = self.all.add(ProgressBar::new(0)).with_message(clean(&part.name));
                bars.push((part.name.clone(), bar));
                bars.len() - 1
            });
            let bar = &bars[index].1;
            match part.total {
                Some(total) if bar.length() != Some(total) => {
                    bar.set_length(total);
                    bar.set_style(style(
                        "  {msg:20} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} ETA {eta}",
                    ));
                }
                Some(_) => {}
                None => bar.set_style(style("  {msg:20} {bytes} {binary_bytes_per_sec}")),
            }
            bar.set_position(part.done);
        }
    }

    fn clear(&self) {
        self.set_parts(&[]);
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
