//! Relative paths of a study: looked for beside the study's file, or else in the current directory, and then absolute, so
//! that the study in a run's folder means the same from anywhere.

use super::config::Study;
use crate::error::Result;
use crate::model::store;
use crate::task;
use std::path::{Path, PathBuf};

impl Study {
    /// The same study with every path that leads to something made absolute; `file` is the study's own. What leads nowhere
    /// is left as it is: a name of a catalog, or a slip that is refused where it is used.
    pub(super) fn located(mut self, file: &Path) -> Result<Study> {
        let home = file.parent().unwrap_or(Path::new(""));
        let builtin: Vec<String> = task::builtin()?.into_iter().map(|task| task.name).collect();
        let put = |path: &mut String, is_there: fn(&Path) -> bool| {
            if let Some(found) = found(home, path, is_there) {
                *path = found;
            }
        };
        let typed = self.model.clone();
        put(&mut self.model, store::is_meant);
        if self.model != typed && self.model_name.is_empty() {
            self.model_name = typed;
        }
        put(&mut self.forgetting_text, Path::is_file);
        let tasks = [&mut self.task]
            .into_iter()
            .chain(&mut self.domains)
            .chain(&mut self.benchmarks)
            .chain(&mut self.ask);
        tasks.filter(|name| !builtin.contains(*name)).for_each(|name| put(name, Path::is_file));
        Ok(self)
    }
}

/// The absolute path of what `path` leads to; none if it leads nowhere, or is absolute.
fn found(home: &Path, path: &str, is_there: fn(&Path) -> bool) -> Option<String> {
    if path.is_empty() || Path::new(path).is_absolute() {
        return None;
    }
    let places = [home.join(path), PathBuf::from(path)];
    let place = places.iter().find(|place| is_there(place))?;
    std::path::absolute(place).ok()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_stands_beside_the_study_is_found_and_names_stay_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(path("model")).unwrap();
        fs::write(path("model/config.json"), "{}").unwrap();
        fs::create_dir(path("all-minilm-l6-v2")).unwrap();
        for name in ["task.toml", "shop.toml", "general.txt", "vader"] {
            fs::write(path(name), "").unwrap();
        }
        let text = "name = 'a'\nmodel = 'model'\ntask = 'task.toml'\ndomains = ['shop.toml', 'vader', 'none.toml']\n\
            forgetting_text = 'general.txt'\nbenchmarks = ['sst2']\nask = ['shop.toml']\n[methods.lora]\n";
        let study = Study::parse(Path::new(&path("study.toml")), text, &[]).unwrap();
        assert_eq!((study.model.clone(), study.name_of_model()), (path("model"), "model"));
        assert_eq!(
            [study.task.clone(), study.forgetting_text.clone()],
            [path("task.toml"), path("general.txt")]
        );
        assert_eq!(study.domains, [path("shop.toml"), "vader".into(), "none.toml".into()]);
        assert_eq!(
            (study.benchmarks.clone(), study.ask.clone()),
            (vec!["sst2".to_owned()], vec![path("shop.toml")])
        );
        // What is written into the run's folder means the same, wherever it is read.
        assert_eq!(Study::parse(Path::new("elsewhere/study.toml"), &study.to_toml(), &[]).unwrap(), study);
        // A folder without a model hides no name of the catalog.
        let named = text.replace("'model'", "'all-minilm-l6-v2'");
        let named = Study::parse(Path::new(&path("study.toml")), &named, &[]).unwrap();
        assert_eq!(named.model, "all-minilm-l6-v2");
        // The current directory, where a study's paths led before.
        let there = Study::parse(
            Path::new(&path("study.toml")),
            &text.replace("'model'", "'tests/golden/tiny/bert/model'"),
            &[],
        );
        let there = there.unwrap();
        assert_eq!(
            there.model,
            std::path::absolute("tests/golden/tiny/bert/model").unwrap().to_str().unwrap()
        );
        assert_eq!(there.name_of_model(), "tests/golden/tiny/bert/model");
    }
}
