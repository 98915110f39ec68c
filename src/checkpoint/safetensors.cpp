// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kTypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
}};
constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

struct Mapping {
  std::shared_ptr<const std::byte> bytes;
  uint64_t size = 0;
};

Mapping map_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail<BadInput>("{}: cannot be opened: {}", path.string(), std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = static_cast<uint64_t>(status.st_size);
  void* const memory =
      regular && size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
  ::close(file);
  if (S_ISDIR(status.st_mode))
    fail<BadInput>("{}: is a folder, a file was expected", path.string());
  if (!regular || size < 8)
    fail<BadInput>("{}: is no safetensors file (it has {} bytes)", path.string(), size);
  if (memory == MAP_FAILED)
    fail<Device>("{}: cannot be mapped: {}", path.string(), std::strerror(errno));
  return {{static_cast<const std::byte*>(memory),
           [size](const std::byte* p) { ::munmap(const_cast<std::byte*>(p), size); }},
          size};
}

/// The entry of one tensor, with its shape and type checked against its number of bytes.
Safetensors::Info read_entry(const std::string& file, const std::string& name,
                             const nlohmann::json& entry, uint64_t available) {
  Safetensors::Info info;
  info.name = name;
  try {
    const auto type = entry.at("dtype").get<std::string>();
    const auto* const known =
        std::ranges::find(kTypes, type, &std::pair<std::string_view, at::ScalarType>::first);
    if (known == kTypes.end())
      fail<BadInput>("{}: tensor '{}' has the unknown type '{}'", file, name, type);
    info.dtype = known->second;
    info.shape = entry.at("shape").get<std::vector<int64_t>>();
    const auto offsets = entry.at("data_offsets").get<std::vector<uint64_t>>();
    if (offsets.size() != 2) throw std::invalid_argument("data_offsets must be two numbers");
    info.begin = offsets[0], info.end = offsets[1];
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail<Corrupt>("{}: the header's entry of tensor '{}' cannot be read: {}", file, name,
                  error.what());
  }
  uint64_t bytes = at::elementSize(info.dtype);
  for (const int64_t n : info.shape) {
    if (n < 0 || (n > 0 && bytes > (uint64_t{1} << 62) / static_cast<uint64_t>(n)))
      fail<Corrupt>("{}: tensor '{}' has the impossible shape [{}]", file, name,
                    fmt::join(info.shape, ", "));
    bytes *= static_cast<uint64_t>(n);
  }
  if (info.begin > info.end || info.end > available || info.end - info.begin != bytes)
    fail<Corrupt>(
        "{}: tensor '{}' of shape [{}] needs {} bytes, the header places it at {} to {}, and the "
        "file holds {}: cut short or damaged",
        file, name, fmt::join(info.shape, ", "), bytes, info.begin, info.end, available);
  return info;
}

}  // namespace

Safetensors::Safetensors(const std::filesystem::path& path) : path_(path) {
  const Mapping mapping = map_file(path);
  uint64_t length = 0;
  std::memcpy(&length, mapping.bytes.get(), 8);
  if (length > kMaxHeader || length < 2 || mapping.bytes.get()[8] != std::byte{'{'})
    fail<BadInput>("{}: is no safetensors file (its first 8 bytes give a header of {} bytes)",
                   path.string(), length);
  if (length > mapping.size - 8)
    fail<Corrupt>("{}: is cut short: the header has {} bytes, the file {}", path.string(), length,
                  mapping.size);
  const auto* const text = reinterpret_cast<const char*>(mapping.bytes.get()) + 8;
  nlohmann::json header;
  try {
    header = nlohmann::json::parse(text, text + length);
    if (!header.is_object()) throw std::invalid_argument("no JSON object");
    if (const auto metadata = header.find("__metadata__"); metadata != header.end()) {
      metadata_ = metadata->get<std::map<std::string, std::string>>();
      header.erase(metadata);
    }
  } catch (const std::exception& error) {
    fail<Corrupt>("{}: the header cannot be read: {}", path.string(), error.what());
  }
  bytes_ = {mapping.bytes, mapping.bytes.get() + 8 + length};
  for (const auto& [name, entry] : header.items())
    tensors_.push_back(read_entry(path.string(), name, entry, mapping.size - 8 - length));
  std::ranges::sort(tensors_, {}, [](const Info& t) { return std::pair(t.begin, t.end); });
  uint64_t end = 0;
  for (const Info& info : tensors_) {
    if (info.begin != end)
      fail<Corrupt>("{}: tensor '{}' starts at byte {}, the one before it ends at {}",
                    path.string(), info.name, info.begin, end);
    end = info.end;
  }
  if (end != mapping.size - 8 - length)
    fail<Corrupt>("{}: {} bytes follow the last tensor", path.string(),
                  mapping.size - 8 - length - end);
}

const Safetensors::Info* Safetensors::find(std::string_view name) const {
  const auto found = std::ranges::find(tensors_, name, &Info::name);
  return found == tensors_.end() ? nullptr : &*found;
}

at::Tensor Safetensors::operator[](std::string_view name) const {
  const Info* const info = find(name);
  if (info == nullptr) fail<BadInput>("{}: has no tensor '{}'", path_.string(), name);
  void* const data = const_cast<std::byte*>(bytes_.get() + info->begin);
  const auto options = at::TensorOptions(info->dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % at::elementSize(info->dtype) == 0;
  if (aligned && info->end > info->begin)
    return at::from_blob(data, info->shape, [keep = bytes_](void*) {}, options);
  at::Tensor copy = at::empty(info->shape, options);
  if (info->end > info->begin) std::memcpy(copy.data_ptr(), data, info->end - info->begin);
  return copy;
}

std::string safetensors_header(const std::string& name_of_file,
                               const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto* const known = std::ranges::find(
        kTypes, tensor.scalar_type(), &std::pair<std::string_view, at::ScalarType>::second);
    if (known == kTypes.end())
      fail<BadInput>("{}: tensor '{}' has type {}, which safetensors lacks", name_of_file, name,
                     at::toString(tensor.scalar_type()));
    if (name == "__metadata__" || header.contains(name))
      fail<BadInput>("{}: two tensors are named '{}'", name_of_file, name);
    const uint64_t bytes = tensor.nbytes();
    header[name] = {{"dtype", known->first},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that f64 tensors are aligned in the mapping
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = safetensors_header(path.string(), tensors, metadata);
  publish(path, [&](const WritePiece& write) {
    write(std::as_bytes(std::span(header)));
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor plain = tensor.detach().cpu().contiguous();
      write({static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()});
    }
  });
}

}  // namespace megafold
