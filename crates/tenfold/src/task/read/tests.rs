//! Tests of labelled rows out of files.

use super::*;
use std::fs;

const HEAD: &str = "name = \"t\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\n\
    output_type = \"classification\"\nmetric = \"accuracy\"\n";
const COLUMNS: &str = "[columns]\ntext = \"sentence\"\nlabel = \"label\"\n";
const DOMAIN: &str = "[[domains]]\nname = \"here\"\ntrain = \"train.tsv\"\ntest = \"test.tsv\"\n";

/// Writes the task and its files into a folder of its own and reads it.
fn read(task: &str, files: &[(&str, &str)]) -> Result<Dataset> {
    read_whole(&format!("{HEAD}{task}"), files)
}

fn read_whole(task: &str, files: &[(&str, &str)]) -> Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join("task.toml");
    fs::write(&path, task).unwrap();
    Task::load(path.to_str().unwrap()).unwrap().read_from(None)
}

fn many(labels: &[&str]) -> String {
    let row = |i: usize| format!("text {i}\t{}\n", labels[i % labels.len()]);
    "sentence\tlabel\n".to_owned() + &(0..40).map(row).collect::<String>()
}

#[test]
fn labels_go_by_name_or_number_and_are_collected_where_none_are_listed() {
    let test = ("test.tsv", "sentence\tlabel\nfine\t1\nbad\tno\n");
    let listed = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
    let dataset = read(&listed, &[("train.tsv", &many(&["no", "1"])), test]).unwrap();
    assert_eq!((dataset.train.len(), dataset.validation.len()), (36, 4));
    assert_eq!(dataset.tests[0].examples.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0]);

    let open = format!("{COLUMNS}{DOMAIN}");
    let test = ("test.tsv", "sentence\tlabel\nfine\t10\n");
    let dataset = read(&open, &[("train.tsv", &many(&["10", "9", "-1"])), test]).unwrap();
    assert_eq!(dataset.labels, ["-1", "9", "10"]);
    assert_eq!(dataset.tests[0].examples[0].label, 2);
}

#[test]
fn pairs_validation_files_and_further_domains_are_read() {
    let task = "[columns]\ntext = 0\ntext_pair = 2\nlabel = 1\n\
        [[domains]]\nname = \"a\"\ntrain = [\"absent.tsv\", \"a.tsv\"]\nvalidation = \"v.csv\"\ntest = \"a.tsv\"\n\
        [[domains]]\nname = \"b\"\ntest = \"b.txt\"\nformat = \"tsv\"\nencoding = \"latin-1\"\n";
    let files = [("a.tsv", "x\tyes\ty\nz\tno\tw\n"), ("v.csv", "q,yes,r\n"), ("b.txt", "k\tno\tl\n")];
    let dataset = read(task, &files).unwrap();
    assert_eq!(dataset.labels, ["no", "yes"]);
    assert_eq!(
        dataset.train[0],
        Example { text: "x".into(), pair: Some("y".into()), label: 1, weight: None }
    );
    assert_eq!((dataset.validation.len(), dataset.tests[1].name.as_str()), (1, "b"));
}

