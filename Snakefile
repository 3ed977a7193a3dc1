"""Prune or train from scratch? The study of config/config.yaml (or of an overlay) as a graph of files.

snakemake -c 2                                        the default study, "demo"
snakemake -c 2 --configfile config/smoke.yaml         another study
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


# With --sdm apptainer. Built by hand, see docs/hpc.md.
container: "envs/pruning_vs_scratch.sif"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/acquire.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/shapes.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        # What was found to be altered is deleted with its manifest, and then made again.
        expand(paths.manifest("{run}"), run=study.recorded_runs),
        expand(paths.evaluation / "{group}.manifest.json", group=study.evaluation_groups),
        rules.check_text.output,
        [paths.joined_check(text) for text in study.text.joined],
        rules.tabulate.output,
        rules.state_claims.output,
        rules.publish_tables.output,
        rules.draw_figures.output,
        expand(rules.write_page.output, page=pages),
        rules.write_report.output,
        rules.choose_learning_rates.output if study.trials else [],
        rules.choose_shapes.output if study.candidates else [],
