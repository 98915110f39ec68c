// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/build.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>

#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/inputs.h"
#include "cache/layout.h"
#include "cache/match.h"
#include "features/features.h"
#include "structure/clean.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Alphabet alphabet_of(ChainType type) {
  if (type == ChainType::rna) return Alphabet::rna;
  return type == ChainType::dna ? Alphabet::dna : Alphabet::protein;
}

/// One builder at a time holds a cache folder; the system lets go when the process ends.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail<Device>("{}: cannot make the folder: {}", folder.string(), error.message());
    const fs::path path = folder / ".lock";
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0)
      fail<Device>("{}: cannot be opened: {}; choose a folder that this user may write to",
                   path.string(), std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const int error_number = errno;
      ::close(file_);
      if (error_number == EWOULDBLOCK)
        fail<BadInput>("{}: another build is at work on this cache; wait for it", folder.string());
      fail<Device>("{}: cannot be locked: {}", path.string(), std::strerror(error_number));
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() { ::close(file_); }

 private:
  int file_ = -1;
};

/// What a killed build left behind: no reader looks at these.
void remove_leftovers(const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(".") && name.ends_with(".tmp")) fs::remove(it->path(), error);
  }
}

class CacheBuilder {
 public:
  CacheBuilder(const BuildOptions& options, const DataFolder& folder,
               const ComponentDictionary& dictionary)
      : options_(options), folder_(folder), dictionary_(dictionary), matcher_(folder) {}

  BuildReport run() {
    const auto start = Clock::now();
    BuildReport report;
    report.entries.resize(folder_.entries.size());
    kept_.resize(folder_.entries.size());
    std::atomic<size_t> next{0};
    std::atomic<bool> stop{false};
    size_t done = 0;
    std::exception_ptr failure;  // the disk's: no entry's own fault, so the build stops
    std::mutex mutex;
    const auto work = [&] {
      while (!stop) {
        const size_t i = next++;
        if (i >= folder_.entries.size()) return;
        try {
          report.entries[i] = build_entry(i);
        } catch (...) {
          const std::scoped_lock lock(mutex);
          if (!failure) failure = std::current_exception();
          stop = true;
          return;
        }
        const std::scoped_lock lock(mutex);
        ++done;
        if (options_.progress) options_.progress(done, folder_.entries.size(), report.entries[i]);
      }
    };
    const size_t wanted = options_.threads > 0 ? static_cast<size_t>(options_.threads)
                                               : std::max(1U, std::thread::hardware_concurrency());
    const size_t count = std::min(wanted, folder_.entries.size());
    {
      std::vector<std::jthread> threads;
      for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
      work();
    }
    if (failure) std::rethrow_exception(failure);

    CacheIndex index;
    for (const IndexEntry& entry : kept_)
      if (!entry.key.empty()) index.entries.push_back(entry);
    finish_index(index);
    publish_if_new(options_.out / kIndexFile, pack_index(index));
    kill_point("cache.indexed");
    report.content_key = index.content_key;
    report.unused_alignments = matcher_.unused();
    report.seconds = seconds_since(start);
    publish(options_.out / kReportFile, to_json(report));
    return report;
  }

 private:
  EntryReport build_entry(size_t i) {
    const auto start = Clock::now();
    const EntryFile& entry = folder_.entries[i];
    EntryReport report;
    report.id = entry.id;
    report.file = entry.path.string();
    try {
      make_entry(entry, kept_[i], report);
    } catch (const BadInput& error) {
      report.verdict = Verdict::failed;
      const std::string text = error.what();  // every message names the file
      report.reason =
          text.find(report.file) == std::string::npos && text.find(": ") == std::string::npos
              ? report.file + ": " + text
              : text;
      kept_[i] = {};
    }
    report.seconds = seconds_since(start);
    return report;
  }

