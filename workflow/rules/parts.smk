"""Training text of a numbered source, too much for one process: each part is fetched, tokenised and searched alone."""


rule acquire_part:
    """Fetch the files of one part from the hub."""
    output:
        part=directory(paths.frozen("{key}") / "{part}"),
        manifest=manifest_of(paths.frozen("{key}") / "{part}"),
    log:
        paths.logs / "acquire_part" / "{key}" / "{part}.log",
    wildcard_constraints:
        key=re.escape(study.numbered_source.key),
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        dataset=study.numbered_source.dataset,
        revision=study.numbered_source.revision,
        files=lambda wildcards: study.parts[wildcards.part].files,
    message:
        "Download {wildcards.part}"
    shell:
        "python workflow/scripts/acquire_part.py --dataset {params.dataset:q} --revision {params.revision:q}"
        " --files {params.files:q} --out {output.part:q} --manifest {output.manifest:q} 2> {log:q}"


if study.tokenizer_folder is None:

    rule train_tokenizer:
        """Train the byte-level BPE on the training documents of the first part."""
        input:
            study.first_part,
        output:
            tokenizer=directory(paths.tokenizer),
            manifest=paths.resources / "tokenizer.manifest.json",
        log:
            paths.logs / "train_tokenizer.log",
        benchmark:
            paths.benchmarks / "train_tokenizer.tsv"
        conda:
            ENVIRONMENT
        resources:
            **allocation.part(1),
        params:
            files=list(study.parts.values())[0].files,
            corpus=lambda wildcards: study.config.corpus.model_dump_json(),
            vocab_size=study.config.tokenizer.vocab_size,
        message:
            "Train the tokenizer"
        shell:
            "python workflow/scripts/train_tokenizer.py --part {input:q} --files {params.files:q}"
            " --corpus {params.corpus:q} --vocab-size {params.vocab_size}"
            " --out {output.tokenizer:q} --manifest {output.manifest:q} 2> {log:q}"


rule tokenize_part:
    """Divide the documents of one part into splits, and write the training split as tokens."""
    input:
        part=lambda wildcards: study.acquired_parts[wildcards.part],
        tokenizer=paths.tokenizer,
    output:
        tokens=directory(paths.part("{part}") / "tokens"),
        held_out=directory(paths.part("{part}") / "held_out"),
        manifest=paths.part_manifest("{part}"),
    log:
        paths.logs / "tokenize_part" / "{part}.log",
    benchmark:
        paths.benchmarks / "tokenize_part" / "{part}.tsv"
    conda:
        ENVIRONMENT
    threads: study.config.training.threads
    resources:
        **allocation.part(study.config.training.threads),
    params:
        files=lambda wildcards: study.parts[wildcards.part].files,
        corpus=lambda wildcards: study.config.corpus.model_dump_json(),
        shard_tokens=study.config.tokenizer.shard_tokens,
    message:
        "Tokenise {wildcards.part}"
    shell:
        "python workflow/scripts/tokenize_part.py --part {input.part:q} --files {params.files:q}"
        " --corpus {params.corpus:q} --tokenizer {input.tokenizer:q} --shard-tokens {params.shard_tokens}"
        " --threads {threads} --tokens {output.tokens:q} --held-out {output.held_out:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule gather_held_out:
    """Bring together what is held out of all parts, and the evaluation corpora."""
    input:
        source_files,
        parts=[paths.part(part) / "held_out" for part in study.parts],
    output:
        held_out=directory(paths.held_out),
        manifest=manifest_of(paths.held_out),
    log:
        paths.logs / "gather_held_out.log",
    benchmark:
        paths.benchmarks / "gather_held_out.tsv"
    conda:
        ENVIRONMENT
    resources:
        **allocation.text,
    params:
        corpus=lambda wildcards: study.config.corpus.model_dump_json(),
        fetched=[f"--fetched={name}={path}" for name, path in study.fetched.items()],
    message:
        "Gather the held-out text"
    shell:
        "python workflow/scripts/gather_held_out.py --corpus {params.corpus:q} --parts {input.parts:q}"
        " {params.fetched:q} --out {output.held_out:q} --manifest {output.manifest:q} 2> {log:q}"


rule find_overlap:
    """Find what the training text of one part shares with held-out text."""
    input:
        part=lambda wildcards: study.acquired_parts[wildcards.part],
        held_out=paths.held_out,
    output:
        overlap=paths.part_overlap("{part}"),
        manifest=manifest_of(paths.part_overlap("{part}")),
    log:
        paths.logs / "find_overlap" / "{part}.log",
    benchmark:
        paths.benchmarks / "find_overlap" / "{part}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **allocation.part(1),
    params:
        files=lambda wildcards: study.parts[wildcards.part].files,
        corpus=lambda wildcards: study.config.corpus.model_dump_json(),
    message:
        "Compare {wildcards.part} with the held-out text"
    shell:
        "python workflow/scripts/find_overlap.py --part {input.part:q} --files {params.files:q}"
        " --corpus {params.corpus:q} --held-out {input.held_out:q} --out {output.overlap:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule drop_overlap:
    """Drop held-out text that overlaps the training text of any part."""
    input:
        held_out=paths.held_out,
        overlaps=[paths.part_overlap(part) for part in study.parts],
    output:
        corpora=expand(paths.corpora / "{corpus}.jsonl", corpus=study.extracted_corpora),
        manifest=paths.corpora / "manifest.json",
    log:
        paths.logs / "drop_overlap.log",
    benchmark:
        paths.benchmarks / "drop_overlap.tsv"
    conda:
        ENVIRONMENT
    resources:
        **allocation.text,
    params:
        corpus=lambda wildcards: study.config.corpus.model_dump_json(),
        out=paths.corpora,
    message:
        "Drop held-out text that overlaps the training text"
    shell:
        "python workflow/scripts/drop_overlap.py --corpus {params.corpus:q} --held-out {input.held_out:q}"
        " --overlaps {input.overlaps:q} --out {params.out:q} --manifest {output.manifest:q} 2> {log:q}"


rule join_parts:
    """Make one training text of the tokens of all parts: an index, no copy."""
    input:
        [paths.part(part) / "tokens" for part in study.parts],
    output:
        tokens=directory(paths.tokens / "train"),
        manifest=paths.tokens / "train.manifest.json",
    log:
        paths.logs / "join_parts.log",
    conda:
        ENVIRONMENT
    resources:
        **allocation.text,
    message:
        "Join the tokens of all parts"
    shell:
        "python workflow/scripts/join_parts.py --parts {input:q} --out {output.tokens:q}"
        " --manifest {output.manifest:q} 2> {log:q}"
