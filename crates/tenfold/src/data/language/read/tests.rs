use super::*;
use crate::data::faulty::Malformed;
use crate::data::records::Header;
use std::fs;

fn name(name: &str) -> Column {
    Column::Name(name.into())
}

fn examples(file: &str, content: &[u8], shape: &Shape) -> Result<Vec<LanguageExample>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    fs::write(&path, content).unwrap();
    let header = Header::Given(true);
    let reading = Reading::with(header);
    let (examples, faulty) = read(&path, &reading, shape)?;
    faulty.settle(&path, examples.len(), Malformed::Refuse)?;
    match examples.is_empty() {
        true => Err(Error::malformed(path, "after the header", "one row or more", "none")),
        false => Ok(examples.into_iter().map(|example| example.row).collect()),
    }
}

fn message(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

fn prompt(prompt: &str, completion: &str) -> LanguageExample {
    LanguageExample::Prompt { prompt: prompt.into(), completion: completion.into() }
}

fn instruction(chat: bool) -> Shape {
    Shape::Instruction { instruction: name("instruction"), input: None, output: name("output"), chat }
}

const CHAT: Shape = Shape::Chat { messages: None };

fn columns() -> Shape {
    Shape::PromptCompletion { prompt: name("mr"), completion: name("ref"), delimiter: String::new() }
}

#[test]
fn instructions_become_alpacas_prompt_or_an_exchange() {
    let content = r#"[{"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Sing.", "input": "", "output": "la"}, {"instruction": "Sing.", "output": "la"}]"#;
    let rows = examples("a.json", content.as_bytes(), &instruction(false)).unwrap();
    let LanguageExample::Prompt { prompt, completion } = &rows[0] else { panic!("{rows:?}") };
    assert!(
        prompt.contains("further context. Write") && prompt.contains("### Input:\n1 2\n\n### Response:\n")
    );
    assert_eq!(completion, "3");
    assert!(rows[1] == rows[2] && !format!("{rows:?}").contains("### Input:\n\n"));
    let rows = examples("a.json", content.as_bytes(), &instruction(true)).unwrap();
    assert_eq!(
        rows[0],
        LanguageExample::Chat(vec![message("user", "Add.\n\n1 2"), message("assistant", "3")].into())
    );
}

#[test]
fn chats_come_in_both_spellings_and_out_of_parquet() {
    let lines = "{\"messages\": [{\"role\": \"user\", \"content\": \" q\"}, {\"role\": \"assistant\", \"content\": \"r\"}]}\n\
        {\"conversations\": [{\"from\": \"human\", \"value\": \" q\"}, {\"from\": \"gpt\", \"value\": \"r\"}]}\n";
    let rows = examples("a.jsonl", lines.as_bytes(), &CHAT).unwrap();
    assert_eq!(rows[0], LanguageExample::Chat(vec![message("user", " q"), message("assistant", "r")].into()));
    assert_eq!(rows[0], rows[1]);
    let parquet = include_bytes!("../../../../tests/parquet/chat.snappy.parquet");
    let rows = examples("a.parquet", parquet, &CHAT).unwrap();
    let LanguageExample::Chat(Conversation { messages, .. }) = &rows[1] else { panic!("{rows:?}") };
    assert_eq!((messages.len(), messages[2].clone()), (3, message("assistant", "Yes.")));
}

#[test]
fn tools_stand_beside_the_messages_as_a_list_or_its_json() {
    let messages = r#""messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    let tools_of = |tools: &str| {
        let rows = examples("a.jsonl", format!("{{{messages}{tools}}}").as_bytes(), &CHAT)?;
        let LanguageExample::Chat(Conversation { tools, .. }) = &rows[0] else { panic!("{rows:?}") };
        Ok::<_, Error>(tools.clone())
    };
    let listed = tools_of(r#", "tools": [{"type": "function", "function": {"name": "f"}}]"#).unwrap();
    assert_eq!(listed.as_ref().unwrap()[0]["function"]["name"], "f");
    let written = tools_of(r#", "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]""#);
    assert_eq!(written.unwrap(), listed);
    for none in ["", r#", "tools": null"#, r#", "tools": []"#, r#", "tools": " ""#] {
        assert_eq!(tools_of(none).unwrap(), None, "{none}");
    }
    for wrong in [r#", "tools": {}"#, r#", "tools": "[f""#] {
        let error = tools_of(wrong).unwrap_err().to_string();
        assert!(error.contains("a list of tools' descriptions, or its JSON"), "{error}");
    }
}

#[test]
fn content_may_be_a_list_of_parts_and_a_tool_may_be_called_without_a_word() {
    let lines = r#"{"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], "name": "x"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": "{\"n\": 1}"}}]},
        {"role": "tool", "content": "2", "tool_calls": null},
        {"role": "assistant", "content": "c", "tool_calls": []}]}"#;
    let rows = examples("a.jsonl", lines.replace('\n', "").as_bytes(), &CHAT).unwrap();
    let LanguageExample::Chat(Conversation { messages, .. }) = &rows[0] else { panic!("{rows:?}") };
    let contents: Vec<Option<&str>> = messages.iter().map(|message| message.content.as_deref()).collect();
    assert_eq!(contents, [Some("a b"), None, Some("2"), Some("c")]);
    assert_eq!(messages[0].more["name"], "x");
    assert_eq!(messages[1].more["tool_calls"][0]["function"]["arguments"]["n"], 1);
    for (message, expected) in [
        (r#"{"role": "assistant", "content": null}"#, "found null"),
        (r#"{"role": "assistant", "content": null, "tool_calls": []}"#, "found null"),
        (
            r#"{"role": "user", "content": [{"type": "image_url"}]}"#,
            "parts of type text alone, found \"image_url\"",
        ),
        (r#"{"role": "user", "content": [1]}"#, "expected parts with text, found 1"),
        (r#"{"role": "assistant", "tool_calls": "f"}"#, "expected a list under \"tool_calls\", found"),
    ] {
        let row = format!("{{\"messages\": [{message}]}}\n");
        let error = examples("a.jsonl", row.as_bytes(), &CHAT).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn prompts_come_from_columns_or_from_templates() {
    let table = b"mr,ref\n\"a, b\",\" c\"\n";
    assert_eq!(examples("a.csv", table, &columns()).unwrap(), [prompt("a, b", " c")]);
    let template = |source| Template::parse(source).unwrap();
    let shape = Shape::Templates {
        doc_to_text: template("Q: {{mr.upper()}}\nA:"),
        doc_to_target: template("{{ref|trim}}"),
        delimiter: " ".into(),
    };
    assert_eq!(examples("a.csv", table, &shape).unwrap(), [prompt("Q: A, B\nA:", " c")]);
    let error = examples("a.csv", b"mr,text\na,b\n", &shape).unwrap_err().to_string();
    assert!(
        error.contains("line 2, doc_to_target: expected a column named \"ref\", found the columns mr, text"),
        "{error}"
    );
}

#[test]
fn raw_text_is_a_column_or_a_whole_file() {
    let shape = Shape::Text { text: name("text") };
    let text = |text: &str| LanguageExample::Text(text.into());
    assert_eq!(examples("a.txt", b" one\n\ntwo\n", &shape).unwrap(), [text(" one\n\ntwo\n")]);
    assert_eq!(
        examples("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": \"y\"}", &shape).unwrap(),
        [text("x"), text("y")]
    );
    let zstd = include_bytes!("../../../../tests/parquet/flat.zstd.parquet");
    assert_eq!(examples("a.parquet", zstd, &shape).unwrap()[5], text("a \u{e9} z"));
    let null = include_bytes!("../../../../tests/parquet/null.parquet");
    let error = examples("a.parquet", null, &shape).unwrap_err().to_string();
    assert!(error.contains("row group 2, row 1, text: expected some text, found null"), "{error}");
}

#[test]
fn a_malformed_row_is_refused_with_its_place_and_what_was_expected() {
    for (file, content, shape, expected) in [
        ("a.jsonl", r#"{"messages": "hi"}"#, &CHAT, "line 1, messages: expected a list of {role, content}"),
        ("a.jsonl", r#"{"messages": [3]}"#, &CHAT, "messages[0]: expected an object, found a number"),
        ("a.jsonl", r#"{"messages": [{"role": "bot", "content": ""}]}"#, &CHAT, "found \"bot\""),
        ("a.jsonl", r#"{"messages": [{"role": "user"}]}"#, &CHAT, "found the keys role"),
        ("a.jsonl", r#"{"messages": [{"role": "user", "content": null}]}"#, &CHAT, "found null"),
        ("a.jsonl", r#"{"messages": [{"role": "assistant", "content": " "}]}"#, &CHAT, "found nothing"),
        ("a.jsonl", r#"{"messages": []}"#, &CHAT, "expected an assistant's message, found none"),
        ("a.jsonl", r#"{"mesages": []}"#, &CHAT, "did you mean \"mesages\"?"),
        ("a.json", r#"[{"messages": []}, 3]"#, &CHAT, "element 2: expected a JSON object, found a number"),
        ("a.json", "[{\n\"a\": 1e999}]", &CHAT, "line 2, column 10: expected one JSON array of objects"),
        ("a.csv", "mr,ref\na,b\nc,", &columns(), "line 3, completion: expected some text, found nothing"),
        ("a.csv", "mr,reff\na,b\n", &columns(), "did you mean \"reff\"?"),
        ("a.csv", "mr,ref\n", &columns(), "expected one row or more, found none"),
        ("a.csv", "", &columns(), "found an empty file"),
    ] {
        let error = examples(file, content.as_bytes(), shape).unwrap_err().to_string();
        assert!(error.contains(expected), "{content}: {error}");
    }
}

/// Cuts, damages and nests good files; whatever comes, it is rows or an error that names the file.
#[test]
fn damaged_files_never_panic() {
    let deep = format!("{{\"messages\": {}", "[".repeat(200_000));
    let objects = "{\"messages\":".repeat(100_000);
    let good = r#"{"messages": [{"role": "user", "content": "caf\u00e9 1"}, {"role": "assistant", "content": "r"}]}"#;
    for content in [deep.as_bytes(), objects.as_bytes(), &b"{\"messages\": 9e99999}"[..], b"\xff\xff", b"\0"]
    {
        let error = examples("a.jsonl", content, &CHAT).unwrap_err().to_string();
        assert!(error.contains("a.jsonl"), "{error}");
    }
    let mut state = 1u64;
    for (file, shape, good) in [
        ("a.jsonl", &CHAT, good),
        ("a.csv", &columns(), "mr,ref\n\"a,\"\"b\",c\nd,e\n"),
        ("a.tsv", &columns(), "mr\tref\na\tb\n"),
    ] {
        for end in 0..good.len() {
            let _ = examples(file, &good.as_bytes()[..end], shape);
        }
        for _ in 0..300 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut damaged = good.as_bytes().to_vec();
            let place = (state >> 33) as usize % damaged.len();
            damaged[place] = (state >> 20) as u8;
            if let Err(error) = examples(file, &damaged, shape) {
                assert!(error.to_string().contains(file), "{error}");
            }
        }
    }
}