  void make_entry(const EntryFile& entry, IndexEntry& index, EntryReport& report) {
    std::string bytes = read_file(entry.path);
    const std::string key =
        sha256_hex({"structure", entry.id, bytes, dictionary_.version(), kStructureRulesVersion});
    const fs::path path = record_path(options_.out, RecordKind::structure, key);
    std::vector<ChainSequence> chains;
    report.reused = read_existing(path, key, chains, report);
    if (!report.reused) {
      const auto document = Document::parse(std::move(bytes), entry.path.string());
      Cleaned cleaned = clean(read_entry(*document, entry.id), dictionary_);
      if (!cleaned.dropped.empty()) {
        report.verdict = Verdict::dropped;
        report.reason = cleaned.dropped;
        return;
      }
      const StructureSource source{entry.path.filename().string(), dictionary_.version(),
                                   std::string(kStructureRulesVersion)};
      const auto arrays = structure_arrays(cleaned.structure, source);
      for (const NamedArray& array : arrays) {
        if (array.name == "token_restype") report.tokens = array.size();
        if (array.name == "atom_element") report.atoms = array.size();
      }
      for (const Chain& chain : cleaned.structure.chains)
        chains.push_back({chain.label, chain.origin, chain.auth,
                          is_polymer(chain.type) ? one_letter_sequence(chain) : std::string(),
                          chain.type});
      if (report.tokens == 0) {
        report.verdict = Verdict::dropped;
        report.reason = "no token is left after cleaning";
        return;
      }
      write_record(path, RecordKind::structure, key, arrays);
      kill_point("cache.structure");
    }
    report.chains = static_cast<int64_t>(chains.size());
    index.id = entry.id;
    for (const auto& [label, files] : matcher_.match(entry.id, chains))
      for (const ChainSequence& chain : chains)
        if (chain.label == label) index.alignments[label] = make_alignment(*files, chain);
    report.alignments = static_cast<int64_t>(index.alignments.size());
    report.verdict = Verdict::kept;
    index.key = key;
  }

  /// The record of an earlier build, where there is one and it is sound.
  static bool read_existing(const fs::path& path, const std::string& key,
                            std::vector<ChainSequence>& chains, EntryReport& report) {
    std::error_code error;
    if (!fs::exists(path, error)) return false;
    try {
      const auto record = read_record(path, RecordKind::structure, key);
      report.tokens = record->array("token_restype").size();
      report.atoms = record->array("atom_element").size();
      const ArrayView types = record->array("chain_type");
      const json meta = json::parse(record->meta());
      for (const json& chain : meta.at("chains")) {
        const json& sequence = chain.at("sequence");
        chains.push_back({chain.at("label").get<std::string>(),
                          chain.at("origin").get<std::string>(),
                          chain.at("auth").get<std::string>(),
                          sequence.is_null() ? std::string() : sequence.get<std::string>(),
                          static_cast<ChainType>(types.as<uint8_t>()[chains.size()])});
      }
      return true;
    } catch (const Error&) {  // damaged: made again, over it
    } catch (const json::exception&) {
    }
    chains.clear();
    return false;
  }

  std::string make_alignment(const AlignmentFiles& files, const ChainSequence& chain) {
    std::vector<AlignmentText> texts;
    std::string all;
    for (const fs::path& path : files.paths) {
      texts.push_back({path.string(), read_decompressed(path)});
      all += sha256_hex({path.filename().string(), texts.back().text});
    }
    const Alphabet alphabet = alphabet_of(chain.type);
    const std::string key = sha256_hex({"alignment", all, chain.sequence, kAlignmentRulesVersion,
                                        std::to_string(static_cast<int>(alphabet))});
    const fs::path path = record_path(options_.out, RecordKind::alignment, key);
    {
      const std::scoped_lock lock(alignment_mutex_);
      if (!alignments_made_.insert(key).second) return key;  // another chain has the same
    }
    std::error_code error;
    if (fs::exists(path, error)) {
      try {
        read_record(path, RecordKind::alignment, key);
        return key;
      } catch (const Error&) {  // damaged: made again
      }
    }
    Msa msa = make_msa(texts, chain.sequence, alphabet, fmt::format("chain {}", chain.label));
    write_record(path, RecordKind::alignment, key,
                 alignment_arrays(std::move(msa), chain.sequence, alphabet));
    kill_point("cache.alignment");
    return key;
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
  std::vector<IndexEntry> kept_;  // key empty: not kept
  std::mutex alignment_mutex_;
  std::set<std::string> alignments_made_;
};

}  // namespace

std::string_view name_of(Verdict verdict) {
  constexpr std::array<std::string_view, 3> kNames = {"kept", "dropped", "failed"};
  return kNames[static_cast<size_t>(verdict)];
}

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
  const auto dictionary = ComponentDictionary::read(
      options.dictionary.empty() ? *folder.dictionary : options.dictionary);
  const FolderLock lock(options.out);
  remove_leftovers(options.out);
  return CacheBuilder(options, folder, dictionary).run();
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
      one["reused"] = entry.reused;
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
                 {"unused_alignments", report.unused_alignments},
                 {"entries", std::move(entries)}};
  return out.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace megafold
