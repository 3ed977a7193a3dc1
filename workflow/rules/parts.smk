"""Training text of a numbered source, too much for one process: each part is fetched and tokenised alone.

No job reads a part that its runs do not need, so a larger budget adds jobs and changes none.
"""

SOURCE = study.config.corpus.numbered_source
PART = [
    f"--text-key={SOURCE.text_key}",
    f"--broken-lines={SOURCE.broken_lines}",
]
SPLITS = study.config.corpus.splits.model_dump_json()


rule acquire_part:
    """Fetch the files of one part from the hub."""
    output:
        part=directory(paths.frozen("{key}") / "{part}"),
        manifest=manifest_of(paths.frozen("{key}") / "{part}"),
    log:
        paths.logs / "acquire_part" / "{key}" / "{part}.log",
    wildcard_constraints:
        key=re.escape(SOURCE.key),
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        dataset=SOURCE.dataset,
        revision=SOURCE.revision,
        files=lambda wildcards: study.text.parts[wildcards.part].files,
    message:
        "Download {wildcards.part}"
    shell:
        "python workflow/scripts/acquire_part.py --dataset {params.dataset:q} --revision {params.revision:q}"
        " --files {params.files:q} --out {output.part:q} --manifest {output.manifest:q} 2> {log:q}"


if study.sources.tokenizer_folder is None:

    rule train_tokenizer:
        """Train the byte-level BPE on the training documents of the first part."""
        input:
            study.text.first_part,
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
            **allocation.part,
        params:
            files=list(study.text.parts.values())[0].files,
            part=PART,
            splits=SPLITS,
            vocab_size=study.config.tokenizer.vocab_size,
        message:
            "Train the tokenizer"
        shell:
            "python workflow/scripts/train_tokenizer_on_part.py --part {input:q} --files {params.files:q} {params.part:q}"
            " --splits {params.splits:q} --vocab-size {params.vocab_size}"
            " --out {output.tokenizer:q} --manifest {output.manifest:q} 2> {log:q}"


rule divide_part:
    """Put aside the held-out documents of one of the first parts."""
    input:
        lambda wildcards: study.text.acquired_parts[wildcards.part],
    output:
        held_out=directory(paths.part("{part}") / "held_out"),
        manifest=manifest_of(paths.part("{part}") / "held_out"),
    log:
        paths.logs / "divide_part" / "{part}.log",
    benchmark:
        paths.benchmarks / "divide_part" / "{part}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **allocation.part,
    params:
        files=lambda wildcards: study.text.parts[wildcards.part].files,
        part=PART,
        splits=SPLITS,
    message:
        "Divide {wildcards.part}"
    shell:
        "python workflow/scripts/divide_part.py --part {input:q} --files {params.files:q} {params.part:q}"
        " --splits {params.splits:q} --out {output.held_out:q} --manifest {output.manifest:q} 2> {log:q}"


rule gather_held_out:
    """Bring together what is held out of the first parts, and the evaluation corpora."""
    input:
        source_files,
        parts=[paths.part(part) / "held_out" for part in study.text.held_out_parts],
    output:
        corpora=expand(paths.corpora / "{corpus}.jsonl", corpus=study.text.extracted_corpora),
        runs=paths.held_out_runs,
        manifest=paths.corpora / "manifest.json",
    log:
        paths.logs / "gather_held_out.log",
    benchmark:
        paths.benchmarks / "gather_held_out.tsv"
    conda:
        ENVIRONMENT
    resources:
        **allocation.text,
    params:
        # How many tokens a file of the training text holds is nothing to it.
        corpus=lambda wildcards: study.config.corpus.without_numbered_source().model_dump_json(),
        fetched=[f"--fetched={name}={path}" for name, path in study.sources.fetched.items()],
        out=paths.corpora,
    message:
        "Gather the held-out text"
    shell:
        "python workflow/scripts/gather_held_out.py --corpus {params.corpus:q} --parts {input.parts:q}"
        " {params.fetched:q} --out {params.out:q} --runs {output.runs:q} --manifest {output.manifest:q} 2> {log:q}"


rule tokenize_part:
    """Write the training text of one part as tokens, without what it shares with held-out text."""
    input:
        part=lambda wildcards: study.text.acquired_parts[wildcards.part],
        held_out=paths.held_out_runs,
        tokenizer=paths.tokenizer,
    output:
        tokens=directory(paths.part("{part}") / "tokens"),
        manifest=manifest_of(paths.part("{part}") / "tokens"),
    log:
        paths.logs / "tokenize_part" / "{part}.log",
    benchmark:
        paths.benchmarks / "tokenize_part" / "{part}.tsv"
    conda:
        ENVIRONMENT
    # One: half of the time goes into comparing the text, which one thread does.
    threads: 1
    resources:
        **allocation.part,
    params:
        files=lambda wildcards: study.text.parts[wildcards.part].files,
        part=PART,
        splits=lambda wildcards: (
            [f"--splits={SPLITS}"] if wildcards.part in study.text.held_out_parts else []
        ),
        # Triggers no rerun, as for other corpora.
        shard_tokens=lambda wildcards, output: study.config.tokenizer.shard_tokens,
    message:
        "Tokenise {wildcards.part}"
    shell:
        "python workflow/scripts/tokenize_part.py --part {input.part:q} --files {params.files:q} {params.part:q}"
        " {params.splits:q} --held-out {input.held_out:q} --tokenizer {input.tokenizer:q}"
        " --shard-tokens {params.shard_tokens} --threads {threads} --out {output.tokens:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule join_parts:
    """Make one training text of the tokens of the parts that some runs need: an index, no copy."""
    input:
        lambda wildcards: [
            paths.part(part) / "tokens" for part in study.text.joined[wildcards.text]
        ],
    output:
        tokens=directory(paths.joined_text("{text}")),
        manifest=manifest_of(paths.joined_text("{text}")),
    log:
        paths.logs / "join_parts" / "{text}.log",
    wildcard_constraints:
        text="|".join(study.text.joined),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parts=lambda wildcards: [
            f"--part={part}={paths.part(part) / 'tokens'}"
            for part in study.text.joined[wildcards.text]
        ],
    message:
        "Join the tokens of {wildcards.text}"
    shell:
        "python workflow/scripts/join_parts.py {params.parts:q} --out {output.tokens:q}"
        " --manifest {output.manifest:q} 2> {log:q}"


rule check_joined_text:
    """Compare the tokens of some parts with what runs read of them, and with what they should hold."""
    input:
        paths.joined_text("{text}"),
    output:
        # No input of training, as that of check_text.
        paths.joined_check("{text}"),
    log:
        paths.logs / "check_joined_text" / "{text}.log",
    wildcard_constraints:
        text="|".join(study.text.joined),
    # Before any run begins that waits for the same text.
    priority: 2**100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        tokens=paths.tokens,
        needs=lambda wildcards: canonical_json(
            {f"train/{wildcards.text}": study.text.joined_needs(wildcards.text)}
        ),
        text_reading=study.reading.model_dump_json(),
        estimate=lambda wildcards: study.text.joined_tokens(wildcards.text),
    message:
        "Check that there is enough text in {wildcards.text}"
    shell:
        "python workflow/scripts/check_text.py --tokens {params.tokens:q} --needs {params.needs:q}"
        " --reading {params.text_reading:q} --in-parts --estimate {params.estimate} --manifest {output:q} 2> {log:q}"
