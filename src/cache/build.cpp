// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/build.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/catalogue.h"
#include "cache/inputs.h"
#include "cache/lock.h"
#include "cache/match.h"
#include "cache/parallel.h"
#include "cache/template_library.h"
#include "features/features.h"
#include "structure/clean.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxGroup = 4096;  // records of a shard

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

uint64_t size_of_file(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : size;
}

double user_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

/// What a killed build left behind: no reader looks at these.
void remove_leftovers(const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(".") && name.ends_with(".tmp")) fs::remove(it->path(), error);
  }
}

/// The group of each item: a new one begins where the inputs of the last would exceed the limit.
std::vector<size_t> cut_into_groups(const std::vector<uint64_t>& sizes, uint64_t limit) {
  std::vector<size_t> out;
  uint64_t bytes = 0;
  size_t group = 0, items = 0;
  for (const uint64_t size : sizes) {
    if (items > 0 && (bytes + size > limit || items == kMaxGroup)) {
      ++group;
      bytes = items = 0;
    }
    bytes += size;
    ++items;
    out.push_back(group);
  }
  return out;
}

class CacheBuilder {
 public:
  CacheBuilder(const BuildOptions& options, const DataFolder& folder,
               const ComponentDictionary& dictionary)
      : options_(options),
        folder_(folder),
        dictionary_(dictionary),
        matcher_(folder),
        library_(
            options.templates.empty() ? folder.templates.value_or(fs::path()) : options.templates,
            folder.entries, dictionary),
        catalogue_(options.out) {
    const auto first = static_cast<size_t>(options.part - 1);
    for (size_t i = first; i < folder.entries.size(); i += static_cast<size_t>(options.parts))
      entries_.push_back({&folder.entries[i], {}, {}, {}, false});
  }

  BuildReport run() {
    const auto start = Clock::now();
    const double cpu = user_cpu_seconds();
    find_structures();
    make_structures();
    match_alignments();
    make_alignments();
    match_templates();
    make_templates();
    BuildReport report;
    CacheIndex index;
    for (Entry& entry : entries_) finish(entry, index, report);
    finish_index(index);
    count_bytes(index, report);
    if (options_.parts == 1) {
      publish_if_new(options_.out / kIndexFile, pack_index(index));
      kill_point("cache.indexed");
      report.content_key = index.content_key;
      report.unused_alignments = matcher_.unused();
      for (const auto& [name, files] : folder_.hits)
        if (!hits_used_.contains(name))
          for (const fs::path& path : files.paths)
            report.unused_alignments.push_back(path.string());
    }
    report.damaged_templates = library_.damaged();
    report.damaged = catalogue_.skipped();
    report.seconds = seconds_since(start);
    report.cpu_seconds = user_cpu_seconds() - cpu;
    const std::string name =
        options_.parts == 1 ? std::string(kReportFile)
                            : fmt::format("report-{}-of-{}.json", options_.part, options_.parts);
    publish(options_.out / name, to_json(report));
    return report;
  }

 private:
  struct Entry {
    const EntryFile* file;
    IndexEntry index;
    EntryReport report;
    std::vector<ChainSequence> chains;
    bool settled = false;  // kept with its record in a shard, or dropped, or failed
    std::map<std::string, size_t> jobs = {};           // chain label -> alignment
    std::map<std::string, size_t> template_jobs = {};  // chain label -> templates
  };
  struct AlignmentJob {
    std::string key;
    const AlignmentFiles* files;
    ChainSequence chain;
    std::string failure = {};
    int64_t rows = -1;  // of the record; -1: not asked yet
  };

