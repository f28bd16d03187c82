//! Progress of long operations, where somebody watches.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Paint, clean};
use crate::api::Progress;

/// A bar on standard error; nothing where that is no terminal.
pub struct Bar {
    bar: ProgressBar,
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
        let bar = ProgressBar::with_draw_target(None, target).with_message(clean(what));
        bar.set_style(style("{msg} {spinner} {bytes} {binary_bytes_per_sec}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, paint: Paint::stderr() }
    }

    /// Takes a line of progress.
    pub fn update<T>(&self, line: &Progress<T>) {
        match line {
            Progress::Progress { done, total, .. } => self.set(*done, *total),
            Progress::Warning { message } => {
                let text = format!("{} {}", self.paint.yellow("warning:"), clean(message));
                self.bar.suspend(|| eprintln!("{text}"));
            }
            Progress::Done { .. } | Progress::Error { .. } => self.bar.finish_and_clear(),
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
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
