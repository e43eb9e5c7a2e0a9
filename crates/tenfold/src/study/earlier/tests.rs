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
        take_over(study, &folder, &notes).unwrap();
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
    take_over(&first, &folder, &Silent).unwrap();
}

#[test]
fn what_differs_from_the_planned_trial_is_told_by_its_part() {
    let mut trial =
        World::new().records.iter().find(|record| record.trial.role == Role::Main).unwrap().trial.clone();
    trial.code = CODE.into();
    trial.train = json!({"learning_rate": 1e-3, "train_rows": 96});
    let planned = serde_json::to_value(&trial).unwrap();
    let lines = |change: &dyn Fn(&mut Trial)| {
        let mut recorded = trial.clone();
        change(&mut recorded);
        compared("x", &serde_json::to_value(&recorded).unwrap(), std::slice::from_ref(&planned))
    };
    let code = lines(&|trial| trial.code = "tenfold 0 engine 1".into());
    assert_eq!(code, [(Part::Program, format!("code was \"tenfold 0 engine 1\", is \"{CODE}\""))]);
    let model = lines(&|trial| trial.model.sha256 = "ab".repeat(32));
    assert!(
        model[0].0 == Part::Model && model[0].1.starts_with("model.sha256 was abababababab…, is "),
        "{model:?}"
    );
    let data = lines(&|trial| {
        trial.data.sha256 = "cd".repeat(32);
        trial.train["train_rows"] = 97.into();
    });
    assert_eq!(data.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [Part::Data, Part::Data]);
    assert_eq!(data[1].1, "train.train_rows was 97, is 96");
    let settings = lines(&|trial| trial.train["learning_rate"] = 3e-3.into());
    assert_eq!(settings, [(Part::Settings, "settings of x: train.learning_rate was 0.003, is 0.001".into())]);
    let seed = lines(&|trial| trial.seed = 77);
    assert_eq!(seed, [(Part::Settings, "settings: the study does not ask for x".into())]);
}
