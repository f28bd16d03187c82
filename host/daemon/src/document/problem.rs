//! Mistakes and how they are shown.

use std::fmt;
use std::ops::Range;

/// A mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one sentence.
    pub message: String,
    /// Which bytes of the text.
    pub span: Range<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// Without advice.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With "did you mean" where one of `choices` is close to `found`, else with the choices.
    pub fn suggest<'a>(self, found: &str, choices: impl IntoIterator<Item = &'a str>) -> Self {
        let choices: Vec<&str> = choices.into_iter().collect();
        match nearest(found, &choices) {
            Some(near) => self.help(format!("did you mean \"{near}\"?")),
            None if choices.is_empty() => self,
            None => self.help(format!("one of: {}", choices.join(", "))),
        }
    }
}

/// The choice that differs from `found` by at most a third of its letters (and always allows two where it is longer than
/// three).
pub(crate) fn nearest<'a>(found: &str, choices: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase();
    let (distance, choice) = choices
        .iter()
        .map(|choice| (strsim::osa_distance(&found, choice), *choice))
        .min_by_key(|(distance, _)| *distance)?;
    let bound = if found.chars().count() > 3 { (found.chars().count() / 3).max(2) } else { 1 };
    (distance <= bound).then_some(choice)
}

/// All mistakes of one document, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    name: String,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// `name` is the file's.
    pub fn new(name: &str, text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.span.start);
        Self { name: name.to_owned(), text: text.to_owned(), list }
    }

    /// Them.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// 1-based line and column (in characters) of a byte offset, and the line's text.
    fn locate(&self, offset: usize) -> (usize, usize, &str) {
        let offset =
            (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or("");
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1, line)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let (line, column, text) = self.locate(problem.span.start);
        let margin = " ".repeat(line.to_string().len());
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let marked = self.text.get(problem.span.clone()).map_or(1, |part| part.chars().count());
        writeln!(f, "error: {}", problem.message)?;
        writeln!(f, "{margin}--> {}:{line}:{column}", self.name)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{line} | {text}")?;
        writeln!(f, "{margin} | {}{}", " ".repeat(column - 1), "^".repeat(marked.clamp(1, room)))?;
        match &problem.help {
            Some(help) => writeln!(f, "{margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.show(f, problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
