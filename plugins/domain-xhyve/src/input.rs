//! From a document to one command line.

use crate::commandline::Text;
use crate::commandline::getopt;
use crate::findings::{Findings, Place};
use crate::program::{self, Program};
use crate::settings::{Dialect, Settings};
use crate::shell::{self, Command, Directory, Field, MAX_TEXT, ShellError};

/// Most words of a JSON array.
const MAX_WORDS: usize = 4096;

/// Why a document holds no command line to speak of.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A bound was passed.
    #[error("the command line has more than {most} {what}")]
    TooLarge {
        /// The bound.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// The document begins like a JSON array of strings, and is none.
    #[error("not a JSON array of arguments")]
    Json(#[from] serde_json::Error),
    /// The document is no shell script that is read.
    #[error(
        "not a shell script that can be read without running it; pass the arguments as a JSON array instead"
    )]
    Shell(#[from] ShellError),
    /// No hypervisor is started.
    #[error("{}", no_hypervisor(.named, .conditions))]
    NoHypervisor {
        /// Lines that name one all the same.
        named: Vec<u32>,
        /// Lines of conditions that were taken not to strike.
        conditions: Vec<u32>,
    },
    /// A word depends on what only running tells.
    #[error(
        "line {line}: word {index} of the command: {what} in line {cause} is only known when the script runs; pass the \
         arguments as a JSON array instead"
    )]
    Unknown {
        /// Of the word.
        line: u32,
        /// Of the word, from 0.
        index: usize,
        /// The cause.
        what: String,
        /// Its line.
        cause: u32,
    },
    /// A control character that no document can carry.
    #[error("word {index} of the command line has a control character")]
    Control {
        /// From 0.
        index: usize,
    },
    /// Several machines, and no word on which is meant.
    #[error("the script starts {} machines: {}; say which by the option \"select\", as its number{}", .machines.len(), .machines.join(", "), wanted(.select))]
    Several {
        /// One line each.
        machines: Vec<String>,
        /// What was asked for.
        select: Option<String>,
    },
}

fn no_hypervisor(named: &[u32], conditions: &[u32]) -> String {
    let mut text = "nothing starts xhyve, hyperkit or bhyve".to_owned();
    if !named.is_empty() {
        text += &format!(
            "; {} named in {}, which is not reached when the script runs without arguments",
            if named.len() == 1 { "one is" } else { "they are" },
            lines(named)
        );
    }
    if !conditions.is_empty() {
        text += &format!("; what is checked in {} was taken to be fine", lines(conditions));
    }
    text + ": pass the arguments as a JSON array, or set the plugin's \"dialect\" for a program of another name"
}

fn wanted(select: &Option<String>) -> String {
    select.as_ref().map_or(String::new(), |select| format!("; \"{}\" is none of them", select.escape_debug()))
}

fn lines(lines: &[u32]) -> String {
    let lines: Vec<_> = lines.iter().take(8).map(u32::to_string).collect();
    format!("line {}", lines.join(", "))
}

/// A word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// One command line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Arguments, without the program.
    pub(crate) words: Vec<Word>,
    pub(crate) program: Program,
    pub(crate) place: Place,
    pub(crate) directory: Directory,
}

/// What a document holds.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) dialect: Dialect,
    pub(crate) machine: Line,
    /// Loaders that are started by the same script.
    pub(crate) loaders: Vec<Line>,
}

impl Line {
    pub(crate) fn texts(&self) -> Vec<Text<'_>> {
        self.words.iter().map(|word| Text { text: &word.text, place: word.place }).collect()
    }
}

/// Finds the command line of a document; `select`: its number, or the machine's name, where a script starts several.
pub(crate) fn read(
    document: &str,
    select: Option<&str>,
    directory: Option<&str>,
    settings: &Settings,
    findings: &mut Findings,
) -> Result<Input, InputError> {
    if document.len() > MAX_TEXT {
        return Err(InputError::TooLarge { most: MAX_TEXT, what: "bytes" });
    }
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    let is_array = document.trim_start().strip_prefix('[').is_some_and(|rest| {
        let rest = rest.trim_start();
        rest.starts_with(['"', ']'])
    });
    // A test of a shell may look like an array too, but only to its end.
    match serde_json::from_str::<Vec<String>>(document) {
        Ok(words) => from_array(words, settings),
        Err(error) if is_array => Err(error.into()),
        Err(_) => from_script(document, select, directory, settings, findings),
    }
}

