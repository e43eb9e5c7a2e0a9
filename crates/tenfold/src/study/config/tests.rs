use super::*;

const SMALL: &str = "name = 'a'\nmodel = 'm'\ntask = 'vader'\n[methods.lora]\nr = 4\n";

fn parse(text: &str, set: &[&str]) -> Result<Study> {
    let set: Vec<String> = set.iter().map(|change| (*change).to_owned()).collect();
    Study::parse(Path::new("study.toml"), text, &set)
}

#[test]
fn a_resolved_study_reads_back_as_itself() {
    let study = parse(
        SMALL,
        &[
            "train.batch_size=16",
            "train.pass_tokens=256",
            "train.memory_limit=2GiB",
            "seeds=[7]",
            "methods.lora.r=2",
            "methods.full.learning_rate=1e-5",
        ],
    )
    .unwrap();
    assert_eq!((study.train.batch_size, study.train.pass_tokens), (16, Some(256)));
    assert_eq!(study.train.memory_limit.unwrap().0, 2 << 30);
    assert_eq!(parse(SMALL, &["rows=spread"]).unwrap().rows, Picked::Spread);
    assert_eq!(study.seeds, [7]);
    assert_eq!(study.methods["lora"].settings["r"], 2);
    assert_eq!(study.methods["full"].kind, "full");
    assert_eq!(parse(&study.to_toml(), &[]).unwrap(), study);
}

