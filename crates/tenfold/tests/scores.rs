//! Scores and statistics against the programs that define them: figures of tests/golden_scores.py.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

use serde_json::Value;
use std::sync::LazyLock;
use tenfold::metric::Outcomes;
use tenfold::record::{Score, Test};
use tenfold::score::{self, BleuCounts, ExactMatch, Filter, Rouge, Squad2Row};
use tenfold::statistics::{self, Runs};

static GOLDEN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("golden/scores.json")).unwrap());

/// The cases of one part, of which there must be some.
fn cases(part: &str) -> &'static [Value] {
    let cases = GOLDEN[part].as_array().unwrap();
    assert!(!cases.is_empty(), "{part}");
    cases
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn counts<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> Vec<T> {
    value.as_array().unwrap().iter().map(|x| T::try_from(x.as_u64().unwrap()).unwrap()).collect()
}

/// Equal to 1e-12 of the larger of 1 and the figure; `None` stands for null.
#[track_caller]
fn same(found: Option<f64>, case: &Value, key: &str) {
    same_to(1e-12, found, case, key);
}

#[track_caller]
fn same_to(slack: f64, found: Option<f64>, case: &Value, key: &str) {
    let expected = case.get(key).unwrap_or_else(|| panic!("no {key} in {case}"));
    let equal = match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= slack * expected.abs().max(1.0),
        (found, expected) => found.is_none() && expected.is_none(),
    };
    assert!(equal, "{key}: {found:?} is not {expected} in {case}");
}

#[test]
fn labels_are_scored_as_scikit_learn_does() {
    for case in cases("labels") {
        let (said, truth) = (counts::<u32>(&case["predictions"]), counts::<u32>(&case["labels"]));
        same(score::accuracy(&said, &truth), case, "accuracy");
        same(score::f1(&said, &truth, 1), case, "f1");
        same(score::f1_micro(&said, &truth), case, "f1_micro");
        same(score::f1_macro(&said, &truth), case, "f1_macro");
        same(score::f1_macro_of(&said, &truth, 3), case, "f1_macro_of_3");
        same(score::matthews(&said, &truth), case, "matthews");
        same(statistics::cohens_kappa(&said, &truth), case, "kappa");
    }
}

#[test]
fn correlations_are_scipys() {
    for case in cases("correlations") {
        let (said, truth) = (numbers(&case["predictions"]), numbers(&case["truth"]));
        same(score::pearson(&said, &truth), case, "pearson");
        same(score::spearman(&said, &truth), case, "spearman");
    }
}

#[test]
fn choices_are_made_as_the_harness_makes_them() {
    for case in cases("choices") {
        let (nats, choices) = (numbers(&case["log_likelihoods"]), texts(&case["choices"]));
        let golds = counts::<usize>(&case["golds"]);
        same(score::acc(&nats, &golds), case, "acc");
        same(score::acc_norm(&nats, &choices, &golds), case, "acc_norm");
        same(score::acc_bytes(&nats, &choices, &golds), case, "acc_bytes");
        if case.get("acc_mutual_info").is_some() {
            let unconditional = numbers(&case["unconditional"]);
            same(score::acc_mutual_info(&nats, &unconditional, &golds), case, "acc_mutual_info");
        }
    }
}

#[test]
fn rolling_likelihoods_are_the_harness() {
    for case in cases("rolling") {
        let (nats, texts) = (numbers(&case["log_likelihoods"]), texts(&case["texts"]));
        let words: Vec<usize> = texts.iter().map(|text| score::count_words(text)).collect();
        let bytes: Vec<usize> = texts.iter().map(|text| score::count_bytes(text)).collect();
        assert_eq!((&words, &bytes), (&counts(&case["words"]), &counts(&case["bytes"])), "{case}");
        if case.get("perplexity").is_some() {
            let with = |units: Vec<usize>| nats.iter().copied().zip(units).collect::<Vec<_>>();
            let hundredths: Vec<f64> = nats.iter().map(|nats| nats / 100.0).collect();
            same(score::weighted_perplexity(&with(words)), case, "word_perplexity");
            same(score::weighted_perplexity(&with(bytes.clone())), case, "byte_perplexity");
            same(score::bits_per_byte(&with(bytes)), case, "bits_per_byte");
            same(score::perplexity(&hundredths), case, "perplexity");
        }
    }
}

#[test]
fn exact_matches_ignore_what_the_harness_ignores() {
    for case in cases("exact_matches") {
        let on = |key: &str| case[key].as_bool().unwrap();
        let mut exact = ExactMatch::ignoring(&texts(&case["regexes_to_ignore"])).unwrap();
        exact.ignore_case = on("ignore_case");
        exact.ignore_punctuation = on("ignore_punctuation");
        exact.ignore_numbers = on("ignore_numbers");
        let found = exact.score(text(&case["prediction"]), &[text(&case["reference"])]).unwrap();
        same(found, case, "exact_match");
    }
}

