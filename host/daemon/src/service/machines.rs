//! Machines: converted, admitted, then kept by [`Machines`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{MutexGuard, broadcast, mpsc};
use witvirt_core::domain::Diagnostic;
use witvirt_core::policy::Review;
use witvirt_core::spec::MachineSpec;
use witvirt_core::{ByteSize, Name};
use witvirt_hypervisor::{Acceleration, Hypervisor, Null, Qemu, QemuOptions, User};
use witvirt_machine::{MachineEvent, MachineStatus, Machines, MachinesOptions, Timestamp};

use super::admission::{Admitted, admit};
use super::resources::StoreResources;
use super::{Service, blocking, pipeline};
use crate::accounts;
use crate::api::machine::{CreateReply, CreateRequest, Definition};
use crate::api::{Error, ErrorKind};
use crate::config::{Accel, Config, Driver};

/// Events that wait for a slow reader.
const EVENT_BUFFER: usize = 256;

/// How often a machine that was told to start is looked at until it does.
const COUNTS: Duration = Duration::from_millis(1);

impl Service {
    /// Converts, admits and defines a machine.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] by a converter, a policy or the host's rules; [`ErrorKind::Conflict`] where the name is taken.
    pub async fn create(
        self: &Arc<Self>,
        request: CreateRequest,
        subject: String,
    ) -> Result<CreateReply, Error> {
        let (spec, diagnostics) = self.resolve(request.definition).await?;
        let turn = self.admission.lock().await;
        let mut admitted = self.admit("create", spec, &subject, request.dry_run).await?;
        if request.start {
            // Policies count what runs only here; refused, the machine is not created either.
            let once_more = self.admit("start", admitted.spec, &subject, request.dry_run).await?;
            admitted.spec = once_more.spec;
            let told = &admitted.warnings;
            let new: Vec<_> =
                once_more.warnings.into_iter().filter(|warning| !told.contains(warning)).collect();
            admitted.warnings.extend(new);
        }
        let Admitted { spec, warnings } = admitted;
        let mut reply = CreateReply { spec, status: None, diagnostics, warnings };
        if request.dry_run {
            return Ok(reply);
        }
        let name = reply.spec.name.clone();
        reply.status = Some(self.machines.create(reply.spec.clone(), &subject).await?);
        if request.start {
            reply.status = Some(self.start_admitted(&name, turn).await?);
        }
        Ok(reply)
    }

    /// Admits a machine once more, since the host may be fuller than when it was created, and starts it.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] by a policy, or what keeps it from starting.
    pub async fn start(self: &Arc<Self>, name: &Name, subject: String) -> Result<CreateReply, Error> {
        let detail = self.machines.inspect(name)?;
        let Some(spec) = detail.spec else {
            let reason = detail.status.reason.unwrap_or_default();
            return Err(Error::new(ErrorKind::Conflict, format!("machine {name} is broken: {reason}"))
                .hint(format!("remove it: witvirt rm --force {name}")));
        };
        let turn = self.admission.lock().await;
        let mut admitted = self.admit("start", spec.clone(), &subject, false).await?;
        if admitted.spec != spec {
            admitted.warnings.push("what policies change now takes effect only for new machines".to_owned());
        }
        let status = Some(self.start_admitted(name, turn).await?);
        Ok(CreateReply { spec, status, diagnostics: Vec::new(), warnings: admitted.warnings })
    }

    /// Starts a machine. The next admission waits only until this machine counts as starting, not until it runs.
    async fn start_admitted(&self, name: &Name, turn: MutexGuard<'_, ()>) -> Result<MachineStatus, Error> {
        let starting = self.machines.start(name);
        let counts = async {
            while self.machines.get(name).is_ok_and(|status| status.state.is_ended()) {
                tokio::time::sleep(COUNTS).await;
            }
        };
        tokio::pin!(starting, counts);
        tokio::select! {
            biased;
            started = &mut starting => started?,
            () = &mut counts => {
                drop(turn);
                starting.await?;
            }
        }
        Ok(self.machines.get(name)?)
    }

    /// Stops a machine and starts it again.
    ///
    /// # Errors
    /// What keeps it from stopping or starting.
    pub async fn restart(
        self: &Arc<Self>,
        name: &Name,
        timeout: Option<Duration>,
        subject: String,
    ) -> Result<MachineStatus, Error> {
        if !self.machines.inspect(name)?.status.state.is_ended() {
            self.machines.stop(name, timeout).await?;
        }
        let reply = self.start(name, subject).await?;
        reply.status.ok_or_else(|| Error::new(ErrorKind::Internal, format!("machine {name} has no status")))
    }

