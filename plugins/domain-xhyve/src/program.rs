//! Which program a command runs.

use crate::settings::Dialect;
use crate::shell::Field;

/// A program that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Hypervisor(Dialect),
    /// `bhyveload`.
    Bhyveload,
    /// `grub-bhyve`.
    GrubBhyve,
}

/// Programs that run another one: name, options that take a word, and how many operands stand before the program.
const LAUNCHERS: [(&str, &[&str], usize); 16] = [
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R"], 0),
    ("doas", &["-u", "-C"], 0),
    ("exec", &["-a"], 0),
    ("command", &[], 0),
    ("nohup", &[], 0),
    ("time", &["-f", "-o"], 0),
    ("env", &["-u", "-P", "-S"], 0),
    ("nice", &["-n"], 0),
    ("ionice", &["-c", "-n"], 0),
    ("caffeinate", &["-t", "-w"], 0),
    ("arch", &["-arch"], 0),
    ("setsid", &[], 0),
    ("stdbuf", &["-i", "-o", "-e"], 0),
    ("timeout", &["-k", "-s"], 1),
    ("screen", &["-S", "-L", "-t", "-T", "-c", "-h", "-s"], 0),
    // A prompt that was copied with the command.
    ("$", &[], 0),
];

/// Finds the program in a command's words: which it is, and its index among them. `other`: what a program counts as whose
/// name says nothing, but whose arguments are a hypervisor's.
pub(crate) fn find(words: &[Field], other: Option<Dialect>) -> Option<(Program, usize)> {
    let mut at = 0;
    // Launchers may launch each other.
    for _ in 0..8 {
        let name = base_name(text(words.get(at)?)?);
        if let Some(program) = by_name(name) {
            return Some((program, at));
        }
        let Some((_, with_word, operands)) = LAUNCHERS.iter().find(|(launcher, _, _)| *launcher == name)
        else {
            return other
                .filter(|_| looks_like_one(&words[at..]))
                .map(|dialect| (Program::Hypervisor(dialect), at));
        };
        at = behind_launcher(words, at + 1, with_word)? + operands;
    }
    None
}

/// The index of the launched program.
fn behind_launcher(words: &[Field], mut at: usize, with_word: &[&str]) -> Option<usize> {
    loop {
        let word = text(words.get(at)?)?;
        let assignment = word.split_once('=').is_some_and(|(name, _)| !name.contains('/'));
        if word == "--" {
            return Some(at + 1);
        }
        if !word.starts_with('-') && !assignment {
            return Some(at);
        }
        at += 1 + usize::from(with_word.contains(&word));
    }
}

fn by_name(name: &str) -> Option<Program> {
    match name {
        "xhyve" => Some(Program::Hypervisor(Dialect::Xhyve)),
        "hyperkit" | "com.docker.hyperkit" => Some(Program::Hypervisor(Dialect::Hyperkit)),
        "bhyve" => Some(Program::Hypervisor(Dialect::Bhyve)),
        "bhyveload" => Some(Program::Bhyveload),
        "grub-bhyve" => Some(Program::GrubBhyve),
        _ => None,
    }
}

/// Whether a command whose program cannot be known has a hypervisor's arguments.
pub(crate) fn looks_like_one(words: &[Field]) -> bool {
    let slot = |pair: &[Field]| {
        let (Some(flag), Some(value)) = (text_of(pair, 0), text_of(pair, 1)) else { return false };
        flag == "-s" && value.split(',').nth(1) == Some("hostbridge")
    };
    words.windows(2).any(slot)
}

/// Whether the program's own name is not known, while its arguments are a hypervisor's.
pub(crate) fn is_hidden(words: &[Field]) -> bool {
    words.iter().take(4).any(|word| word.value.is_err()) && looks_like_one(words)
}

fn text_of(words: &[Field], at: usize) -> Option<&str> {
    text(words.get(at)?)
}

fn text(field: &Field) -> Option<&str> {
    field.value.as_ref().ok().map(|text| &**text)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