#[test]
fn filters_take_what_the_harness_takes() {
    for case in cases("filters") {
        let select = case["group_select"].as_i64().unwrap();
        let regex = Filter::regex(text(&case["regex_pattern"]), select, "[invalid]").unwrap();
        let through = |filters: &[Filter]| {
            let responses = texts(&case["responses"]).into_iter().map(str::to_owned).collect();
            score::apply(filters, responses).unwrap()
        };
        assert_eq!(through(std::slice::from_ref(&regex)), texts(&case["filtered"]), "{case}");
        assert_eq!(through(&[regex.clone(), Filter::TakeFirst]), [text(&case["first"])]);
        assert_eq!(through(&[regex, Filter::MajorityVote]), [text(&case["majority"])]);
        assert_eq!(through(&[Filter::RemoveWhitespace]), texts(&case["stripped"]));
        assert_eq!(through(&[Filter::Lowercase]), texts(&case["lower"]));
    }
}

#[test]
fn answers_are_scored_by_squads_definition() {
    for case in cases("answers") {
        let (said, answers) = (text(&case["prediction"]), texts(&case["answers"]));
        assert_eq!(score::normalized(said), text(&case["normalized"]), "{case}");
        let first = score::squad1(&[(said, &answers)]);
        same(first.map(|found| found.exact), case, "exact");
        same(first.map(|found| found.f1), case, "f1_squad1");
        assert_eq!(score::record(said, &answers), first);
        let second = answers.iter().map(|answer| score::f1_of_words(said, answer, 1.0)).reduce(f64::max);
        same(second, case, "f1_squad2");
    }
}

#[test]
fn squad2_is_scored_by_its_definition() {
    for case in cases("squad2") {
        let asked = case["rows"].as_array().unwrap();
        let answers: Vec<Vec<&str>> = asked.iter().map(|row| texts(&row["answers"])).collect();
        let of = |(row, answers)| -> Squad2Row {
            let row: &Value = row;
            let answers: &Vec<&str> = answers;
            Squad2Row {
                prediction: text(&row["prediction"]),
                answers,
                no_answer: row["no_answer"].as_f64().unwrap(),
            }
        };
        let rows: Vec<Squad2Row> = asked.iter().zip(&answers).map(of).collect();
        let found = score::squad2(&rows, case["threshold"].as_f64().unwrap()).unwrap();
        for (part, prefix) in
            [(Some(found.all), ""), (found.has_answer, "HasAns_"), (found.no_answer, "NoAns_")]
        {
            same(part.map(|part| part.exact), case, &format!("{prefix}exact"));
            same(part.map(|part| part.f1), case, &format!("{prefix}f1"));
        }
        same(Some(found.best_exact.0), case, "best_exact");
        same(Some(found.best_exact.1), case, "best_exact_thresh");
        same(Some(found.best_f1.0), case, "best_f1");
        same(Some(found.best_f1.1), case, "best_f1_thresh");
    }
}

#[test]
fn multirc_is_scored_by_its_definition() {
    for case in cases("multirc") {
        let row = |row: &Value| {
            let question = counts::<u64>(&row[0]);
            let label = |i: usize| u32::try_from(row[i].as_u64().unwrap()).unwrap();
            ((question[0], question[1]), label(1), label(2))
        };
        let rows: Vec<_> = case["rows"].as_array().unwrap().iter().map(row).collect();
        let found = score::multirc(&rows).unwrap();
        same(Some(found.exact_match), case, "exact_match");
        same(Some(found.f1_m), case, "f1_m");
        same(Some(found.f1_a), case, "f1_a");
    }
}

#[test]
fn bleu_is_sacrebleus() {
    for case in cases("bleus") {
        let said = texts(&case["hypotheses"]);
        let others: Vec<Vec<&str>> = case["references"].as_array().unwrap().iter().map(texts).collect();
        let tokens: Vec<String> = said.iter().map(|text| score::tokenize_13a(text)).collect();
        assert_eq!(tokens, texts(&case["tokens"]), "{case}");
        let segments: Vec<(&str, &[&str])> =
            said.iter().zip(&others).map(|(text, others)| (*text, others.as_slice())).collect();
        same(score::bleu(&segments), case, "bleu");
        let counts = segments.iter().map(|(text, others)| BleuCounts::of(text, others).unwrap());
        same(Some(counts.sum::<BleuCounts>().score()), case, "bleu");
    }
}

#[test]
fn rouge_is_that_of_rouge_score() {
    for case in cases("rouges") {
        let (said, other) = (text(&case["prediction"]), text(&case["reference"]));
        let check = |found: Rouge, key: &str| {
            for (found, expected) in [found.precision, found.recall, found.f1].iter().zip(numbers(&case[key]))
            {
                assert!((found - expected).abs() < 1e-12, "{key}: {found} is not {expected} in {case}");
            }
        };
        check(score::rouge_n(said, other, 1), "rouge1");
        check(score::rouge_n(said, other, 2), "rouge2");
        check(score::rouge_l(said, other), "rougeL");
        check(score::rouge_lsum(said, other), "rougeLsum");
    }
}

