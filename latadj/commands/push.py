"""latadj push: a checkpoint to the Hugging Face hub, with its dial and a model card."""

import logging
from pathlib import Path

from latadj.checkpoints.hub_folder import model_files
from latadj.checkpoints.metadata import check
from latadj.checkpoints.run_folder import model_folder
from latadj.reporting.model_card import model_card, sweep_of
from latadj.utils import hub

log = logging.getLogger("latadj")
CARD = "README.md"


def run(
    path: Path, name: str, *, private: bool = False, revision: str | None = None, license_name: str | None = None
) -> str:
    """Send the checkpoint of a folder to a repository of the hub, which is made if there is none.

    Only the files of a saved model go there, ``latadj.json`` among them, in one commit with a model card. A
    ``README.md`` in the folder takes the card's place.

    Parameters
    ----------
    path : a checkpoint's folder, or that of the run that made it
    name : of the repository, as in name/of-repo
    private : whether a repository that is made is seen by its owner alone
    revision : branch to write to, made if there is none; the main branch when left out
    license_name : of the model, as the hub spells it

    Returns
    -------
    address of the commit

    Raises
    ------
    ValueError
        if there is no whole checkpoint, the name cannot be one, nobody is logged in, or the hub refuses or is away.
    """
    folder = model_folder(path)
    metadata = check(folder)
    hub.check_repository(name)
    own = folder / CARD
    sweep = sweep_of(folder, metadata)
    if sweep is None and not own.is_file():
        log.warning("no sweep of this checkpoint beside it: the model card has no table; `latadj sweep` measures one")
    card = own.read_text(encoding="utf-8") if own.is_file() else model_card(name, metadata, sweep, license_name)
    files: dict[str, Path | bytes] = {file: folder / file for file in model_files(folder)}
    address = hub.upload(name, {**files, CARD: card.encode()}, private=private, branch=revision)
    log.info("sent %s and %s to %s", ", ".join(files), CARD, address)
    print(address)
    return address
