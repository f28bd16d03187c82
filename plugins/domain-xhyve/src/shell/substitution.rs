//! `$(...)`: where it ends, and the few that need no running.

use super::ShellError;
use super::lexer::Cursor;

/// What has to be closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Parenthesis,
    Quote,
}

/// From the opening parenthesis to behind the closing one. Nothing in it is read, only what is needed to find its end.
pub(super) fn skip(cursor: &mut Cursor<'_>) -> Result<(), ShellError> {
    let from = cursor.line;
    let unclosed = || ShellError::Syntax { line: from, what: "a $( that is not closed".to_owned() };
    let mut open = Vec::new();
    loop {
        let c = cursor.next().ok_or_else(unclosed)?;
        let quoted = open.last() == Some(&Open::Quote);
        match c {
            '\\' => drop(cursor.next()),
            '\'' if !quoted => while cursor.next().ok_or_else(unclosed)? != '\'' {},
            '"' if quoted => drop(open.pop()),
            '"' => open.push(Open::Quote),
            '$' if quoted && cursor.eat("(") => open.push(Open::Parenthesis),
            '(' if !quoted => open.push(Open::Parenthesis),
            ')' if !quoted => {
                open.pop();
                if open.is_empty() {
                    return Ok(());
                }
            }
            _ => {}
        }
        if open.len() > super::lexer::MAX_DEPTH {
            let (line, most) = (cursor.line, super::lexer::MAX_DEPTH);
            return Err(ShellError::Limit { line, most, what: "levels of nesting" });
        }
    }
}

/// What a command's output is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Where the script lies.
    ScriptDirectory,
    /// Where it is by then.
    Directory,
}

/// Commands that only ask for a directory; `text` has the parentheses.
pub(super) fn known(text: &str) -> Option<Known> {
    let text: String = text.chars().filter(|c| *c != '"').collect();
    let text = text.trim_start_matches('(').replace("&&", " && ").replace(';', " ; ").replace(')', " ");
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| !matches!(*word, "--" | "-P" | ">/dev/null")).collect();
    let script =
        |word: &str| matches!(word, "$0" | "${0}" | "$BASH_SOURCE" | "${BASH_SOURCE}" | "${BASH_SOURCE[0]}");
    match words.as_slice() {
        ["pwd"] => Some(Known::Directory),
        ["dirname", path] if script(path) => Some(Known::ScriptDirectory),
        ["cd", "$(dirname", path, "&&" | ";", "pwd"] if script(path) => Some(Known::ScriptDirectory),
        ["cd", "${0%/*}", "&&" | ";", "pwd"] => Some(Known::ScriptDirectory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, known};

    #[test]
    fn directories_need_no_running() {
        for (text, expected) in [
            ("(pwd)", Some(Known::Directory)),
            ("( pwd -P )", Some(Known::Directory)),
            ("(dirname $0)", Some(Known::ScriptDirectory)),
            ("(dirname -- \"${BASH_SOURCE[0]}\")", Some(Known::ScriptDirectory)),
            ("(cd \"$(dirname \"$0\")\" && pwd)", Some(Known::ScriptDirectory)),
            ("(cd $(dirname $0);pwd)", Some(Known::ScriptDirectory)),
            ("(dirname $1)", None),
            ("(dirname $0; rm x)", None),
            ("(pwd | sed s/a/b/)", None),
            ("((1 + 1))", None),
            ("()", None),
        ] {
            assert_eq!(known(text), expected, "{text}");
        }
    }
}
