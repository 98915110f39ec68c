// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// AlphaFold 3's input (its docs/input.md, versions 1 to 4): a JSON file is one job.
#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "alignment/hits.h"
#include "base/decompress.h"
#include "base/errors.h"
#include "base/publish.h"
#include "cache/import.h"
#include "cache/import_cif.h"
#include "structure/entry.h"
#include "structure/one_letter.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// A value with its place in the file, "jobs/x.json: sequences[2].protein.id", for messages.
class Field {
 public:
  Field(const json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  [[nodiscard]] const std::string& place() const { return place_; }
  [[nodiscard]] const json& value() const { return *value_; }
  /// Missing and null are one.
  [[nodiscard]] bool has(const char* key) const {
    return value_->is_object() && value_->contains(key) && !value_->at(key).is_null();
  }
  [[nodiscard]] Field at(const char* key) const {
    const std::string separator = place_.ends_with(":") ? " " : ".";
    if (!has(key)) fail<BadInput>("{}{}{}: missing", place_, separator, key);
    return {value_->at(key), place_ + separator + key};
  }
  [[nodiscard]] std::vector<Field> items() const {
    if (!value_->is_array()) wrong("a list");
    std::vector<Field> out;
    for (size_t i = 0; i < value_->size(); ++i)
      out.emplace_back(value_->at(i), fmt::format("{}[{}]", place_, i));
    return out;
  }
  [[nodiscard]] std::string text() const {
    if (!value_->is_string()) wrong("a text");
    return value_->get<std::string>();
  }
  [[nodiscard]] int32_t number() const {
    if (!value_->is_number_integer() || value_->get<int64_t>() < INT32_MIN ||
        value_->get<int64_t>() > INT32_MAX)
      wrong("a whole number");
    return value_->get<int32_t>();
  }
  [[noreturn]] void wrong(std::string_view wanted) const {
    std::string found = value_->dump();
    if (found.size() > 60) found = found.substr(0, 57) + "...";
    fail<BadInput>("{}: {} is not {}", place_, found, wanted);
  }
  /// A misspelt key would be passed over in silence.
  void allow(std::initializer_list<std::string_view> keys) const {
    if (!value_->is_object()) wrong("an object");
    for (const auto& [key, value] : value_->items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        fail<BadInput>("{}: unknown key '{}'; known here: {}", place_, key, fmt::join(keys, ", "));
  }

 private:
  const json* value_;
  std::string place_;
};

constexpr const char* kPolymers[] = {"protein", "rna", "dna"};

ChainType type_of(std::string_view kind) {
  if (kind == "protein") return ChainType::protein;
  return kind == "rna" ? ChainType::rna : ChainType::dna;
}

struct JobEntity {
  ChainType type = ChainType::ligand;
  std::vector<std::string> chains;
  std::vector<ShortName> components;  // a polymer's residues, a ligand's components
};

class Job {
 public:
  Job(const fs::path& file, const ImportOptions& options, ImportReport& report)
      : file_(file), options_(options), report_(report) {}

  /// The job's name as AlphaFold 3 makes it one of files.
  std::string run() {
    json document;
    try {
      document = json::parse(read_file(file_));
    } catch (const json::exception& error) {
      fail<BadInput>("{}: {}", file_.string(), error.what());
    }
    if (document.is_array())
      fail<BadInput>("{}: a list of jobs is AlphaFold Server's format; AlphaFold 3's has one job",
                     file_.string());
    const Field job(document, file_.string() + ":");
    job.allow({"name", "modelSeeds", "sequences", "bondedAtomPairs", "userCCD", "userCCDPath",
               "dialect", "version"});
    const Field dialect = job.at("dialect"), version = job.at("version");
    if (dialect.text() != "alphafold3") dialect.wrong("\"alphafold3\"");
    if (version.number() < 1 || version.number() > 4) version.wrong("a version from 1 to 4");
    read_name(job.at("name"));
    for (const Field& sequence : job.at("sequences").items()) read_sequence(sequence);
    if (entities_.empty()) job.at("sequences").wrong("a list with something to predict");
    if (job.has("bondedAtomPairs"))
      for (const Field& pair : job.at("bondedAtomPairs").items()) read_bond(pair);
    if (const auto own = inline_or_path(job, "userCCD", "userCCDPath"))
      place(*own, fs::path("entries") / (name_ + ".components.cif"));
    std::string seeds;
    for (const Field& seed : job.at("modelSeeds").items())
      seeds += fmt::format("{}{}", seeds.empty() ? "" : ", ", seed.number());
    if (seeds.empty()) job.at("modelSeeds").wrong("a list of seeds");
    note(fmt::format("modelSeeds are {}: `megafold predict --entry {}` takes one by --seed", seeds,
                     name_));
    publish(options_.out / "entries" / (name_ + ".cif"), entry_text());
    ++report_.entries;
    return name_;
  }

 private:
  /// Text that stands in the job, or the file that it names.
  struct Content {
    std::string text;
    fs::path path;  // empty: `text`
    [[nodiscard]] std::string read() const { return path.empty() ? text : read_decompressed(path); }
  };

  void note(const std::string& text) {
    report_.notes.push_back(fmt::format("{}: {}", file_.string(), text));
  }

  void read_name(const Field& name) {
    for (const char c : name.text()) {
      const auto byte = static_cast<unsigned char>(c);
      if (std::isalnum(byte) != 0 || c == '-' || c == '.' || c == '_')
        name_ += static_cast<char>(std::tolower(byte));
      else if (c == ' ')
        name_ += '_';
    }
    while (!name_.empty() && name_.front() == '.') name_.erase(0, 1);  // would be a hidden file
    if (name_.empty()) name.wrong("a name with letters or digits");
  }

  std::optional<Content> inline_or_path(const Field& field, const char* text,
                                        const char* path) const {
    if (field.has(text) && field.has(path))
      fail<BadInput>("{} {} and {} exclude each other", field.place(), text, path);
    if (field.has(text)) return Content{field.at(text).text(), {}};
    if (!field.has(path)) return std::nullopt;
    const Field named = field.at(path);
    fs::path file = named.text();
    if (file.is_relative()) file = file_.parent_path() / file;
    if (!fs::is_regular_file(file))
      fail<BadInput>("{}: no such file: {}", named.place(), file.string());
    if (file.extension() == ".xz")
      fail<BadInput>("{}: {} is packed with xz; unpack it, or pack it with gzip or zstd",
                     named.place(), file.string());
    return Content{{}, file};
  }

  void place(const Content& content, fs::path name) const {
    if (content.path.empty()) {
      publish(options_.out / name, content.text);
      return;
    }
    const std::string file = content.path.filename().string();
    name += file.substr(unpacked_name(file).size());  // packed as it is
    internal::place_file(options_, content.path, name);
  }

  std::vector<std::string> read_ids(const Field& id) {
    std::vector<std::string> out;
    const std::vector<Field> fields = id.value().is_array() ? id.items() : std::vector<Field>{id};
    for (const Field& field : fields) {
      const std::string text = field.text();
      if (text.empty() || !std::all_of(text.begin(), text.end(), [](unsigned char c) {
            return std::isupper(c) != 0 || std::isdigit(c) != 0;
          }))
        field.wrong("a chain's name in capital letters");
      if (!chains_.emplace(text, entities_.size()).second) field.wrong("a name of its own");
      out.push_back(text);
    }
    if (out.empty()) id.wrong("a name or a list of names");
    return out;
  }

  static ShortName component_at(const Field& field) {
    std::string text = field.text();
    if (text.starts_with("CCD_")) text.erase(0, 4);
    if (text.empty() || text.size() > ShortName::kLength)
      field.wrong(fmt::format("a component's code of at most {} characters", ShortName::kLength));
    return ShortName(text);
  }

  void read_sequence(const Field& sequence) {
    if (!sequence.value().is_object() || sequence.value().size() != 1)
      sequence.wrong("an object with one of protein, rna, dna, ligand");
    const std::string kind = sequence.value().begin().key();
    const Field field = sequence.at(kind.c_str());
    if (kind == "ligand") return read_ligand(field);
    if (std::find(std::begin(kPolymers), std::end(kPolymers), kind) == std::end(kPolymers))
      fail<BadInput>("{}: '{}' is none of protein, rna, dna, ligand", sequence.place(), kind);
    JobEntity entity;
    entity.type = type_of(kind);
    if (kind == "protein")
      field.allow({"id", "sequence", "modifications", "description", "unpairedMsa",
                   "unpairedMsaPath", "pairedMsa", "pairedMsaPath", "templates"});
    else if (kind == "rna")
      field.allow(
          {"id", "sequence", "modifications", "description", "unpairedMsa", "unpairedMsaPath"});
    else
      field.allow({"id", "sequence", "modifications", "description"});
    entity.chains = read_ids(field.at("id"));
    const Field letters = field.at("sequence");
    const std::string text = letters.text();
    entity.components = read_one_letter_code(text, entity.type, letters.place());
    if (entity.components.empty()) letters.wrong("a sequence");
    if (field.has("modifications"))
      for (const Field& change : field.at("modifications").items())
        read_modification(change, kind == "protein", entity);
    if (entity.type != ChainType::dna) read_alignments(field, entity);
    if (field.has("templates")) {
      std::string table;
      for (const Field& known : field.at("templates").items())
        read_template(known, entity, text.size(), table);
      if (!table.empty()) publish(options_.out / alignment_folder(entity) / "templates.m8", table);
    }
    entities_.push_back(std::move(entity));
  }

  void read_modification(const Field& change, bool is_protein, JobEntity& entity) const {
    const char* const type = is_protein ? "ptmType" : "modificationType";
    const char* const at = is_protein ? "ptmPosition" : "basePosition";
    change.allow({type, at});
    const Field position = change.at(at);
    const int32_t number = position.number();
    if (number < 1 || static_cast<size_t>(number) > entity.components.size())
      position.wrong(fmt::format("a place from 1 to {}", entity.components.size()));
    entity.components[static_cast<size_t>(number) - 1] = component_at(change.at(type));
  }

  [[nodiscard]] fs::path alignment_folder(const JobEntity& entity) const {
    return fs::path("alignments") / (name_ + "_" + entity.chains.front());
  }

  void read_alignments(const Field& field, const JobEntity& entity) {
    const auto unpaired = inline_or_path(field, "unpairedMsa", "unpairedMsaPath");
    const auto paired = inline_or_path(field, "pairedMsa", "pairedMsaPath");
    if (entity.type == ChainType::protein && unpaired.has_value() != paired.has_value())
      fail<BadInput>("{}: unpairedMsa and pairedMsa must both be given (\"\" for none) or neither",
                     field.place());
    if (!unpaired) {
      note(
          fmt::format("chain {}: no alignment is given, so it gets none (AlphaFold 3 would search)",
                      entity.chains.front()));
      return;
    }
    const fs::path folder = alignment_folder(entity);
    // The chain's own alignment is the query alone where the text is empty.
    const bool has_rows = !unpaired->path.empty() || !unpaired->text.empty();
    const bool has_pairs = paired && (!paired->path.empty() || !paired->text.empty());
    if (has_rows) place(*unpaired, folder / "unpaired.a3m");
    if (has_pairs) place(*paired, folder / "uniprot_paired.a3m");
    report_.alignments += has_rows || has_pairs ? 1 : 0;
  }

  /// A template becomes an entry of templates/ and a row of a table of hits.
  void read_template(const Field& field, const JobEntity& entity, size_t length,
                     std::string& table) {
    field.allow({"mmcif", "mmcifPath", "queryIndices", "templateIndices"});
    const auto content = inline_or_path(field, "mmcif", "mmcifPath");
    if (!content) fail<BadInput>("{}: neither mmcif nor mmcifPath", field.place());
    const std::string file = content->path.empty() ? field.place() : content->path.string();
    const auto document = Document::parse(content->read(), file);
    const FileEntry structure = read_entry(*document, name_);
    std::vector<const Chain*> polymers;
    for (const Chain& chain : structure.chains) {
      const auto known = structure.entities.find(chain.entity);
      if (known == structure.entities.end() || known->second.type == "polymer" ||
          known->second.type.empty())
        polymers.push_back(&chain);
    }
    if (polymers.size() != 1)
      fail<BadInput>("{}: the template {} has {} polymer chains; one is wanted", field.place(),
                     file, polymers.size());
    if (!structure.info.release_date)
      note(fmt::format("{}: the template has no release date, so no sample shows it", file));
    const Field query = field.at("queryIndices"), target = field.at("templateIndices");
    const auto from = query.items(), to = target.items();
    if (from.size() != to.size())
      fail<BadInput>("{}: {} queryIndices and {} templateIndices", field.place(), from.size(),
                     to.size());
    if (from.empty()) return;
    TemplateHit hit;
    for (size_t i = 0; i < from.size(); ++i) {
      const int32_t q = from[i].number(), t = to[i].number();
      if (q <= (i > 0 ? hit.pairs.back()[0] : -1) || static_cast<size_t>(q) >= length)
        from[i].wrong(fmt::format("above the one before and below {}", length));
      if (t <= (i > 0 ? hit.pairs.back()[1] : -1)) to[i].wrong("above the one before");
      hit.pairs.push_back({q, t});
    }
    std::string id = fmt::format("{}-{}-{}", name_, entity.chains.front(), ++templates_);
    std::replace(id.begin(), id.end(), '_', '-');
    for (char& c : id) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    place(*content, fs::path("templates") / (id + ".cif"));
    hit.name = id + "_" + polymers[0]->auth;
    hit.e_value = 0;
    table += m8_row(name_, hit);
  }

  void read_ligand(const Field& field) {
    field.allow({"id", "ccdCodes", "smiles", "description"});
    if (field.has("smiles"))
      fail<BadInput>(
          "{0}.smiles: make a component of it (megafold-conformers '{1}' --code CODE --out "
          "NAME.components.cif), give that file as userCCDPath and name the code in ccdCodes",
          field.place(), field.at("smiles").text());
    JobEntity entity;
    entity.chains = read_ids(field.at("id"));
    for (const Field& code : field.at("ccdCodes").items())
      entity.components.push_back(component_at(code));
    if (entity.components.empty()) field.at("ccdCodes").wrong("a list of components");
    entities_.push_back(std::move(entity));
  }

  void read_bond(const Field& pair) {
    const auto ends = pair.items();
    if (ends.size() != 2)
      pair.wrong("two atoms, such as [[\"A\", 145, \"SG\"], [\"L\", 1, \"C04\"]]");
    std::vector<std::string> row = {fmt::format("covale{}", bonds_.size() + 1), "covale"};
    for (const Field& end : ends) {
      const auto parts = end.items();
      if (parts.size() != 3) end.wrong("a chain, a residue's place and an atom's name");
      const std::string chain = parts[0].text();
      const auto found = chains_.find(chain);
      if (found == chains_.end()) parts[0].wrong("a chain of this job");
      const JobEntity& entity = entities_[found->second];
      const int32_t number = parts[1].number();
      if (number < 1 || static_cast<size_t>(number) > entity.components.size())
        parts[1].wrong(fmt::format("a place from 1 to {}", entity.components.size()));
      const std::string atom = parts[2].text();
      if (atom.empty() || atom.size() > ShortName::kLength) parts[2].wrong("an atom's name");
      row.insert(row.end(), {chain, entity.components[static_cast<size_t>(number) - 1].str(),
                             entity.type == ChainType::ligand ? "." : std::to_string(number),
                             std::to_string(number), atom});
    }
    bonds_.push_back(std::move(row));
  }

  /// The job as mmCIF without coordinates (structure/entry.h).
  [[nodiscard]] std::string entry_text() const {
    std::vector<internal::CifRow> entities, polymers, residues, chains, ligands;
    for (size_t e = 0; e < entities_.size(); ++e) {
      const JobEntity& entity = entities_[e];
      const std::string id = std::to_string(e + 1);
      const bool is_ligand = entity.type == ChainType::ligand;
      entities.push_back({id, is_ligand ? "non-polymer" : "polymer"});
      if (!is_ligand) polymers.push_back({id, internal::poly_type_of(entity.type)});
      for (const std::string& chain : entity.chains) chains.push_back({chain, id});
      for (size_t i = 0; i < entity.components.size(); ++i) {
        const std::string number = std::to_string(i + 1), code = entity.components[i].str();
        if (!is_ligand) residues.push_back({id, number, code});
        for (const std::string& chain : entity.chains)
          if (is_ligand) ligands.push_back({chain, id, code, number});
      }
    }
    return internal::cif_text(
        name_,
        {{"_entity", {"id", "type"}, entities},
         {"_entity_poly", {"entity_id", "type"}, polymers},
         {"_entity_poly_seq", {"entity_id", "num", "mon_id"}, residues},
         {"_struct_asym", {"id", "entity_id"}, chains},
         {"_pdbx_nonpoly_scheme", {"asym_id", "entity_id", "mon_id", "pdb_seq_num"}, ligands},
         {"_struct_conn", internal::bond_tags(), bonds_}});
  }

  const fs::path& file_;
  const ImportOptions& options_;
  ImportReport& report_;
  std::string name_;
  std::vector<JobEntity> entities_;
  std::map<std::string, size_t> chains_;         // name -> entity
  std::vector<std::vector<std::string>> bonds_;  // rows of _struct_conn
  int templates_ = 0;
};

}  // namespace

namespace internal {

ImportReport import_alphafold3(const ImportOptions& options) {
  std::vector<fs::path> files;
  if (fs::is_directory(options.source)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(options.source))
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    if (files.empty()) fail<BadInput>("{}: no .json file in it", options.source.string());
  } else {
    files.push_back(options.source);
  }
  ImportReport report;
  std::map<std::string, fs::path> names;
  for (const fs::path& file : files) {
    const auto [other, is_new] = names.emplace(Job(file, options, report).run(), file);
    if (!is_new)
      fail<BadInput>("{} and {}: two jobs are called '{}'", other->second.string(), file.string(),
                     other->first);
  }
  return report;
}

}  // namespace internal
}  // namespace megafold