#[test]
fn rows_that_cannot_be_trained_on_are_refused_with_the_reason() {
    let task = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
    let test = ("test.tsv", "sentence\tlabel\nfine\tyes\n");
    for (train, expected) in [
        (
            many(&["no", "maybe"]),
            "line 3, label: expected one of the 2 labels no, yes, or its number from 0, found \"maybe\"",
        ),
        (many(&["no", "2"]), "found \"2\""),
        (many(&["no"]), "expected rows of two labels or more, found only \"no\""),
        ("sentence\tlabel\na\tno\nb\tyes\n".into(), "expected 10 training rows or more"),
        ("sentence\tlabel\n".into(), "expected one row or more, found none"),
        (
            "sentence\tlabel\n".to_owned() + &"a\tno\na\tyes\n".repeat(5),
            "expected a validation file beside it: rows that share a text are held out together, and a row of each \
             label stays in training, found none of 10 rows",
        ),
    ] {
        let error = read(&task, &[("train.tsv", &train), test]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn missing_files_are_told_apart_from_faulty_ones() {
    let task = Task::load("sst2").unwrap();
    match task.read_from(Some(Path::new("no/such/folder"))) {
        Err(error @ Error::MissingData { .. }) => {
            let text = error.to_string();
            assert!(text.contains("SST-2/train.tsv") && text.contains("TENFOLD_DATA"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(task.read_from(None), Err(Error::MissingData { .. })));
}

#[test]
fn the_data_folder_comes_before_the_task_files_own() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("glue_sst2")).unwrap();
    for (name, rows) in
        [("train_full.tsv", many(&["0", "1"])), ("dev.tsv", "sentence\tlabel\nfine \t1\n".into())]
    {
        fs::write(data.path().join("glue_sst2").join(name), rows).unwrap();
    }
    let dataset = Task::load("sst2").unwrap().read_from(Some(data.path())).unwrap();
    assert_eq!((dataset.train.len(), dataset.tests[0].examples[0].text.as_str()), (36, "fine"));
}

#[test]
fn numbers_are_foretold_as_numbers_and_what_is_none_is_malformed() {
    let task = format!("{COLUMNS}{DOMAIN}")
        .replace("[columns]", "output_type = \"regression\"\nmetric = \"pearson\"\n[columns]");
    let head = HEAD.replace("output_type = \"classification\"\nmetric = \"accuracy\"\n", "");
    let test = ("test.tsv", "sentence\tlabel\nfine\t1\nbad\t-0.0\n");
    let train = many(&["3.25", "10", "0", "1.0"]);
    let dataset = read_whole(&format!("{head}{task}"), &[("train.tsv", &train), test]).unwrap();
    assert_eq!(dataset.values, [0.0, 1.0, 3.25, 10.0]);
    let of = |rows: &[Example]| rows.iter().map(|row| dataset.values[row.label as usize]).collect::<Vec<_>>();
    assert_eq!(of(&dataset.tests[0].examples), [1.0, 0.0]);
    let train = train + "x\tNaN\ny\tmuch\n";
    let error = read_whole(&format!("{head}{task}"), &[("train.tsv", &train), test]).unwrap_err().to_string();
    assert!(error.contains("2 of 42 rows") && error.contains("a number, found \"NaN\""), "{error}");
}

#[test]
fn malformed_rows_are_skipped_on_demand_and_noted() {
    let train = many(&["no", "yes"]) + "x\tmaybe\nshort\n";
    let files = [("train.tsv", train.as_str()), ("test.tsv", "sentence\tlabel\nfine\tyes\n")];
    let task = format!("labels = [\"no\", \"yes\"]\n{COLUMNS}{DOMAIN}");
    let error = read(&task, &files).unwrap_err().to_string();
    assert!(
        error.contains("2 of 42 rows are malformed:\n  line 42, label: expected one of the 2 labels"),
        "{error}"
    );
    let dataset = read(&format!("malformed = \"skip\"\n{task}"), &files).unwrap();
    assert_eq!(dataset.train.len() + dataset.validation.len(), 40);
    let note = dataset.notes.iter().find(|note| note.contains("malformed")).unwrap();
    assert!(note.contains("2 of 42 rows are malformed and left out: line 42, line 43"), "{note}");
}

#[test]
fn f1_needs_two_labels() {
    let head = HEAD.replace("accuracy", "f1");
    let files = [("train.tsv", &*many(&["0", "1", "2"])), ("test.tsv", "sentence\tlabel\nfine\t1\n")];
    let error = read_whole(&format!("{head}{COLUMNS}{DOMAIN}"), &files).unwrap_err().to_string();
    assert!(error.contains("two for metric = \"f1\", found 0, 1, 2"), "{error}");
}

#[test]
fn numbers_are_labels_by_their_places_only_where_the_task_states_an_order() {
    let train = many(&["neutral", "positive", "negative"]);
    let files = [("train.tsv", &*train), ("test.tsv", "sentence\tlabel\nfine\t1\nbad\t0\n")];
    let open = format!("{COLUMNS}{DOMAIN}");
    let error = read(&open, &files).unwrap_err().to_string();
    for expected in [
        "test.tsv: 2 of 2 rows are malformed",
        "line 2, label: expected one of the 3 labels of the training rows by its name: negative, neutral, positive",
        "state them in the task in their order (labels = [",
        "found \"1\"",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // A validation file and further domains are no better.
    let more = "validation = \"test.tsv\"\n";
    let error = read(&format!("{open}{more}"), &files).unwrap_err().to_string();
    assert!(error.contains("test.tsv: 2 of 2 rows are malformed"), "{error}");
    let stated = format!("labels = [\"positive\", \"negative\", \"neutral\"]\n{open}");
    let dataset = read(&stated, &files).unwrap();
    assert_eq!(dataset.tests[0].examples.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn labels_that_look_alike_are_told_of_by_both_names() {
    let test = ("test.tsv", "sentence\tlabel\nfine\tyes\n");
    let train = many(&["yes", "Yes", "caf\u{e9}", "cafe\u{301}", "no", "no  way", "no way"]);
    let dataset = read(&format!("{COLUMNS}{DOMAIN}"), &[("train.tsv", &train), test]).unwrap();
    for expected in [
        "the labels \"Yes\" (6 rows) and \"yes\" (7 rows) differ in case alone and are 2 labels",
        "differ in Unicode form (NFC, NFD) alone",
        "\"no  way\" (5 rows) and \"no way\" (5 rows) differ in blanks alone",
    ] {
        assert!(dataset.notes.iter().any(|note| note.contains(expected)), "{expected}: {:#?}", dataset.notes);
    }
    let train = many(&["yes", "yes\u{200b}"]);
    let notes = read(&format!("{COLUMNS}{DOMAIN}"), &[("train.tsv", &train), test]).unwrap().notes;
    assert!(notes[0].contains("differ in characters that are not to be seen alone"), "{notes:#?}");
    let numbers = many(&["1", "1.0", "2", "many"]);
    let test = ("test.tsv", "sentence\tlabel\nfine\t1\n");
    let notes = read(&format!("{COLUMNS}{DOMAIN}"), &[("train.tsv", &numbers), test]).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("differ in the way a number is written")), "{notes:#?}");
    assert!(notes.iter().any(|note| note.contains("some labels are numbers and others names")), "{notes:#?}");
    let stated = format!("labels = [\"no\", \"caf\u{e9}\"]\n{COLUMNS}{DOMAIN}");
    let train = many(&["no", "cafe\u{301}"]);
    let error = read(&stated, &[("train.tsv", &train), test]).unwrap_err().to_string();
    assert!(error.contains("which differs from \"caf\u{e9}\" in Unicode form (NFC, NFD) alone"), "{error}");
}

#[test]
fn one_label_to_train_on_is_the_training_file_s_fault() {
    let test = ("test.tsv", "sentence\tlabel\nfine\tyes\n");
    let error = read(&format!("{COLUMNS}{DOMAIN}"), &[("train.tsv", &many(&["no"])), test]);
    let error = error.unwrap_err().to_string();
    let expected = "train.tsv: labels: expected rows of two labels or more to train on, found all 40 rows labelled \"no\"";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_rare_label_keeps_a_row_to_be_learnt_from() {
    // Which rows go to validation follows from their texts: of these names one loses all its rows without care.
    let files = |name: &str| {
        let row = |i: usize| format!("text {i}\t{}\n", ["no", "yes"][i % 2]);
        let rare: String = (0..2).map(|i| format!("{name} {i}\trare\n")).collect();
        format!("sentence\tlabel\n{}{rare}", (0..78).map(row).collect::<String>())
    };
    let test = ("test.tsv", "sentence\tlabel\nfine\tyes\n");
    for name in 0..150 {
        let train = files(&name.to_string());
        let dataset = read(&format!("{COLUMNS}{DOMAIN}"), &[("train.tsv", &train), test]).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len()), (72, 8));
        assert!(classes(&dataset.train).len() == 3, "{name}");
        assert!(dataset.notes.iter().all(|note| !note.contains("cannot be learnt")));
    }
}

#[test]
fn a_share_of_the_training_file_is_the_test_where_the_task_says_so() {
    let domain = "[[domains]]\nname = \"here\"\ntrain = \"train.tsv\"\ntest_fraction = 0.25\n";
    let read_with =
        |more: &str, train: &str| read(&format!("{COLUMNS}{domain}{more}"), &[("train.tsv", train)]);
    let train = many(&["no", "yes"]);
    let dataset = read_with("", &train).unwrap();
    let test = &dataset.tests[0].examples;
    assert_eq!((dataset.train.len(), dataset.validation.len(), test.len()), (27, 3, 10));
    assert_eq!(test.iter().filter(|row| row.label == 0).count(), 5);
    let note = "here: 10 of 40 rows of train are its test (test_fraction = 0.25, test_seed = 0)";
    assert!(dataset.notes.iter().any(|known| known == note), "{:?}", dataset.notes);
    assert_eq!(read_with("test_seed = 0\n", &train).unwrap(), dataset);
    assert_ne!(read_with("test_seed = 1\n", &train).unwrap().tests, dataset.tests);
    let alike = "sentence\tlabel\n".to_owned() + &"a\tno\na\tyes\n".repeat(10);
    let error = read_with("", &alike).unwrap_err().to_string();
    assert!(error.contains("domain \"here\", test_fraction: expected rows to test on"), "{error}");
    for (keys, expected) in [
        ("test = \"t.tsv\"\n", "domains[0].test_fraction: expected test or test_fraction, not both"),
        ("test_seed = -1\n", "domains[0].test_seed: expected a whole number"),
        ("delimiter = \"ab\"\n", "domains[0].delimiter: expected one character"),
        ("delimiter = \";\"\nformat = \"tsv\"\n", "expected format = \"csv\" with it"),
        ("records = \"a..b\"\n", "domains[0].records: expected the keys"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.toml");
        fs::write(&path, format!("{HEAD}{COLUMNS}{domain}{keys}")).unwrap();
        let error = Task::load(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn class_names_of_the_hub_must_agree_with_the_task_and_with_each_other() {
    // Written by pyarrow 26.0.1 with the metadata of the Hub's `datasets`: negative, positive; and turned round.
    let classes = include_bytes!("../../../tests/parquet/classes.parquet");
    let turned = include_bytes!("../../../tests/parquet/classes_turned.parquet");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.parquet"), classes).unwrap();
    fs::write(folder.path().join("test.parquet"), turned).unwrap();
    let read = |labels: &str, test: &str| {
        let domain =
            format!("[[domains]]\nname = \"d\"\ntrain = \"train.parquet\"\ntest = \"{test}.parquet\"\n");
        let columns = "[columns]\ntext = \"text\"\nlabel = \"label\"\n";
        let path = folder.path().join("task.toml");
        fs::write(&path, format!("{HEAD}{labels}{columns}{domain}")).unwrap();
        Task::load(path.to_str().unwrap()).unwrap().read_from(None).map_err(|error| error.to_string())
    };
    let error = read("", "test").unwrap_err();
    assert!(
        error.contains("test.parquet: the column of labels: expected numbers that stand for negative"),
        "{error}"
    );
    let error = read("labels = [\"positive\", \"negative\"]\n", "train").unwrap_err();
    assert!(error.contains("positive, negative, as those of the task, found negative, positive"), "{error}");
    for labels in ["", "labels = [\"Negative\", \"positive\"]\n", "labels = [\"bad\", \"good\"]\n"] {
        assert!(read(labels, "train").is_ok(), "{labels}");
    }
}
