// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Text mmCIF, read by gemmi. The only file that includes gemmi's parser: it takes long to compile.
#include <algorithm>
#include <gemmi/cif.hpp>
#include <utility>

#include "base/errors.h"
#include "structure/tables.h"

namespace megafold {
namespace {

namespace cif = gemmi::cif;

bool is_null(std::string_view raw) {
  return raw == "?" || raw == ".";
}

/// A value without its quotes, as a piece of the text that gemmi keeps (no copy).
std::string_view unquote(std::string_view raw) {
  if (raw.size() >= 2 && (raw.front() == '\'' || raw.front() == '"')) {
    raw.remove_prefix(1);
    raw.remove_suffix(1);
  } else if (raw.size() >= 3 && raw.front() == ';') {
    raw.remove_prefix(1);  // ";text\n;": the last line break belongs to the delimiter
    raw.remove_suffix(raw.size() >= 3 && raw[raw.size() - 3] == '\r' ? 3 : 2);
  }
  return raw;
}

class TextTable : public Table {
 public:
  TextTable(const std::string& file, cif::Block& block, std::string category)
      : file_(file), block_(block), category_(std::move(category)) {
    const std::string prefix = gemmi::to_lower(category_) + ".";
    for (const cif::Item& item : block_.items) {
      if (item.type == cif::ItemType::Loop) {
        if (item.loop.tags.empty() || !gemmi::istarts_with(item.loop.tags[0], prefix)) continue;
        rows_ = item.loop.length();
        break;
      }
      if (item.type == cif::ItemType::Pair && gemmi::istarts_with(item.pair[0], prefix)) {
        rows_ = 1;
        break;
      }
    }
  }
  [[nodiscard]] size_t rows() const override { return rows_; }
  [[nodiscard]] Column column(std::string_view name) const override {
    const std::string tag = category_ + "." + std::string(name);
    cif::Column found = block_.find_values(tag);
    if (found.item() == nullptr) return {};
    const auto size = static_cast<size_t>(found.length());
    if (size != rows_)
      fail<BadInput>("{}:{}: {} has {} values, the rest of the category {}", file_,
                     found.item()->line_number, tag, size, rows_);
    std::vector<std::string_view> texts;
    std::vector<uint8_t> mask(size, 0);
    texts.reserve(size);
    bool any = false;
    for (size_t i = 0; i < size; ++i) {
      const std::string& raw = found[static_cast<int>(i)];
      mask[i] = is_null(raw) ? 1 : 0;
      any = any || mask[i] != 0;
      texts.push_back(unquote(raw));
    }
    if (!any) mask.clear();
    return {{file_, tag, found.item()->line_number}, std::move(texts), std::move(mask)};
  }

 protected:
  [[nodiscard]] std::string describe() const override {
    return fmt::format("{}: category {}", file_, category_);
  }

 private:
  const std::string& file_;
  cif::Block& block_;
  std::string category_;
  size_t rows_ = 0;
};

class TextBlock : public Block {
 public:
  TextBlock(const std::string& file, cif::Block& block) : file_(file), block_(block) {}
  [[nodiscard]] std::string name() const override { return block_.name; }
  [[nodiscard]] std::unique_ptr<Table> table(std::string_view category) const override {
    return std::make_unique<TextTable>(file_, block_, std::string(category));
  }

 private:
  const std::string& file_;
  cif::Block& block_;
};

class TextDocument : public Document {
 public:
  TextDocument(const std::string& content, const std::string& name) : file_(name) {
    try {
      document_ = cif::read_memory(content.data(), content.size(), file_.c_str());
    } catch (const std::exception& error) {  // gemmi's messages start with name:line
      fail<BadInput>("{} (not a complete CIF file)", error.what());
    }
    for (cif::Block& block : document_.blocks)
      blocks_.push_back(std::make_unique<TextBlock>(file_, block));
  }
  [[nodiscard]] const std::string& file() const override { return file_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Block>>& blocks() const override {
    return blocks_;
  }

 private:
  std::string file_;
  cif::Document document_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

}  // namespace

namespace internal {

std::unique_ptr<Document> parse_cif_text(std::string content, const std::string& name) {
  if (const size_t nul = content.find('\0'); nul != std::string::npos) {
    const auto end = content.begin() + static_cast<std::ptrdiff_t>(nul);
    fail<BadInput>("{}:{}: a zero byte: this is neither mmCIF text nor BinaryCIF", name,
                   1 + std::count(content.begin(), end, '\n'));
  }
  auto document = std::make_unique<TextDocument>(content, name);
  if (document->blocks().empty())
    fail<BadInput>("{}:1: no data block: this is neither mmCIF text nor BinaryCIF", name);
  return document;
}

}  // namespace internal
}  // namespace megafold
