"""Reference figures of scores and statistics, by the programs that define them. Run by hand.

    python tests/golden_scores.py

Needs lm_eval, sacrebleu, rouge_score, scikit-learn, scipy; writes crates/tenfold/tests/golden/scores.json, which
crates/tenfold/tests/scores.rs holds the Rust code to. Inputs are random from a fixed seed, and such as break naive
code: articles, Unicode's punctuation and spaces, empty texts, ties, constants. SQuAD and ReCoRD have no package: their
published definitions are written out below. The copy in tests/golden was written with lm_eval 0.4.13, sacrebleu 2.6.0,
rouge_score 0.1.2, scikit-learn 1.9.1, scipy 1.17.1, Python 3.11.
"""
import collections, importlib.util, json, math, pathlib, random, re, string, types, warnings
import numpy as np
import sacrebleu, scipy.stats, sklearn.metrics
from lm_eval.api import metrics as harness
from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import extraction, selection, transformation
from rouge_score import rouge_scorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

warnings.filterwarnings("ignore")
OUT = pathlib.Path(__file__).parent.parent / "crates/tenfold/tests/golden/scores.json"
draw = random.Random(0)
WORDS = ("a an the The A cat cats dog sat on mat is was not of in to U.S. don't 1,000.5 10-year 3.14, -5 $7.50 naïve “quoted” — … «a» "
         "ß ΣΑΣ İstanbul a\u0301 e\u0301a 東京 ª ½ x² Ǆ ﬁn a_b _a a1 the\u200bcat \ufeffa &amp; &quot; &lt;b&gt; &amp;lt; <skipped> a/b (the) an- "
         "#### 12 13. K a\u0903 ٣ Ⅷ ①").split(" ")
SPACES = [" "] * 12 + ["  ", "\n", "\t", "\u00a0", "\u2009", "\x1c", "\x85", "-\n", " \n", "\u3000"]


def text(most=9):
    return "".join(draw.choice(WORDS) + draw.choice(SPACES) for _ in range(draw.randint(0, most)))[: draw.choice([None, None, -1])]


def near(base):
    """Another text, or one with words of this dropped, doubled or moved."""
    words = base.split(" ")
    for _ in range(draw.randint(0, 3)):
        place = draw.randrange(len(words))
        words[place:place + 1] = draw.choice([[], [words[place]] * 2, [draw.choice(WORDS)], [words[place].upper()]])
        words = words or [""]
    return draw.choice([" ".join(words), " ".join(words), base, text()])


number = lambda x: None if x is None or math.isnan(x) else float(x)


def labels():
    for classes, rows in [(2, 1), (2, 2), (2, 40), (3, 3), (3, 60), (3, 7), (5, 12), (1, 5), (4, 4)] * 3:
        truth = [draw.randrange(classes) for _ in range(rows)]
        said = [t if draw.random() < draw.random() else draw.randrange(classes) for t in truth]
        yield both(said, truth)
    yield from [both([0, 0, 0], [0, 0, 0]), both([1, 1, 1], [1, 1, 1]), both([0, 0], [1, 1]), both([0, 0, 0], [0, 1, 1]), both([1, 1, 1], [0, 1, 0])]


def both(said, truth):
    f1 = lambda **keys: float(sklearn.metrics.f1_score(truth, said, zero_division=0, **keys))
    return dict(predictions=said, labels=truth, accuracy=float(sklearn.metrics.accuracy_score(truth, said)),
                f1=float(sklearn.metrics.f1_score([t == 1 for t in truth], [s == 1 for s in said], zero_division=0)),
                f1_micro=f1(average="micro"), f1_macro=f1(average="macro"), f1_macro_of_3=float(cb(list(zip(said, truth)))),
                matthews=float(sklearn.metrics.matthews_corrcoef(truth, said)), kappa=number(sklearn.metrics.cohen_kappa_score(truth, said)))


