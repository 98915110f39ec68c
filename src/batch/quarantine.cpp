// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/quarantine.h"

#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {

using nlohmann::json;

Quarantine::Quarantine(std::filesystem::path file) : file_(std::move(file)) {
  std::error_code error;
  if (!std::filesystem::exists(file_, error)) return;
  std::istringstream lines(read_file(file_));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty()) continue;
    try {
      const json one = json::parse(line);
      const auto entry = one.at("entry").get<std::string>();
      Quarantined row{one.at("visit").get<uint64_t>(), one.at("reason").get<std::string>()};
      const auto [found, is_new] = entries_.try_emplace(entry, row);
      if (!is_new && row.visit < found->second.visit) found->second = std::move(row);
    } catch (const json::exception& failure) {
      fail<BadInput>(
          "{}:{}: not a line of a quarantine file ({}); expected "
          "{{\"entry\": \"1abc\", \"visit\": 17, \"reason\": \"...\"}}",
          file_.string(), number, failure.what());
    }
  }
}

void Quarantine::add(const std::string& entry, uint64_t visit, const std::string& reason) {
  const auto [found, is_new] = entries_.try_emplace(entry, Quarantined{visit, reason});
  if (!is_new) {
    if (found->second.visit <= visit) return;
    found->second = {visit, reason};
  }
  if (file_.empty()) return;
  std::string text;
  for (const auto& [id, row] : entries_) {
    const json line{{"entry", id}, {"visit", row.visit}, {"reason", row.reason}};
    text += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  publish(file_, text);
}

const Quarantined* Quarantine::find(const std::string& entry, uint64_t visit) const {
  const auto found = entries_.find(entry);
  return found == entries_.end() || visit < found->second.visit ? nullptr : &found->second;
}

}  // namespace megafold
