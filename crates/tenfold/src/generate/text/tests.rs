//! Tests of growing answers: what is said when, what ends them, and that streaming changes no text.

use super::*;
use crate::model::tokenizer::Tokenizer;
use crate::statistics::SplitMix;
use std::cell::Cell;

const BYTES: &[&[u8]] = &[b"Hi", b" \xe2", b"\x82", b"\xac", b".\n#", b"## x", b"#", b"end"];

fn decode(ids: &[u32]) -> Result<String> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| BYTES[*id as usize]).copied().collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn run(ids: &[u32], stops: &[&str], tokens: usize) -> (Vec<String>, String, Option<FinishReason>) {
    let strings: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let ends = Ends { ids: &[7], strings: &strings, tokens };
    let (mut answer, mut pieces) = (Answer::default(), Vec::new());
    for id in ids {
        assert_eq!(answer.finished, None);
        answer.take(*id, &ends, &decode).unwrap();
        pieces.push(answer.piece(&ends).unwrap_or_default());
    }
    assert_eq!(answer.ids, ids);
    (pieces, answer.text, answer.finished)
}

#[test]
fn a_character_is_said_when_its_bytes_are_all_there() {
    let (pieces, text, finished) = run(&[0, 1, 2, 3], &[], 9);
    assert_eq!(
        (pieces.as_slice(), text.as_str()),
        (["Hi", " ", "", "€"].map(String::from).as_slice(), "Hi €")
    );
    assert_eq!(finished, None);
}

#[test]
fn a_stop_string_across_tokens_is_never_said() {
    let (pieces, text, finished) = run(&[0, 4, 5], &["\n###"], 9);
    assert_eq!((pieces, text.as_str()), (vec!["Hi".into(), ".".into(), "".into()], "Hi."));
    assert_eq!(finished, Some(FinishReason::StopString));
    // What only looked like one is said after all; the earliest of several counts.
    let (pieces, _, finished) = run(&[0, 4, 0], &["\n###"], 9);
    assert_eq!((pieces.concat(), pieces[1].as_str(), finished), ("Hi.\n#Hi".into(), ".", None));
    assert_eq!(run(&[0, 5], &["x", "##"], 9).1, "Hi");
}

#[test]
fn an_answer_ends_with_an_end_token_or_when_it_is_long_enough_and_says_the_rest() {
    let (pieces, text, finished) = run(&[0, 6, 7], &["##"], 9);
    assert_eq!((pieces.concat(), text.as_str(), finished), ("Hi#".into(), "Hi#", Some(FinishReason::Eos)));
    let (pieces, text, finished) = run(&[0, 1], &[], 2);
    assert_eq!((pieces.concat(), finished), (text, Some(FinishReason::Length)));
}

/// An answer whose whole text is decoded, and searched, at every token: what streaming must not change.
#[derive(Default)]
struct Whole {
    ids: Vec<u32>,
    text: String,
    finished: Option<FinishReason>,
    said: String,
}

impl Whole {
    fn take(&mut self, id: u32, ends: &Ends, decode: &Decode) {
        self.ids.push(id);
        if ends.ids.contains(&id) {
            self.finished = Some(FinishReason::Eos);
            return;
        }
        self.text = decode(&self.ids).unwrap();
        if let Some(at) = first_stop(&self.text, ends.strings) {
            self.text.truncate(at);
            self.finished = Some(FinishReason::StopString);
        } else if self.ids.len() >= ends.tokens {
            self.finished = Some(FinishReason::Length);
        }
    }

    fn piece(&mut self, ends: &Ends) -> String {
        let certain = match self.finished {
            Some(_) => self.text.as_str(),
            None => certain(&self.text, ends.strings),
        };
        let piece = certain.strip_prefix(&self.said).unwrap_or_default().to_owned();
        self.said.push_str(&piece);
        piece
    }
}