def module(path):
    """A file of lm_eval's tasks, which are no package."""
    spec = importlib.util.spec_from_file_location("loaded", pathlib.Path(harness.__file__).parent.parent / "tasks" / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


cb = module("super_glue/cb/aggregate.py").cb_multi_fi


def correlations():
    cases = [([1, 2], [2, 1]), ([1, 2], [1, 1]), ([3, 3, 3], [1, 2, 3]), ([1e-200, 2e-200, 5e-200], [1, 5, 2]), ([1e150, -1e150, 3], [1, 2, 3])]
    for rows in [2, 3, 5, 30, 100]:
        truth = [draw.gauss(2, 1) for _ in range(rows)]
        cases += [([t + draw.gauss(0, 1) for t in truth], truth), ([round(t) for t in truth], [round(2 * t) / 2 for t in truth]), ([-t * 1000 + 5 for t in truth], truth)]
    for said, truth in cases:
        said, truth = list(map(float, said)), list(map(float, truth))
        yield dict(predictions=said, truth=truth, pearson=number(scipy.stats.pearsonr(said, truth).statistic), spearman=number(scipy.stats.spearmanr(said, truth).statistic))


def task(output_type, metrics, **methods):
    """As much of a task of the harness as its scoring looks at."""
    counts = dict(count_words=ConfigurableTask.count_words, count_bytes=ConfigurableTask.count_bytes)
    return types.SimpleNamespace(OUTPUT_TYPE=output_type, config=types.SimpleNamespace(process_results=None), _metric_fn_list=dict.fromkeys(metrics),
                                 multiple_input=0, **counts, **methods)


def choices():
    for _ in range(60):
        texts = [draw.choice(WORDS) + text(3) for _ in range(draw.randint(1, 5))]
        nats = [draw.choice([-draw.random() * len(t), -round(4 * draw.random()) / 2.0]) for t in texts]
        alone = [-draw.random() * 10 for _ in texts]
        gold = sorted(draw.sample(range(len(texts)), draw.randint(1, len(texts)))) if draw.random() < 0.3 else draw.randrange(len(texts))
        several = isinstance(gold, list)
        asked = task("multiple_choice", ["acc", "acc_norm", "acc_bytes"] + ["acc_mutual_info"] * (not several),
                     doc_to_choice=lambda doc: texts, doc_to_target=lambda doc: gold, multiple_target=several)
        found = ConfigurableTask.process_results(asked, {}, [(n, False) for n in nats + alone * (not several)])
        yield dict(choices=texts, log_likelihoods=nats, unconditional=alone, golds=gold if several else [gold],
                   **{key: float(value) for key, value in found.items()})


def rolling():
    for rows in [1, 2, 20]:
        texts = [draw.choice(WORDS) + text(20) + draw.choice(["", " ", "\n"]) for _ in range(rows)]
        nats = [-draw.random() * 3 * len(t) for t in texts]
        asked = lambda t: task("loglikelihood_rolling", ["word_perplexity", "byte_perplexity", "bits_per_byte"], doc_to_target=lambda doc: t)
        items = [ConfigurableTask.process_results(asked(t), {}, [n]) for t, n in zip(texts, nats)]
        over = lambda key, f: f([item[key] for item in items])
        yield dict(texts=texts, log_likelihoods=nats, words=[item["word_perplexity"][1] for item in items], bytes=[item["byte_perplexity"][1] for item in items],
                   word_perplexity=over("word_perplexity", harness.weighted_perplexity), byte_perplexity=over("byte_perplexity", harness.weighted_perplexity),
                   bits_per_byte=over("bits_per_byte", harness.bits_per_byte), perplexity=harness.perplexity([n / 100 for n in nats]))
    yield from (dict(texts=[t], log_likelihoods=[-1.0], words=[ConfigurableTask.count_words(t)], bytes=[ConfigurableTask.count_bytes(t)])
                for t in [" a", " a ", " ", "\x1ca\u2009b\n", "a"])


GSM8K = [",", r"\$", r"(?s).*#### ", r"\.$"]


def exact_matches():
    answers = ["72", "72.", "72.\n", "$72", "1,000", "so\n#### 72", "#### 1 #### 2.", "", ".", "a.\n\n", "Paris!", "PARIS", "12ab34"]
    for _ in range(120):
        reference = draw.choice(answers + [text(4)])
        said = draw.choice([near(reference), draw.choice(answers), reference + draw.choice([".", "!", "\n", "7", ""])])
        keys = dict(ignore_case=draw.random() < 0.5, ignore_punctuation=draw.random() < 0.3, ignore_numbers=draw.random() < 0.3)
        patterns = draw.choice([[], GSM8K, [r"\s+", r"\b(a|an|the)\b"], [r"[^\w\s]"]])
        # numpy, in which the harness lowers its texts, ends strings at \0 and cuts those that grow back to their length.
        if any("\0" in t or len(t.lower()) != len(t) for t in (said, reference)):
            continue
        found = harness.exact_match_hf_evaluate([said], [reference], regexes_to_ignore=patterns or None, **keys)
        yield dict(prediction=said, reference=reference, regexes_to_ignore=patterns, **keys, exact_match=float(found["exact_match"]))


def filters():
    said = ["The answer is 12.\n#### 12", "#### 1,234.50 and #### -7", "#### -3.", "no number", "", "$1,000.", "5", "a 5 b -66 c $7.", "The answer is (B). So", "####  9",
            "#### ١٢", "x\n#### 4\n#### ", "the answer is yes, it is.\nmore"]
    patterns = [(r"#### (\-?[0-9\.\,]+)", 0), (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1), (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", 0), (r"(?<=he answer is )(.*)(?=.)", 0),
                (r"The answer is \(?([ABC])\)?|([0-9]+)", -1), (r"[0-9]*", -1), (r"\d+$", 0), (r"(?i)THE (\w+)", 0)]
    for pattern, select in patterns:
        rows = said + [text() for _ in range(4)]
        chosen = extraction.RegexFilter(pattern, select, "[invalid]").apply([rows], [{}])[0]
        yield dict(regex_pattern=pattern, group_select=select, responses=rows, filtered=chosen, first=list(selection.TakeFirstFilter().apply([chosen], [{}]))[0],
                   majority=list(selection.MajorityVoteFilter().apply([chosen], [{}]))[0][0],
                   stripped=list(extraction.WhitespaceFilter().apply([rows], [{}]))[0], lower=list(list(transformation.LowercaseFilter().apply([rows], [{}]))[0]))


def normalized(answer):
    """As SQuAD's scripts define it: lower case, no punctuation of string.punctuation, no articles, single spaces."""
    bare = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def word_f1(said, answer, both_empty):
    said, answer = normalized(said).split(), normalized(answer).split()
    if not said or not answer:
        return both_empty if said == answer else 0.0
    shared = sum((collections.Counter(said) & collections.Counter(answer)).values())
    precision, recall = shared / len(said), shared / len(answer)
    return 2 * precision * recall / (precision + recall) if shared else 0.0


HARD = [("The Cat", ["cat"]), ("", ["the"]), ("a", ["an"]), ("“cat”", ["cat"]), ("cat—dog", ["cat dog"]), ("U.S.", ["US"]), ("a\u0301", ["\u0301"]), ("don't", ["dont", "do not"]),
        ("cat cat dog", ["cat", "cat dog dog", "dog"]), ("the", ["the"]), ("1,000", ["1000"]), ("theatre", ["the atre"]), ("a\u00a0cat", ["cat"]), ("ΣΑΣ", ["σας"]), ("", [""])]


def answers():
    rows = HARD + [(near(base), [base] + [near(base) for _ in range(draw.randint(0, 2))]) for base in (text(6) for _ in range(90))]
    for said, true in rows:
        yield dict(prediction=said, answers=true, normalized=normalized(said), exact=float(max(normalized(said) == normalized(t) for t in true)),
                   f1_squad1=float(max(word_f1(said, t, 0.0) for t in true)), f1_squad2=float(max(word_f1(said, t, 1.0) for t in true)))


def squad2():
    for rows, threshold in [(1, 1.0), (12, 1.0), (12, 0.4), (30, 0.7), (3, 0.5), (8, 0.0)] * 2:
        asked = []
        for _ in range(rows):
            said, true = draw.choice(HARD + [(near(b), [b]) for b in [text(4)]])
            true = draw.choice([true, true, []])
            asked.append(dict(prediction=draw.choice([said, said, ""]), answers=true, no_answer=round(draw.random(), draw.choice([1, 6]))))
        golds = [[a for a in row["answers"] if normalized(a)] or [""] for row in asked]
        raw = {"exact": [float(max(normalized(row["prediction"]) == normalized(g) for g in gold)) for row, gold in zip(asked, golds)],
               "f1": [max(word_f1(row["prediction"], g, 1.0) for g in gold) for row, gold in zip(asked, golds)]}
        out = dict(rows=asked, threshold=threshold)
        for kind, scores in raw.items():
            judged = [float(not row["answers"]) if row["no_answer"] > threshold else score for row, score in zip(asked, scores)]
            part = lambda keep: number(np.mean([s for row, s in zip(asked, judged) if keep(row)] or [math.nan]))
            out |= {kind: part(lambda row: True), f"HasAns_{kind}": part(lambda row: row["answers"]), f"NoAns_{kind}": part(lambda row: not row["answers"])}
            # From answering nothing on, rows are answered in the order of their probability; a tie is not waited for.
            total = best = sum(not row["answers"] for row in asked)
            at = 0.0
            for row, score in sorted(zip(asked, scores), key=lambda pair: pair[0]["no_answer"]):
                total += score if row["answers"] else -bool(row["prediction"])
                if total > best:
                    best, at = total, row["no_answer"]
            out |= {f"best_{kind}": best / rows, f"best_{kind}_thresh": at}
        yield out


def multirc():
    for questions in [1, 2, 10]:
        rows = [[[q // 3, q % 3], draw.randrange(2), draw.randrange(2)] for q in range(questions) for _ in range(draw.randint(1, 5))]
        rows = [[q, label if draw.random() < 0.7 else said, label] for q, said, label in rows]
        groups = collections.defaultdict(list)
        for question, said, label in rows:
            groups[tuple(question)].append((said, label))
        f1 = lambda pairs, **keys: sklearn.metrics.f1_score([l for _, l in pairs], [s for s, _ in pairs], zero_division=0, **keys)
        pairs = [pair for group in groups.values() for pair in group]
        yield dict(rows=rows, exact_match=float(np.mean([all(s == l for s, l in group) for group in groups.values()])),
                   f1_m=float(np.mean([f1(group, average="macro") for group in groups.values()])), f1_a=float(f1(pairs)))


def bleus():
    for rows in [1, 1, 1, 2, 3, 5, 20] * 3:
        bases = [text(14) for _ in range(rows)]
        count = draw.randint(1, 3)
        references = [[near(base) for _ in range(count)] for base in bases]
        said = [near(base) for base in bases]
        yield dict(hypotheses=said, references=references, tokens=[Tokenizer13a()(s.rstrip()) for s in said],
                   bleu=harness.bleu(list(zip(references, said))))
    for said, other in [("", "a b c d"), ("a b c", "a b c"), ("a b c d", "a b c d"), ("x y z w", "a b c d"), ("a b c d e", "a x c y e")]:
        yield dict(hypotheses=[said], references=[[other]], tokens=[Tokenizer13a()(said.rstrip())], bleu=sacrebleu.corpus_bleu([said], [[other]]).score)


def rouges():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=False)
    for _ in range(60):
        base = "\n".join(text(7) for _ in range(draw.randint(1, 4)))
        said = "\n".join(near(line) for line in base.split("\n"))
        yield dict(prediction=said, reference=base, **{key: list(map(float, value)) for key, value in scorer.score(base, said).items()})


def mmlu():
    source = pathlib.Path(harness.__file__).parent.parent / "tasks/mmlu/_generate_configs.py"
    subjects = eval(re.search(r"SUBJECTS = (\{.*?\})", source.read_text(), re.S)[1])
    results = {name: (draw.randint(0, 50), draw.randint(50, 200)) for name in subjects}
    weighted = lambda names: harness.aggregate_subtask_metrics([results[n][0] / results[n][1] for n in names], [results[n][1] for n in names])
    yield dict(results=[[name, *counts] for name, counts in results.items()], categories=subjects, all=weighted(subjects),
               by_category={c: weighted([n for n in subjects if subjects[n] == c]) for c in set(subjects.values())},
               mean_of_subjects=harness.aggregate_subtask_metrics([r / n for r, n in results.values()], [1] * 57))


def errors():
    for rows in [2, 5, 50]:
        values = [draw.choice([0.0, 1.0, draw.random()]) for _ in range(rows)]
        groups = [[draw.randint(2, 90), draw.random() / 10] for _ in range(rows)]
        yield dict(values=values, mean_stderr=harness.mean_stderr(values), groups=groups,
                   pooled=float(harness.pooled_sample_stderr([e for _, e in groups], [n for n, _ in groups])))


def lines():
    for rows, noise in [(3, 1.0), (4, 100.0), (12, 3.0), (5, 0.0)]:
        points = [[float(64 * i + draw.randrange(9)), 5e6 + 1e4 * i + draw.gauss(0, noise) * 1e3] for i in range(rows)]
        if noise == 0.0:
            points = [[float(i), 3.0 + 2.0 * i] for i in range(rows)]
        fit = scipy.stats.linregress(*zip(*points))
        margin = scipy.stats.t.ppf(0.975, rows - 2)
        yield dict(points=points, intercept=fit.intercept, slope=fit.slope, intercept_error=fit.intercept_stderr, slope_error=fit.stderr, r_squared=fit.rvalue**2,
                   low=fit.slope - margin * fit.stderr, high=fit.slope + margin * fit.stderr)


def pairs():
    """Two methods of several seeds on the same rows, right or wrong."""
    for seeds, rows in [(1, 8), (1, 14), (3, 10), (4, 12), (2, 16)]:
        run = lambda skill: [[float(draw.random() < skill) for _ in range(rows)] for _ in range(seeds)]
        a, b = run(0.8), run(0.5)
        of_rows = lambda runs: np.mean(runs, axis=0)
        difference = lambda x, y, axis=-1: np.mean(x, axis=axis) - np.mean(y, axis=axis)
        test = lambda x, y, kind: float(scipy.stats.permutation_test((x, y), difference, permutation_type=kind, n_resamples=np.inf, vectorized=True).pvalue)
        only = (sum(x > y for x, y in zip(a[0], b[0])), sum(x < y for x, y in zip(a[0], b[0])))
        split = scipy.stats.binomtest(only[0], sum(only)) if sum(only) else None
        ends = split.proportion_ci(0.95, "exact") if split else None
        odds = lambda share: None if share == 1 else share / (1 - share)
        scores = ([float(np.mean(r)) for r in a], [float(np.mean(r)) for r in b])
        yield dict(a=a, b=b, swap_rows=test(of_rows(a), of_rows(b), "samples"), regroup_seeds=test(*scores, "independent") if seeds > 1 else 1.0,
                   superiority=float(scipy.stats.mannwhitneyu(*scores).statistic) / seeds**2, first_only=only[0], second_only=only[1],
                   mcnemar=float(split.pvalue) if split else 1.0, odds_low=odds(ends.low) if split else 0.0, odds_high=odds(ends.high) if split else None)


def answered(metric, rows, skill):
    """A run's answers, as records have them."""
    said = [t if draw.random() < skill else 1 - t for t in TRUTH[:rows]]
    if metric in ("pearson", "spearman", "pearson_spearman"):
        numbers = [i / 4 + draw.gauss(0, 3 * (1 - skill)) for i in range(rows)]
        return {"numbers": dict(targets=[i / 4 for i in range(rows)], predictions=numbers)}
    if metric == "perplexity":
        return {"nats": dict(nats=[(2 - skill) * (1 + i % 4) * draw.uniform(0.5, 1.5) for i in range(rows)], counts=[1 + i % 4 for i in range(rows)])}
    if metric == "multirc":
        labels = [[t, 1 - t, i % 2][: 2 + i % 2] for i, t in enumerate(TRUTH[:rows])]
        return {"judged": dict(labels=labels, predictions=[[x if draw.random() < skill else 1 - x for x in of] for of in labels])}
    return {"labels": dict(labels=TRUTH[:rows], predictions=said)}


TRUTH = [int(i * i * 7 % 10 < 5) for i in range(200)]


def scored(metric, first, then, rows):
    """Score of these rows of two runs' answers, the one's after the other's."""
    (kind, a), b = next(iter(first.items())), next(iter(then.values()))
    every = {key: [(a[key] + b[key])[row] for row in rows] for key in a}
    if kind == "nats":
        return math.exp(sum(every["nats"]) / sum(every["counts"]))
    if kind == "judged":
        flat = lambda key: [x for of in every[key] for x in of]
        alike = np.mean([p == l for p, l in zip(every["predictions"], every["labels"])])
        return (alike + sklearn.metrics.f1_score(flat("labels"), flat("predictions"), zero_division=0)) / 2
    if kind == "numbers":
        found = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}
        return np.mean([f(every["targets"], every["predictions"])[0] for name, f in found.items() if name in metric])
    truth, said = every["labels"], every["predictions"]
    f1 = lambda **keys: sklearn.metrics.f1_score(truth, said, zero_division=0, **keys)
    return {"matthews": lambda: sklearn.metrics.matthews_corrcoef(truth, said), "f1": f1, "f1_macro": lambda: f1(average="macro"),
            "accuracy_f1": lambda: (sklearn.metrics.accuracy_score(truth, said) + f1()) / 2}[metric]()


def swapped():
    """Two methods whose score is no mean of rows: whole answers of a row exchanged, in all seeds at once."""
    for metric in "matthews f1 f1_macro accuracy_f1 pearson spearman pearson_spearman perplexity multirc".split():
        for seeds, rows in [(1, 9), (2, 8)]:
            a, b = ([answered(metric, rows, skill) for _ in range(seeds)] for skill in (0.95, 0.4))
            mean = lambda picks: np.mean([scored(metric, x, y, picks) for x, y in zip(a, b)])
            difference = lambda x, y: mean(x) - mean(y)
            test = scipy.stats.permutation_test((np.arange(rows), np.arange(rows) + rows), difference, permutation_type="samples", n_resamples=np.inf, vectorized=False)
            yield dict(metric=metric, a=a, b=b, difference=float(test.statistic), p=float(test.pvalue))


def bootstrapped():
    """Differences of two runs on the same rows with BCa intervals of 20,000 draws of the rows."""
    for metric in ["matthews", "f1", "pearson", "perplexity"]:
        rows = 120
        a, b = answered(metric, rows, 0.85), answered(metric, rows, 0.75)
        difference = lambda picks: scored(metric, a, b, picks) - scored(metric, a, b, picks + rows)
        found = scipy.stats.bootstrap((np.arange(rows),), difference, n_resamples=20_000, vectorized=False, method="BCa", rng=0)
        yield dict(metric=metric, a=a, b=b, difference=float(difference(np.arange(rows))), low=float(found.confidence_interval.low), high=float(found.confidence_interval.high))


def main():
    parts = [labels, correlations, choices, rolling, exact_matches, filters, answers, squad2, multirc, bleus, rouges, mmlu, errors, lines, pairs, swapped, bootstrapped]
    golden = {part.__name__: list(part()) for part in parts}
    body = ",\n".join(f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]" for name, rows in golden.items())
    OUT.write_text("{\n" + body + "\n}\n", encoding="utf-8")
    print({name: len(rows) for name, rows in golden.items()}, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
