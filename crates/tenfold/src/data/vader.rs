//! The built-in data: VADER's four rated sets of sentences, made into two classes.
//!
//! A row counts if its mean rating is at least 1 away from neutral; its label is the rating's sign. Of equal texts in a
//! domain the first stays. Rows stand in the order of the SHA-256 of `<domain>/<id>`; the first 1,000 are the test.
//! Of the movie domain the next 500 are the validation split and the rest is trained on; of the others all the rest is
//! there for mixtures of domains.

use super::{Example, hexadecimal, latin_1};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;

/// The labels of [`read`]'s rows: a negative mean rating is 0, a positive one 1.
pub(crate) const LABELS: [&str; 2] = ["negative", "positive"];

/// The names that [`read`] knows.
pub(crate) const NAMES: [&str; 4] = ["vader/movie", "vader/amazon", "vader/nyt", "vader/tweets"];

const TEST_ROWS: usize = 1000;
const VALIDATION_ROWS: usize = 500;
const CLEAR_RATING: f64 = 1.0;

/// The splits of one domain; of all but the movies without a validation split.
pub(crate) struct Splits {
    pub(crate) train: Vec<Example>,
    pub(crate) validation: Vec<Example>,
    pub(crate) test: Vec<Example>,
    pub(crate) note: String,
}

/// Reads one of [`NAMES`].
pub(crate) fn read(name: &str) -> Result<Splits> {
    let (bytes, trained): (&[u8], bool) = match name {
        "vader/movie" => (include_bytes!("../../data/vader/movieReviewSnippets_GroundTruth.txt"), true),
        "vader/amazon" => (include_bytes!("../../data/vader/amazonReviewSnippets_GroundTruth.txt"), false),
        "vader/nyt" => (include_bytes!("../../data/vader/nytEditorialSnippets_GroundTruth.txt"), false),
        "vader/tweets" => (include_bytes!("../../data/vader/tweets_GroundTruth.txt"), false),
        _ => return Err(Error::unknown("built-in data", name, NAMES)),
    };
    let domain = name.trim_start_matches("vader/");
    let (mut kept, note) = labelled(name, domain, &latin_1(bytes))?;
    let mut rest = kept.split_off(kept.len().min(TEST_ROWS));
    if !trained {
        return Ok(Splits { train: rest, validation: Vec::new(), test: kept, note });
    }
    let train = rest.split_off(rest.len().min(VALIDATION_ROWS));
    Ok(Splits { train, validation: rest, test: kept, note })
}

fn labelled(name: &str, domain: &str, content: &str) -> Result<(Vec<Example>, String)> {
    let (mut unclear, mut repeated) = (0, 0);
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (index, line) in content.split('\n').enumerate() {
        let fault = |expected: &str| {
            let found = format!("\"{}\"", line.chars().take(60).collect::<String>());
            Error::malformed(Path::new(name), format!("line {}", index + 1), expected, found)
        };
        let mut columns = line.trim_end_matches(['\r', '\n']).split('\t');
        let (Some(id), Some(rating), Some(text), None) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            return Err(fault("id, rating and text with a tab between each"));
        };
        let rating: f64 = rating.parse().map_err(|_| fault("a number as rating"))?;
        let text = text.trim();
        if rating.abs() < CLEAR_RATING {
            unclear += 1;
        } else if !seen.insert(text) {
            repeated += 1;
        } else {
            let order = hexadecimal(&Sha256::digest(format!("{domain}/{id}")));
            kept.push((
                order,
                Example { text: text.to_owned(), pair: None, label: u32::from(rating > 0.0), weight: None },
            ));
        }
    }
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    let note = format!(
        "{name}: {unclear} rows with a mean rating between -1 and 1 and {repeated} repeated texts are left out"
    );
    Ok((kept.into_iter().map(|(_, example)| example).collect(), note))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 over `label<TAB>text<LF>` of the rows, as an independent reading of the same files gave it.
    fn digest(examples: &[Example]) -> String {
        let mut hash = Sha256::new();
        for example in examples {
            hash.update(format!("{}\t{}\n", example.label, example.text));
        }
        hexadecimal(&hash.finalize())
    }

    #[test]
    fn movies_are_split_as_the_independent_reading_split_them() {
        let movie = read("vader/movie").unwrap();
        assert_eq!((movie.test.len(), movie.validation.len(), movie.train.len()), (1000, 500, 7671));
        assert_eq!(digest(&movie.test), "d7a53e976df53e69636cae37896e343d7b493ed859aec411af4002858cf30b98");
        assert_eq!(
            digest(&movie.validation),
            "14f31fb5ef94a7b22c3d17f32a74c77918b1996587824f9b569a05811139db8d"
        );
        assert_eq!(digest(&movie.train), "911dc7cc01095e721afda08780539ae7214b177a20ee78f555fefca45225e07a");
    }

    #[test]
    fn the_other_domains_are_tests_of_a_thousand_rows_and_what_is_left_is_for_mixtures() {
        for (name, expected) in [
            ("vader/amazon", "45c1fbb9dfee8395e684a9bfd485659f804c4fd1ce9a64bbf4cb1d7c5bc9e224"),
            ("vader/nyt", "63292bac75d801727c7334a6a3d34079b85ec97e7494aa9a01c1b5bf16237008"),
            ("vader/tweets", "bc9d5f8d6d7db1470c5f8a959aa01c9a78d4d2887c03a02b3cdc4678c0f09bc3"),
        ] {
            let splits = read(name).unwrap();
            assert!(splits.validation.is_empty());
            assert_eq!((splits.test.len(), digest(&splits.test).as_str()), (1000, expected), "{name}");
            assert!(!splits.train.is_empty() && splits.train.iter().all(|row| !splits.test.contains(row)));
        }
    }

    #[test]
    fn a_wrong_name_and_a_wrong_line_are_refused() {
        assert!(read("vader/movies").err().unwrap().to_string().contains("vader/movie"));
        let error = labelled("x", "x", "1\t2.0\tgood\n2\tgood").err().unwrap().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