    /// The machine that a definition means.
    async fn resolve(
        self: &Arc<Self>,
        definition: Definition,
    ) -> Result<(MachineSpec, Vec<Diagnostic>), Error> {
        let request = match definition {
            Definition::Spec(spec) => return Ok((*spec, Vec::new())),
            Definition::Document(request) => request,
        };
        let service = Arc::clone(self);
        let converted = blocking(move || {
            pipeline::convert(&service.config().pipelines, service.plugins.as_ref(), &request)
        });
        let conversion = converted.await??;
        if !conversion.problems.is_empty() {
            return Err(Error::new(ErrorKind::Refused, conversion.problems.join("\n"))
                .hint("`witvirt domain explain FILE` shows each stage"));
        }
        let diagnostics = conversion.stages.into_iter().flat_map(|stage| stage.diagnostics).collect();
        let spec = conversion
            .machine
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "the pipeline stops before a machine"))?;
        Ok((spec, diagnostics))
    }

    async fn admit(
        self: &Arc<Self>,
        operation: &str,
        spec: MachineSpec,
        subject: &str,
        dry_run: bool,
    ) -> Result<Admitted, Error> {
        let number = self.reviews.fetch_add(1, Ordering::Relaxed);
        let time_ms = Timestamp::from(std::time::SystemTime::now()).millis();
        let review = Review {
            id: format!("{time_ms}-{number}"),
            operation: operation.to_owned(),
            subject: subject.to_owned(),
            object: serde_json::Value::Null,
            old_object: None,
            host: self.facts.for_review(&self.machines.list(), &spec.name),
            time_ms,
            dry_run,
        };
        let (judges, rules) = (self.plugins.judges(), self.rules());
        blocking(move || admit(&judges, &rules, spec, &review)).await?
    }

    /// What happens to machines, from now on. A reader that is too slow misses some and goes on.
    pub fn events(&self, machine: Option<String>) -> mpsc::Receiver<MachineEvent> {
        let mut events = self.machines.events();
        let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = sender.closed() => return,
                };
                match event {
                    Ok(event) => {
                        let wanted = machine.as_ref().is_none_or(|name| event.machine.as_str() == name);
                        if wanted && sender.send(event).await.is_err() {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a reader of events is too slow");
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        receiver
    }

    /// Lets go of the machines, which run on; waits for launches under way. The last owner's call.
    pub async fn close(self) {
        self.machines.close().await;
    }
}

/// Finds the machines of earlier daemons again.
pub(super) async fn open(config: &Config, resources: Arc<StoreResources>) -> anyhow::Result<Machines> {
    let hypervisor: Arc<dyn Hypervisor> = match config.hypervisor.driver {
        Driver::Null => Arc::new(Null::new()),
        Driver::Qemu => Arc::new(Qemu::new(qemu(config)?)),
    };
    let mut options =
        MachinesOptions::new(&config.state_directory, machine_sockets(config), hypervisor, resources);
    options.console_limit = ByteSize(config.console.log_size);
    Ok(Machines::open(options).await?)
}

fn machine_sockets(config: &Config) -> PathBuf {
    config.run_directory.join("machines")
}

fn qemu(config: &Config) -> anyhow::Result<QemuOptions> {
    let table = &config.hypervisor;
    std::fs::create_dir_all(&config.host_directory)
        .with_context(|| format!("cannot make {}", config.host_directory.display()))?;
    let mut options = QemuOptions::new(&config.host_directory);
    options.binary = table.binary.clone();
    options.swtpm = table.swtpm.clone();
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = accounts::user(&table.user)
            .context("[hypervisor] user: make it (useradd --system) or correct the name")?;
        options.user = Some(User { uid, gid });
    }
    options.acceleration = match table.accel {
        Accel::Auto => Acceleration::Auto,
        Accel::Kvm => Acceleration::Kvm,
        Accel::Tcg => Acceleration::Tcg,
    };
    options.allow_arguments =
        table.allow_arguments.iter().map(|name| name.trim_start_matches('-').to_owned()).collect();
    options.vnc_addresses = table.vnc_addresses.clone();
    Ok(options)
}