  /// Paths in messages are told from the data folder on: an index says the same wherever it lies.
  [[nodiscard]] std::string shorten(std::string text) const {
    const std::string prefix = (options_.data / "").string();
    for (size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
    return text;
  }

  /// `of_file`: the reason lies in the entry's file, and not in an alignment's, which names itself.
  void fail_entry(Entry& entry, const std::string& reason, bool of_file) const {
    const std::string file = shorten(entry.file->path.string());
    std::string text = shorten(reason);
    if (of_file && text.find(file) == std::string::npos) text = file + ": " + text;
    entry.report.verdict = entry.index.verdict = Verdict::failed;
    entry.report.reason = entry.index.reason = text;
    entry.settled = true;
  }

  void show(const Entry& entry) {
    const std::scoped_lock lock(progress_mutex_);
    ++shown_;
    if (options_.progress) options_.progress(shown_, entries_.size(), entry.report);
  }

  [[nodiscard]] std::string structure_key(const Entry& entry, const std::string& bytes) const {
    return sha256_hex(
        {"structure", entry.file->id, bytes, dictionary_.version(), kStructureRulesVersion});
  }

  /// The key of every entry, and what earlier builds have of it.
  void find_structures() {
    std::map<std::string, IndexEntry> before;
    try {
      for (IndexEntry& entry : read_index(options_.out).entries)
        if (entry.verdict != Verdict::kept) before.emplace(entry.id, std::move(entry));
    } catch (const Error&) {  // none, or none that can be read: all verdicts are made again
    }
    parallel_for(entries_.size(), options_.threads, [&](size_t i) {
      Entry& entry = entries_[i];
      entry.index.id = entry.report.id = entry.file->id;
      entry.report.file = entry.file->path.string();
      entry.report.file_bytes = size_of_file(entry.file->path);
      try {
        entry.index.key = structure_key(entry, read_file(entry.file->path));
        (void)catalogue_.find_sound(entry.index.key);
      } catch (const BadInput& error) {
        fail_entry(entry, error.what(), /*of_file=*/true);
      }
    });
    for (Entry& entry : entries_) {
      if (entry.settled) {
        show(entry);
        continue;
      }
      const auto old = before.find(entry.index.id);
      if (old != before.end() && old->second.key == entry.index.key) {
        entry.index = old->second;
        entry.report.verdict = old->second.verdict;
        entry.report.reason = old->second.reason;
        entry.report.reused = entry.settled = true;
        show(entry);
      } else if (catalogue_.find(entry.index.key)) {
        read_existing(entry);
        show(entry);
      }
    }
  }

  static void count_tokens(EntryReport& report, const std::byte* chain_type) {
    for (int64_t t = 0; t < report.tokens; ++t)
      ++report.tokens_of.at(static_cast<size_t>(chain_type[t]));
  }

  static void count_chains(Entry& entry) {
    entry.report.chains = static_cast<int64_t>(entry.chains.size());
    entry.report.polymers =
        std::count_if(entry.chains.begin(), entry.chains.end(),
                      [](const ChainSequence& chain) { return is_polymer(chain.type); });
  }

  /// What the later stages need of a record of an earlier build.
  void read_existing(Entry& entry) const {
    const auto record = catalogue_.open(RecordKind::structure, entry.index.key);
    entry.report.tokens = record->describe("token_restype").size();
    entry.report.atoms = record->describe("atom_element").size();
    count_tokens(entry.report, record->array("token_chain_type").data);
    const ArrayView types = record->array("chain_type");
    entry.index.facts =
        facts_of(record->meta(), entry.report.tokens, types.as<uint8_t>(), types.size());
    const json meta = json::parse(record->meta());
    for (const json& chain : meta.at("chains")) {
      const json& sequence = chain.at("sequence");
      entry.chains.push_back({chain.at("label").get<std::string>(),
                              chain.at("origin").get<std::string>(),
                              chain.at("auth").get<std::string>(),
                              sequence.is_null() ? std::string() : sequence.get<std::string>(),
                              static_cast<ChainType>(types.as<uint8_t>()[entry.chains.size()])});
    }
    if (meta.contains("inferred"))
      entry.report.inferred = meta["inferred"].get<std::vector<std::string>>();
    count_chains(entry);
    entry.report.verdict = Verdict::kept;
    entry.report.reused = entry.settled = true;
  }

  /// Calls make(i) for each of `todo` (ascending) and publishes a group's records when it has its
  /// last.
  template <class F>
  void make_shards(const std::vector<size_t>& todo, const std::vector<size_t>& groups, F&& make) {
    struct Group {
      size_t left = 0;
      std::vector<PackedRecord> records;
    };
    std::map<size_t, Group> open;
    for (const size_t i : todo) ++open[groups[i]].left;
    std::mutex mutex;
    parallel_for(todo.size(), options_.threads, [&](size_t k) {
      const size_t i = todo[k];
      std::optional<PackedRecord> record = make(i);
      kill_point("cache.record");
      std::vector<PackedRecord> whole;
      {
        const std::scoped_lock lock(mutex);
        Group& group = open.at(groups[i]);
        if (record) group.records.push_back(*std::move(record));
        if (--group.left > 0) return;
        whole = std::move(group.records);
      }
      if (whole.empty()) return;
      catalogue_.add(write_shard(options_.out, std::move(whole)));
      kill_point("cache.shard");
    });
  }

  void make_structures() {
    std::vector<uint64_t> sizes;
    std::vector<size_t> todo;
    for (size_t i = 0; i < entries_.size(); ++i) {
      sizes.push_back(size_of_file(entries_[i].file->path));
      if (!entries_[i].settled) todo.push_back(i);
    }
    make_shards(todo, cut_into_groups(sizes, options_.shard_bytes), [&](size_t i) {
      Entry& entry = entries_[i];
      const auto start = Clock::now();
      std::optional<PackedRecord> record;
      try {
        record = make_structure(entry);
      } catch (const BadInput& error) {
        fail_entry(entry, error.what(), /*of_file=*/true);
      }
      entry.report.seconds = seconds_since(start);
      show(entry);
      return record;
    });
  }

  std::optional<PackedRecord> make_structure(Entry& entry) const {
    std::string bytes = read_file(entry.file->path);
    if (structure_key(entry, bytes) != entry.index.key)
      fail<BadInput>("{}: the file changed during the build; build again",
                     entry.file->path.string());
    const auto document = Document::parse(std::move(bytes), entry.file->path.string());
    Cleaned cleaned = clean(read_entry(*document, entry.file->id), dictionary_);
    entry.settled = true;
    std::string& dropped = cleaned.dropped;
    if (dropped.empty()) {
      const StructureSource source{entry.file->path.filename().string(), dictionary_.version(),
                                   std::string(kStructureRulesVersion)};
      const auto arrays = structure_arrays(cleaned.structure, source);
      const auto find = [&](std::string_view name) -> const NamedArray& {
        return *std::ranges::find(arrays, name, &NamedArray::name);
      };
      entry.report.tokens = find("token_restype").size();
      entry.report.atoms = find("atom_element").size();
      count_tokens(entry.report, find("token_chain_type").data.data());
      const auto& meta = find("meta").data;
      const NamedArray& types = find("chain_type");
      entry.index.facts =
          facts_of({reinterpret_cast<const char*>(meta.data()), meta.size()}, entry.report.tokens,
                   reinterpret_cast<const uint8_t*>(types.data.data()), types.size());
      entry.report.inferred = cleaned.structure.inferred;
      if (entry.report.tokens == 0) dropped = "no token is left after cleaning";
      for (const Chain& chain : cleaned.structure.chains)
        entry.chains.push_back({chain.label, chain.origin, chain.auth,
                                is_polymer(chain.type) ? one_letter_sequence(chain) : std::string(),
                                chain.type});
      count_chains(entry);
      entry.report.verdict = Verdict::kept;
      if (dropped.empty())
        return PackedRecord{entry.index.key, RecordKind::structure,
                            pack_record(RecordKind::structure, entry.index.key, arrays)};
    }
    entry.report.verdict = entry.index.verdict = Verdict::dropped;
    entry.report.reason = entry.index.reason = dropped;
    return std::nullopt;
  }

  /// The SHA-256 of a file as it lies there, packed or not; each file is read once.
  std::string hash_of_file(const fs::path& path) {
    {
      const std::scoped_lock lock(hash_mutex_);
      if (const auto found = hashes_.find(path); found != hashes_.end()) return found->second;
    }
    std::string hash = sha256_hex({read_file(path)});
    const std::scoped_lock lock(hash_mutex_);
    return hashes_.emplace(path, std::move(hash)).first->second;
  }

  std::string alignment_key(const AlignmentFiles& files, const ChainSequence& chain) {
    std::string all;
    for (const fs::path& path : files.all())
      all += sha256_hex({path.filename().string(), hash_of_file(path)});
    return sha256_hex({"alignment", all, chain.sequence, kAlignmentRulesVersion,
                       std::to_string(static_cast<int>(alphabet_of(chain.type)))});
  }

  void match_alignments() {
    std::vector<std::map<std::string, AlignmentJob>> wanted(entries_.size());  // by label
    parallel_for(entries_.size(), options_.threads, [&](size_t i) {
      Entry& entry = entries_[i];
      if (entry.report.verdict != Verdict::kept) return;
      try {
        for (const auto& [label, files] : matcher_.match(entry.index.id, entry.chains))
          for (const ChainSequence& chain : entry.chains)
            if (chain.label == label)
              wanted[i].emplace(label, AlignmentJob{alignment_key(*files, chain), files, chain});
      } catch (const BadInput& error) {
        fail_entry(entry, error.what(), /*of_file=*/false);
        entry.index.key.clear();  // the alignments are no part of the key: to be tried again
      }
    });
    std::map<std::string, size_t> known;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].report.verdict != Verdict::kept) continue;
      for (auto& [label, job] : wanted[i]) {
        const auto [found, is_new] = known.try_emplace(job.key, jobs_.size());
        if (is_new) jobs_.push_back(std::move(job));
        entries_[i].jobs[label] = found->second;
      }
    }
  }

  void make_alignments() {
    std::vector<uint64_t> sizes;
    for (const AlignmentJob& job : jobs_) {
      uint64_t bytes = 0;
      for (const fs::path& path : job.files->all()) bytes += size_of_file(path);
      sizes.push_back(bytes);
    }
    std::atomic<size_t> done{0};
    const auto show_job = [&](const AlignmentJob& job) {
      const std::scoped_lock lock(progress_mutex_);
      if (options_.alignment_progress)
        options_.alignment_progress(++done, jobs_.size(), job.files->name, job.failure);
    };
    parallel_for(jobs_.size(), options_.threads,
                 [&](size_t i) { (void)catalogue_.find_sound(jobs_[i].key); });
    std::vector<size_t> todo;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      if (catalogue_.find(jobs_[i].key))
        show_job(jobs_[i]);
      else
        todo.push_back(i);
    }
    make_shards(todo, cut_into_groups(sizes, options_.shard_bytes), [&](size_t i) {
      AlignmentJob& job = jobs_[i];
      std::optional<PackedRecord> record;
      try {
        const auto read = [](const std::vector<fs::path>& paths) {
          std::vector<AlignmentText> texts;
          for (const fs::path& path : paths)
            texts.push_back({path.string(), read_decompressed(path)});
          return texts;
        };
        const Alphabet alphabet = alphabet_of(job.chain.type);
        Msa msa = make_msa(read(job.files->paths), job.chain.sequence, alphabet,
                           fmt::format("chain {}", job.chain.label), read(job.files->pairing));
        record = PackedRecord{
            job.key, RecordKind::alignment,
            pack_record(RecordKind::alignment, job.key,
                        alignment_arrays(std::move(msa), job.chain.sequence, alphabet))};
      } catch (const BadInput& error) {
        job.failure = shorten(error.what());
      }
      show_job(job);
      return record;
    });
  }

  std::string template_key(const AlignmentFiles& files, const ChainSequence& chain,
                           const std::vector<TemplateHit>& hits) {
    std::string all;
    for (const fs::path& path : files.paths)
      all += sha256_hex({path.filename().string(), hash_of_file(path)});
    std::set<std::string> entries;
    for (const TemplateHit& hit : hits) entries.insert(hit.entry);
    for (const std::string& id : entries)
      if (const std::string hash = library_.hash(id); !hash.empty()) all += sha256_hex({id, hash});
    return sha256_hex({"templates", sha256_hex({all}), chain.sequence, dictionary_.version(),
                       kTemplateRulesVersion});
  }

  static std::vector<TemplateHit> read_hits(const AlignmentFiles& files,
                                            const std::string& sequence) {
    std::vector<TemplateHit> hits;
    for (const fs::path& path : files.paths)
      for (TemplateHit& hit :
           read_template_hits({path.string(), read_decompressed(path)}, sequence))
        hits.push_back(std::move(hit));
    return hits;
  }

  /// A job for each sequence that has hits; its key needs the hits, which say what it depends on.
  void match_templates() {
    std::map<std::string, size_t> known;  // by files and sequence
    for (Entry& entry : entries_) {
      if (entry.report.verdict != Verdict::kept) continue;
      for (const auto& [label, files] : match_hits(folder_.hits, entry.index.id, entry.chains))
        for (const ChainSequence& chain : entry.chains) {
          if (chain.label != label) continue;
          hits_used_.insert(files->name);
          const auto [found, is_new] =
              known.try_emplace(files->name + ' ' + chain.sequence, template_jobs_.size());
          if (is_new) template_jobs_.push_back({"", files, chain});
          entry.template_jobs[label] = found->second;
        }
    }
    const auto tell = [&](size_t i) {
      const AlignmentJob& job = template_jobs_[i];
      const std::scoped_lock lock(progress_mutex_);
      if (options_.alignment_progress)
        options_.alignment_progress(i + 1, template_jobs_.size(), job.files->name + " (templates)",
                                    job.failure);
    };
    parallel_for(template_jobs_.size(), options_.threads, [&](size_t i) {
      AlignmentJob& job = template_jobs_[i];
      try {
        job.key = template_key(*job.files, job.chain, read_hits(*job.files, job.chain.sequence));
        (void)catalogue_.find_sound(job.key);
      } catch (const BadInput& error) {
        job.failure = shorten(error.what());
        tell(i);
      }
    });
  }

  void make_templates() {
    std::vector<uint64_t> sizes;
    std::vector<size_t> todo;
    std::set<std::string> keys;  // two entries may lead to one record
    for (size_t i = 0; i < template_jobs_.size(); ++i) {
      const AlignmentJob& job = template_jobs_[i];
      sizes.push_back(uint64_t{1} << 20);  // of a record's order, whatever the hits' file weighs
      if (job.failure.empty() && !catalogue_.find(job.key) && keys.insert(job.key).second)
        todo.push_back(i);
    }
    make_shards(todo, cut_into_groups(sizes, options_.shard_bytes), [&](size_t i) {
      const AlignmentJob& job = template_jobs_[i];
      const auto arrays =
          template_arrays(job.chain.sequence, read_hits(*job.files, job.chain.sequence),
                          [&](const std::string& id) { return library_.find(id); });
      return std::optional(PackedRecord{job.key, RecordKind::templates,
                                        pack_record(RecordKind::templates, job.key, arrays)});
    });
  }

  int64_t rows_of(AlignmentJob& job) const {
    if (job.rows < 0)
      job.rows = catalogue_.open(RecordKind::alignment, job.key)->describe("msa").shape.at(0);
    return job.rows;
  }

  void finish(Entry& entry, CacheIndex& index, BuildReport& report) {
    for (const auto& [label, job] : entry.template_jobs) {
      if (entry.report.verdict == Verdict::kept && !template_jobs_[job].failure.empty()) {
        fail_entry(entry, template_jobs_[job].failure, /*of_file=*/false);
        entry.index.key.clear();
      }
      entry.index.templates[label] = template_jobs_[job].key;
    }
    for (const auto& [label, job] : entry.jobs) {
      if (entry.report.verdict == Verdict::kept && !jobs_[job].failure.empty()) {
        fail_entry(entry, jobs_[job].failure, /*of_file=*/false);
        entry.index.key.clear();
      }
      entry.index.alignments[label] = jobs_[job].key;
    }
    if (entry.report.verdict != Verdict::kept) {
      entry.index.alignments.clear();
      entry.index.templates.clear();
      entry.index.facts = {};
    }
    entry.report.alignments = static_cast<int64_t>(entry.index.alignments.size());
    entry.report.templates = static_cast<int64_t>(entry.index.templates.size());
    if (entry.report.verdict == Verdict::kept) {
      std::set<std::string> keys{entry.index.key};
      for (const auto& [label, key] : entry.index.alignments) keys.insert(key);
      for (const auto& [label, key] : entry.index.templates) keys.insert(key);
      for (const std::string& key : keys) {
        const auto found = catalogue_.find(key);
        if (!found)
          fail<Corrupt>("{}: the record {} of entry {} is gone; build again", options_.out.string(),
                        key, entry.index.id);
        index.records.emplace(key, *found);
        entry.report.bytes += found->row.size;
      }
      for (const auto& [label, job] : entry.jobs) entry.report.rows[label] = rows_of(jobs_[job]);
      for (const ChainSequence& chain : entry.chains) {
        const auto rows = entry.report.rows.find(chain.label);
        if (rows != entry.report.rows.end() && rows->second > 1)
          ++entry.index.facts.aligned.at(static_cast<size_t>(chain.type));
      }
    }
    index.entries.push_back(entry.index);
    report.entries.push_back(std::move(entry.report));
  }

  /// Of what was kept: files that went in, each once, and records that came out.
  void count_bytes(const CacheIndex& index, BuildReport& report) const {
    std::set<fs::path> files;
    for (const Entry& entry : entries_) {
      if (entry.index.verdict != Verdict::kept) continue;
      files.insert(entry.file->path);
      for (const auto& [label, job] : entry.jobs)
        for (fs::path& path : jobs_[job].files->all()) files.insert(std::move(path));
      for (const auto& [label, job] : entry.template_jobs)
        files.insert(template_jobs_[job].files->paths.begin(),
                     template_jobs_[job].files->paths.end());
    }
    for (const fs::path& path : files) report.input_bytes += size_of_file(path);
    for (const auto& [key, record] : index.records) report.stored_bytes += record.row.size;
  }

  static void publish_if_new(const fs::path& path, const std::string& bytes) {
    std::error_code error;
    if (fs::exists(path, error) && read_file(path) == bytes) return;
    publish(path, bytes);
  }

  const BuildOptions& options_;
  const DataFolder& folder_;
  const ComponentDictionary& dictionary_;
  AlignmentMatcher matcher_;
  TemplateLibrary library_;
  Catalogue catalogue_;
  std::vector<Entry> entries_;  // of this part, by id
  std::vector<AlignmentJob> jobs_, template_jobs_;
  std::set<std::string> hits_used_;
  std::mutex progress_mutex_, hash_mutex_;
  size_t shown_ = 0;
  std::map<fs::path, std::string> hashes_;
};

}  // namespace

