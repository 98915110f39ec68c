// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

constexpr size_t kFirstGuess = size_t{1} << 16;

/// Room for more output: doubles, so that the copies stay linear in all.
void grow(std::string& out, size_t used, std::string_view name, uint64_t limit) {
  if (used < out.size()) return;
  if (out.size() >= limit)
    fail<BadInput>("{}: more than {} bytes come out of the packed file", name, limit);
  out.resize(std::min<uint64_t>(limit, std::max(kFirstGuess, out.size() * 2)));
}

/// Stops when `wanted` bytes are there.
std::string gunzip(const std::string& packed, std::string_view name, uint64_t limit,
                   uint64_t wanted) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) fail<Device>("{}: zlib found no memory", name);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
  // The last four bytes hold the size (modulo 2^32) of the last member: right for most files.
  std::string out;
  if (wanted < limit) {
    out.resize(wanted);
  } else if (packed.size() >= 18) {
    uint64_t size = 0;
    for (int i = 0; i < 4; ++i)
      size |= uint64_t{static_cast<unsigned char>(packed[packed.size() - 4 + i])} << (8 * i);
    if (size < packed.size() * 64) out.resize(std::min(size + 1, limit));  // a lie costs little
  }
  size_t used = 0, consumed = 0;
  for (;;) {
    grow(out, used, name, limit);
    const auto* const next = reinterpret_cast<const Bytef*>(packed.data()) + consumed;
    stream.next_in = const_cast<Bytef*>(next);  // zlib's signature: it only reads
    stream.avail_in = static_cast<uInt>(std::min(packed.size() - consumed, size_t{1} << 30));
    stream.next_out = reinterpret_cast<Bytef*>(out.data()) + used;
    stream.avail_out = static_cast<uInt>(std::min(out.size() - used, size_t{1} << 30));
    const int status = inflate(&stream, Z_NO_FLUSH);
    const size_t before = consumed + used;
    consumed = static_cast<size_t>(stream.next_in - reinterpret_cast<const Bytef*>(packed.data()));
    used = static_cast<size_t>(reinterpret_cast<char*>(stream.next_out) - out.data());
    if (used >= wanted) break;
    if (status == Z_STREAM_END) {
      if (consumed == packed.size()) break;
      if (inflateReset(&stream) != Z_OK) fail<Device>("{}: zlib failed", name);
      continue;
    }
    if (status != Z_OK && status != Z_BUF_ERROR)
      fail<BadInput>("{}: damaged gzip data near byte {} ({})", name, consumed,
                     stream.msg != nullptr ? stream.msg : "unknown");
    if (consumed == packed.size() && stream.avail_out != 0)
      fail<BadInput>("{}: the gzip file ends early, after {} bytes", name, packed.size());
    if (consumed + used == before && used < out.size())
      fail<BadInput>("{}: the gzip file ends early, after {} bytes", name, packed.size());
  }
  out.resize(used);
  return out;
}

std::string unzstd(const std::string& packed, std::string_view name, uint64_t limit,
                   uint64_t wanted) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          ZSTD_freeDStream);
  if (!stream) fail<Device>("{}: Zstandard found no memory", name);
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::string out;
  if (wanted < limit) out.resize(wanted);
  size_t used = 0, pending = 1;
  while (in.pos < in.size && used < wanted) {
    grow(out, used, name, limit);
    ZSTD_outBuffer piece{out.data() + used, out.size() - used, 0};
    pending = ZSTD_decompressStream(stream.get(), &piece, &in);
    if (ZSTD_isError(pending) != 0)
      fail<BadInput>("{}: damaged Zstandard data near byte {} ({})", name, in.pos,
                     ZSTD_getErrorName(pending));
    used += piece.pos;
  }
  while (pending != 0 && used < wanted) {  // all is read; what is still inside must come out
    grow(out, used, name, limit);
    ZSTD_outBuffer piece{out.data() + used, out.size() - used, 0};
    pending = ZSTD_decompressStream(stream.get(), &piece, &in);
    if (ZSTD_isError(pending) != 0 || piece.pos == 0)
      fail<BadInput>("{}: the Zstandard file ends early, after {} bytes", name, packed.size());
    used += piece.pos;
  }
  out.resize(used);
  return out;
}

}  // namespace

std::string decompress(std::string packed, std::string_view name, uint64_t limit, uint64_t wanted) {
  const std::string_view head = std::string_view(packed).substr(0, 4);
  if (head.starts_with("\x1f\x8b")) return gunzip(packed, name, limit, wanted);
  if (head == "\x28\xb5\x2f\xfd") return unzstd(packed, name, limit, wanted);
  if (packed.size() > wanted) packed.resize(wanted);
  return packed;
}

std::string read_decompressed(const std::filesystem::path& path, uint64_t wanted) {
  return decompress(read_file(path), path.string(), kDecompressLimit, wanted);
}

std::string unpacked_name(std::string_view name) {
  for (const std::string_view ending : {".gz", ".zst"})
    if (name.ends_with(ending)) name.remove_suffix(ending.size());
  return std::string(name);
}

}  // namespace megafold
