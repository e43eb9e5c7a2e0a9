//! Lines of TSV and CSV files. TSV fields are never quoted; CSV fields may be, with a doubled quote for a quote inside.
//!
//! A quote that is not closed, or not closed where its field ends, is a fault of the line that it stands on. Reading goes on
//! with the next line, so that a stray quote takes no other row with it.

/// A line of a table, or several lines where a quoted field goes on.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// The line of the file on which it begins, from 1.
    pub number: usize,
    pub fields: Result<Vec<String>, QuoteFault>,
    /// The lines that lie wholly within its quoted fields, each with the fields that it would have by itself.
    pub inner: Vec<Vec<String>>,
}

/// What is wrong with a quote.
#[derive(Debug, PartialEq)]
pub(super) enum QuoteFault {
    /// It is never closed.
    Unclosed,
    /// Text follows the closing quote, which stands on line `closed`.
    TextBehind { closed: usize, text: String },
}

impl QuoteFault {
    /// What was expected and what came.
    pub(super) fn words(&self, line: usize) -> (String, String) {
        let mend = "double a quote that is part of a quoted text (\"\"), or remove the stray quote";
        match self {
            QuoteFault::Unclosed => (
                format!("a closing quote behind the opening one; {mend}"),
                "a quote opened and never closed".into(),
            ),
            QuoteFault::TextBehind { closed, text } => {
                let opened =
                    if *closed == line { String::new() } else { format!(", opened on line {line},") };
                (
                    format!("a separator or the end of the line behind a closing quote; {mend}"),
                    format!("a quoted field{opened} that closes on line {closed} before {text:?}"),
                )
            }
        }
    }
}

/// Every line ends in "\n", also where the file ends all of them in "\r" alone, as old Macs did.
pub(super) fn with_line_ends(content: &str) -> std::borrow::Cow<'_, str> {
    match content.contains('\r') && !content.contains('\n') {
        true => content.replace('\r', "\n").into(),
        false => content.into(),
    }
}

pub(super) fn tsv(content: &str) -> Vec<Line> {
    let lines = content.trim_end_matches(['\r', '\n']).split('\n').enumerate();
    let fields = |line: &str| line.trim_end_matches('\r').split('\t').map(str::to_owned).collect();
    lines
        .map(|(index, line)| Line { number: index + 1, fields: Ok(fields(line)), inner: Vec::new() })
        .collect()
}

/// Lines without anything on them are none.
pub(super) fn csv(content: &str, separator: u8) -> Vec<Line> {
    let mut reader = Csv { content, separator, at: 0, line: 1 };
    let mut lines = Vec::new();
    while let Some(line) = reader.next() {
        lines.push(line);
    }
    lines
}

struct Csv<'a> {
    content: &'a str,
    separator: u8,
    /// The byte and the line where reading goes on.
    at: usize,
    line: usize,
}

