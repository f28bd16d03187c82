//! From the ways in which a guest can break to errors that an operator can act on.

use wasmtime::{Trap, WasmBacktrace};
use witvirt_core::ErrorKind;
use witvirt_core::plugin::Limits;

use crate::state::State;
use crate::text::{MESSAGE, WORD, clean};

/// What broke, in words.
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) context: Vec<(String, String)>,
}

/// Says why a call into the guest failed.
pub(crate) fn explain(error: &wasmtime::Error, state: &State, limits: &Limits) -> Failure {
    let (kind, message) = cause(error, state, limits);
    let mut context = Vec::new();
    if let Some(function) = top_frame(error) {
        context.push(("in".to_owned(), function));
    }
    let tail = state.log.tail();
    let shown = tail.len() - usize::from(state.log.panic().is_some() && !tail.is_empty());
    if shown > 0 {
        context.push(("log".to_owned(), clean(&tail[..shown].join(" | "), MESSAGE)));
    }
    Failure { kind, message, context }
}

fn cause(error: &wasmtime::Error, state: &State, limits: &Limits) -> (ErrorKind, String) {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::Interrupt => (ErrorKind::Limit, late(state, limits)),
            Trap::StackOverflow => (
                ErrorKind::Limit,
                "used up its call stack of 512 KiB: its recursion goes too deep for this input".to_owned(),
            ),
            _ if state.log.panic().is_some() => {
                (ErrorKind::Plugin, state.log.panic().unwrap_or_default().to_owned())
            }
            _ => match memory_refused(state, limits) {
                Some(message) => (ErrorKind::Limit, message),
                None => (ErrorKind::Plugin, format!("trapped: {trap}")),
            },
        };
    }
    if let Some(message) = memory_refused(state, limits) {
        return (ErrorKind::Limit, message);
    }
    let text = error.to_string();
    // The error's type is private to wasmtime; its text is checked by a test.
    if format!("{error:#}").contains("fuel allocated for hostcalls") {
        let message = format!(
            "handed over more than {} in one call; a higher limits.call-data takes more",
            limits.call_data
        );
        return (ErrorKind::Limit, message);
    }
    (ErrorKind::Plugin, clean(&text, MESSAGE))
}

fn late(state: &State, limits: &Limits) -> String {
    let (time, key) = match state.outlived() {
        Some(life) => (life, "timeout in its pipeline"),
        None => (limits.deadline, "limits.deadline"),
    };
    format!("did not answer within {} ms; a higher {key} gives it more time", time.as_millis())
}

fn memory_refused(state: &State, limits: &Limits) -> Option<String> {
    let wanted = witvirt_core::ByteSize(state.limiter.refused?);
    Some(format!(
        "needs more than {} of memory (asked for {wanted}); a higher limits.memory gives it more",
        limits.memory
    ))
}

/// The innermost function with a name, for whoever maintains the plugin.
fn top_frame(error: &wasmtime::Error) -> Option<String> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let frame = trace.frames().iter().find_map(|frame| frame.func_name())?;
    Some(clean(&wasmtime_demangled(frame), WORD))
}

/// Without the hash that Rust's old mangling leaves at the end of names.
fn wasmtime_demangled(name: &str) -> String {
    name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(path, _)| path).to_owned()
}