#[test]
fn mmlu_is_weighted_as_the_harness_weighs_it() {
    for case in cases("mmlu") {
        for (subject, category) in case["categories"].as_object().unwrap() {
            assert_eq!(score::mmlu_category(subject), category.as_str());
        }
        let count = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let result = |row: &'static Value| (text(&row[0]), count(&row[1]), count(&row[2]));
        let results: Vec<_> = case["results"].as_array().unwrap().iter().map(result).collect();
        let found = score::mmlu(&results).unwrap().unwrap();
        same(Some(found.all), case, "all");
        same(Some(found.mean_of_subjects), case, "mean_of_subjects");
        for (category, accuracy) in &found.categories {
            same(Some(*accuracy), &case["by_category"], category);
        }
    }
}

#[test]
fn standard_errors_are_the_harness() {
    for case in cases("errors") {
        same(statistics::standard_error(&numbers(&case["values"])), case, "mean_stderr");
        let group =
            |row: &Value| (usize::try_from(row[0].as_u64().unwrap()).unwrap(), row[1].as_f64().unwrap());
        let groups: Vec<_> = case["groups"].as_array().unwrap().iter().map(group).collect();
        same(statistics::pooled_error(&groups), case, "pooled");
    }
}

#[test]
fn lines_and_their_errors_are_scipys() {
    for case in cases("lines") {
        let points: Vec<(f64, f64)> =
            case["points"].as_array().unwrap().iter().map(numbers).map(|p| (p[0], p[1])).collect();
        let fit = statistics::line(&points).unwrap();
        for (found, key) in [
            (fit.intercept.value, "intercept"),
            (fit.slope.value, "slope"),
            (fit.intercept_error, "intercept_error"),
            (fit.slope_error, "slope_error"),
            (fit.r_squared, "r_squared"),
            (fit.slope.low.unwrap(), "low"),
            (fit.slope.high.unwrap(), "high"),
        ] {
            // SciPy takes residuals from sums of squares, which cancel: its errors are good to nine digits.
            same_to(1e-9, Some(found), case, key);
        }
    }
}

#[test]
fn tests_of_pairs_are_scipys() {
    for case in cases("pairs") {
        let outcomes =
            |key: &str| -> Vec<Vec<f64>> { case[key].as_array().unwrap().iter().map(numbers).collect() };
        let (a, b) = (outcomes("a"), outcomes("b"));
        let (first, second) = (Runs::new(&a).unwrap(), Runs::new(&b).unwrap());
        same(statistics::swap_rows(&first, &second).map(|test| test.p), case, "swap_rows");
        let regrouped = statistics::regroup_seeds(first.seeds(), second.seeds());
        same(regrouped.map(|test| test.p), case, "regroup_seeds");
        same(statistics::superiority(first.seeds(), second.seeds()), case, "superiority");
        let right = |run: &[f64]| run.iter().map(|x| *x > 0.5).collect::<Vec<_>>();
        let found = statistics::discordance(&right(&a[0]), &right(&b[0])).unwrap();
        same(Some(found.first_only as f64), case, "first_only");
        same(Some(found.second_only as f64), case, "second_only");
        same(Some(found.p), case, "mcnemar");
        // The quantile of the beta distribution is found by search.
        same_to(1e-6, Some(found.low), case, "odds_low");
        same_to(1e-6, found.high, case, "odds_high");
    }
}

/// Answers of one method's runs, scored.
fn outcomes(case: &Value, key: &str) -> Outcomes {
    let score = Score { examples: 0, loss: 0.0, value: None };
    let test = |answers| Test { domain: String::new(), metric: String::new(), answers, score, cut: 0 };
    let runs = case[key].as_array().cloned().unwrap_or_else(|| vec![case[key].clone()]);
    let tests: Vec<Test> = runs.into_iter().map(|run| test(serde_json::from_value(run).unwrap())).collect();
    Outcomes::new(score::scoring(text(&case["metric"])).unwrap(), &tests.iter().collect::<Vec<_>>()).unwrap()
}

#[test]
fn whole_answers_are_exchanged_as_by_scipy() {
    for case in cases("swapped") {
        let (a, b) = (outcomes(case, "a"), outcomes(case, "b"));
        same(Some(a.mean() - b.mean()), case, "difference");
        let found = a.permuted(&b).unwrap();
        assert!(found.rows.exact && found.rows.p < 1.0, "{case}");
        same(Some(found.rows.p), case, "p");
        assert_eq!(b.permuted(&a).unwrap().rows.p, found.rows.p);
    }
}

#[test]
fn bootstrap_intervals_of_pairs_are_scipys_but_for_the_draws() {
    for case in cases("bootstrapped") {
        let (a, b) = (outcomes(case, "a"), outcomes(case, "b"));
        let found = a.ahead_of(&b).unwrap();
        // Of perplexity less is better.
        let lower = a.scoring().direction == score::Direction::Lower;
        let found = if lower { found.map(|x| -x) } else { found };
        same(Some(found.value), case, "difference");
        // The ends of 2,000 draws are uncertain by a sixty-fifth of the width, one standard error.
        let slack = 0.05 * (case["high"].as_f64().unwrap() - case["low"].as_f64().unwrap());
        same_to(slack, found.low, case, "low");
        same_to(slack, found.high, case, "high");
    }
}
