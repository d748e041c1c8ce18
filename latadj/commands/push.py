"""latadj push: a checkpoint to the Hugging Face hub, with its dial and a model card."""

import logging
from pathlib import Path

from latadj.checkpoints.hub_folder import is_model_file, model_files
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

    Only the files of a saved model go there, ``latadj.json`` among them, in one commit with a model card. They take the
    place of the model that was there; other files of the repository stay. A ``README.md`` in the folder takes the
    card's place.

    Parameters
    ----------
    path : a checkpoint's folder, or that of the run that made it
    name : of the repository, as in name/of-repo
    private : whether a repository that is made is seen by its owner alone; else as its owner has set it for new ones
    revision : branch to write to, made if there is none; the main branch when left out
    license_name : of the model, as the hub spells it

    Returns
    -------
    address of the commit

    Raises
    ------
    ValueError
        if there is no whole checkpoint, the name cannot be one, nobody is logged in, the hub refuses or is away, or a
        license is named for a card that says its own.
    """
    folder = model_folder(path)
    metadata = check(folder)
    own = folder / CARD
    if license_name is not None and own.is_file():
        raise ValueError(
            f"--license {license_name}: {own} goes to the hub as it is; write `license: {license_name}` at its head "
            "and leave the option out"
        )
    hub.check_repository(name)
    sweep = sweep_of(folder, metadata)
    if sweep is None and not own.is_file():
        log.warning("no sweep of this checkpoint beside it: the model card has no table; `latadj sweep` measures one")
    if own.is_file():
        card = own.read_text(encoding="utf-8")
    else:
        card = model_card(name, metadata, sweep, license_name, revision)
    files: dict[str, Path | bytes] = {file: folder / file for file in model_files(folder)}
    address = hub.upload(name, {**files, CARD: card.encode()}, is_model_file, private=private, branch=revision)
    log.info("sent %s and %s to %s", ", ".join(files), CARD, address)
    print(address)
    return address
