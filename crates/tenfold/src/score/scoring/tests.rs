use super::*;

fn labelled(predictions: &[u32], labels: &[u32]) -> Answers {
    Answers::Labels { labels: labels.to_vec(), predictions: predictions.to_vec() }
}

#[test]
fn names_are_unique_parts_exist_and_one_kind_is_scored_but_by_accuracy() {
    let one_of_each = [
        labelled(&[1, 0, 1], &[1, 0, 0]),
        Answers::Numbers { targets: vec![1.0, 2.0, 4.0], predictions: vec![1.0, 3.0, 3.5] },
        Answers::Worths(vec![1.0, 0.5]),
        Answers::Matches { exact: vec![0.0, 1.0], f1: vec![0.5, 1.0], answerable: vec![true, false] },
        Answers::Judged { labels: vec![vec![1, 0], vec![1]], predictions: vec![vec![1, 1], vec![1]] },
        Answers::Nats { nats: vec![2.0, 1.0], counts: vec![2, 4] },
    ];
    for known in SCORINGS {
        assert!(std::ptr::eq(scoring(known.name).unwrap(), known), "{} twice", known.name);
        for part in known.parts {
            assert_eq!(scoring(part).unwrap().of, known.of);
        }
        let scores = one_of_each.iter().filter_map(|answers| known.score(answers)).collect::<Vec<_>>();
        // What a question with several right answers is worth counts as right or wrong too.
        let kinds = if known.name == "accuracy" { 2 } else { 1 };
        assert_eq!(scores.len(), kinds, "{}: {scores:?}", known.name);
        assert!(scores.iter().all(|score| known.range.0 <= *score && *score <= known.range.1));
    }
    assert!(scoring("mathews").unwrap_err().to_string().contains("did you mean \"matthews\"?"));
}

#[test]
fn a_mean_of_two_scores_is_the_mean_of_its_parts() {
    let answers = labelled(&[1, 1, 0, 0, 2], &[1, 0, 0, 1, 2]);
    let judged =
        Answers::Judged { labels: vec![vec![1, 0], vec![1]], predictions: vec![vec![1, 1], vec![1]] };
    let matches =
        Answers::Matches { exact: vec![0.0, 1.0], f1: vec![0.5, 1.0], answerable: vec![true, false] };
    for (name, answers) in [
        ("accuracy_f1", &answers),
        ("accuracy_f1_macro", &answers),
        ("multirc", &judged),
        ("em_f1", &matches),
    ] {
        let whole = scoring(name).unwrap();
        let parts = whole.parts.iter().map(|part| scoring(part).unwrap().score(answers).unwrap());
        assert_eq!(whole.score(answers), mean(parts));
    }
}

#[test]
fn which_way_is_better_is_told_by_the_score_and_none_is_worst() {
    let (accuracy, perplexity) = (scoring("accuracy").unwrap(), scoring("perplexity").unwrap());
    assert!(accuracy.is_better(Some(0.9), Some(0.8)) && !perplexity.is_better(Some(9.0), Some(8.0)));
    assert!(perplexity.is_better(Some(8.0), None) && !perplexity.is_better(None, Some(8.0)));
    assert!(!accuracy.is_better(Some(0.8), Some(0.8)) && !accuracy.is_better(None, None));
    assert_eq!((accuracy.kept(0.4, 0.8), perplexity.kept(8.0, 4.0)), (0.5, 0.5));
    assert!(accuracy.kept(0.0, 0.0).is_nan() && scoring("matthews").unwrap().kept(-0.5, -0.02).is_nan());
    assert_eq!((accuracy.part(0.5, 0.5), perplexity.part(5.0, 0.5)), (0.25, 10.0));
    assert_eq!((accuracy.shortfall(0.75, 0.5), perplexity.shortfall(4.0, 5.0)), (0.25, 1.0));
    assert_eq!((accuracy.to_perfect(0.75), perplexity.to_perfect(1.0)), (0.25, 0.0));
}

#[test]
fn perplexity_weighs_labels_alike_and_undefined_is_none() {
    let answers = Answers::Nats { nats: vec![3.0, 0.0], counts: vec![1, 2] };
    assert!((scoring("perplexity").unwrap().score(&answers).unwrap() - 1f64.exp()).abs() < 1e-12);
    let constant = Answers::Numbers { targets: vec![1.0, 2.0], predictions: vec![3.0, 3.0] };
    assert_eq!(scoring("pearson_spearman").unwrap().score(&constant), None);
    assert_eq!(scoring("accuracy").unwrap().score(&labelled(&[], &[])), None);
    let endless = Answers::Nats { nats: vec![1e9], counts: vec![1] };
    assert_eq!(scoring("perplexity").unwrap().score(&endless), None);
}
