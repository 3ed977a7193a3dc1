"""Which files of a repository of the hub make a checkpoint, and fetching them."""

from pathlib import Path

from pruning_vs_scratch.config.checkpoint import HubCheckpoint
from pruning_vs_scratch.files import INDEX_FILE
from pruning_vs_scratch.hub_files import Repository, fetch_all, listed
from pruning_vs_scratch.parents.files import required_weights, shards_of, small_files
from pruning_vs_scratch.study.checkpoints import Content


def download(source: HubCheckpoint, content: Content, folder: Path) -> list[str]:
    """Complete a folder with the files of a checkpoint, and return their names.

    Files that are there and right are kept, those that are there in part are gone on with.

    Raises:
        UserError: the repository, the revision or a file cannot be had, a hash differs, or the disk is too small.
    """
    repository = Repository("model", source.repository, source.revision, source.sha256)
    files = listed(repository)
    names = small_files(files, content, source.label)
    if content == "model":
        entry = required_weights(files, source.label)
        if entry == INDEX_FILE:
            fetch_all(repository, [files[entry]], folder)
            names += [entry, *shards_of(folder / entry, files, source.label)]
        else:
            names.append(entry)
    fetch_all(repository, [files[name] for name in names], folder)
    return names
