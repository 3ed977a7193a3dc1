"""The study, and what every rule needs. Rules ask the study for names, plans and paths; they compute none."""

import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from pruning_vs_scratch.artifacts import manifest_of
from pruning_vs_scratch.cli import require_project_folder
from pruning_vs_scratch.cluster.allocation import Allocation
from pruning_vs_scratch.cluster.preflight import require_ready
from pruning_vs_scratch.cluster.site import read_site
from pruning_vs_scratch.config.load import read_study_file
from pruning_vs_scratch.config.places import naming_lines
from pruning_vs_scratch.data.benchmarks import PACKAGE
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures.catalogue import figures_of, needed_tables
from pruning_vs_scratch.files import canonical_json
from pruning_vs_scratch.study import Study
from pruning_vs_scratch.study.command_lines import (
    acquisition_options,
    corpora_to_score,
    pruning_options,
    reading_options,
    saving,
    scoring_options,
    tokenizer_options,
    training_options,
)
from pruning_vs_scratch.study.evaluation import packaged_benchmarks, task_requests
from pruning_vs_scratch.study.inputs import pruning_inputs, starting_point
from pruning_vs_scratch.study.plan import SAVING
from pruning_vs_scratch.study.priority import priority_of
from pruning_vs_scratch.tables.published.catalogue import ReportFolder, pages_of, published_of
from pruning_vs_scratch.tables.chosen_shapes import searches_of

try:
    require_project_folder()
    # Snakemake has read them already, and dropped without a word what stands twice.
    for file in workflow.configfiles:
        read_study_file(Path(file))
    # The default study first; lines of files say nothing of what --config sets.
    files = sorted(
        map(Path, workflow.configfiles), key=lambda file: file != Path("config/config.yaml")
    )
    with naming_lines([] if workflow.config_settings.config else files):
        study = Study(config)
    source_files = study.sources.files
    allocation = Allocation(study, read_site())
except UserError as error:
    raise WorkflowError(str(error)) from None

paths = study.paths
figures = figures_of(study)
pages, published = pages_of(bool(study.arms)), published_of(bool(study.arms))
ENVIRONMENT = f"../../envs/{'gpu' if study.config.cluster.gpus else 'cpu'}.yaml"

# With --sdm conda, python is that of the rule's environment; without, that of the environment that runs Snakemake.
if not workflow.deployment_settings.deployment_method:
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


onstart:
    if workflow.executor_plugin.name == "slurm":
        try:
            require_ready(allocation)
        except UserError as error:
            raise WorkflowError(str(error)) from None


wildcard_constraints:
    run="[^/]+",
    target="[^/]+",
    group="[^/]+",
    corpus="[^/]+",
    part="part-[0-9]+",
    file="[^/]+",
