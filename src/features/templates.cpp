// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/templates.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "alignment/alignment.h"
#include "base/date.h"
#include "structure/entry.h"

namespace megafold {
namespace {

using nlohmann::json;

constexpr size_t kMinAligned = 10;       // residues
constexpr double kMinShare = 0.1;        // of the sequence
constexpr double kMaxCovered = 0.95;     // of the sequence, by an exact piece of it
constexpr int32_t kMaxSequence = 40000;  // titin has 34,350 residues; more is damage

char letter_of(ShortName code, const ComponentDictionary& dictionary) {
  const Component* const component = dictionary.find(code);
  return component == nullptr ? 'X' : component->one_letter;
}

bool is_amino_acid(ShortName code, const ComponentDictionary& dictionary) {
  const Component* const component = dictionary.find(code);
  return component != nullptr && component->linking == Linking::peptide;
}

/// A protein where the file says so, else where most residues link as amino acids.
bool is_protein(const Chain& chain, const Entity* entity, const ComponentDictionary& dictionary) {
  if (entity != nullptr && entity->poly_type != ChainType::ligand)
    return entity->poly_type == ChainType::protein;
  if (entity != nullptr && !entity->type.empty() && entity->type != "polymer") return false;
  const auto amino = std::count_if(
      chain.residues.begin(), chain.residues.end(),
      [&](const Residue& residue) { return is_amino_acid(residue.code, dictionary); });
  return 2 * amino > std::ssize(chain.residues);
}

void set_residue(TemplateChain& out, size_t place, const Residue& residue) {
  const Atom* const ca = residue.find("CA");
  const std::array<const Atom*, 4> atoms = {residue.find("N"), ca, residue.find("C"),
                                            residue.code == "GLY" ? ca : residue.find("CB")};
  const auto present = [](const Atom* atom) { return atom != nullptr && atom->resolved; };
  for (size_t k = 0; k < 4; ++k)
    if (present(atoms[k]))
      for (size_t d = 0; d < 3; ++d) out.position[place][3 * k + d] = atoms[k]->position[d];
  out.mask[place] = static_cast<uint8_t>(
      (present(atoms[0]) && present(atoms[1]) && present(atoms[2]) ? kTemplateBackbone : 0) |
      (present(atoms[3]) ? kTemplateBeta : 0));
}

/// Two letters that may stand for one residue.
bool same_letter(char a, char b) {
  const uint8_t x = restype_of_letter(a, Alphabet::protein),
                y = restype_of_letter(b, Alphabet::protein);
  return x == y || x == kRestypeUnknown || y == kRestypeUnknown;
}

bool letters_at(const std::string& whole, size_t at, const std::string& part) {
  if (at > whole.size() || part.size() > whole.size() - at) return false;
  for (size_t i = 0; i < part.size(); ++i)
    if (!same_letter(whole[at + i], part[i])) return false;
  return true;
}

double sort_value(const TemplateHit& hit) {
  return std::isnan(hit.e_value) ? std::numeric_limits<double>::infinity() : hit.e_value;
}

class Collector {
 public:
  Collector(const std::string& sequence, const TemplateSource& find)
      : sequence_(sequence), find_(find) {}

  void add(const TemplateHit& hit) {
    const auto length = static_cast<double>(sequence_.size());
    const size_t aligned = hit.pairs.size();
    if (!hit.is_aligned) return leave_out("not laid beside the sequence");
    if (aligned < kMinAligned || static_cast<double>(aligned) <= kMinShare * length)
      return leave_out("too few residues");
    const auto entry = find_(hit.entry);
    if (!entry) return leave_out("no file of the entry");
    const LocatedHit located = locate_hit(hit, *entry);
    if (located.chain == nullptr) return leave_out("in no chain of the entry");
    const std::string& letters = located.chain->letters;
    const auto first = static_cast<size_t>(hit.first + located.shift);
    const std::string part = letters.substr(first, static_cast<size_t>(hit.last - hit.first));
    if (static_cast<double>(part.size()) > kMaxCovered * length &&
        sequence_.find(part) != std::string::npos)
      return leave_out("the sequence itself");
    const size_t start = restype_.size();
    restype_.resize(start + sequence_.size(), static_cast<uint8_t>(kRestypeGap));
    mask_.resize(start + sequence_.size(), 0);
    position_.resize(12 * (start + sequence_.size()), 0);
    for (const auto& [column, place] : hit.pairs) {
      const auto from = static_cast<size_t>(place + located.shift);
      if (static_cast<size_t>(column) >= sequence_.size() || from >= letters.size()) continue;
      const size_t to = start + static_cast<size_t>(column);
      restype_[to] = restype_of_letter(letters[from], Alphabet::protein);
      mask_[to] = located.chain->mask[from];
      std::copy(located.chain->position[from].begin(), located.chain->position[from].end(),
                position_.begin() + static_cast<std::ptrdiff_t>(12 * to));
    }
    date_.push_back(date_number(entry->release_date.value_or("")));
    json one{{"entry", entry->id},
             {"chain", located.chain->auth},
             {"residues", aligned},
             {"e_value", nullptr},
             {"release_date", nullptr}};
    if (!std::isnan(hit.e_value)) one["e_value"] = hit.e_value;
    if (entry->release_date) one["release_date"] = *entry->release_date;
    candidates_.push_back(std::move(one));
  }