fn from_array(words: Vec<String>, settings: &Settings) -> Result<Input, InputError> {
    if words.len() > MAX_WORDS {
        return Err(InputError::TooLarge { most: MAX_WORDS, what: "words" });
    }
    let field = |text: &String| Field { value: Ok(text.as_str().into()), line: 0 };
    let fields: Vec<Field> = words.iter().map(field).collect();
    let found = program::find(&fields, settings.dialect);
    let Some((program @ Program::Hypervisor(dialect), at)) = found else {
        return Err(InputError::NoHypervisor { named: Vec::new(), conditions: Vec::new() });
    };
    let place = |index| Place { index: Some(index), line: None };
    let words = words.into_iter().enumerate().skip(at + 1);
    let words: Vec<_> = words.map(|(index, text)| Word { text, place: place(index) }).collect();
    check_characters(&words)?;
    let directory = Directory::Relative(String::new());
    let machine = Line { words, program, place: place(at), directory };
    Ok(Input { dialect, machine, loaders: Vec::new() })
}

fn from_script(
    script: &str,
    select: Option<&str>,
    directory: Option<&str>,
    settings: &Settings,
    findings: &mut Findings,
) -> Result<Input, InputError> {
    let wanted =
        |words: &[Field]| program::find(words, settings.dialect).is_some() || program::is_hidden(words);
    let followed = shell::follow(script, directory, &wanted)?;
    let mut machines: Vec<&Command> = Vec::new();
    let mut loaders = Vec::new();
    for command in &followed.commands {
        match program::find(&command.words, settings.dialect) {
            Some((Program::Hypervisor(_), _)) | None => {
                let same = |other: &&Command| same(other, command);
                if !machines.iter().any(same) {
                    machines.push(command);
                }
            }
            Some((program, at)) => loaders.push(line(command, program, at)?),
        }
    }
    let started: Vec<_> = machines.iter().copied().filter(|command| !only_asks(command, settings)).collect();
    // A script may do nothing but ask.
    let asked = machines.len() - started.len();
    let machines = if started.is_empty() { machines } else { started };
    let Some(command) = choose(&machines, select, settings)? else {
        let named = script.lines().zip(1u32..).filter(|(line, _)| names_hypervisor(line));
        let named = named.map(|(_, number)| number).collect();
        return Err(InputError::NoHypervisor { named, conditions: followed.guards });
    };
    let Some((program @ Program::Hypervisor(dialect), at)) = program::find(&command.words, settings.dialect)
    else {
        return Err(unknown_word(command));
    };
    let machine = line(command, program, at)?;
    check_characters(&machine.words)?;
    tell(&followed, command, asked, findings);
    Ok(Input { dialect, machine, loaders })
}

/// The words of a command, all of which have to be known.
fn line(command: &Command, program: Program, at: usize) -> Result<Line, InputError> {
    let mut words = Vec::with_capacity(command.words.len());
    for (index, field) in command.words.iter().enumerate() {
        let place = Place { index: Some(index), line: Some(field.line) };
        match &field.value {
            Ok(text) => words.push(Word { text: text.to_string(), place }),
            Err(why) => {
                let (what, cause) = (why.what.clone(), why.line);
                return Err(InputError::Unknown { line: field.line, index, what, cause });
            }
        }
    }
    let words = words.split_off((at + 1).min(words.len()));
    let place = Place { index: Some(at), line: Some(command.line) };
    Ok(Line { words, program, place, directory: command.directory.clone() })
}

/// Of a command whose program is not known.
fn unknown_word(command: &Command) -> InputError {
    let unknown = command.words.iter().enumerate().find_map(|(index, field)| {
        let why = field.value.as_ref().err()?;
        Some(InputError::Unknown { line: field.line, index, what: why.what.clone(), cause: why.line })
    });
    unknown.unwrap_or(InputError::NoHypervisor { named: Vec::new(), conditions: Vec::new() })
}

fn same(one: &Command, other: &Command) -> bool {
    let values =
        |command: &Command| command.words.iter().map(|field| field.value.clone()).collect::<Vec<_>>();
    one.directory == other.directory && values(one) == values(other)
}

