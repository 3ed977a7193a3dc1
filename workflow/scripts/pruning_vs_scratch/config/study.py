"""The whole configuration of a study."""

from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import LONGEST_NAME, Section
from pruning_vs_scratch.config.cluster import ClusterConfig
from pruning_vs_scratch.config.corpus import CorpusConfig
from pruning_vs_scratch.config.evaluation import ClaimsConfig, EvaluationConfig
from pruning_vs_scratch.config.figures import FiguresConfig
from pruning_vs_scratch.config.model import ParentConfig, TargetsConfig
from pruning_vs_scratch.config.pruning import BaselinesConfig, Comparison, PruningConfig
from pruning_vs_scratch.config.publishing import PublishingConfig
from pruning_vs_scratch.config.shape_search import ShapeSearchConfig
from pruning_vs_scratch.config.sweep import SweepConfig
from pruning_vs_scratch.config.tokenizer import TokenizerConfig
from pruning_vs_scratch.config.training import TrainingConfig

MOST_SEEDS = 1000


class StudyConfig(Section):
    """A study: one parent, its pruned children, and their baselines from scratch."""

    study: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=LONGEST_NAME)]
    """Name of the study and of its folders under results/ and figures/."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(min_length=1, max_length=MOST_SEEDS)
    """Seeds of initial weights and data order. The whole pipeline runs once per seed."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    parent: ParentConfig
    targets: TargetsConfig
    matrix: list[Comparison] = Field(min_length=1)
    """Blocks of comparisons; their union is the study."""
    pruning: PruningConfig
    baselines: BaselinesConfig = BaselinesConfig()
    training: TrainingConfig
    sweep: SweepConfig | None = None
    """Search for the peak learning rate; none unless given."""
    shape_search: ShapeSearchConfig | None = None
    """Search for the shapes of width targets; none unless given."""
    evaluation: EvaluationConfig
    claims: ClaimsConfig = ClaimsConfig()
    cluster: ClusterConfig = ClusterConfig()
    figures: FiguresConfig = FiguresConfig()
    publishing: PublishingConfig = PublishingConfig()