size_t BuildReport::count(Verdict verdict) const {
  return static_cast<size_t>(
      std::count_if(entries.begin(), entries.end(),
                    [&](const EntryReport& entry) { return entry.verdict == verdict; }));
}

BuildReport build_cache(const BuildOptions& options) {
  const DataFolder folder = scan_data_folder(options.data);
  if (options.dictionary.empty() && !folder.dictionary)
    fail<BadInput>("{}: no component dictionary: pass --ccd FILE, or put components.bcif.gz there",
                   options.data.string());
  auto dictionary = ComponentDictionary::read(options.dictionary.empty() ? *folder.dictionary
                                                                         : options.dictionary);
  for (const fs::path& own : folder.own_components)
    dictionary.overlay(ComponentDictionary::read(own));
  if (options.parts < 1 || options.part < 1 || options.part > options.parts)
    fail<BadInput>("part {} of {}: parts are counted from 1", options.part, options.parts);
  const FolderLock lock = options.parts == 1
                              ? FolderLock::whole(options.out)
                              : FolderLock::part(options.out, options.part, options.parts);
  if (options.parts == 1) remove_leftovers(options.out);  // another part's file may be its own
  BuildReport report = CacheBuilder(options, folder, dictionary).run();
  if (options.finished) options.finished(report);
  return report;
}