impl Csv<'_> {
    fn next(&mut self) -> Option<Line> {
        while self.skip_line_end() {}
        if self.at == self.content.len() {
            return None;
        }
        let number = self.line;
        let (mut fields, mut inner) = (Vec::new(), Vec::new());
        loop {
            let start = (self.at, self.line);
            match self.field(&mut inner) {
                Ok(field) => fields.push(field),
                Err(fault) => {
                    // Goes on behind the line on which the quote stands.
                    (self.at, self.line) = start;
                    let line = self.line;
                    self.at += self.content[self.at..].find('\n').unwrap_or(self.content.len() - self.at);
                    self.skip_line_end();
                    return Some(Line { number: line, fields: Err(fault), inner: Vec::new() });
                }
            }
            if self.byte() == Some(self.separator) {
                self.at += 1;
            } else {
                self.skip_line_end();
                return Some(Line { number, fields: Ok(fields), inner });
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.content.as_bytes().get(self.at).copied()
    }

    /// Goes behind the end of a line: "\n", "\r\n" or "\r". False if none is here.
    fn skip_line_end(&mut self) -> bool {
        let rest = &self.content.as_bytes()[self.at..];
        let (bytes, lines) = match rest {
            [b'\r', b'\n', ..] => (2, 1),
            [b'\n', ..] => (1, 1),
            [b'\r', ..] => (1, 0),
            _ => return false,
        };
        self.at += bytes;
        self.line += lines;
        true
    }

    /// The field that begins here, up to its separator or the end of its line.
    fn field(&mut self, inner: &mut Vec<Vec<String>>) -> Result<String, QuoteFault> {
        if self.byte() == Some(b'"') {
            return self.quoted(inner);
        }
        let rest = &self.content[self.at..];
        let end = rest.bytes().position(|byte| self.ends_field(byte)).unwrap_or(rest.len());
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.separator || byte == b'\n' || byte == b'\r'
    }

    fn quoted(&mut self, inner: &mut Vec<Vec<String>>) -> Result<String, QuoteFault> {
        let (start, mut field) = (self.at + 1, String::new());
        self.at = start;
        loop {
            let rest = &self.content[self.at..];
            let quote = rest.find('"').ok_or(QuoteFault::Unclosed)?;
            field.push_str(&rest[..quote]);
            self.at += quote + 1;
            if self.byte() != Some(b'"') {
                break;
            }
            field.push('"');
            self.at += 1;
        }
        let within = &self.content[start..self.at - 1];
        self.line += within.matches('\n').count();
        // Blanks between the closing quote and the separator are no part of the text.
        let behind = &self.content[self.at..];
        let blanks =
            behind.bytes().take_while(|&byte| matches!(byte, b' ' | b'\t') && byte != self.separator);
        self.at += blanks.count();
        match self.byte() {
            Some(byte) if !self.ends_field(byte) => {
                let text = behind.trim_start().lines().next().unwrap_or_default().chars().take(20).collect();
                Err(QuoteFault::TextBehind { closed: self.line, text })
            }
            _ => {
                inner.extend(self.lines_within(within));
                Ok(field)
            }
        }
    }

    /// The lines between the first and the last of a quoted text, each read by itself.
    fn lines_within(&self, within: &str) -> Vec<Vec<String>> {
        let (Some(first), Some(last)) = (within.find('\n'), within.rfind('\n')) else { return Vec::new() };
        if first == last {
            return Vec::new();
        }
        let whole = &within[first + 1..last];
        whole.lines().flat_map(|line| csv_of_one(line, self.separator)).collect()
    }
}

/// The fields of a line without line ends; none if it is blank or not well-formed.
fn csv_of_one(line: &str, separator: u8) -> Option<Vec<String>> {
    Csv { content: line, separator, at: 0, line: 1 }.next().and_then(|line| line.fields.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(content: &str) -> Vec<(usize, Vec<String>)> {
        csv(content, b',').into_iter().map(|line| (line.number, line.fields.unwrap())).collect()
    }

    fn row(number: usize, fields: &[&str]) -> (usize, Vec<String>) {
        (number, fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn lines_are_those_of_the_file_behind_blank_ones_quoted_ones_and_all_line_ends() {
        for end in ["\n", "\r\n"] {
            let content = "a,b\n\n\n\"x\ny, \"\"z\"\"\",1\n\n2,\"\"\n3,4 \"5\" 6\n,\n".replace('\n', end);
            let expected = [
                row(1, &["a", "b"]),
                row(4, &[&format!("x{end}y, \"z\""), "1"]),
                row(7, &["2", ""]),
                row(8, &["3", "4 \"5\" 6"]),
                row(9, &["", ""]),
            ];
            assert_eq!(fields(&content), expected);
        }
        assert_eq!(fields(&with_line_ends("a,b\r\r1,2\r")), [row(1, &["a", "b"]), row(3, &["1", "2"])]);
        assert_eq!(fields("\"a\" ,b"), [row(1, &["a", "b"])]);
        assert_eq!(csv("a;\"b;c\"", b';')[0].fields.as_ref().unwrap(), &["a", "b;c"]);
    }

    #[test]
    fn a_stray_quote_is_the_fault_of_its_own_line_alone() {
        let content = "text,label\ngood,1\n\"awful film,0\nfine,1\n\"well, really\",1\nbad,0\n";
        let lines = csv(content, b',');
        let numbers: Vec<usize> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        let fault = QuoteFault::TextBehind { closed: 5, text: "well, really\",1".into() };
        assert_eq!(lines[2].fields, Err(fault));
        assert!(
            lines[2]
                .fields
                .as_ref()
                .unwrap_err()
                .words(3)
                .1
                .contains("opened on line 3, that closes on line 5")
        );
        assert_eq!(lines[4].fields.as_ref().unwrap(), &["well, really", "1"]);
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_other_line_with_it() {
        let lines = csv("label,text\n1,\"good\n0,bad\n1,\"\"\n0,\"x", b',');
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let faulty: Vec<bool> = lines.iter().map(|line| line.fields.is_err()).collect();
        assert_eq!(faulty, [false, true, false, false, true]);
        assert_eq!(lines[4].fields, Err(QuoteFault::Unclosed));
    }

    #[test]
    fn lines_within_a_quoted_field_are_kept_as_the_rows_they_may_be() {
        let lines = csv("\"a\nb,1\nc,2\n\nd\",3\nx,\"one\ntwo\"", b',');
        assert_eq!(lines[0].inner, [["b", "1"], ["c", "2"]]);
        assert!(lines[1].inner.is_empty());
    }
}
