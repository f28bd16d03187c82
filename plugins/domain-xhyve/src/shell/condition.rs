//! `[`, `test` and `[[`.

use super::pattern::fits;
use super::{Field, Value};

/// Whether a test holds; `None` where only running tells. `patterns`: `[[`, whose right sides are patterns.
pub(super) fn holds(arguments: &[Field], patterns: bool) -> Option<bool> {
    match arguments {
        [] => Some(false),
        [not, rest @ ..] if is(not, "!") => holds(rest, patterns).map(|holds| !holds),
        [one] => text(one).map(|text| !text.is_empty()),
        [operator, value] => match text(operator)? {
            "-n" => text(value).map(|text| !text.is_empty()),
            "-z" => text(value).map(str::is_empty),
            _ => None,
        },
        [left, operator, right] => compare(text(left)?, text(operator)?, text(right)?, patterns),
        _ => None,
    }
}

fn compare(left: &str, operator: &str, right: &str, patterns: bool) -> Option<bool> {
    let equal = || if patterns { fits(right, left) } else { Some(left == right) };
    match operator {
        "=" | "==" => return equal(),
        "!=" => return equal().map(|equal| !equal),
        _ => {}
    }
    let (left, right): (i64, i64) = (left.trim().parse().ok()?, right.trim().parse().ok()?);
    match operator {
        "-eq" => Some(left == right),
        "-ne" => Some(left != right),
        "-lt" => Some(left < right),
        "-le" => Some(left <= right),
        "-gt" => Some(left > right),
        "-ge" => Some(left >= right),
        _ => None,
    }
}

fn text(field: &Field) -> Option<&str> {
    let value: &Value = &field.value;
    value.as_ref().ok().map(|text| &**text)
}

fn is(field: &Field, expected: &str) -> bool {
    text(field) == Some(expected)
}
