use super::*;
use serde_json::Value;

/// Letters are tokens, "ab" is one token, `<…>` is one special token each.
struct Letters {
    /// Whether earlier answers are written differently once something follows, as templates that hide thoughts do.
    forgetful: bool,
    /// Whether the end of a turn ends an answer.
    stops: bool,
}

const LETTERS: Letters = Letters { forgetful: false, stops: true };
const FORGETFUL: Letters = Letters { forgetful: true, ..LETTERS };
const END: u32 = 1;
const FIRST: u32 = 2;
const AB: u32 = 3;
const TURN: u32 = 4;
const OVER: u32 = 5;

impl LanguageTokenizer for Letters {
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let pieces = [("<end>", END), ("<first>", FIRST), ("<turn>", TURN), ("<over>", OVER), ("ab", AB)];
            let (piece, id) = match pieces.iter().find(|(piece, _)| rest.starts_with(piece)) {
                Some((piece, id)) => (piece.len(), *id),
                None => (letter.len_utf8(), u32::from(letter)),
            };
            ids.push(id);
            rest = &rest[piece..];
        }
        Ok(ids)
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok([vec![FIRST], self.ids(text)?, vec![END]].concat())
    }

    fn first_id(&self) -> Option<u32> {
        Some(FIRST)
    }

    fn ends(&self, id: u32) -> bool {
        id == END || (self.stops && id == OVER)
    }

    fn end_id(&self) -> Option<u32> {
        Some(END)
    }

    fn render(&self, messages: &[Message], _: Option<&Value>, add_generation_prompt: bool) -> Result<String> {
        if messages.iter().any(|message| message.content.as_deref() == Some("!")) {
            let expected = "a template that takes these messages";
            return Err(Error::malformed("tokenizer_config.json", "chat_template", expected, "no shouting"));
        }
        let mut text = "<first>".to_owned();
        for (index, message) in messages.iter().enumerate() {
            let hidden = self.forgetful && index + 1 < messages.len() && message.role == "assistant";
            let content = message.content.as_deref().filter(|_| !hidden).unwrap_or_default();
            text += &format!("<turn>{}{content}<over>", &message.role[..1]);
        }
        Ok(if add_generation_prompt { text + "<turn>a" } else { text })
    }
}

fn chat(turns: &[(&str, &str)]) -> LanguageExample {
    let message = |(role, content): &(&str, &str)| Message::new(*role, *content);
    LanguageExample::Chat(turns.iter().map(message).collect::<Vec<_>>().into())
}

fn prompt(prompt: &str, completion: &str) -> LanguageExample {
    LanguageExample::Prompt { prompt: prompt.into(), completion: completion.into() }
}

fn settings(max_length: usize) -> SequenceSettings {
    SequenceSettings { max_length, ..SequenceSettings::default() }
}

fn run(example: LanguageExample, settings: &SequenceSettings) -> Result<Encoded> {
    encode(&LETTERS, &[example], settings)
}

/// The tokens as text, those that are learnt in brackets.
fn shown(sequence: &Sequence) -> String {
    let mut text = String::new();
    for (place, (id, labelled)) in sequence.ids.iter().zip(&sequence.labelled).enumerate() {
        let before = place > 0 && sequence.labelled[place - 1];
        text += match (before, *labelled) {
            (false, true) => "[",
            (true, false) => "]",
            _ => "",
        };
        text += &match *id {
            END => "$".into(),
            FIRST => "^".into(),
            AB => "ab".into(),
            TURN => "/".into(),
            OVER => ".".into(),
            letter => char::from_u32(letter).unwrap().to_string(),
        };
    }
    text + if sequence.labelled.ends_with(&[true]) { "]" } else { "" }
}

fn only(example: LanguageExample, settings: &SequenceSettings) -> String {
    let encoded = run(example, settings).unwrap();
    assert_eq!(encoded.sequences.len(), 1);
    shown(&encoded.sequences[0])
}

