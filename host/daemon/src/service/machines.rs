//! Machines: converted, admitted, then kept by [`Machines`].

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use cap_std::fs::Dir;
use tokio::sync::{MutexGuard, broadcast, mpsc};
use witvirt_core::domain::Diagnostic;
use witvirt_core::policy::Review;
use witvirt_core::spec::{DiskSource, MachineSpec, RunStrategy};
use witvirt_core::{ByteSize, Name};
use witvirt_hypervisor::{Acceleration, Hypervisor, Null, Qemu, QemuOptions, User};
use witvirt_machine::{
    Desired, MachineDetail, MachineEvent, MachineStatus, Machines, MachinesOptions, State, Timestamp,
};

use super::admission::{Admitted, admit};
use super::resources::StoreResources;
use super::secret::withhold;
use super::watch::Watch;
use super::{Service, blocking, pipeline, ports};
use crate::accounts;
use crate::api::document::Conversion;
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
    pub(crate) async fn create(
        self: &Arc<Self>,
        request: CreateRequest,
        subject: String,
        watch: &Arc<Watch>,
    ) -> Result<CreateReply, Error> {
        let (mut spec, diagnostics) = self.resolve(request.definition).await?;
        let turn = self.admission.lock().await;
        self.choose_ports(&mut spec, request.dry_run)?;
        let mut admitted = self.admit("create", spec, &subject, request.dry_run).await?;
        let start = request.start || admitted.spec.run.starts_at_creation();
        if start {
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
            withhold(&mut reply.spec);
            return Ok(reply);
        }
        let name = reply.spec.name.clone();
        reply.status = Some(self.machines.create(reply.spec.clone(), &subject).await?);
        if start && has_remote_disks(&reply.spec) {
            // Servers are asked first, and nobody else has to wait for that.
            drop(turn);
            let started = self.start(&name, request.lazy, subject, watch).await?;
            reply.status = started.status;
            let new = started.warnings.into_iter().filter(|warning| !reply.warnings.contains(warning));
            let new: Vec<_> = new.collect();
            reply.warnings.extend(new);
        } else if start {
            reply.status = Some(self.start_admitted(&name, turn).await?);
        }
        withhold(&mut reply.spec);
        Ok(reply)
    }

    /// Gives forwards their ports; a dry run chooses none.
    fn choose_ports(&self, spec: &mut MachineSpec, dry_run: bool) -> Result<(), Error> {
        if let Some(existing) = self.machines.inspect(&spec.name).ok().and_then(|detail| detail.spec) {
            ports::keep(spec, &existing);
        }
        if dry_run {
            return Ok(());
        }
        let specs = self
            .machines
            .list()
            .into_iter()
            .filter_map(|status| self.machines.inspect(&status.name).ok().and_then(|detail| detail.spec));
        ports::assign(spec, specs.flat_map(|spec| ports::ports(&spec).collect::<Vec<_>>()).collect())
    }

    /// Admits a machine once more, since the host may be fuller than when it was created, and starts it; `lazy`: before
    /// its remote images are here, as far as that is possible. `watch` is told of what has to arrive first.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] by a policy, or what keeps it from starting.
    pub(crate) async fn start(
        self: &Arc<Self>,
        name: &Name,
        lazy: bool,
        subject: String,
        watch: &Arc<Watch>,
    ) -> Result<CreateReply, Error> {
        let detail = self.machines.inspect(name)?;
        let Some(spec) = detail.spec else {
            let reason = detail.status.reason.unwrap_or_default();
            return Err(Error::new(ErrorKind::Conflict, format!("machine {name} is broken: {reason}"))
                .hint(format!("remove it: witvirt rm --force {name}")));
        };
        let told = match detail.status.state.is_ended() && has_remote_disks(&spec) {
            true => {
                // No server is asked for a machine that may not start.
                self.admit("start", spec.clone(), &subject, false).await?;
                self.prepare(&spec, lazy, watch).await?
            }
            false => Vec::new(),
        };
        let turn = self.admission.lock().await;
        let mut admitted = self.admit("start", spec.clone(), &subject, false).await?;
        admitted.warnings.extend(told);
        if admitted.spec != spec {
            admitted.warnings.push("what policies change now takes effect only for new machines".to_owned());
        }
        let status = Some(self.start_admitted(name, turn).await?);
        let mut spec = spec;
        withhold(&mut spec);
        Ok(CreateReply { spec, status, diagnostics: Vec::new(), warnings: admitted.warnings })
    }

    /// The directory of a machine's own disks. Blocks.
    fn overlays(&self, machine: &Name) -> Result<Dir, Error> {
        let gone = || {
            Error::new(ErrorKind::NotFound, format!("the machine {machine} has no directory for its disks"))
        };
        self.directory_of_disks(machine)?.ok_or_else(gone)
    }

    /// Makes the remote disks of a machine that are not there yet; returns what there is to say.
    async fn prepare(
        self: &Arc<Self>,
        spec: &MachineSpec,
        lazy: bool,
        watch: &Arc<Watch>,
    ) -> Result<Vec<String>, Error> {
        let (service, name, disks) = (Arc::clone(self), spec.name.clone(), spec.disks.clone());
        let watch = Arc::clone(watch);
        let prepared = blocking(move || {
            let overlays = service.overlays(&name)?;
            service.make_remote_disks(&name, &overlays, &disks, lazy, &watch)
        });
        prepared.await?
    }

    /// Stops a machine's CPUs.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] while its reads wait for a server: QEMU would wait for them before it stops.
    pub async fn pause(&self, name: &Name) -> Result<MachineStatus, Error> {
        let status = self.machines.get(name)?;
        if let Some(disk) = status.arriving.iter().find(|disk| disk.waiting.is_some()) {
            let message =
                format!("machine {name} waits for {}, and cannot be paused until that answers", disk.from);
            return Err(Error::new(ErrorKind::Conflict, message).hint("`witvirt kill` ends it all the same"));
        }
        self.machines.pause(name).await?;
        Ok(self.machines.get(name)?)
    }

    /// Runs a machine's CPUs again.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the image below it is not what was promised.
    pub async fn resume(&self, name: &Name) -> Result<MachineStatus, Error> {
        let betrayed = self.resources().lazy.betrayed();
        if let Some((_, reason)) = betrayed.into_iter().find(|(machine, _)| machine == name) {
            return Err(Error::new(ErrorKind::Conflict, format!("machine {name} stays paused: {reason}"))
                .hint(format!("remove it: witvirt rm --force {name}")));
        }
        self.machines.resume(name).await?;
        Ok(self.machines.get(name)?)
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
        let MachineDetail { status, spec, .. } = self.machines.inspect(name)?;
        let Some(spec) = spec.filter(|_| !status.state.is_ended() || status.run == RunStrategy::Halted)
        else {
            let reply = self.start(name, false, subject, &Arc::default()).await?;
            let missing = || Error::new(ErrorKind::Internal, format!("machine {name} has no status"));
            return reply.status.ok_or_else(missing);
        };
        let turn = self.admission.lock().await;
        self.admit("start", spec, &subject, false).await?;
        // It counts as running all the time.
        drop(turn);
        // One step, so that the strategy does not change on the way, whoever is killed.
        self.machines.restart(name, timeout).await?;
        Ok(self.machines.get(name)?)
    }

    /// Everything about a machine but the contents of its data disks.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn inspect(&self, name: &Name) -> Result<MachineDetail, Error> {
        let mut detail = self.machines.inspect(name)?;
        detail.spec.iter_mut().for_each(withhold);
        Ok(detail)
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
            return Err(refused(&conversion));
        }
        let of_stages = conversion.stages.into_iter().flat_map(|stage| stage.diagnostics);
        let diagnostics = of_stages.chain(conversion.diagnostics).collect();
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