  [[nodiscard]] size_t size() const { return date_.size(); }

  std::vector<NamedArray> finish() {
    const auto t = static_cast<int64_t>(date_.size());
    const auto l = static_cast<int64_t>(sequence_.size());
    const json meta{{"sequence", sequence_},
                    {"candidates", candidates_},
                    {"left_out", left_out_},
                    {"rules_version", kTemplateRulesVersion}};
    const std::string text = meta.dump(-1, ' ', false, json::error_handler_t::replace);
    std::vector<NamedArray> out;
    out.push_back(make_array("template_restype", ArrayType::u8, {t, l}, restype_));
    out.push_back(make_array("template_mask", ArrayType::u8, {t, l}, mask_));
    out.push_back(make_array("template_position", ArrayType::f32, {t, l, 12}, position_));
    out.push_back(make_array("template_date", ArrayType::i32, {t}, date_));
    out.push_back(make_array("meta", ArrayType::u8, {static_cast<int64_t>(text.size())},
                             std::vector<uint8_t>(text.begin(), text.end())));
    check_schema(kTemplateArrays, out, "templates");
    return out;
  }

 private:
  void leave_out(const char* reason) { ++left_out_[reason]; }

  const std::string& sequence_;
  const TemplateSource& find_;
  std::vector<uint8_t> restype_, mask_;
  std::vector<float> position_;
  std::vector<int32_t> date_;
  json candidates_ = json::array();
  std::map<std::string, int> left_out_;
};

}  // namespace

LocatedHit locate_hit(const TemplateHit& hit, const TemplateStructure& entry) {
  std::vector<const TemplateChain*> order;
  for (const bool by_auth : {true, false})  // databases name chains by the author's ids
    for (const TemplateChain& chain : entry.chains)
      if ((by_auth ? chain.auth : chain.label) == hit.chain) order.push_back(&chain);
  if (hit.letters.empty()) {
    for (const TemplateChain* const chain : order)
      if (hit.last <= std::ssize(chain->letters)) return {chain, 0};
    return {};
  }
  for (const TemplateChain& chain : entry.chains) order.push_back(&chain);
  for (const TemplateChain* const chain : order) {
    if (letters_at(chain->letters, static_cast<size_t>(hit.first), hit.letters)) return {chain, 0};
    for (size_t at = 0; at + hit.letters.size() <= chain->letters.size(); ++at)
      if (letters_at(chain->letters, at, hit.letters))
        return {chain, static_cast<int32_t>(at) - hit.first};
  }
  return {};
}

TemplateStructure read_template(const Document& document, const std::string& id,
                                const ComponentDictionary& dictionary) {
  const FileEntry entry = read_entry(document, id);
  TemplateStructure out{id, entry.info.release_date, {}};
  for (const Chain& chain : entry.chains) {
    const auto found = entry.entities.find(chain.entity);
    const Entity* const entity = found == entry.entities.end() ? nullptr : &found->second;
    if (!is_protein(chain, entity, dictionary)) continue;
    const auto own = entry.chain_sequences.find(chain.label);
    const auto* sequence = own != entry.chain_sequences.end() ? &own->second
                           : entity != nullptr                ? &entity->sequence
                                                              : nullptr;
    int32_t length = sequence == nullptr || sequence->empty() ? 0 : sequence->rbegin()->first;
    for (const Residue& residue : chain.residues) length = std::max(length, residue.seq_id);
    if (length < 1 || length > kMaxSequence) continue;
    TemplateChain made{chain.label, chain.auth, std::string(static_cast<size_t>(length), 'X'),
                       std::vector<std::array<float, 12>>(static_cast<size_t>(length)),
                       std::vector<uint8_t>(static_cast<size_t>(length), 0)};
    if (sequence != nullptr)
      for (const auto& [number, codes] : *sequence)
        if (number >= 1 && !codes.empty())
          made.letters[static_cast<size_t>(number) - 1] = letter_of(codes.front(), dictionary);
    for (const Residue& residue : chain.residues) {
      if (residue.seq_id < 1) continue;
      const auto place = static_cast<size_t>(residue.seq_id) - 1;
      made.letters[place] = letter_of(residue.code, dictionary);
      set_residue(made, place, residue);
    }
    out.chains.push_back(std::move(made));
  }
  return out;
}

std::vector<NamedArray> template_arrays(const std::string& sequence, std::vector<TemplateHit> hits,
                                        const TemplateSource& find) {
  std::stable_sort(hits.begin(), hits.end(), [](const TemplateHit& a, const TemplateHit& b) {
    return sort_value(a) < sort_value(b);
  });
  Collector collector(sequence, find);
  for (const TemplateHit& hit : hits) {
    if (collector.size() == kMaxTemplates) break;
    collector.add(hit);
  }
  return collector.finish();
}

}  // namespace megafold
