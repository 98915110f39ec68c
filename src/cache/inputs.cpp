// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/inputs.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

bool strip(std::string& name, std::string_view suffix) {
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return false;
  name.resize(name.size() - suffix.size());
  return true;
}

bool strip_any(std::string& name, std::initializer_list<std::string_view> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return strip(name, suffix); });
}

/// Position among the databases of SI 2.2.
size_t database_rank(const fs::path& path) {
  constexpr std::array<std::string_view, 12> kOrder = {
      "uniref", "bfd",        "small_bfd", "reduced_bfd", "uniclust", "colabfold",
      "mgnify", "bfd.mgnify", "rfam",      "rnacentral",  "nt",       ""};
  const std::string name = path.filename().string();
  size_t rank = 0;
  while (!name.starts_with(kOrder[rank])) ++rank;
  return rank;
}

bool is_for_pairing(std::string_view stem) {
  return stem.starts_with("uniprot") || stem.starts_with("pairing");
}

}  // namespace

std::string folder_of_sequence(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "seq_" + name;
}

DataFolder scan_data_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) fail<BadInput>("{}: no such folder", folder.string());
  if (!fs::is_directory(folder, error))
    fail<BadInput>("{}: is a file; --data takes a folder", folder.string());
  DataFolder out;
  std::vector<fs::path> files;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator it(folder, options, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().starts_with(".")) {
      if (it->is_directory()) it.disable_recursion_pending();
      continue;
    }
    if (it.depth() == 0 && it->is_directory() && it->path().filename() == "templates") {
      out.templates = it->path();
      it.disable_recursion_pending();
      continue;
    }
    if (it->is_regular_file()) files.push_back(it->path());
  }
  if (error) fail<BadInput>("{}: cannot be listed: {}", folder.string(), error.message());
  std::sort(files.begin(), files.end());  // a folder's own order is the file system's whim

  std::map<std::string, std::vector<fs::path>> in_folder, alone, pairing;
  for (const fs::path& path : files) {
    std::string stem = unpacked_name(path.filename().string());
    if (strip_any(stem, {".cif", ".bcif", ".mmcif"})) {
      if (stem == "components") {
        if (!out.dictionary) out.dictionary = path;
        continue;
      }
      if (stem.ends_with(".components")) {
        out.own_components.push_back(path);
        continue;
      }
      out.entries.push_back({stem, path});
      continue;
    }
    const std::string parent = path.parent_path().filename().string();
    const bool named_by_folder =
        path.parent_path() != folder && parent.find('_') != std::string::npos;
    const bool only_hits = strip_any(stem, {".m8", ".hhr"});
    if (!only_hits && !strip_any(stem, {".a3m", ".a2m", ".sto", ".stk", ".stockholm"})) continue;
    if (only_hits || (named_by_folder && stem.starts_with("hmm_output"))) {
      const std::string& name = named_by_folder ? parent : stem;
      out.hits.try_emplace(name, AlignmentFiles{name, {}}).first->second.paths.push_back(path);
    } else if (!named_by_folder) {
      const size_t dot = stem.rfind('.');
      if (dot != std::string::npos && is_for_pairing(std::string_view(stem).substr(dot + 1)))
        pairing[stem.substr(0, dot)].push_back(path);
      else
        alone[stem].push_back(path);
    } else {
      (is_for_pairing(stem) ? pairing : in_folder)[parent].push_back(path);
    }
  }
  if (out.entries.empty())
    fail<BadInput>(
        "{}: no entry: expected files called *.cif, *.cif.gz, *.bcif or *.bcif.gz, at any depth",
        folder.string());
  std::sort(out.entries.begin(), out.entries.end(),
            [](const EntryFile& a, const EntryFile& b) { return a.id < b.id; });
  for (size_t i = 0; i + 1 < out.entries.size(); ++i)
    if (out.entries[i].id == out.entries[i + 1].id)
      fail<BadInput>("{} and {}: two files for the entry '{}'; keep one",
                     out.entries[i].path.string(), out.entries[i + 1].path.string(),
                     out.entries[i].id);
  for (auto& [name, paths] : in_folder) {
    std::stable_sort(paths.begin(), paths.end(), [](const fs::path& a, const fs::path& b) {
      return database_rank(a) < database_rank(b);
    });
    out.alignments[name] = {name, std::move(paths)};
  }
  for (auto& [name, paths] : alone) {
    const auto found = out.alignments.find(name);
    if (paths.size() > 1 || found != out.alignments.end())
      fail<BadInput>(
          "{} and {}: two alignments are called '{}'; keep one, or put both into a "
          "folder of that name",
          paths[0].string(), paths.size() > 1 ? paths[1].string() : found->second.paths[0].string(),
          name);
    out.alignments[name] = {name, std::move(paths)};
  }
  for (auto& [name, paths] : pairing)
    out.alignments.try_emplace(name, AlignmentFiles{name, {}}).first->second.pairing =
        std::move(paths);
  return out;
}

}  // namespace megafold
