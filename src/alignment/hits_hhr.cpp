// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// hhr, the report of HHsearch, HHblits and hhalign. After a table of all hits, each stands like
// this, in as many blocks as its length needs:
//
//   No 1
//   >6T1Z_A Multidrug transporter
//   Probab=100.00  E-value=8.7e-49  Score=368.75  Aligned_cols=376 ...
//
//   Q query             8 MVNLKLR--ALF   17 (408)
//   Q Consensus         8 ~vnlklr--~lf   17 (408)
//                         |||..||  |.|
//   T Consensus         1 mrnLRlRravLF   12 (390)
//   T 6T1Z_A            1 MRNLRLRRAVLF   12 (390)
#include <algorithm>
#include <charconv>
#include <cmath>

#include "alignment/hits.h"
#include "alignment/lines.h"
#include "base/errors.h"

namespace megafold::internal {
namespace {

/// One side of a block.
struct Side {
  std::string_view letters;
  int32_t first = 0, last = 0;  // 1-based; last is first - 1 where all is gap
  int line = 0;
};

bool is_gap(char c) {
  return c == '-' || c == '.';
}

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool is_same(char a, char b) {
  const uint8_t x = restype_of_letter(a, Alphabet::protein);
  const uint8_t y = restype_of_letter(b, Alphabet::protein);
  return x == y || x == 20 || y == 20;  // UNK on either side
}

class HhrReader {
 public:
  HhrReader(const AlignmentText& file, std::string_view query) : file_(file), query_(query) {}

  std::vector<TemplateHit> read() {
    Lines lines(file_.text);
    std::string_view line;
    bool any_hit_line = false;
    while (lines.next(line)) {
      number_ = lines.number();
      if (line.starts_with("No ") && line.find_first_not_of("0123456789", 3) == line.npos) {
        close();
        any_hit_line = true;
        hits_.emplace_back().line = number_;
      } else if (!any_hit_line) {
        continue;  // the head and the table
      } else if (line.starts_with(">")) {
        hits_.back().name = std::string(first_word(line.substr(1)));
        set_entry_and_chain(hits_.back());
      } else if (line.starts_with("Probab=")) {
        read_scores(line);
      } else if (line.starts_with("Q ")) {
        read_side(line.substr(2), query_side_);
      } else if (line.starts_with("T ") && read_side(line.substr(2), hit_side_)) {
        pair_up();
      }
    }
    close();
    return std::move(hits_);
  }

 private:
  [[noreturn]] void fail_here(const std::string& what) const {
    fail<BadInput>("{}:{}: {}", file_.name, number_, what);
  }

  void read_scores(std::string_view line) {
    constexpr std::string_view kName = "E-value=";
    const size_t at = line.find(kName);
    if (at == std::string_view::npos) return;
    const std::string_view text = first_word(line.substr(at + kName.size()));
    double value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || rest != text.data() + text.size())
      fail_here(fmt::format("the E-value '{}' is not a number", text));
    hits_.back().e_value = value;
  }

  /// False where the line is a consensus, a secondary structure, or another annotation.
  bool read_side(std::string_view line, Side& side) const {
    const std::string_view name = take_word(line);
    if (name == "Consensus" || name.starts_with("ss_") || name == "Confidence") return false;
    const std::string_view first = take_word(line), letters = take_word(line),
                           last = take_word(line);
    side.line = number_;
    side.letters = letters;
    for (const auto& [text, value] : {std::pair{first, &side.first}, {last, &side.last}}) {
      const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
      if (error != std::errc() || rest != text.data() + text.size())
        fail_here(
            "a row of an alignment is a name, a place, letters, a place and a length; "
            "this one is cut short or damaged");
    }
    const auto count =
        letters.size() - static_cast<size_t>(std::count_if(letters.begin(), letters.end(), is_gap));
    if (side.first < 1 || static_cast<int64_t>(count) != int64_t{side.last} - side.first + 1)
      fail_here(fmt::format("{} letters from residue {} to {}", count, side.first, side.last));
    return true;
  }

  void pair_up() {
    TemplateHit& hit = hits_.back();
    const Side q = query_side_, t = hit_side_;
    query_side_ = hit_side_ = {};
    if (q.letters.empty()) fail_here(fmt::format("a row of {} without the query's", hit.name));
    if (q.letters.size() != t.letters.size())
      fail_here(fmt::format("{} columns of {} beside {} of the query", t.letters.size(), hit.name,
                            q.letters.size()));
    if (static_cast<size_t>(q.last) > query_.size())
      fail_here(fmt::format("residue {} of a query of {}: is this the report of another query?",
                            q.last, query_.size()));
    if (hit.letters.empty()) {
      hit.first = t.first - 1;
    } else if (hit.last != t.first - 1) {
      fail_here(fmt::format("{} goes on at residue {} after {}", hit.name, t.first, hit.last));
    }
    int32_t at_query = q.first - 1, at_hit = t.first - 1;
    for (size_t i = 0; i < q.letters.size(); ++i) {
      const char a = q.letters[i], b = t.letters[i];
      if (!is_gap(a) && !is_same(a, query_[static_cast<size_t>(at_query)]))
        fail<BadInput>(
            "{}:{}: residue {} is {} here and {} in the query; HH-suite counts match "
            "columns: search with -M first, or with the sequence alone",
            file_.name, q.line, at_query + 1, a, query_[static_cast<size_t>(at_query)]);
      if (!is_gap(b)) hit.letters += upper(b);
      if (!is_gap(a) && !is_gap(b)) hit.pairs.push_back({at_query, at_hit});
      at_query += is_gap(a) ? 0 : 1;
      at_hit += is_gap(b) ? 0 : 1;
    }
    hit.last = at_hit;
  }

  void close() const {
    if (hits_.empty()) return;
    const TemplateHit& hit = hits_.back();
    if (hit.name.empty() || hit.letters.empty())
      fail<BadInput>("{}:{}: the hit has no {} (is the file cut short?)", file_.name, hit.line,
                     hit.name.empty() ? "name" : "alignment");
    if (!query_side_.letters.empty())
      fail<BadInput>("{}:{}: the query's row has no row of {} below it (is the file cut short?)",
                     file_.name, query_side_.line, hit.name);
  }

  const AlignmentText& file_;
  std::string_view query_;
  std::vector<TemplateHit> hits_;
  Side query_side_, hit_side_;
  int number_ = 0;
};

}  // namespace

std::vector<TemplateHit> read_hhr(const AlignmentText& file, std::string_view query) {
  return HhrReader(file, query).read();
}

}  // namespace megafold::internal