#[test]
fn of_a_prompt_the_completion_and_the_end_are_learnt() {
    assert_eq!(only(prompt("xy", "zw"), &settings(9)), "^xy[zw$]");
    // A token that reaches from the prompt into the completion belongs to the completion.
    assert_eq!(only(prompt("xa", "bz"), &settings(9)), "^x[abz$]");
    assert_eq!(only(prompt("", "z"), &settings(9)), "^[z$]");
    let everything = SequenceSettings { train_on: TrainOn::Everything, ..settings(9) };
    assert_eq!(only(prompt("xy", "zw"), &everything), "^[xyzw$]");
}

#[test]
fn of_a_chat_every_answer_is_learnt_with_its_end_of_turn() {
    let turns = [("system", "s"), ("user", "q"), ("assistant", "r"), ("user", "t"), ("assistant", "v")];
    assert_eq!(only(chat(&turns), &settings(99)), "^/ss./uq./a[r.]/ut./a[v.]");
    assert_eq!(only(chat(&turns[..4]), &settings(99)), "^/ss./uq./a[r.]/ut.");
}

#[test]
fn where_no_turn_ends_an_answer_the_last_one_is_learnt_with_the_end_of_text() {
    let endless = Letters { stops: false, ..LETTERS };
    let turns = [("user", "q"), ("assistant", "r"), ("user", "t"), ("assistant", "v")];
    let shown_of = |turns: &[(&str, &str)]| {
        shown(&encode(&endless, &[chat(turns)], &settings(99)).unwrap().sequences[0])
    };
    assert_eq!(shown_of(&turns), "^/uq./a[r.]/ut./a[v.$]");
    assert_eq!(shown_of(&turns[..3]), "^/uq./a[r.]/ut.");
    // A template may write the end of text itself.
    assert_eq!(shown_of(&[("user", "q"), ("assistant", "r<end>")]), "^/uq./a[r$.]");
}

#[test]
fn rows_that_the_template_does_not_take_are_told_apart_from_those_it_does() {
    let [good, bad] = ["q", "!"].map(|asked| chat(&[("user", asked), ("assistant", "r")]));
    let encoded = encode(&LETTERS, &[good.clone(), bad.clone(), good], &settings(99)).unwrap();
    assert_eq!((encoded.sequences.len(), encoded.of), (2, vec![0, 2]));
    let [Failed { place: 1, fault }] = encoded.failed.as_slice() else { panic!("{:?}", encoded.failed) };
    assert!(
        fault.contains("tokenizer_config.json: chat_template") && fault.contains("no shouting"),
        "{fault}"
    );
    let error = run(bad, &settings(99)).unwrap_err().to_string();
    assert!(error.contains("1 failed, the first (row 1): tokenizer_config.json"), "{error}");
}

#[test]
fn a_text_that_begins_with_the_first_token_gets_no_second_one() {
    assert_eq!(only(prompt("<first>xy", "zw"), &settings(9)), "^xy[zw$]");
    assert_eq!(only(prompt("<first>wxyz", "cd"), &settings(6)), "^yz[cd$]");
    assert_eq!(only(LanguageExample::Text("<first>cd".into()), &settings(9)), "^[cd$]");
}

#[test]
fn a_template_that_rewrites_earlier_turns_is_refused_with_the_place() {
    let turns = [("user", "q"), ("assistant", "r"), ("user", "t"), ("assistant", "v")];
    let error = encode(&FORGETFUL, &[chat(&turns)], &settings(99)).unwrap_err().to_string();
    assert!(error.contains("row 1, message 2") && error.contains("\"r<over>\" became \"<over>"), "{error}");
    assert!(encode(&FORGETFUL, &[chat(&turns[..2])], &settings(99)).is_ok());
}