std::string to_json(const BuildReport& report) {
  json entries = json::array();
  for (const EntryReport& entry : report.entries) {
    json one{{"id", entry.id}, {"file", entry.file}, {"verdict", name_of(entry.verdict)}};
    if (entry.verdict == Verdict::kept) {
      one["tokens"] = entry.tokens;
      one["atoms"] = entry.atoms;
      one["chains"] = entry.chains;
      one["alignments"] = entry.alignments;
      one["templates"] = entry.templates;
      one["reused"] = entry.reused;
      one["polymers"] = entry.polymers;
      one["rows"] = entry.rows;
      one["bytes"] = entry.bytes;
      one["inferred"] = entry.inferred;
    } else {
      one["reason"] = entry.reason;
    }
    one["seconds"] = entry.seconds;
    entries.push_back(std::move(one));
  }
  const json out{{"kept", report.count(Verdict::kept)},
                 {"dropped", report.count(Verdict::dropped)},
                 {"failed", report.count(Verdict::failed)},
                 {"content_key", report.content_key},
                 {"seconds", report.seconds},
                 {"cpu_seconds", report.cpu_seconds},
                 {"input_bytes", report.input_bytes},
                 {"stored_bytes", report.stored_bytes},
                 {"unused_alignments", report.unused_alignments},
                 {"damaged", report.damaged},
                 {"damaged_templates", report.damaged_templates},
                 {"entries", std::move(entries)}};
  return out.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace megafold
