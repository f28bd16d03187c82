//! `witvirt daemon`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Context;
use super::args::DaemonArgs;
use crate::config::Config;
use crate::server::{self, Socket, notify};
use crate::service::{Service, blocking};

/// Threads that answer: the work that takes long runs elsewhere.
const THREADS: usize = 2;

/// Serves until SIGTERM or SIGINT.
pub(super) fn daemon(context: &Context, args: DaemonArgs) -> anyhow::Result<ExitCode> {
    log();
    raise_open_files();
    let config = with_places(context, args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(config))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    Ok(ExitCode::SUCCESS)
}

/// Each machine takes a handful of descriptors, and the usual soft limit of 1024 is for programs that call select(2).
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files stays limited");
    }
}

/// The config, with what the command line puts elsewhere.
fn with_places(context: &Context, args: DaemonArgs) -> anyhow::Result<Config> {
    let mut config = context.config()?;
    if let Some(directory) = args.state_directory {
        config.set_state_directory(std::path::absolute(directory)?);
    }
    if let Some(directory) = args.run_directory {
        config.set_run_directory(std::path::absolute(directory)?);
    }
    if let Some(socket) = &context.socket {
        config.api.socket = std::path::absolute(socket)?;
    }
    Ok(config)
}

/// To standard error; the journal and containers add the time themselves, a terminal gets it too.
fn log() {
    let filter = EnvFilter::try_from_env("WITVIRT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() { builder.without_time().init() } else { builder.init() }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let socket = Socket::bind(&config.api)?;
    let path = config.api.socket.clone();
    let service = Service::open(config).await?;
    let reloading = tokio::spawn(reload_on_hangup(Arc::clone(&service), signal(SignalKind::hangup())?));
    let collecting = tokio::spawn(Arc::clone(&service).keep_collecting());
    tracing::info!(
        socket = %path.display(),
        plugins = service.plugins().list().len(),
        machines = service.machines().list().len(),
        ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    notify::notify("READY=1");
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; machines go on running");
        notify::notify("STOPPING=1");
    };
    server::serve(socket, Arc::clone(&service), ended).await;
    reloading.abort();
    collecting.abort();
    let _ = collecting.await;
    let _ = reloading.await;
    match Arc::into_inner(service) {
        Some(service) => service.close().await,
        None => tracing::warn!("some requests were cut off"),
    }
    Ok(())
}

async fn reload_on_hangup(service: Arc<Service>, mut hangup: tokio::signal::unix::Signal) {
    while hangup.recv().await.is_some() {
        notify::notify("RELOADING=1");
        let reloading = Arc::clone(&service);
        match blocking(move || reloading.reload()).await.and_then(|result| result) {
            Ok(report) => {
                for failure in &report.failed {
                    tracing::error!("plugin not reloaded: {failure}");
                }
                tracing::info!(changed = ?report.changed, removed = ?report.removed, failed = report.failed.len(), "plugins reloaded");
            }
            Err(error) => tracing::error!("{error}"),
        }
        notify::notify("READY=1");
    }
}