/// Tokens whose text a decoder, given as a tokenizer.json has it, joins. The first is special and ends answers, the second
/// is special.
fn tokenizer(tokens: &[&str], decoder: serde_json::Value) -> Tokenizer {
    let special = |id: usize| {
        serde_json::json!({"id": id, "content": tokens[id], "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0), special(1)], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": decoder, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": tokens[1]}});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    Tokenizer::from_dir(folder.path()).unwrap()
}

/// One of every kind of decoder that published tokenizers have.
fn tokenizers() -> Vec<Tokenizer> {
    let json = |text: &str| serde_json::from_str(text).unwrap();
    let bytes = ["<0xC3>", "<0xA9>", "<0xE2>", "<0x82>", "<0xAC>", "<0xFF>", "<0x41>", "<0x0A>"];
    let blanks = ["</s>", "<x>", "▁", "▁▁", "▁Hi", "there", ",", "▁.", "#", "##", "\n", "a▁b"];
    let sequence = r#"{"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}"#;
    let metaspace = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#;
    let byte_level =
        r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    let halves = ["</s>", "<x>", "Ġ", "Hi", "ĠHi", "Ã", "©", "â", "Ĥ", "¬", "âĤ¬", "ÿ", "Ċ", "##", "#", ","];
    let pieces = ["</s>", "<x>", "Hi", "##there", "##s", ",", ".", "'", "s", "#", "##", "do", "n't"];
    let ends = ["</s>", "<x>", "Hi</w>", "the", "re</w>", ",</w>", "#", "##", "é</w>"];
    vec![
        tokenizer(&halves, json(byte_level)),
        tokenizer(&[&blanks[..], &bytes[..]].concat(), json(sequence)),
        tokenizer(&blanks, json(metaspace)),
        tokenizer(&pieces, json(r###"{"type": "WordPiece", "prefix": "##", "cleanup": true}"###)),
        tokenizer(&ends, json(r#"{"type": "BPEDecoder", "suffix": "</w>"}"#)),
        tokenizer(&ends, serde_json::Value::Null),
    ]
}

#[test]
fn streaming_says_and_ends_what_decoding_the_whole_at_every_token_does() {
    let stops = ["##", "Hi", "#\n", "é", "€", " ,", ". #", "s #", "A\n#"].map(str::to_owned);
    for (kind, tokenizer) in tokenizers().iter().enumerate() {
        let decode = |ids: &[u32]| tokenizer.decode(ids, true);
        for seed in 0..400 {
            let mut random = SplitMix::stream(seed, kind as u64);
            let strings: Vec<String> =
                (0..random.below(3)).map(|_| stops[random.below(stops.len())].clone()).collect();
            let ends = Ends { ids: &[0], strings: &strings, tokens: 1 + random.below(60) };
            let (mut answer, mut whole) = (Answer::default(), Whole::default());
            while whole.finished.is_none() {
                // Answers that end at once show little: the end comes once in eighty tokens or so.
                let first = usize::from(random.below(5) > 0);
                let id = (first + random.below(tokenizer.vocab_size() - first)) as u32;
                whole.take(id, &ends, &decode);
                answer.take(id, &ends, &decode).unwrap();
                let place = format!("decoder {kind}, {seed}: {:?}, stops {strings:?}", whole.ids);
                assert_eq!(answer.finished, whole.finished, "{place}");
                assert_eq!(answer.piece(&ends).unwrap_or_default(), whole.piece(&ends), "{place}");
            }
            assert_eq!((answer.ids, answer.text), (whole.ids, whole.text), "decoder {kind}, {seed}");
        }
    }
}

#[test]
fn a_long_answer_costs_the_decoding_of_a_few_tokens_each() {
    for (kind, tokenizer) in tokenizers().iter().enumerate() {
        let (tokens, decoded) = (2000, Cell::new(0));
        let decode = |ids: &[u32]| {
            decoded.set(decoded.get() + ids.len());
            tokenizer.decode(ids, true)
        };
        let ends = Ends { ids: &[0], strings: &["never said".to_owned()], tokens };
        let (mut answer, mut random) = (Answer::default(), SplitMix::new(7));
        while answer.finished.is_none() {
            let id = 1 + random.below(tokenizer.vocab_size() - 1);
            answer.take(id as u32, &ends, &decode).unwrap();
            answer.piece(&ends);
        }
        // The whole at every token would be 2,001,000.
        assert!(decoded.get() < 20 * tokens, "decoder {kind}: {} of {tokens}", decoded.get());
    }
}
