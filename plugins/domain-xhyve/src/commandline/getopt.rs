//! BSD's `getopt`: flags may be bundled and arguments glued to them, and the first operand ends the flags.

use super::Text;
use crate::findings::{Findings, Place};

/// A flag with its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag<'a> {
    pub(crate) letter: char,
    /// Empty for flags without one.
    pub(crate) argument: Text<'a>,
    pub(crate) place: Place,
}

/// Flags, then operands.
#[derive(Debug, Default)]
pub(crate) struct Arguments<'a> {
    pub(crate) flags: Vec<Flag<'a>>,
    pub(crate) operands: Vec<Text<'a>>,
}

/// Takes the words behind the program's name apart. `grammar` is getopt's: letters, with a colon where an argument
/// follows.
pub(crate) fn parse<'a>(words: &[Text<'a>], grammar: &str, findings: &mut Findings) -> Arguments<'a> {
    let mut arguments = Arguments::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if word.text == "--" {
            arguments.operands.extend(words);
            break;
        }
        let Some(bundle) = word.text.strip_prefix('-').filter(|bundle| !bundle.is_empty()) else {
            arguments.operands.push(word);
            arguments.operands.extend(words);
            break;
        };
        read_bundle(bundle, word, &mut words, grammar, &mut arguments.flags, findings);
    }
    arguments
}

fn read_bundle<'a>(
    bundle: &'a str,
    word: Text<'a>,
    words: &mut impl Iterator<Item = Text<'a>>,
    grammar: &str,
    flags: &mut Vec<Flag<'a>>,
    findings: &mut Findings,
) {
    let mut letters = bundle.chars();
    while let Some(letter) = letters.next() {
        let known = grammar.find(letter).filter(|_| letter != ':');
        let Some(at) = known else {
            let message = format!(
                "illegal option -{}: the program would print its usage and end",
                letter.escape_debug()
            );
            return findings.error(word.place, "xhyve.option.illegal", message);
        };
        let takes_argument = grammar.get(at + 1..).is_some_and(|rest| rest.starts_with(':'));
        if !takes_argument {
            flags.push(Flag { letter, argument: Text { text: "", place: word.place }, place: word.place });
            continue;
        }
        let glued = letters.as_str();
        let argument = match glued.is_empty() {
            false => Some(Text { text: glued, place: word.place }),
            true => words.next(),
        };
        match argument {
            Some(argument) => flags.push(Flag { letter, argument, place: word.place }),
            None => {
                findings.error(word.place, "xhyve.option.argument", format!("-{letter} needs an argument"))
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, parse};
    use crate::findings::{Findings, Place};

    const XHYVE: &str = "behvuwxMACHPWY:f:F:g:c:s:m:l:U:";

    fn run(words: &[&'static str]) -> (Vec<(char, &'static str)>, Vec<&'static str>, Vec<String>) {
        let place = |index| Place { index: Some(index), line: None };
        let words: Vec<_> =
            words.iter().enumerate().map(|(index, text)| Text { text, place: place(index) }).collect();
        let mut findings = Findings::default();
        let arguments = parse(&words, XHYVE, &mut findings);
        let flags = arguments.flags.iter().map(|flag| (flag.letter, flag.argument.text)).collect();
        let operands = arguments.operands.iter().map(|operand| operand.text).collect();
        let messages = findings.into_diagnostics().into_iter();
        (
            flags,
            operands,
            messages.map(|d| format!("{}: {}", d.path.unwrap_or_default(), d.message)).collect(),
        )
    }

    #[test]
    fn bundled_and_glued() {
        let (flags, operands, messages) = run(&["-AwP", "-c2", "-m", "1G", "-Amx", "-"]);
        assert_eq!(flags, [('A', ""), ('w', ""), ('P', ""), ('c', "2"), ('m', "1G"), ('A', ""), ('m', "x")]);
        assert_eq!(operands, ["-"]);
        assert_eq!(messages, [""; 0]);
    }

    #[test]
    fn operands_end_the_flags_and_y_eats_a_word() {
        let (flags, operands, _) = run(&["-Y", "-A", "console=ttyS1", "-c", "2"]);
        assert_eq!(flags, [('Y', "-A")]);
        assert_eq!(operands, ["console=ttyS1", "-c", "2"]);
        assert_eq!(run(&["-A", "--", "-c"]).1, ["-c"]);
    }

    #[test]
    fn what_getopt_refuses() {
        let (flags, _, messages) = run(&["-Ap", "0:1"]);
        assert_eq!(flags, [('A', "")]);
        assert_eq!(messages, ["argv[0]: illegal option -p: the program would print its usage and end"]);
        assert_eq!(run(&["-A", "-c"]).2, ["argv[1]: -c needs an argument"]);
        assert_eq!(run(&["-:"]).2.len(), 1);
    }
}
