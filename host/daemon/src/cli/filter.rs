//! Guest output made harmless for a terminal.
//!
//! A guest's console may hold sequences that retitle the window, redefine keys, answer queries into the user's shell or
//! clear what the user sees. Colours (SGR) and plain text stay, everything else of ECMA-48 goes.

/// Bytes of a sequence that are held back until its end is seen; a longer one is dropped.
const LONGEST_SEQUENCE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte (0x20 to 0x2f).
    Intermediate,
    /// After CSI.
    Control,
    /// In OSC, DCS, SOS, PM or APC: up to ST or BEL.
    String,
    /// In such a string, after ESC.
    StringEscape,
    /// After 0xc2, which begins C1 controls in UTF-8.
    C1,
}

/// A filter that keeps its place between pieces of a stream.
#[derive(Debug)]
pub struct TerminalFilter {
    state: State,
    sequence: Vec<u8>,
}

impl Default for TerminalFilter {
    fn default() -> Self {
        Self { state: State::Text, sequence: Vec::new() }
    }
}

impl TerminalFilter {
    /// What may be shown of `input`.
    pub fn filter(&mut self, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(input.len());
        for byte in input {
            self.step(*byte, &mut output);
        }
        output
    }

    fn step(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.state = match self.state {
            State::Text => text(byte, output),
            State::Escape => self.escape(byte, output),
            State::Intermediate => match byte {
                0x20..=0x2f => State::Intermediate,
                _ => State::Text,
            },
            State::Control => self.control(byte, output),
            State::String => match byte {
                0x07 => State::Text,
                0x1b => State::StringEscape,
                _ => State::String,
            },
            State::StringEscape => match byte {
                b'\\' => State::Text,
                0x1b => State::StringEscape,
                _ => State::String,
            },
            State::C1 => self.c1(byte, output),
        };
    }

    fn escape(&mut self, byte: u8, output: &mut Vec<u8>) -> State {
        match byte {
            b'[' => self.begin_control(),
            b']' | b'P' | b'X' | b'^' | b'_' => State::String,
            0x1b => State::Escape,
            0x20..=0x2f => State::Intermediate,
            0x30..=0x7e => State::Text,
            _ => text(byte, output),
        }
    }

    fn begin_control(&mut self) -> State {
        self.sequence.clear();
        State::Control
    }

    fn control(&mut self, byte: u8, output: &mut Vec<u8>) -> State {
        match byte {
            0x20..=0x3f if self.sequence.len() < LONGEST_SEQUENCE => {
                self.sequence.push(byte);
                State::Control
            }
            0x20..=0x3f => State::Control,
            b'm' if self.sequence.iter().all(|byte| byte.is_ascii_digit() || b";:".contains(byte)) => {
                output.extend_from_slice(b"\x1b[");
                output.append(&mut self.sequence);
                output.push(b'm');
                State::Text
            }
            0x40..=0x7e => State::Text,
            0x1b => State::Escape,
            _ => text(byte, output),
        }
    }

    fn c1(&mut self, byte: u8, output: &mut Vec<u8>) -> State {
        match byte {
            0x9b => self.begin_control(),
            0x90 | 0x98 | 0x9d | 0x9e | 0x9f => State::String,
            0x80..=0x9f => State::Text,
            0xa0..=0xbf => {
                output.extend_from_slice(&[0xc2, byte]);
                State::Text
            }
            _ => text(byte, output),
        }
    }
}

fn text(byte: u8, output: &mut Vec<u8>) -> State {
    match byte {
        0x1b => State::Escape,
        0xc2 => State::C1,
        b'\n' | b'\r' | b'\t' | 0x20..=0x7e | 0x80.. => {
            output.push(byte);
            State::Text
        }
        // Bell, backspace and the other C0 controls, and DEL.
        _ => State::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::TerminalFilter;

    fn filtered(input: &[u8]) -> String {
        String::from_utf8(TerminalFilter::default().filter(input)).unwrap()
    }

    #[test]
    fn keeps_text_and_colours() {
        for text in ["login: \r\n\tüöä €", "\x1b[1;32m[ OK ]\x1b[0m done", "a\u{a0}b", "\x1b[38:2:1:2:3mx"]
        {
            assert_eq!(filtered(text.as_bytes()), text);
        }
    }

    #[test]
    fn drops_what_acts_on_the_terminal() {
        for (input, shown) in [
            ("\x1b]0;owned\x07title", "title"),
            ("\x1b]52;c;cm0gLXJm\x1b\\clipboard", "clipboard"),
            ("a\x1b[2J\x1b[Hb", "ab"),
            ("\x1b[6nquery\x1b[c", "query"),
            ("\x1bP$q\"p\x1b\\dcs", "dcs"),
            ("\u{9b}2Jc1\u{9d}0;t\u{7}", "c1"),
            ("\x1bcreset\x07\x08\x7f", "reset"),
            ("\x1b(0lqk\x1b(B", "lqk"),
            ("\x1b[>4;2mmodify", "modify"),
            ("\x1b[\x1b[31mred", "\x1b[31mred"),
        ] {
            assert_eq!(filtered(input.as_bytes()), shown, "{input:?}");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let input = "x\x1b]0;t\x1b\\y\x1b[31mz\u{9b}5nü\x1b[2Kend".as_bytes();
        let whole = filtered(input);
        for cut in 0..input.len() {
            let mut filter = TerminalFilter::default();
            let mut output = filter.filter(&input[..cut]);
            output.extend(filter.filter(&input[cut..]));
            assert_eq!(String::from_utf8_lossy(&output), whole, "cut at {cut}");
        }
        assert_eq!(whole, "xy\x1b[31mzüend");
    }
}