#[test]
fn a_prompt_is_cut_from_the_left_and_a_completion_never() {
    assert_eq!(only(prompt("wxyz", "cd"), &settings(6)), "^yz[cd$]");
    assert_eq!(only(prompt("wxyz", "cd"), &settings(4)), "^[cd$]");
    let error = run(prompt("wxyz", "cd"), &settings(3)).unwrap_err().to_string();
    assert!(error.contains("of 1 rows 1 are longer than 3 tokens"), "{error}");
    for overlong in [Overlong::Drop, Overlong::Error] {
        assert_eq!(only(prompt("wxyz", "cd"), &SequenceSettings { overlong, ..settings(8) }), "^wxyz[cd$]");
        assert!(run(prompt("wxyz", "cd"), &SequenceSettings { overlong, ..settings(7) }).is_err());
    }
    let rows = [prompt("wxyz", "c"), prompt("w", "c"), prompt("w", "cdefgh")];
    let lengths = encode(&LETTERS, &rows, &settings(5)).unwrap().lengths;
    assert_eq!((lengths.rows, lengths.cut, lengths.overlong, lengths.tokens.count), (3, 1, 1, 2));
}

#[test]
fn a_chat_loses_its_oldest_turns_first_and_keeps_its_system_prompt() {
    let turns = [("system", "s"), ("user", "qq"), ("assistant", "r"), ("user", "tuvw"), ("assistant", "x")];
    assert_eq!(only(chat(&turns), &settings(25)), "^/ss./uqq./a[r.]/utuvw./a[x.]");
    assert_eq!(only(chat(&turns), &settings(24)), "^/ss./utuvw./a[x.]");
    assert_eq!(only(chat(&turns), &settings(12)), "^/ss.vw./a[x.]");
    assert_eq!(only(chat(&turns), &settings(9)), "^/ss./a[x.]");
    // The system prompt goes too before the answer does.
    assert_eq!(only(chat(&turns), &settings(8)), "^vw./a[x.]");
    assert!(run(chat(&turns), &settings(4)).is_err());
}

#[test]
fn raw_text_goes_on_in_the_next_sequence() {
    let encoded = run(LanguageExample::Text("cdefgh".into()), &settings(4)).unwrap();
    let shown: Vec<String> = encoded.sequences.iter().map(shown).collect();
    assert_eq!(shown, ["^[cde]", "f[gh$]"]);
    assert_eq!((encoded.lengths.tokens.sum, encoded.lengths.labelled.sum), (8, 6));
}

#[test]
fn what_has_nothing_to_learn_is_counted_or_refused() {
    let silent = chat(&[("user", "q")]);
    let lengths = encode(&LETTERS, &[silent.clone(), prompt("x", "y")], &settings(9)).unwrap().lengths;
    assert_eq!((lengths.unlabelled, lengths.tokens.count), (1, 1));
    assert!(run(silent, &settings(9)).unwrap_err().to_string().contains("1 have nothing to learn"));
    assert!(run(prompt("x", "y"), &settings(1)).unwrap_err().to_string().contains("max_length = 1"));
}

#[test]
fn an_encoder_reads_the_prompt_and_a_decoder_learns_the_completion() {
    let answers = |example: LanguageExample, settings: &SequenceSettings| {
        encode_answers(&LETTERS, &[example], settings).map(|encoded| shown(&encoded.sequences[0]))
    };
    assert_eq!(answers(prompt("xa", "bz"), &settings(9)).unwrap(), "^xa$[bz$]");
    // The end of a prompt goes first, what stands around it never, and a completion is never cut.
    assert_eq!(answers(prompt("wxyz", "cd"), &settings(7)).unwrap(), "^wx$[cd$]");
    assert_eq!(answers(prompt("wxyz", "cd"), &settings(5)).unwrap(), "^$[cd$]");
    assert!(answers(prompt("wxyz", "cd"), &settings(4)).is_err());
    assert!(
        answers(prompt("wxyz", "cd"), &SequenceSettings { overlong: Overlong::Drop, ..settings(7) }).is_err()
    );
    let everything = SequenceSettings { train_on: TrainOn::Everything, ..settings(9) };
    assert_eq!(answers(prompt("x", "c"), &everything).unwrap(), "^x$[c$]");
    for example in [LanguageExample::Text("abc".into()), chat(&[("user", "q"), ("assistant", "r")])] {
        let error = answers(example, &settings(9)).unwrap_err().to_string();
        assert!(error.contains("row 1, ") && error.contains("a prompt and a completion"), "{error}");
    }
}
