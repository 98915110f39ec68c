#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""megafold.data.Dataset beside OpenFold 3's own reader: every feature of whole entries.

    build/cpu/megafold cache build --data data --out CACHE
    PYTHON tests/oracle/compare_openfold3.py data CACHE --program build/cpu/megafold

PYTHON has openfold3 0.5.0 and what its data pipeline imports. The peer reads the folder's mmCIF
files and alignments by its own code (preprocessing, tokens, conformers, alignments; no crop), we
read the cache. Every feature must be equal, labels too, but for what docs/data.md explains:
  - we keep the last atom of a chain (OXT, OP3), the peer takes it out of standard residues;
  - the peer's alignment begins with the query twice;
  - of a chain without an alignment we give the query's profile, the peer zeros;
  - asym_id and entity_id name the same tokens alike, but the peer sorts its chains' numbers as text
    (1, 10, 11, 2) and keeps the file's numbers of entities, some of which were taken out;
  - ref_pos is a drawn motion of a conformer (the peer makes one anew): not compared.
The peer's mol_* ids and ref_space_uid_to_perm (exchangeable labels), cyclic_mask and templates are
not handed over by the dataset. Ends with 1 where anything else differs, having named it.
"""

import argparse
import gzip
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from biotite.structure.info.ccd import get_ccd
from biotite.structure.io import pdbx
from openfold3.core.config.msa_pipeline_configs import MsaSampleProcessorInputTrain
from openfold3.core.data.pipelines.featurization.conformer import featurize_reference_conformers_of3
from openfold3.core.data.pipelines.featurization.msa import MsaFeaturizerOF3, MsaFeaturizerOF3Config
from openfold3.core.data.pipelines.featurization.structure import featurize_target_gt_structure_of3
from openfold3.core.data.pipelines.preprocessing.structure import (
    preprocess_structure_and_write_outputs_of3,
)
from openfold3.core.data.pipelines.sample_processing.conformer import (
    get_reference_conformer_data_of3,
)
from openfold3.core.data.pipelines.sample_processing.msa import MsaSampleProcessorTrain
from openfold3.core.data.pipelines.sample_processing.structure import process_target_structure_of3
from openfold3.core.data.primitives.permutation.mol_labels import separate_cropped_and_gt
from openfold3.core.data.primitives.structure.tokenization import add_token_positions
from openfold3.projects.of3_all_atom.config.dataset_config_components import MSASettings

ROOT = Path(__file__).resolve().parents[2]
# By its path: the package around it needs its built libraries, the dataset does not.
_spec = importlib.util.spec_from_file_location("megafold_data", ROOT / "python/megafold/data.py")
data = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(data)

WHOLE = {"chain_crop": {"enabled": False}, "token_crop": {"enabled": False}}


def text_of(entry: Path) -> str:
    raw = entry.read_bytes()
    return (gzip.decompress(raw) if entry.suffix == ".gz" else raw).decode()


def dictionary_of(entries: list[Path]) -> pdbx.CIFFile:
    """The components of these entries from biotite's tables, one by one as the peer reads them."""
    codes = set()
    for path in entries:
        block = pdbx.CIFFile.deserialize(text_of(path)).block
        codes.update(block["atom_site"]["label_comp_id"].as_array())
        codes.update(block["entity_poly_seq"]["mon_id"].as_array())
    blocks = {code: {} for code in sorted(map(str, codes))}
    for name, table in get_ccd().items():
        owner = table["id" if name == "chem_comp" else "comp_id"].as_array()
        mine = np.flatnonzero(np.isin(owner, list(blocks)))
        owner = owner[mine]
        columns = {k: c.as_array(str, masked_value="?")[mine] for k, c in table.items()}
        for code in np.unique(owner):
            rows = {key: values[owner == code] for key, values in columns.items()}
            blocks[code][name] = pdbx.CIFCategory(rows)
    return pdbx.CIFFile({code: pdbx.CIFBlock(block) for code, block in blocks.items()})


def peer_features(entry: Path, dictionary, alignments: Path, work: Path) -> dict:
    """The features of OpenFold 3's own pipeline, whole, and its chains' names ("labels")."""
    name = entry.name.split(".")[0]
    plain = work / f"{name}.cif"
    plain.write_text(text_of(entry))
    (work / "molecules").mkdir(exist_ok=True)
    structures, molecules = preprocess_structure_and_write_outputs_of3(
        plain, dictionary, work / name, work / "molecules", ["npz"]
    )
    (about,) = structures.values()
    chains = {key: SimpleNamespace(**value) for key, value in about["chains"].items()}
    known = {
        key: SimpleNamespace(**value, set_fallback_to_nan=False) for key, value in molecules.items()
    }
    atoms, crop, tokens = process_target_structure_of3(work, name, WHOLE, None, "npz", chains)
    conformers = get_reference_conformer_data_of3(atoms, chains, known, work / "molecules")
    cropped, truth = separate_cropped_and_gt(atoms, crop, conformers)
    add_token_positions(cropped)
    features = featurize_target_gt_structure_of3(cropped, truth, tokens)
    features |= featurize_reference_conformers_of3(conformers)
    # An alignment serves all chains of its entity, as it serves ours by their sequence.
    folders = {
        chain.entity_id: f"{name}_{chain.label_asym_id}"
        for chain in chains.values()
        if (alignments / f"{name}_{chain.label_asym_id}").is_dir()
    }
    for chain in chains.values():
        chain.alignment_representative_id = folders.get(chain.entity_id)
    aligned = {k: c for k, c in chains.items() if c.alignment_representative_id}
    if aligned:
        settings = MSASettings(subsample_main=False)
        sample = MsaSampleProcessorInputTrain.create_from_dataset_cache_entry(
            SimpleNamespace(chains=aligned), cropped
        )
        collection = MsaSampleProcessorTrain(settings, alignments_directory=alignments)(sample)
        featurizer = MsaFeaturizerOF3(
            MsaFeaturizerOF3Config(
                max_rows=settings.max_rows, max_rows_paired=settings.max_rows_paired,
                subsample_with_bands=False,
            )
        )  # fmt: skip
        features |= featurizer(cropped, collection, tokens)
    return features