#[test]
fn all_faults_come_at_once_each_with_its_key() {
    let text = "nam = 'a'\nmodel = 'm'\nseeds = 'x'\n[train]\nbatch_sise = 4\nnum_train_epochs = 0\n[methods.lroa]\n[methods.lora]\nrr = 1\n";
    let message = parse(text, &["train=3"]).unwrap_err().to_string();
    for expected in [
        "nam: there is no such key: did you mean \"name\"?",
        "seeds:",
        "task:",
        "lroa",
        "did you mean \"lora\"?",
        "methods.lora.rr: there is no such setting: did you mean \"r\"?",
    ] {
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
    let message = parse(text, &[]).unwrap_err().to_string();
    for expected in ["train.batch_sise", "train.batch_size", "train.num_train_epochs"] {
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
}

#[test]
fn what_counts_as_evidence_may_not_stand_there_twice() {
    let message = parse(SMALL, &["seeds=[3, 1, 3]", "benchmarks=['sst2', 'sst2']"]).unwrap_err().to_string();
    for expected in
        ["seeds: expected each once, found 3 twice", "benchmarks: expected each once, found \"sst2\" twice"]
    {
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
}

#[test]
fn a_device_is_one_of_those_that_there_are() {
    assert_eq!(parse(SMALL, &[]).unwrap().device().unwrap().name, "cpu");
    assert_eq!(parse(SMALL, &["device=reference"]).unwrap().device().unwrap().name, "reference");
    let message = parse(SMALL, &["device=cqu"]).unwrap_err().to_string();
    assert!(message.contains("device: there is no device named \"cqu\""), "{message}");
}

#[test]
fn weights_are_a_format_that_is_written() {
    for known in ["f32", "bf16", "q8_0", "q4_0", "nf4"] {
        let study = parse(SMALL, &[&format!("weights='{known}'")]).unwrap();
        assert_eq!(study.dtype().unwrap().unwrap().name(), known);
    }
    for unknown in ["q4_k", "fp8", ""] {
        let message = parse(SMALL, &[&format!("weights='{unknown}'")]).unwrap_err().to_string();
        assert!(message.contains("weights: there is no format of weights"), "{message}");
    }
}

#[test]
fn every_method_gets_as_many_candidates() {
    let message =
        parse(SMALL, &["methods.lora.learning_rates=[1e-3]", "search.candidates=2"]).unwrap_err().to_string();
    assert!(message.contains("methods.lora.learning_rates: expected 2"), "{message}");
    assert!(parse(SMALL, &["search.candidates=5"]).is_err(), "LoRA has four of its own");
    assert!(parse(SMALL, &["search.candidates=5", "methods.lora.learning_rate=1e-3"]).is_ok());
}

#[test]
fn loads_applications_and_energy_are_checked_all_at_once() {
    let own = "[[applications]]\nname = 'chat'\ntarget_seconds = 1.5\nquantile = 0.99\n";
    let study = parse(&(SMALL.to_owned() + own), &["probe.rates=[2, 50.5]", "energy.grid_grams_per_kwh=30"]);
    let study = study.unwrap();
    let chat = &study.applications[0];
    assert_eq!((chat.name.as_str(), chat.target_seconds, chat.good_seconds), ("chat", 1.5, None));
    assert_eq!((chat.quantile, &study.probe.rates[..]), (0.99, &[2.0, 50.5][..]));
    assert_eq!(parse(&study.to_toml(), &[]).unwrap(), study);

    let changes = [
        "probe.clients=[4, 0]",
        "probe.servers=0",
        "probe.rates=[-1.0, 3]",
        "probe.utilisations=[0.5, 70]",
        "probe.seconds=1e9",
        "probe.warm_up=99999999999",
        "energy.idle_seconds=-2",
        "energy.grid_grams_per_kwh=-400",
        "energy.subtract_idel=true",
    ];
    let own = "[[applications]]\nname = 'real_time'\ntarget_seconds = 0\ngood_seconds = 3\nquantile = 95\n";
    let message = parse(&(SMALL.to_owned() + own), &changes).unwrap_err().to_string();
    for expected in [
        "probe.clients: expected numbers from 1 to 1,024, found 0",
        "probe.servers: expected 1 to 1,024, found 0",
        "probe.rates: expected requests a second, 0.001 to 1,000,000, found -1",
        "probe.utilisations: expected shares of the capacity, 0.01 to 10, found 70",
        "probe.seconds: expected 0 to 3,600 seconds, found 1000000000",
        "probe.warm_up: expected 0 to 1,000,000,000",
        "did you mean \"energy.subtract_idle\"?",
        "energy.idle_seconds: expected 0 to 3,600 seconds, found -2",
        "energy.grid_grams_per_kwh: expected grams of CO2e for a kilowatt-hour, 0 to 10,000, found -400",
        "applications.real_time: there is one of that name already",
        "applications.real_time.target_seconds: expected seconds above 0, found 0",
        "applications.real_time.good_seconds: expected seconds above 0, at most target_seconds, found 3",
        "applications.real_time.quantile: expected a share between 0 and 1, such as 0.95, found 95",
    ] {
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
    let unknown = SMALL.to_owned() + "[[applications]]\nname = 'x'\ntarget = 3\n";
    let message = parse(&unknown, &[]).unwrap_err().to_string();
    for expected in [
        "applications.x.target: there is no such key",
        "applications.x.target_seconds: expected a number of seconds, such as 0.02, found none",
    ] {
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
    let words = SMALL.to_owned() + "[[applications]]\nname = 'x'\ntarget_seconds = '20ms'\n";
    let message = parse(&words, &[]).unwrap_err().to_string();
    let expected =
        "applications.x.target_seconds: expected a number of seconds, such as 0.02, found \"20ms\"";
    assert!(message.contains(expected) && message.contains("1 fault"), "{message}");
}

#[test]
fn values_of_a_wrong_kind_are_told_in_peoples_words() {
    for (change, expected) in [
        ("seeds=3", "seeds: expected a list such as [0, 1, 2], found 3"),
        ("seeds=[0, 'x']", "seeds: expected a list such as [0, 1, 2], found [0, \"x\"]"),
        ("domains='a'", "domains: expected a list such as [\"a\", \"b\"]"),
        ("train.batch_size=-8", "train.batch_size: expected a whole number, 0 or more, found -8"),
        ("train.batch_size=1.5", "train.batch_size: expected a whole number, 0 or more, found 1.5"),
        ("train.weight_decay='x'", "train.weight_decay: expected a number, found \"x\""),
        ("train.pass_tokens='x'", "train.pass_tokens: expected a whole number, 0 or more, found \"x\""),
        ("probe.enabled=1", "probe.enabled: expected true or false, found 1"),
        ("name=1", "name: expected text in quotation marks, found 1"),
        ("rows='last'", "rows: expected \"first\" or \"spread\", found \"last\""),
        (
            "search.strategy='x'",
            "search.strategy: expected \"grid\", \"random\", \"successive_halving\", found \"x\"",
        ),
        ("mixture=3", "mixture: expected a table, found 3"),
        (
            "methods.lora.learning_rate='x'",
            "methods.lora.learning_rate: expected a number above 0, found \"x\"",
        ),
        ("methods.lora.learning_rates=1", "methods.lora.learning_rates: expected a list of numbers"),
        ("methods.lora.space=1", "methods.lora.space: expected a table of settings"),
    ] {
        let message = parse(SMALL, &[change]).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
}

#[test]
fn what_can_only_be_a_slip_is_refused_with_what_was_found() {
    for (change, expected) in [
        ("small_data.examples=[16, 32, 16]", "small_data.examples: expected each once, found 16 twice"),
        ("small_data.draws=0", "small_data.draws: expected 1 to 1,000,000,000, found 0"),
        ("small_data.steps=0", "small_data.steps: expected 1 to 1,000,000,000, found 0"),
        ("domains=['vader']", "domains: expected other tasks than the study's own, found \"vader\""),
        ("domains=['a', 'a']", "domains: expected each once, found \"a\" twice"),
        (
            "energy.grid_source='a paper'",
            "energy.grid_source: expected grid_grams_per_kwh beside it, found \"a paper\"",
        ),
        ("train.max_length=1", "train.max_length: expected at least 3, found 1"),
        ("train.warmup_ratio=1.5", "train.warmup_ratio: expected 0 or more, below 1, found 1.5"),
        ("probe.batch_sizes=[8, 0]", "probe.batch_sizes: expected numbers of 1 to 1,048,576, found 0"),
        ("mixture={a=0.5, b=0.7}", "mixture: expected weights above 0 that add up to 1"),
        ("mixture={a=0.5, b=0.7}", "found a = 0.5, b = 0.7, in all 1.2"),
    ] {
        let message = parse(SMALL, &[change]).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected} not in:\n{message}");
    }
    for fine in [
        "energy={grid_source='a paper', grid_grams_per_kwh=30}",
        "small_data={examples=[], draws=0, steps=0}",
    ] {
        parse(SMALL, &[fine]).unwrap();
    }
}

#[test]
fn broken_toml_names_its_line() {
    let message = parse("name = 'a'\nmodel = \n", &[]).unwrap_err().to_string();
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn one_slip_is_one_fault() {
    let nothing = "name = 'a'\nmodel = 'm'\ntask = 'vader'\n";
    for (text, expected) in [
        (
            "[methods.lora]\nlearning_rate = '1e-3'\n",
            "methods.lora.learning_rate: expected a number above 0, found \"1e-3\"",
        ),
        (
            "[methods.lora]\nlearning_rate = nan\n",
            "methods.lora.learning_rate: expected finite numbers, found nan",
        ),
        ("[methods]\nlora = 3\n", "methods.lora: expected a table, found 3"),
        ("margin = nan\n[methods.lora]\n", "margin: expected finite numbers, found nan"),
    ] {
        let message = parse(&format!("{nothing}{text}"), &[]).unwrap_err().to_string();
        assert!(message.contains("1 fault to mend") && message.contains(expected), "{text}\n{message}");
    }
    let message =
        parse("name = 3\nmodel = 'm'\ntask = 'vader'\n[methods.lora]\n", &[]).unwrap_err().to_string();
    assert!(message.contains("1 fault to mend"), "{message}");
}

#[test]
fn names_of_other_programs_lead_to_the_keys_of_a_study_and_a_fault_names_the_option_that_caused_it() {
    for (change, expected) in [
        ("epochs=3", "epochs: there is no such key: did you mean \"train.num_train_epochs\"?"),
        ("train.epochs=3", "train.epochs: there is no such key: did you mean \"train.num_train_epochs\"?"),
        ("lr=1e-3", "lr: there is no such key: did you mean \"methods.<method>.learning_rate\"?"),
        ("train.learning_rate=1e-3", "did you mean \"methods.<method>.learning_rate\"?"),
        (
            "methods.lora.lr=1e-3",
            "methods.lora.lr: there is no such setting: did you mean \"learning_rate\"?",
        ),
        ("methods.lora.rank=8", "methods.lora.rank: there is no such setting: did you mean \"r\"?"),
        ("methods.lora.alpha=8", "did you mean \"lora_alpha\"?"),
        ("rank=8", "did you mean \"methods.<method>.r\"?"),
        ("train.num_warmup_steps=8", "did you mean \"train.warmup_steps\"?"),
        ("train.per_device_train_batch_size=8", "did you mean \"train.batch_size\"?"),
        ("methods.lora.num_train_epochs=8", "did you mean \"train.num_train_epochs\"?"),
        ("methods.lora.learning_rat=1", "did you mean \"learning_rate\"?"),
    ] {
        let message = parse(SMALL, &[change]).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected} not in:\n{message}");
        assert!(message.contains(&format!("(--set {change})")), "{message}");
    }
    assert_eq!(
        parse(SMALL, &["train.warmup_steps=8", "train.num_train_epochs=0.5"]).unwrap().train.warmup_steps,
        8
    );
}
