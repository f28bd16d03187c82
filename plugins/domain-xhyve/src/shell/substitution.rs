//! The end of `$(...)`.

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
