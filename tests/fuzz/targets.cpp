// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "alignment/alignment.h"
#include "alignment/hits.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/bytes.h"
#include "cache/import.h"
#include "cache/index.h"
#include "cache/read_npz.h"
#include "cache/record.h"
#include "cache/shard.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/torch_file.h"
#include "features/features.h"
#include "structure/ccd.h"
#include "structure/clean.h"
#include "structure/tables.h"

namespace megafold::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kQuery = "MNDRQKFLKAVAELHWCGYPTS";

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

const ComponentDictionary& dictionary() {
  static const ComponentDictionary kDictionary =
      ComponentDictionary::read(fs::path(MEGAFOLD_SOURCE_DIR) / "data/components.bcif.gz");
  return kDictionary;
}

/// The bytes as a file of the file system, for readers that take a path.
class File {
 public:
  explicit File(std::string_view bytes) : file_(::memfd_create("fuzz", 0)) {
    require(file_ >= 0, "a file in memory");
    require(::write(file_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
            "the file is written");
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(file_); }
  [[nodiscard]] fs::path path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

// ------------------------------------------------------------------------------- text of others

/// An entry all the way to its record, as `megafold cache build` takes it, and its record read.
void read_structure(std::string_view bytes) {
  const auto document = Document::parse(std::string(bytes), "fuzz");
  FileEntry entry = read_entry(*document, "fuzz");
  Cleaned cleaned;
  try {
    cleaned = clean(std::move(entry), dictionary());
  } catch (const BadInput& error) {
    fail<BadInput>("fuzz: {}", error.what());  // names chain and residue; the builder adds the file
  }
  if (!cleaned.dropped.empty()) return;
  const auto arrays = structure_arrays(cleaned.structure, {"fuzz", "", ""});
  check_schema(kStructureArrays, arrays, "fuzz");
}

void read_dictionary(std::string_view bytes) {
  const File file(bytes);
  (void)ComponentDictionary::read(file.path());
}

void read_alignment(std::string_view bytes, const char* name) {
  const AlignmentText text{name, std::string(bytes)};
  const std::string query = read_query(text);
  const Msa msa = make_msa({text}, query, Alphabet::protein, "fuzz");
  require(msa.columns == static_cast<int64_t>(query.size()), "a column for each letter");
  require(msa.classes.size() == static_cast<size_t>(msa.rows * msa.columns), "whole rows");
  require(msa.deletions.size() == msa.classes.size(), "as many deletions");
  for (const uint8_t c : msa.classes) require(c < 32, "a class");
}

void read_hits(std::string_view bytes, const char* name) {
  for (const TemplateHit& hit : read_template_hits({name, std::string(bytes)}, kQuery)) {
    int32_t query = -1, residue = hit.first - 1;
    for (const auto& [i, j] : hit.pairs) {
      require(i > query && i < static_cast<int32_t>(kQuery.size()), "columns ascend in the query");
      require(j > residue && j < hit.last, "residues ascend within the hit");
      query = i, residue = j;
    }
  }
}

// ------------------------------------------------------------------- what megafold itself writes
// Random bytes never pass a checksum, so these targets make the sums right and let the rest lie.

template <class T>
void set(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

/// A record's and a shard's ends: magic of 8 bytes and version, 40 bytes at the end.
std::string with_sound_ends(std::string_view given) {
  std::string bytes(given);
  if (bytes.size() < 56) return bytes;
  const size_t trailer = bytes.size() - 40;
  const auto offset = value_at<uint64_t>(bytes, trailer);
  if (offset <= trailer)
    set(bytes, trailer + 16,
        checksum64(bytes_of(std::string_view(bytes).substr(offset, trailer - offset))));
  set(bytes, trailer + 24, checksum64(bytes_of(bytes.substr(0, 16) + bytes.substr(trailer, 24))));
  return bytes;
}

void read_record(std::string_view given) {
  for (const RecordKind kind :
       {RecordKind::structure, RecordKind::alignment, RecordKind::templates}) {
    std::string bytes = with_sound_ends(given);
    // The blocks' sums stand in the index: whoever forges an index forges them.
    const RecordIndex index = read_record_index(bytes, "fuzz");
    if (index.kind != kind) continue;
    const auto record = parse_record(bytes, "fuzz", kind, "");
    for (const std::string& name : record->names()) (void)record->array(name).size();
  }
}

void read_whole_shard(std::string_view given) {
  const File file(with_sound_ends(given));
  const auto opened = ReadFile::open(file.path());
  for (const ShardRow& row : read_shard(*opened).rows) {
    try {
      check_record({opened, row.offset, row.size}, row.kind, row.key);
    } catch (const Corrupt&) {
    } catch (const Unsupported&) {
    }
  }
}

void read_cache_index(std::string_view given) {
  static const fs::path kFolder = [] {
    std::string name = (fs::temp_directory_path() / "megafold-fuzz-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, "a folder");
    static const fs::path kMade = name;
    std::atexit([] { fs::remove_all(kMade); });
    return kMade;
  }();
  std::string bytes(given);
  for (size_t page = 0; (page + 1) * 4096 <= bytes.size(); ++page) {
    const std::string content = bytes.substr(page * 4096, 4088);
    std::string number;
    append(number, uint64_t{page});
    set(bytes, page * 4096 + 4088, checksum64(bytes_of(content + number)));
  }
  const File file(bytes);
  const fs::path path = kFolder / kIndexFile;
  fs::remove(path);
  fs::create_symlink(file.path(), path);
  const CacheIndex index = read_index(kFolder);
  const IndexFile opened(kFolder);
  for (const IndexEntry& entry : index.entries)
    require(opened.find_entry(entry.id).has_value(), "an entry is found by its id");
  for (const auto& [key, record] : index.records)
    require(opened.find_record(key).has_value(), "a record is found by its key");
}

void read_safetensors(std::string_view bytes) {
  const File file(bytes);
  const Safetensors opened(file.path());
  for (const Safetensors::Info& info : opened.tensors()) {
    const at::Tensor tensor = opened[info.name];
    require(tensor.nbytes() == info.end - info.begin, "a tensor fills its bytes");
    if (tensor.nbytes() > 0) (void)*static_cast<volatile const char*>(tensor.const_data_ptr());
  }
}

void read_torch(std::string_view bytes) {
  const File file(bytes);
  for (const auto& [name, tensor] : read_torch_state(file.path()))
    (void)tensor.contiguous().numel();  // reads every value
}

void read_table(const NpyTable& table) {
  for (size_t row = 0; row < std::min<size_t>(table.rows(), 3); ++row)
    for (const NpyField& field : table.fields()) {
      for (size_t k = 0; k < std::min<size_t>(field.count, 9); ++k) {
        if (field.kind == 'f') (void)table.number(row, field, k);
        if (field.kind == 'i' || field.kind == 'u' || field.kind == 'b')
          (void)table.integer(row, field, k);
      }
      if (field.kind == 'U') (void)table.text(row, field);
    }
}

void read_archive(std::string_view bytes) {
  const NpzFile file{std::string(bytes), "fuzz"};
  for (const std::string& name : file.names()) read_table(file.table(name));
}

#ifdef MEGAFOLD_FUZZ_IMPORT
/// A job of AlphaFold 3 to the files that `megafold import` writes, and its entry read again.
void read_job(std::string_view bytes) {
  static const struct Folder {
    Folder() { require(::mkdtemp(name.data()) != nullptr, "a folder"); }
    ~Folder() { fs::remove_all(name); }
    std::string name = (fs::temp_directory_path() / "megafold_fuzz_XXXXXX").string();
  } kFolder;
  const File file(bytes);
  ImportOptions options;
  options.from = "alphafold3";
  options.source = file.path();
  options.out = fs::path(kFolder.name) / "out";
  fs::remove_all(options.out);
  const ImportReport report = import_folder(options);
  require(report.entries == 1, "a job is one entry");
  for (const auto& written : fs::recursive_directory_iterator(options.out))
    require(written.path().string().starts_with(options.out.string()), "files lie in the folder");
  for (const auto& entry : fs::directory_iterator(options.out / "entries")) {
    if (entry.path().string().ends_with(".components.cif")) continue;
    const auto document = Document::parse(read_file(entry.path()), "fuzz");
    (void)read_entry(*document, "fuzz");
  }
}
#endif

constexpr std::array kTargets = {
#ifdef MEGAFOLD_FUZZ_IMPORT
    Target{"alphafold3", read_job},
#endif
    Target{"mmcif", read_structure},
    Target{"bcif", read_structure},
    Target{"ccd", read_dictionary},
    Target{"a3m", [](std::string_view bytes) { read_alignment(bytes, "fuzz.a3m"); }},
    Target{"a2m", [](std::string_view bytes) { read_alignment(bytes, "fuzz.a2m"); }},
    Target{"stockholm", [](std::string_view bytes) { read_alignment(bytes, "fuzz.sto"); }},
    Target{"m8", [](std::string_view bytes) { read_hits(bytes, "fuzz.m8"); }},
    Target{"hhr", [](std::string_view bytes) { read_hits(bytes, "fuzz.hhr"); }},
    Target{"hit_rows", [](std::string_view bytes) { read_hits(bytes, "fuzz.sto"); }},
    Target{"record", read_record},
    Target{"shard", read_whole_shard},
    Target{"index", read_cache_index},
    Target{"safetensors", read_safetensors},
    Target{"torch", read_torch},
    Target{"npz", read_archive},
    Target{"npy", [](std::string_view bytes) { read_table(NpyTable(std::string(bytes), "fuzz")); }},
};

}  // namespace

std::span<const Target> targets() {
  return kTargets;
}

const Target* find_target(std::string_view name) {
  for (const Target& target : kTargets)
    if (target.name == name) return &target;
  return nullptr;
}

void run(const Target& target, std::string_view bytes) {
  const auto end = [&](const char* what, const char* message) {
    std::fprintf(stderr, "target %s: %s: %s\n", std::string(target.name).c_str(), what, message);
    std::abort();
  };
  try {
    target.read(bytes);
  } catch (const Device& error) {
    end("an input is no fault of the machine", error.what());
  } catch (const Error& error) {
    const std::string_view text = error.what();
    if (text.find("fuzz") == std::string_view::npos && text.find("/fd/") == std::string_view::npos)
      end("a refusal without the file's name", error.what());
  } catch (const std::exception& error) {
    end("another exception", error.what());
  }
}

}  // namespace megafold::fuzz