def atom_names(one_hot: torch.Tensor) -> list[str]:
    return ["".join(chr(32 + c) for c in row) for row in one_hot.argmax(-1).tolist()]


def by_appearance(labels: torch.Tensor) -> list[int]:
    """The labels numbered in the order in which they first come."""
    numbers = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]


def compare(peer: dict, ours: dict) -> list[str]:
    """Names what differs without being explained."""
    wrong = []

    def same(name, a, b):
        a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
        if a.shape != b.shape:
            wrong.append(f"{name} has shape {list(a.shape)}, the peer's {list(b.shape)}")
        elif not torch.equal(a, b):
            wrong.append(f"{name} differs in {int((a != b).sum())}, by up to {(a - b).abs().max()}")

    # Atoms: ours without those that the peer leaves out.
    owner, count = ours["atom_to_token_index"], peer["num_atoms_per_token"].tolist()
    kept, seen, peer_names = [], 0, iter(atom_names(peer["ref_atom_name_chars"]))
    expected = [{next(peer_names) for _ in range(n)} for n in count]
    for atom, name in enumerate(atom_names(ours["ref_atom_name_chars"])):
        if name in expected[owner[atom]]:
            kept.append(atom)
        elif name.strip() not in ("OXT", "OP3"):
            wrong.append(f"atom {name} of token {owner[atom]} is ours alone")
        else:
            seen += 1
    kept = torch.tensor(kept)
    numbers = torch.bincount(owner[kept], minlength=len(count))
    same("num_atoms_per_token", numbers, peer["num_atoms_per_token"])
    same("start_atom_index", torch.cumsum(numbers, 0) - numbers, peer["start_atom_index"])
    for name in ("atom_to_token_index", "atom_mask", "ref_mask", "ref_element", "ref_charge",
                 "ref_atom_name_chars", "ref_space_uid"):  # fmt: skip
        same(name, ours[name][kept], peer[name])
    for name in ("atom_positions", "atom_resolved_mask"):
        same(name, ours["ground_truth"][name][kept], peer["ground_truth"][name])
    if not torch.isfinite(ours["ref_pos"]).all():
        wrong.append("ref_pos is not finite")
    for name in ("token_index", "residue_index", "sym_id", "restype", "is_protein", "is_rna",
                 "is_dna", "is_ligand", "is_atomized", "token_mask", "token_bonds"):  # fmt: skip
        same(name, ours[name], peer[name])
    for name in ("asym_id", "entity_id"):
        same(f"{name}, whatever the numbers,", by_appearance(ours[name]), by_appearance(peer[name]))
    if "msa" in peer:
        aligned = peer["profile"].sum(-1) > 0
        once = torch.arange(len(peer["msa"])) != 1
        query = peer["msa"][1][aligned], peer["msa"][0][aligned]
        same("the second row of the peer's msa", *query)
        for name in ("msa", "has_deletion", "deletion_value", "msa_mask"):
            same(name, ours[name][:, aligned], peer[name][once][:, aligned])
        for name in ("profile", "deletion_mean"):
            same(name, ours[name][aligned], peer[name][aligned])
        alone = ~aligned
        same("profile of chains without alignment", ours["profile"][alone], ours["restype"][alone])
        same("num_paired_seqs", ours["num_paired_seqs"].reshape(1), peer["num_paired_seqs"])
    print(f"{len(count)} tokens, {len(kept)} atoms and {seen} that the peer leaves out, "
          f"{len(peer.get('msa', []))} rows: {len(wrong)} differ", flush=True)  # fmt: skip
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--program", help="megafold; default: the one on PATH")
    parser.add_argument("--entry", nargs="*", help="these alone")
    options = parser.parse_args()
    entries = sorted((options.folder / "entries").glob("*.cif*"))
    if options.entry:
        entries = [path for path in entries if path.name.split(".")[0] in options.entry]
    dictionary = dictionary_of(entries)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        for path in entries:
            name = path.name.split(".")[0]
            peer = peer_features(path, dictionary, options.folder / "alignments", Path(work))
            (batch,) = data.Dataset(
                ROOT / "configs/demo_crops.yaml", count=1, program=options.program,
                set=[f"data.cache={options.cache}", f"data.entries=[{name}]",
                     "data.crop.tokens=100000", "data.msa.draw_rows=false"],
            )  # fmt: skip
            print(name, end=": ")
            wrong = compare(peer, data.openfold3_features(batch))
            for line in wrong:
                print(f"   {line}")
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
