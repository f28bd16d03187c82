//! `witvirt hook-sidecar`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use witvirt_hooks::server::{Bound, Face, Identity, Limits, Server, serve};

use super::Context;
use super::args::HookSidecarArgs;
use crate::service::PipelineHooks;

/// Where launchers look where nothing else is said.
const SOCKETS: &str = "/var/run/kubevirt-hooks";

/// Serves until SIGTERM, SIGINT or the end of the machine.
pub(super) fn hook_sidecar(context: &Context, args: HookSidecarArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    log();
    let mode = u32::from_str_radix(&args.socket_mode, 8).ok().filter(|mode| *mode <= 0o777);
    let mode =
        mode.with_context(|| format!("--socket-mode {:?} is no octal mode up to 0777", args.socket_mode))?;
    let hooks = PipelineHooks::load(&context.config()?, args.pipeline.as_str())?;
    let plugins = hooks.plugins();
    let server = Server::new(Arc::new(hooks), Limits::default());
    // Conversions run on threads of their own; one is enough for the rest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut serving = tokio::task::JoinSet::new();
        for (path, face) in listeners(&args)? {
            let socket = Bound::bind(&path, mode)?;
            tracing::info!(
                socket = %path.display(),
                pipeline = %args.pipeline,
                plugins,
                ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                version = env!("CARGO_PKG_VERSION"),
                "ready"
            );
            serving.spawn(serve(socket, face, Arc::clone(&server)));
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = server.ended() => {}
        }
        server.end();
        while serving.join_next().await.is_some() {}
        tracing::info!("ended");
        anyhow::Ok(())
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The sockets that are asked for, and what each speaks.
fn listeners(args: &HookSidecarArgs) -> anyhow::Result<Vec<(PathBuf, Face)>> {
    let mut listeners = Vec::new();
    let directory = match (&args.socket_directory, &args.mutate_domain_socket) {
        (Some(directory), _) => Some(directory.as_path()),
        (None, Some(_)) => None,
        (None, None) => Some(Path::new(SOCKETS)),
    };
    if let Some(directory) = directory {
        ensure!(
            directory.is_dir(),
            "{} is no directory: as a sidecar of a KubeVirt machine, the pod has it; elsewhere use --socket-directory",
            directory.display()
        );
        let mut versions = args.versions.clone();
        versions.sort_unstable();
        versions.dedup();
        versions.reverse();
        let identity = Identity { name: args.name.to_string(), versions, priority: args.priority };
        listeners.push((directory.join(socket_name(args.name.as_str())), Face::Sidecar(identity)));
    }
    if let Some(path) = &args.mutate_domain_socket {
        listeners.push((path.clone(), Face::Structured));
    }
    Ok(listeners)
}

/// A name that no other sidecar of the machine has: launchers take sockets of one name for one sidecar, in whichever
/// directories they are. With the container's name it is the same again after a restart.
fn socket_name(name: &str) -> String {
    let container = std::env::var("CONTAINER_NAME").unwrap_or_default();
    let fit = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let unique: String = container.chars().filter(|letter| fit(*letter)).take(63).collect();
    if unique.is_empty() {
        let random = RandomState::new().build_hasher().finish();
        return format!("{name}-{random:016x}.sock");
    }
    format!("{name}-{unique}.sock")
}

/// JSON to standard error, as collectors of containers' logs read it.
fn log() {
    let filter = EnvFilter::try_from_env("WITVIRT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
    builder.with_env_filter(filter).with_writer(std::io::stderr).init();
}
