use super::*;
use crate::metric::synthetic::World;
use crate::progress::Silent;
use std::sync::Mutex;

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn event(&self, event: Event) {
        if let Event::Note(note) = event {
            self.0.lock().unwrap().push(note);
        }
    }
}

fn study(more: &str) -> Study {
    let text =
        format!("name = 'a'\nmodel = 'm'\ntask = 'vader'\n{more}\n[methods.lora]\nlearning_rate = 1e-3\n");
    Study::parse(Path::new("study.toml"), &text, &[]).unwrap()
}

#[test]
fn a_changed_study_keeps_the_one_before_with_its_report_and_says_what_differs() {
    let run = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(run.path());
    let take = |study: &Study| {
        let notes = Notes::default();
        take_over(study, &Facts::example(), &folder, &notes).unwrap();
        notes.0.into_inner().unwrap()
    };
    let first = study("seeds = [0]");
    assert!(take(&first).is_empty());
    for document in DOCUMENTS {
        fs::write(run.path().join(document), document).unwrap();
    }
    // The same study, and one that differs only in how it is run.
    assert!(take(&first).is_empty());
    assert!(take(&study("seeds = [0]\nworkers = 3")).is_empty());
    assert!(run.path().join("report.html").exists() && !run.path().join("earlier-1").exists());

    let notes = take(&study("seeds = [0, 1]\nmargin = 0.5"));
    for words in
        ["held another study", "margin: 0.01 before, 0.5 now", "seeds: [0] before, [0,1] now", "earlier-1"]
    {
        assert!(notes[0].contains(words), "{words}: {notes:?}");
    }
    let kept = Study::read(&run.path().join("earlier-1/study.toml"), &[]).unwrap();
    assert_eq!(kept.seeds, [0]);
    for document in DOCUMENTS {
        assert_eq!(fs::read_to_string(run.path().join("earlier-1").join(document)).unwrap(), document);
        assert!(!run.path().join(document).exists());
    }
    // What is no study any more is kept all the same.
    fs::write(run.path().join(STUDY), "name = [").unwrap();
    assert!(take(&first)[0].contains("it cannot be read as TOML"));
    assert_eq!(fs::read_to_string(run.path().join("earlier-2/study.toml")).unwrap(), "name = [");
    assert_eq!(Study::read(&run.path().join(STUDY), &[]).unwrap(), first);
    take_over(&first, &Facts::example(), &folder, &Silent).unwrap();
}

#[test]
fn other_facts_keep_the_report_of_before_and_say_what_differs() {
    let run = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(run.path());
    let (study, facts) = (study("seeds = [0]"), Facts::example());
    let take = |facts: &Facts| {
        let notes = Notes::default();
        take_over(&study, facts, &folder, &notes).unwrap();
        assert!(is_same(&study, facts, &folder).unwrap());
        notes.0.into_inner().unwrap()
    };
    assert!(take(&facts).is_empty());
    fs::write(run.path().join("report.html"), "before").unwrap();
    // Words decide no result.
    let mut told = facts.clone();
    told.notes = vec!["a note".into()];
    assert!(take(&told).is_empty());
    let mut other = facts.clone();
    other.code = "tenfold 0 engine 1".into();
    other.model.sha256 = "ab".repeat(32);
    other.task.data.sha256 = "cd".repeat(32);
    other.task.train = 97;
    let told = &take(&other)[0];
    for words in [
        "held results of before (program: code was \"tenfold",
        "model: model.sha256 was 000000000000…, is abababababab…",
        "data: data.sha256 was 000000000000…, is cdcdcdcdcdcd…",
        "data: rows.train was 96, is 97",
        "earlier-1",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(fs::read_to_string(run.path().join("earlier-1/report.html")).unwrap(), "before");
    assert!(run.path().join("earlier-1/facts.json").exists());
    // A report of a version that wrote no facts is kept, too.
    fs::write(run.path().join("report.html"), "old").unwrap();
    fs::remove_file(run.path().join(FACTS)).unwrap();
    assert!(!is_same(&study, &facts, &folder).unwrap());
    assert!(take(&facts)[0].contains("program: an earlier version of Tenfold wrote it"));
    assert_eq!(fs::read_to_string(run.path().join("earlier-2/report.html")).unwrap(), "old");
}

#[test]
fn trials_that_a_report_rests_on_and_that_are_gone_are_named() {
    let run = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(run.path());
    let records = World::new().records;
    let trials: Vec<&Trial> = records.iter().take(3).map(|record| &record.trial).collect();
    assert!(lost(&folder, &[], &[]).is_empty());
    write_reported(&folder, trials.iter().copied()).unwrap();
    assert!(lost(&folder, &trials, &[]).is_empty());
    let mut expected = [
        format!("the record of {} is not there any more", name(trials[1])),
        format!("study.toml does not ask for {}", name(trials[2])),
    ];
    let mut found = lost(&folder, &trials[..1], &trials[1..2]);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
