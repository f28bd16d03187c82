//! Times a loop in a vCPU.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The device.
pub(super) const DEVICE: &str = "/dev/kvm";

/// Where the code lies in the guest, and how much memory it has.
const CODE: u64 = 0x1000;
const PAGE: usize = 0x1000;
/// Loops of two instructions: 30 ms on a processor of today.
const LOOPS: u32 = 100_000_000;
/// How long the loop may run before it is interrupted, and how long the interruption may take.
const PATIENCE: Duration = Duration::from_millis(250);
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is no KVM, or it is not ours to use.
    Unavailable(String),
    /// It made no vCPU, or the vCPU did something else than what it was told.
    Failed(String),
    /// It ran.
    Ran { instructions_per_second: u64 },
}

/// Runs the loop in a thread of its own and interrupts it when it takes too long.
pub(super) fn measure() -> Outcome {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => return Outcome::Unavailable(std::io::Error::from(error).to_string()),
    };
    let (started, start) = mpsc::channel();
    let (finished, finish) = mpsc::channel();
    let thread = std::thread::Builder::new().name("kvm-probe".to_owned()).spawn(move || {
        let outcome = Guest::new(&kvm).and_then(|mut guest| {
            // SAFETY: pthread_self has no preconditions.
            let _watcher_left = started.send(unsafe { libc::pthread_self() });
            guest.run()
        });
        let _watcher_left = finished.send(outcome);
    });
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => return Outcome::Failed(format!("no thread could be started: {error}")),
    };
    let Ok(target) = start.recv() else {
        return finish.recv().map_or_else(|_| Outcome::Failed("the probe ended".to_owned()), conclude);
    };
    let mut result = finish.recv_timeout(PATIENCE);
    if matches!(result, Err(RecvTimeoutError::Timeout)) {
        // SAFETY: the thread has not been joined or detached, so its id is valid; it has blocked the signal, which
        // therefore only ends KVM_RUN.
        unsafe { libc::pthread_kill(target, libc::SIGALRM) };
        result = finish.recv_timeout(LAST_PATIENCE);
    }
    match result {
        Ok(outcome) => {
            let _panicked = thread.join();
            conclude(outcome)
        }
        Err(_) => Outcome::Failed("its vCPU does not stop when it is told to".to_owned()),
    }
}

fn conclude(outcome: Result<Outcome, kvm_ioctls::Error>) -> Outcome {
    outcome.unwrap_or_else(|error| {
        let error = std::io::Error::from(error);
        Outcome::Failed(format!("it cannot run a vCPU: {error}"))
    })
}

/// A machine of one page and one CPU in real mode.
struct Guest {
    vcpu: VcpuFd,
    // Dropped after the vCPU, before the memory.
    _vm: VmFd,
    _memory: Page,
}

impl Guest {
    fn new(kvm: &Kvm) -> Result<Self, kvm_ioctls::Error> {
        let vm = kvm.create_vm()?;
        let memory = Page::new()?;
        memory.write(&code());
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: CODE,
            memory_size: PAGE as u64,
            userspace_addr: memory.0 as u64,
        };
        // SAFETY: the page stays mapped for as long as the machine exists; see the order of the fields.
        unsafe { vm.set_user_memory_region(region)? };
        let vcpu = vm.create_vcpu(0)?;
        let mut special = vcpu.get_sregs()?;
        special.cs.base = 0;
        special.cs.selector = 0;
        vcpu.set_sregs(&special)?;
        let mut registers = vcpu.get_regs()?;
        registers.rip = CODE;
        registers.rflags = 2;
        vcpu.set_regs(&registers)?;
        Ok(Self { vcpu, _vm: vm, _memory: memory })
    }

    fn run(&mut self) -> Result<Outcome, kvm_ioctls::Error> {
        block_alarm(&self.vcpu)?;
        let begin = Instant::now();
        let halted = match self.vcpu.run() {
            Ok(VcpuExit::Hlt) => true,
            Ok(other) => return Ok(Outcome::Failed(format!("its vCPU stopped with {other:?}"))),
            Err(error) if error.errno() == libc::EINTR => false,
            Err(error) => return Err(error),
        };
        let elapsed = begin.elapsed();
        let left = self.vcpu.get_regs()?.rcx as u32;
        if halted && left != 0 {
            return Ok(Outcome::Failed("its vCPU counts wrongly".to_owned()));
        }
        let instructions = u64::from(LOOPS.saturating_sub(left)) * 2;
        let speed = instructions as f64 / elapsed.as_secs_f64().max(1e-9);
        Ok(Outcome::Ran { instructions_per_second: speed as u64 })
    }
}

/// `mov ecx, LOOPS; again: dec ecx; jnz again; hlt` in 16-bit code.
fn code() -> [u8; 11] {
    let [a, b, c, d] = LOOPS.to_le_bytes();
    [0x66, 0xb9, a, b, c, d, 0x66, 0x49, 0x75, 0xfc, 0xf4]
}

/// Blocks SIGALRM in this thread, but not inside KVM_RUN: it then ends KVM_RUN and is delivered to nobody.
fn block_alarm(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    use std::os::fd::AsRawFd;

    /// `struct kvm_signal_mask` with the kernel's set of 64 signals (linux/kvm.h).
    #[repr(C)]
    struct SignalMask {
        length: u32,
        set: [u8; 8],
    }
    /// `_IOW(KVMIO, 0x8b, struct kvm_signal_mask)`, whose size is that of its length alone.
    const KVM_SET_SIGNAL_MASK: libc::c_ulong = 0x4004_ae8b;

    let mask = SignalMask { length: 8, set: [0; 8] };
    // SAFETY: the set is initialised by sigemptyset before it is read; the ioctl reads a mask that outlives the call.
    let failed = unsafe {
        let mut alarm = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(alarm.as_mut_ptr());
        libc::sigaddset(alarm.as_mut_ptr(), libc::SIGALRM);
        let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, alarm.as_ptr(), std::ptr::null_mut());
        blocked != 0 || libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const mask) != 0
    };
    if failed { Err(kvm_ioctls::Error::last()) } else { Ok(()) }
}

/// A mapped page.
struct Page(*mut libc::c_void);

impl Page {
    fn new() -> Result<Self, kvm_ioctls::Error> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let page = unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE) };
        page.map(Self).map_err(|error| kvm_ioctls::Error::new(error.raw_os_error()))
    }

    fn write(&self, bytes: &[u8; 11]) {
        // SAFETY: the mapping is writable, larger than the bytes, and nothing else refers to it yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.cast(), bytes.len()) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; the machine that used it is gone.
        let _unmapped = unsafe { munmap(self.0, PAGE) };
    }
}
