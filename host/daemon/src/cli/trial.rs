//! `witvirt plugin test`.

use std::process::ExitCode;

use super::args::{ContextArgs, DocumentArgs, TestArgs};
use super::document::context_of;
use super::output::{self, Paint, clean};
use super::{Context, input, local};
use crate::service::blocking;
use crate::service::trial::{self, Sample, Trial, Verdict};

pub(super) async fn test(context: &Context, args: TestArgs) -> anyhow::Result<ExitCode> {
    let config = context.config()?;
    let sample = args.document.as_deref().map(sample).transpose()?;
    let told = told(&args.context);
    let trials = blocking(move || {
        let plugins = local::load(&config)?;
        let trials = trial::run(&plugins, args.name.as_deref(), sample.as_ref(), &told)?;
        Ok::<_, anyhow::Error>(trials)
    });
    let trials = trials.await??;
    match context.json() {
        true => output::json(&trials)?,
        false => output::print(&table(&trials, Paint::stdout()))?,
    }
    let good = trials.iter().all(Trial::good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(args: &ContextArgs) -> crate::api::document::Context {
    context_of(args).unwrap_or_default()
}

fn sample(file: &str) -> anyhow::Result<Sample> {
    let args = DocumentArgs {
        file: Some(file.to_owned()),
        kind: None,
        media_type: None,
        pipeline: None,
        name: None,
        select: None,
        command_line: Vec::new(),
    };
    let request = input::document(&args)?;
    Ok(Sample {
        media_type: request.media_type,
        body: request.body,
        directory: request.directory.unwrap_or_default(),
    })
}

fn table(trials: &[Trial], paint: Paint) -> String {
    let mut text = String::new();
    for trial in trials {
        text.push_str(&format!("{}\n", paint.bold(&clean(&format!("{} {}", trial.plugin, trial.version)))));
        for check in &trial.checks {
            let verdict = match check.verdict {
                Verdict::Pass => paint.green("pass   "),
                Verdict::Refused => paint.yellow("refused"),
                Verdict::Skipped => paint.yellow("skipped"),
                Verdict::Fail => paint.red("fail   "),
            };
            text.push_str(&format!("  {verdict}  {}\n", clean(&check.name)));
            for line in check.detail.iter().flat_map(|detail| detail.lines()) {
                text.push_str(&format!("             {}\n", clean(line)));
            }
        }
    }
    let failed = trials.iter().filter(|trial| !trial.good()).count();
    let summary = match failed {
        0 => paint.green(&format!("{} tried, nothing failed", plugins(trials.len()))),
        failed => paint.red(&format!("{failed} of {} failed", plugins(trials.len()))),
    };
    text + &summary + "\n"
}

fn plugins(count: usize) -> String {
    if count == 1 { "1 plugin".to_owned() } else { format!("{count} plugins") }
}
