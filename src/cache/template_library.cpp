// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/template_library.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
constexpr size_t kRecent = 256;  // structures kept, some 100 kB each

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// The id that a file's name gives; empty where it is no structure.
std::string id_of(const fs::path& path) {
  const std::string name = unpacked_name(lower(path.filename().string()));
  for (const char* const kind : {".cif", ".bcif", ".mmcif"})
    if (name.ends_with(kind)) return name.substr(0, name.rfind('.'));
  return "";
}

}  // namespace

TemplateLibrary::TemplateLibrary(const fs::path& folder, const std::vector<EntryFile>& entries,
                                 const ComponentDictionary& dictionary)
    : dictionary_(dictionary) {
  if (!folder.empty()) {
    std::error_code error;
    if (!fs::is_directory(folder, error))
      fail<BadInput>("{}: no such folder; --templates takes a folder of mmCIF files",
                     folder.string());
    std::vector<fs::path> files;
    const auto options = fs::directory_options::follow_directory_symlink;
    for (fs::recursive_directory_iterator it(folder, options, error), end; !error && it != end;
         it.increment(error))
      if (it->is_regular_file()) files.push_back(it->path());
    if (error) fail<BadInput>("{}: cannot be listed: {}", folder.string(), error.message());
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files)
      if (const std::string id = id_of(path); !id.empty()) paths_.try_emplace(id, path);
  }
  for (const EntryFile& entry : entries) paths_.try_emplace(lower(entry.id), entry.path);
}

std::string TemplateLibrary::hash(const std::string& id) {
  const auto path = paths_.find(id);
  if (path == paths_.end()) return "";
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = hashes_.find(id); found != hashes_.end()) return found->second;
  }
  std::string hash = sha256_hex({read_file(path->second)});
  const std::scoped_lock lock(mutex_);
  return hashes_.emplace(id, std::move(hash)).first->second;
}

std::shared_ptr<const TemplateStructure> TemplateLibrary::find(const std::string& id) {
  const auto path = paths_.find(id);
  if (path == paths_.end()) return nullptr;
  {
    const std::scoped_lock lock(mutex_);
    if (damaged_.contains(id)) return nullptr;
    const auto found = std::find_if(recent_.begin(), recent_.end(),
                                    [&](const auto& known) { return known->id == id; });
    if (found != recent_.end()) {
      recent_.splice(recent_.begin(), recent_, found);
      return recent_.front();
    }
  }
  std::shared_ptr<const TemplateStructure> made;
  std::string reason;
  try {
    made = std::make_shared<TemplateStructure>(
        read_template(*Document::read(path->second), id, dictionary_));
  } catch (const BadInput& error) {
    reason = error.what();
  }
  const std::scoped_lock lock(mutex_);
  if (!made) {
    damaged_.emplace(id, reason);
    return nullptr;
  }
  recent_.push_front(made);
  if (recent_.size() > kRecent) recent_.pop_back();
  return made;
}

std::vector<std::string> TemplateLibrary::damaged() const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [id, reason] : damaged_) out.push_back(reason);
  return out;
}

std::map<std::string, const AlignmentFiles*> match_hits(
    const std::map<std::string, AlignmentFiles>& hits, const std::string& id,
    const std::vector<ChainSequence>& chains) {
  std::map<std::string, const AlignmentFiles*> out;
  for (const ChainSequence& chain : chains) {
    if (chain.type != ChainType::protein) continue;
    auto found = hits.find(id + "_" + chain.auth);
    if (found == hits.end()) found = hits.find(id + "_" + chain.origin);
    if (found != hits.end()) out.emplace(chain.label, &found->second);
  }
  for (const ChainSequence& chain : chains) {
    if (chain.type != ChainType::protein || out.contains(chain.label)) continue;
    for (const ChainSequence& other : chains)
      if (other.sequence == chain.sequence && out.contains(other.label)) {
        out.emplace(chain.label, out.at(other.label));
        break;
      }
  }
  return out;
}

}  // namespace megafold
