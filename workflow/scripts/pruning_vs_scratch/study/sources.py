"""Sources of a study's text, benchmarks and published checkpoints, and where they are stored here. No torch."""

from functools import cached_property
from pathlib import Path

from pruning_vs_scratch.config.checkpoint import PypiCheckpoint
from pruning_vs_scratch.config.corpus import HubSource, PathSource, PypiSource, Source
from pruning_vs_scratch.config.hub import HubDataset
from pruning_vs_scratch.config.pypi import PypiFile
from pruning_vs_scratch.config.study import StudyConfig
from pruning_vs_scratch.data.benchmarks import PACKAGE
from pruning_vs_scratch.data.folders import files_read
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.study.checkpoints import Acquisition, parent_acquisition, tokenizer_acquisition
from pruning_vs_scratch.study.evaluation import benchmark_datasets, packaged_benchmarks
from pruning_vs_scratch.study.paths import Paths


class StudySources:
    """External inputs of a study."""

    def __init__(self, config: StudyConfig, paths: Paths) -> None:
        self._config = config
        self._paths = paths

    @cached_property
    def used(self) -> dict[str, Source]:
        """Sources that some corpus reads, by name."""
        corpus = self._config.corpus
        used = {documents.source for documents in (*corpus.train, *corpus.evaluation.values())}
        return {name: source for name, source in corpus.sources.items() if name in used}

    @cached_property
    def downloads(self) -> dict[str, PypiFile]:
        """Files of packages to fetch, by the name of their source or other reader."""
        found: dict[str, PypiFile] = {n: s for n, s in self.used.items() if isinstance(s, PypiSource)}
        found |= {key: a.source for key, a in self.acquisitions.items() if isinstance(a.source, PypiCheckpoint)}
        found |= {PACKAGE.project: PACKAGE} if packaged_benchmarks(self._config) else {}
        fields = set(PypiFile.model_fields)
        return {name: PypiFile(**source.model_dump(include=fields)) for name, source in found.items()}

    @cached_property
    def frozen(self) -> dict[str, HubDataset]:
        """Data sets of the hub to fetch, by their keys."""
        fields = set(HubDataset.model_fields)
        sources = [HubDataset(**s.model_dump(include=fields)) for s in self.used.values() if isinstance(s, HubSource)]
        return {dataset.key: dataset for dataset in (*sources, *benchmark_datasets(self._config))}

    @cached_property
    def fetched(self) -> dict[str, Path]:
        """Paths of fetched sources that are not local: a file of a package, or a frozen folder."""
        return {
            name: self._paths.download(s.file) if isinstance(s, PypiSource) else self._paths.frozen(s.key)
            for name, s in self.used.items()
            if isinstance(s, PypiSource | HubSource)
        }

    @cached_property
    def files(self) -> list[Path]:
        """All files from which corpora are read, except for parts: fetched ones, and those of local folders.

        Raises:
            UserError: a folder cannot be listed, or a file of text in it has a name that is not UTF-8 or holds braces,
                which Snakemake takes for a wildcard.
        """
        corpus = self._config.corpus
        local = []
        for name, source in self.used.items():
            if isinstance(source, PathSource):
                sets = [some for some in (*corpus.train, *corpus.evaluation.values()) if some.source == name]
                local += [Path(source.path, file) for file in files_read(source, sets)]
        for file in local:
            if {"{", "}"} & set(str(file)):
                raise UserError(f"{file}: Snakemake takes braces in a name for a wildcard: rename the file")
        return [*self.fetched.values(), *local]

    @cached_property
    def acquisitions(self) -> dict[str, Acquisition]:
        """Published checkpoints, or their tokenizers alone, by their keys."""
        wanted = (parent_acquisition(self._config), tokenizer_acquisition(self._config))
        return {acquisition.key: acquisition for acquisition in wanted if acquisition is not None}

    def acquisition_inputs(self, key: str) -> list[Path]:
        """Files from which a checkpoint is taken, if they are already on this machine or fetched by another rule."""
        from pruning_vs_scratch.parents.folder import local_files

        source = self.acquisitions[key].source
        if isinstance(source, PypiCheckpoint):
            return [self._paths.download(source.file)]
        return local_files(source, self.acquisitions[key].content) if source.kind == "path" else []

    @property
    def parent_folder(self) -> Path | None:
        """Path of an acquired published parent; None for a parent that the study pretrains."""
        acquisition = parent_acquisition(self._config)
        return self._paths.checkpoint(acquisition.key) if acquisition else None

    @property
    def tokenizer_folder(self) -> Path | None:
        """Path of the checkpoint whose tokenizer is taken; None for a tokenizer that the study trains."""
        acquisition = tokenizer_acquisition(self._config)
        return self._paths.checkpoint(acquisition.key) if acquisition else None