/// Why no machine comes of a conversion.
pub fn refused(conversion: &Conversion) -> Error {
    let problems = conversion.problems.join("\n");
    match conversion.machines.is_empty() {
        true => {
            Error::new(ErrorKind::Refused, problems).hint("`witvirt domain explain FILE` shows each stage")
        }
        false => Error::new(ErrorKind::Invalid, problems).hint("choose one with --select NAME"),
    }
}

fn has_remote_disks(spec: &MachineSpec) -> bool {
    spec.disks.iter().any(|disk| matches!(disk.source, Some(DiskSource::Remote { .. })))
}

/// Starts machines that should run and whose maker was killed before their remote disks were there.
pub(super) async fn start_wanted(service: Weak<Service>) {
    let Some(service) = service.upgrade() else { return };
    for status in service.machines.list() {
        let spec = service.machines.inspect(&status.name).ok().and_then(|detail| detail.spec);
        let Some(spec) = spec.filter(has_remote_disks) else { continue };
        let wanted = status.run == RunStrategy::Always || status.desired == Desired::Running;
        if !wanted || matches!(status.state, State::Running | State::Paused) {
            continue;
        }
        if let Err(error) = service.prepare(&spec, false, &Arc::default()).await {
            tracing::warn!(machine = %status.name, %error, "its disks could not be fetched");
            continue;
        }
        // One that waits for its next try is there before it.
        let ended = service.machines.get(&status.name).is_ok_and(|status| status.state.is_ended());
        if ended && let Err(error) = service.machines.start(&status.name).await {
            tracing::warn!(machine = %status.name, %error, "not started");
        }
    }
}

/// How often images that have arrived are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Pauses machines that run from an image that is not what was promised.
pub(super) async fn pause_betrayed(service: Weak<Service>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(service) = service.upgrade() else { return };
        for (name, reason) in service.resources().lazy.betrayed() {
            let running = service.machines.get(&name).is_ok_and(|status| status.state == State::Running);
            if !running {
                continue;
            }
            tracing::error!(machine = %name, reason, "paused: the image it runs from is not what was promised");
            if let Err(error) = service.machines.pause(&name).await {
                tracing::warn!(machine = %name, %error, "not paused");
            }
        }
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
