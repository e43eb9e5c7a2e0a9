"""Writes the built-in VADER splits as label<TAB>text files, so that other programs can be run on the same rows.

    python tests/vader_as_tsv.py OUT_DIR [TRAIN_ROWS]

It reads the sentences by itself, following the words of crates/tenfold/src/data/vader.rs and not its code.
"""
import hashlib
import pathlib
import sys

SOURCE = pathlib.Path(__file__).parent.parent / "crates/tenfold/data/vader"
DOMAINS = {"movie": "movieReviewSnippets", "amazon": "amazonReviewSnippets", "nyt": "nytEditorialSnippets", "tweets": "tweets"}


def rows(domain, stem):
    """(label, text) of the rows with a clear rating, each text once, in the order of the SHA-256 of domain/id."""
    seen, kept = set(), []
    for line in (SOURCE / f"{stem}_GroundTruth.txt").read_text(encoding="latin-1").split("\n"):
        row_id, rating, text = line.rstrip("\r\n").split("\t")
        text = text.strip()
        if abs(float(rating)) >= 1 and text not in seen:
            seen.add(text)
            order = hashlib.sha256(f"{domain}/{row_id}".encode()).hexdigest()
            kept.append((order, int(float(rating) > 0), text))
    return [(label, text) for _, label, text in sorted(kept)]


def main():
    out = pathlib.Path(sys.argv[1])
    train_rows = int(sys.argv[2]) if len(sys.argv) > 2 else None
    out.mkdir(parents=True, exist_ok=True)
    splits = {}
    for domain, stem in DOMAINS.items():
        kept = rows(domain, stem)
        splits[domain] = kept[:1000]
        if domain == "movie":
            splits["movie_train"] = kept[1500:][:train_rows]
    for name, split in splits.items():
        text = "".join(f"{label}\t{text}\n" for label, text in split)
        (out / f"{name}.tsv").write_text(text, encoding="utf-8")
        print(name, len(split), hashlib.sha256(text.encode()).hexdigest())


main()
