"""Read the documents of a study, divide them, and drop held-out text that overlaps the training text."""

import argparse
from pathlib import Path

from pruning_vs_scratch import cli
from pruning_vs_scratch.config.corpus import CorpusConfig, PathSource
from pruning_vs_scratch.data.corpora import extract_corpora
from pruning_vs_scratch.data.folders import files_read
from pruning_vs_scratch.manifest import ManifestWriter


def main() -> None:
    """Parse the arguments and extract."""
    arguments = _parser().parse_args()
    corpus = CorpusConfig.from_option("--corpus", arguments.corpus)
    fetched = dict(arguments.fetched)
    manifest = ManifestWriter("extract_documents", {"corpus": corpus.without_folders()})
    facts = extract_corpora(corpus, fetched, arguments.out)
    for name, source in corpus.sources.items():
        if isinstance(source, PathSource):
            sets = [some for some in (*corpus.train, *corpus.evaluation.values()) if some.source == name]
            manifest.add_files(name, Path(source.path), files_read(source, sets))
    for name, place in fetched.items():
        manifest.add_input(name, place)
    manifest.write(arguments.manifest, {name: arguments.out / f"{name}.jsonl" for name in facts}, {"corpora": facts})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_corpus(parser)
    cli.add_fetched(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for one .jsonl file a corpus")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write")
    return parser


if __name__ == "__main__":
    cli.run(main)