/// Whether a call only prints something: `-M` the MAC address, `-h` and `-v` what they are for.
fn only_asks(command: &Command, settings: &Settings) -> bool {
    let Some((Program::Hypervisor(dialect), at)) = program::find(&command.words, settings.dialect) else {
        return false;
    };
    let known = command.words.iter().skip(at + 1).map(|field| field.value.as_deref().unwrap_or("?"));
    let texts: Vec<_> = known.map(|text| Text { text, place: Place::default() }).collect();
    let flags = getopt::parse(&texts, dialect.grammar(), &mut Findings::default()).flags;
    flags.iter().any(|flag| matches!(flag.letter, 'M' | 'h' | 'v'))
}

fn choose<'a>(
    machines: &[&'a Command],
    select: Option<&str>,
    settings: &Settings,
) -> Result<Option<&'a Command>, InputError> {
    let several = |select: Option<&str>| {
        let machines = machines.iter().zip(1..).take(16);
        let machine = |(command, number): (&&Command, usize)| match operand(command, settings) {
            Some(name) => format!("{number} \"{}\" in line {}", name.escape_debug(), command.line),
            None => format!("{number} in line {}", command.line),
        };
        InputError::Several { machines: machines.map(machine).collect(), select: select.map(str::to_owned) }
    };
    let Some(select) = select else {
        return match machines {
            [] => Ok(None),
            [command] => Ok(Some(command)),
            _ => Err(several(None)),
        };
    };
    let numbered = select.parse::<usize>().ok().and_then(|number| machines.get(number.checked_sub(1)?));
    let named = || machines.iter().find(|command| operand(command, settings).as_deref() == Some(select));
    match numbered.or_else(named) {
        Some(command) => Ok(Some(command)),
        None if machines.is_empty() => Ok(None),
        None => Err(several(Some(select))),
    }
}

/// The name of one of bhyve's machines.
fn operand(command: &Command, settings: &Settings) -> Option<String> {
    let (program, at) = program::find(&command.words, settings.dialect)?;
    let line = line(command, program, at).ok()?;
    let Program::Hypervisor(Dialect::Bhyve) = program else { return None };
    let texts = line.texts();
    let arguments = getopt::parse(&texts, Dialect::Bhyve.grammar(), &mut Findings::default());
    arguments.operands.first().map(|operand| operand.text.to_owned())
}

/// What was assumed on the way to the command.
fn tell(followed: &shell::Script, command: &Command, asked: usize, findings: &mut Findings) {
    for (name, line) in &followed.unset {
        let message = format!("${name} is not set in the script, and taken to be empty");
        findings.info(Place::line(*line), "xhyve.shell.unset", message);
    }
    for line in &followed.guards {
        let message = "a check that ends the script where it strikes: taken not to strike";
        findings.info(Place::line(*line), "xhyve.shell.guard", message);
    }
    if let Some(line) = command.condition {
        let message = format!(
            "whether the script gets to its line {} depends on this condition, which only running it decides: taken \
             to get there",
            command.line
        );
        findings.warning(Place::line(line), "xhyve.shell.condition", message);
    }
    if command.in_loop {
        let message = "a loop: whatever starts the machine again after the guest's reboot is not needed here";
        findings.info(Place::line(command.line), "xhyve.shell.loop", message);
    }
    if asked > 0 && asked < followed.commands.len() {
        let message = "another call only asks for the MAC address, the version or the usage: passed over";
        findings.info(Place::line(command.line), "xhyve.shell.asked", message);
    }
}

fn names_hypervisor(line: &str) -> bool {
    let line = line.trim_start();
    let word = |word: &str| matches!(word.rsplit('/').next(), Some("xhyve" | "hyperkit" | "bhyve"));
    !line.starts_with('#') && line.split(|c: char| c.is_whitespace() || "\"'`(;&|".contains(c)).any(word)
}

/// XML has no words for most control characters, and nobody means them.
fn check_characters(words: &[Word]) -> Result<(), InputError> {
    let odd = |c: char| (c.is_control() && !matches!(c, '\t' | '\n')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    match words.iter().find(|word| word.text.contains(odd)) {
        Some(word) => Err(InputError::Control { index: word.place.index.unwrap_or_default() }),
        None => Ok(()),
    }
}
