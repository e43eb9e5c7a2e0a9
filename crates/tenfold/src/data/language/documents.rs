//! Texts that run on over the rows of a file, cut into documents.

use super::Template;
use crate::data::records::{Fields, Place, Record, Records, TEXT};
use crate::{Error, Result};
use fancy_regex::Regex;
use serde_json::Value;

/// Where documents begin in a text.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    /// A line that matches is the first of a document.
    pub start: Regex,
    /// What a row adds to the text: of a plain text file, all of it.
    pub line: Template,
}

/// A row's part of the text.
struct Part {
    /// Where it begins, in bytes.
    start: usize,
    record: Record,
}

impl Documents {
    /// Makes a row of each document: the columns of the row that it begins in, with itself as `text`. Lines end in "\n"
    /// whatever the file has; the last line of a document has no end of its own where another follows. Documents of white
    /// space alone are none, and rows that `line` cannot be written for stay as they are.
    pub(crate) fn cut(&self, records: &mut Records) -> Result<()> {
        let (mut text, mut parts, mut documents) = (String::new(), Vec::new(), Vec::new());
        for record in std::mem::take(&mut records.records) {
            match self.line.render(&records.named(&record)) {
                Ok(line) => {
                    parts.push(Part { start: text.len(), record });
                    text.push_str(&line.replace("\r\n", "\n").replace('\r', "\n"));
                }
                Err(_) => documents.push(record),
            }
        }
        let mut starts = vec![0];
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.strip_suffix('\n').unwrap_or(line);
            let begins = self.start.is_match(bare).map_err(|error| {
                let place = format!("\"{}\"", bare.chars().take(40).collect::<String>());
                let expected = "a line that document_start comes to an end with";
                Error::malformed(&records.file, place, expected, error.to_string())
            })?;
            if begins && at > 0 {
                starts.push(at);
            }
            at += line.len();
        }
        for (number, start) in starts.iter().enumerate() {
            let document = match starts.get(number + 1) {
                Some(end) => text[*start..*end].strip_suffix('\n').unwrap_or(&text[*start..*end]),
                None => &text[*start..],
            };
            if document.trim().is_empty() {
                continue;
            }
            let first = parts.partition_point(|part| part.start <= *start).saturating_sub(1);
            let Some(Part { start: from, record }) = parts.get(first) else { continue };
            let mut columns = records.named(record);
            columns.insert(TEXT.into(), Value::from(document));
            let place = match record.place {
                Place::Line(line) if records.is_text => {
                    Place::Line(line + text[*from..*start].matches('\n').count())
                }
                place => place,
            };
            documents.push(Record { place, fields: Fields::Object(columns) });
        }
        records.records = documents;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::records::{self, Header, Reading};

    /// The documents of a file, each with its place and the column "id" if it has one.
    fn cut(name: &str, content: &str, start: &str, line: &str) -> Vec<(String, String, Option<Value>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let reading = Reading::with(Header::Given(true));
        let mut records = records::read(&path, &reading).unwrap();
        let documents = Documents { start: Regex::new(start).unwrap(), line: Template::parse(line).unwrap() };
        documents.cut(&mut records).unwrap();
        let plain = |record: &Record| {
            let columns = records.named(record);
            let text = columns.get("text").or(columns.get("page")).unwrap().as_str().unwrap().to_owned();
            (record.place.to_string(), text, columns.get("id").cloned())
        };
        records.records.iter().map(plain).collect()
    }

    const WIKITEXT: &str = r"^\s*= (?!=).*(?<!=) =\s*$";

    /// Pages of EleutherAI/wikitext_document_level's own rule, by Python: a line that begins "= " and ends " =" once "= = ="
    /// and "= =" are drawn together and white space is off.
    #[test]
    fn wikitext_is_cut_at_the_headings_of_articles_alone() {
        let file = " \n = A = \n \n a \n = = B = = \n b = \n= = = C = = =\n = D = E = \n  \n = = F = \n = G = =\n d \n";
        let expected = [
            ("line 2", " = A = \n \n a \n = = B = = \n b = \n= = = C = = ="),
            ("line 8", " = D = E = \n  \n = = F = \n = G = =\n d \n"),
        ];
        for content in [file.to_owned(), file.replace('\n', "\r\n")] {
            let found = cut("wiki.test.raw", &content, WIKITEXT, "{{text}}");
            let found: Vec<_> =
                found.iter().map(|(place, text, _)| (place.as_str(), text.as_str())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn rows_of_lines_are_put_together_first_and_keep_the_columns_of_the_first() {
        let rows = "{\"text\": \"\", \"id\": 1}\n{\"text\": \" = A = \\n\", \"id\": 2}\n{\"text\": \"\", \"id\": 3}\n\
            {\"text\": \" a \\n\", \"id\": 4}\n{\"page\": \"whole\"}\n{\"text\": \" = B = \\n\", \"id\": 5}\n{\"text\": \"\", \"id\": 6}\n";
        let line = "{{ text or ' \\n' }}";
        let found = cut("a.jsonl", rows, WIKITEXT, line);
        let expected = [
            ("line 5", "whole", None),
            ("line 2", " = A = \n \n a ", Some(2.into())),
            ("line 6", " = B = \n \n", Some(5.into())),
        ];
        let found: Vec<_> =
            found.iter().map(|(p, text, id)| (p.as_str(), text.as_str(), id.clone())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_stands_before_the_first_beginning_is_a_document_unless_it_is_blank() {
        let texts = |content| -> Vec<String> {
            cut("a.md", content, "^# ", "{{text}}").into_iter().map(|(_, text, _)| text).collect()
        };
        assert_eq!(texts("before\n# a\nb\n# c"), ["before", "# a\nb", "# c"]);
        assert_eq!(texts("\n \n# a\n## b\n"), ["# a\n## b\n"]);
        assert_eq!(texts("none"), ["none"]);
    }
}
